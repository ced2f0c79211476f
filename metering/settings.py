"""The settings of the metering process."""

import socket
from dataclasses import dataclass

from core.postgres.url import postgres_url
from core.process.logs import log_level
from core.process.settings import Secret, host_name, setting
from core.redis.address import redis_url

__all__ = ["MeteringSettings", "shard_numbers"]

MAX_DAYS = 36_500
"""A hundred years: further away there are dates that Python has not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeteringSettings:
    database_url: Secret = setting(parse=postgres_url)
    redis_url: Secret = setting(parse=redis_url)
    redis_shards: int = setting(16, minimum=1, maximum=1024)
    """Fixed when the installation is created."""
    metering_shards: str = ""
    """The shards of this process, such as `0-7` or `0,2,8-15`; empty = all. Sharing them is safe, only slower."""
    metering_consumers: int = setting(2, minimum=1, maximum=64)
    """Batches under way at once, each with shards of its own: one is decoded while another is committed."""
    metering_batch_size: int = setting(2_000, minimum=1, maximum=20_000)
    metering_claim_idle_seconds: float = setting(30.0, minimum=0.1, maximum=86_400)
    """An entry that was read and not confirmed for this long belongs to a dead consumer."""
    metering_sweep_interval_seconds: float = setting(2.0, minimum=0.05)
    metering_sweep_confirm_seconds: float = setting(25.0, minimum=0.0)
    """Between two looks at an expired lease; a living gateway prolongs it in two thirds of GATEWAY_LEASE_SECONDS."""
    metering_counter_check_seconds: float = setting(60.0, minimum=0.1)
    metering_future_days: int = setting(2, minimum=0, maximum=MAX_DAYS)
    """Events further ahead are parked: a clock that jumped must not create partitions for years."""
    metering_past_days: int = setting(400, minimum=1, maximum=MAX_DAYS)
    metering_admin_host: str = setting("127.0.0.1", parse=host_name)
    metering_admin_port: int = setting(9091, minimum=0, maximum=65535)
    metering_name: str = socket.gethostname()
    """Begins the names of this process's consumers; the process id is added."""
    log_level: str = setting("INFO", parse=log_level)


def shard_numbers(text: str, shard_count: int) -> list[int]:
    """`"0-2,5"` is [0, 1, 2, 5]; empty is all. Raises ValueError with what is wrong."""
    if not text:
        return list(range(shard_count))
    numbers: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        low, high = int(first), int(last if dash else first)
        if not 0 <= low <= high < shard_count:
            raise ValueError(f"METERING_SHARDS={text}: the shards are 0 to {shard_count - 1}")
        numbers.update(range(low, high + 1))
    return sorted(numbers)
