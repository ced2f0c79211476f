"""
Every Redis key, and the fields of the hashes that the Lua scripts in `core/redis/lua` share.

All keys of an account and its usage stream carry one shard tag `{sNN}`, so each script stays in one slot: the same code
runs on a single Valkey and on a Redis Cluster. The number of shards is fixed when an installation is created; another
number would look for accounts where they are not.

`{sNN}:account:<id>` and `{sNN}:key:<id>` are hashes of the same form, called *scopes*: whatever limits one limits both.

| field | unit | written by | meaning |
|---|---|---|---|
| status | active, suspended, revoked | publish | |
| epoch | the server's `run_id` | publish, rebuild | for which life of the server the scope was published |
| period, next_period | first day | publish | accounts only; pays for the account and its keys, until its `ends` |
| period_ends, next_period_ends | ms since 1970 | publish | accounts only |
| revision | number | publish | of the row in Postgres; an older one never overwrites a newer one |
| rpm, tpm, concurrency | per minute, per minute, at once | publish | empty = no limit |
| cap | nano-dollars per period | publish | empty = no cap |
| expires_at | ms since 1970 | publish | keys only; empty = never |
| models | `,a,b,` | publish | keys only; empty = all |
| in_flight | requests | admit, settle, release, sweep | live reservations |
| reserved | nano-dollars | admit, settle, release, sweep | sum of the live reservations |
| minute, minute_requests, minute_tokens | | admit, settle, release | the running minute of the server's clock |
| pending:<period> | nano-dollars | settle, sweep, confirm | charged by events that still are in the usage stream |
| ledger:<period> | nano-dollars | confirm, publish | charged in Postgres, what is parked included; SET only |
| ledger_version:<period> | changes | confirm, publish | orders the two writers above: a smaller one is ignored |

What a scope has spent in a period is ledger + pending; what it may still spend is cap - ledger - pending - reserved.
"""

from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID

from core.principal import AccountId, KeyId

__all__ = ["ALL_USAGE_STREAMS", "CONSUMER_GROUP", "ReservationKeys", "ShardKeys", "key_digest", "shards"]

CONSUMER_GROUP = "metering"

MULTIPLIER = 0x9E3779B97F4A7C15
"""Fibonacci hashing: consecutive account ids spread evenly over the shards."""


USAGE = ":usage"
ALL_USAGE_STREAMS = "{s*}" + USAGE
"""Pattern of the usage streams of any number of shards."""


def key_digest(digest: bytes) -> str:
    """Where a digest leads to its account and key id. Belongs to no shard: it is read before the account is known."""
    return f"key:{digest.hex()}"


# Not frozen: a request makes one, and freezing it would triple what that costs. Never changed: it may be hashed.
@dataclass(slots=True, unsafe_hash=True)
class ShardKeys:
    """The keys of one shard."""

    tag: str

    @classmethod
    def of(cls, account_id: AccountId, shard_count: int) -> "ShardKeys":
        return cls(_tag((account_id * MULTIPLIER % 2**64 >> 32) % shard_count))

    @classmethod
    def of_stream(cls, usage_stream: str) -> "ShardKeys":
        """The other way round: the shard whose usage stream this is."""
        return cls(usage_stream.removesuffix(USAGE))

    @property
    def usage_stream(self) -> str:
        return self.tag + USAGE

    @property
    def leases(self) -> str:
        """Sorted set of the live reservations by the time (ms) at which the sweeper may end them."""
        return self.tag + ":leases"

    def account(self, account_id: AccountId) -> str:
        return f"{self.tag}:account:{account_id}"

    def key(self, key_id: KeyId) -> str:
        return f"{self.tag}:key:{key_id}"

    @property
    def reservations(self) -> str:
        """What the name of every reservation begins with; the event id follows."""
        return f"{self.tag}:reservation:"

    def reservation(self, event_id: UUID) -> str:
        return f"{self.reservations}{event_id}"

    def reserved(self, account: str, key: str, event_id: str) -> "ReservationKeys":
        """`account` and `key` are the names of the scopes that it was taken from."""
        return ReservationKeys(
            event_id, account, key, f"{self.tag}:reservation:{event_id}", f"{self.tag}:leases", self.tag + USAGE
        )


# Not frozen: a request makes one, and freezing it would triple what that costs.
@dataclass(slots=True)
class ReservationKeys:
    """All keys that the life of one reservation touches, and its name in `leases`: the event's id."""

    event_id: str
    account: str
    key: str
    reservation: str
    leases: str
    stream: str

    @classmethod
    def of(cls, account_id: AccountId, key_id: KeyId, event_id: UUID, shard_count: int) -> "ReservationKeys":
        shard, account, key = _scopes(account_id, key_id, shard_count)
        return shard.reserved(account, key, str(event_id))


@lru_cache(maxsize=10_000)
def _scopes(account_id: AccountId, key_id: KeyId, shard_count: int) -> tuple[ShardKeys, str, str]:
    """The shard, and the names of the account and the key in it: the same for every request of a key."""
    shard = ShardKeys.of(account_id, shard_count)
    return shard, shard.account(account_id), shard.key(key_id)


def shards(shard_count: int) -> list[ShardKeys]:
    return [ShardKeys(_tag(number)) for number in range(shard_count)]


def _tag(number: int) -> str:
    return f"{{s{number:02d}}}"
