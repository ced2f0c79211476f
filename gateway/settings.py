"""What an operator can set for a gateway. docs/settings.md explains each; an unset one has the default below."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.accounts.api_key import Pepper, PepperRing, pepper_secret
from core.postgres.url import postgres_url
from core.process.logs import log_level
from core.process.settings import LARGEST_PORT, Secret, host_name, is_port, load, one_of, setting
from core.redis.address import redis_url
from core.usage.money import NANO_PER_USD, parse_usd

__all__ = ["GatewaySettings"]

MEBIBYTE = 1024 * 1024
DEFAULT_PORTS = {"http": "80", "https": "443"}
ORIGIN = re.compile(r"(https?)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?")


def _origins(text: str) -> frozenset[str]:
    """`https://app.example.com,http://localhost:3000`, or `*`. Raises ValueError for what no browser would send."""
    found = frozenset(part.strip() for part in text.split(",") if part.strip())
    for origin in found - {"*"}:
        form = ORIGIN.fullmatch(origin)
        if form is None:
            raise ValueError(
                "each origin must be a scheme and a host, such as https://app.example.com, in lower case and ASCII, "
                "and no more; a `*` stands alone"
            )
        scheme, host, port = form.groups()
        host_name(host)
        if port is not None and not is_port(port):
            raise ValueError(f"the port of an origin must be a number from 1 to {LARGEST_PORT}")
        if port == DEFAULT_PORTS[scheme]:
            raise ValueError(f"browsers leave out the port {port} of {scheme}")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    database_url: Secret = setting(parse=postgres_url)
    redis_url: Secret = setting(parse=redis_url)
    redis_shards: int = setting(16, minimum=1, maximum=1024)
    api_key_pepper: Secret = setting(parse=pepper_secret)
    """`<id>:<64 hex digits>`; every process of an installation needs the same one."""
    api_key_pepper_previous: Secret | None = setting(None, parse=pepper_secret)

    gateway_host: str = setting("127.0.0.1", parse=host_name)
    gateway_port: int = setting(8080, minimum=0, maximum=65535)
    gateway_admin_host: str = setting("127.0.0.1", parse=host_name)
    gateway_admin_port: int = setting(9090, minimum=0, maximum=65535)
    gateway_workers: int = setting(1, minimum=1, maximum=64)
    gateway_models_file: Path
    gateway_spool_directory: Path

    gateway_max_body_bytes: int = setting(32 * MEBIBYTE, minimum=1024)
    gateway_max_bodies_bytes: int = setting(256 * MEBIBYTE, minimum=1024)
    """Of the bodies of all open requests together, per worker process; more are answered with 503."""
    gateway_body_seconds: float = setting(30.0, minimum=0.1)
    """How long a client may take to send its body."""
    gateway_max_answer_bytes: int = setting(64 * MEBIBYTE, minimum=1024)
    gateway_keepalive_seconds: float = setting(10.0, minimum=0.1)
    """How long the client of a stream waits for a byte at most, when the upstream sends nothing."""
    gateway_max_open_requests: int = setting(12_000, minimum=1)
    """Per worker process; more are answered with 503."""

    gateway_max_connections: int = setting(20_000, minimum=1)
    """Per worker process, idle ones included; fewer where file descriptors don't suffice."""
    gateway_idle_seconds: float = setting(75.0, minimum=0.1)
    """A connection without a request is closed then. Longer than the usual 60 seconds of load balancers: the side that
    sends next must not find the connection closed."""
    gateway_stalled_client_seconds: float = setting(60.0, minimum=0.1)
    """A client that takes no byte of its answer for this long is cut off."""

    gateway_redis_seconds: float = setting(1.0, minimum=0.05)
    """How long an answer of Redis may take before it counts as away."""
    gateway_lookup_seconds: float = setting(2.0, minimum=0.05)
    """How long a look-up in Postgres, of an unknown key or of an account that Redis does not know, may take."""
    gateway_lease_seconds: float = setting(30.0, minimum=3.0, maximum=300.0)
    """How long after a gateway's death its reservations are kept; long answers renew them three times as often."""
    gateway_offline_exposure_usd: int = setting(NANO_PER_USD, parse=parse_usd)
    """What an account may spend at this process while Redis is away: set in US dollars, read as nano-dollars. 0 refuses
    everything."""
    gateway_offline_memory_seconds: float = setting(900.0, minimum=0)
    """How recently a key must have been admitted to be served while Redis is away."""

    gateway_max_attempts: int = setting(3, minimum=1, maximum=20)
    """Upstream attempts for one request, over all targets."""
    gateway_retry_seconds: float = setting(90.0, minimum=0.1)
    """No further attempt starts later than this after the first."""
    gateway_connect_seconds: float = setting(5.0, minimum=0.05)
    gateway_upstream_connections: int = setting(20_000, minimum=1)
    """Per worker process and upstream address."""
    gateway_on_disconnect: str = setting("cancel", parse=one_of("cancel", "drain"))
    """`cancel` stops the upstream when a client hangs up; `drain` reads on to its usage record."""
    gateway_drain_seconds: float = setting(60.0, minimum=0.1)
    gateway_max_drains: int = setting(100, minimum=0)

    gateway_cors_origins: frozenset[str] = setting(frozenset(), parse=_origins)
    """Of pages in browsers that may talk to this gateway; none by default."""

    gateway_shutdown_delay_seconds: float = setting(0.0, minimum=0)
    """Time between readiness turning red and the listening socket closing, for a load balancer to notice."""
    gateway_shutdown_seconds: float = setting(60.0, minimum=0.1)
    """How long running answers may go on after that."""
    gateway_request_log: bool = True
    log_level: str = setting("INFO", parse=log_level)

    @property
    def peppers(self) -> PepperRing:
        previous = self.api_key_pepper_previous
        return PepperRing(
            Pepper.parse(self.api_key_pepper.reveal()), Pepper.parse(previous.reveal()) if previous else None
        )

    @classmethod
    def load(cls, environment: Mapping[str, str]) -> "GatewaySettings":
        """Raises SettingsError with every problem."""
        return load(cls, environment)
