"""`GET /v1/key`: what the key that asks may do, has used and has left."""

from typing import Any

import orjson

from gateway.admission.allowances import Allowance, Allowances, Snapshot
from gateway.admission.authentication import Authentication
from gateway.admission.standing import Standing
from gateway.inbound.exchange import Exchange
from gateway.records.request_record import RequestRecord

__all__ = ["Key"]

JSON = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]


class Key:
    """Counts in no limit, so that a client may look as often as it likes."""

    def __init__(self, authentication: Authentication, standing: Standing, allowances: Allowances) -> None:
        self._authentication = authentication
        self._standing = standing
        self._allowances = allowances

    async def retrieve(self, client: Exchange, record: RequestRecord) -> None:
        """Raises InvalidKey, AccountSuspended, Unavailable."""
        principal = record.principal = await self._authentication.identify(client.headers)
        models = await self._standing.models(principal)
        snapshot = await self._allowances.read(principal)
        document = {
            "object": "key",
            "account_id": principal.account_id,
            "key_id": principal.key_id,
            "models": models,
            **_shown(snapshot),
        }
        await client.answer(200, JSON, orjson.dumps(document, option=orjson.OPT_UTC_Z))


def _shown(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "period": {"start": snapshot.period, "ends_at": snapshot.period_ends},
        "minute_ends_at": snapshot.minute_ends,
        "account": _scope(snapshot.account),
        "key": _scope(snapshot.key),
    }


def _scope(scope: Allowance) -> dict[str, Any]:
    return {
        "requests_per_minute": _counted(scope.requests_per_minute, scope.requests_used),
        "tokens_per_minute": _counted(scope.tokens_per_minute, scope.tokens_used),
        "concurrency": _counted(scope.concurrency, scope.in_flight),
        "spending": {
            "cap_nano_usd": scope.cap,
            "spent_nano_usd": scope.spent,
            "reserved_nano_usd": scope.reserved,
            "left_nano_usd": scope.left,
        },
    }


def _counted(limit: int | None, used: int) -> dict[str, int | None]:
    return {"limit": limit, "used": used, "left": None if limit is None else max(0, limit - used)}
