"""Where an upstream is, and how long the gateway waits for it."""

import math
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443}
UNFIT = re.compile(r"[^\x21-\x7e]")


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port of an upstream. `host` is a name or an address; IPv6 stands without brackets."""

    scheme: str
    host: str
    port: int
    authority: str = field(init=False, repr=False, compare=False)  # For the Host header: no default port.
    key: str = field(init=False, repr=False, compare=False)  # A string: its hash is computed once, not per look-up.

    def __post_init__(self) -> None:
        if self.scheme not in DEFAULT_PORTS:
            raise ValueError(f"scheme must be http or https, not {self.scheme!r}")
        if not self.host or UNFIT.search(self.host) or any(mark in self.host for mark in "/?#@[]\\"):
            raise ValueError(f"not a host: {self.host!r}")
        if not 0 < self.port < 65536:
            raise ValueError(f"port must be 1 to 65535, not {self.port}")
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = self.port == DEFAULT_PORTS[self.scheme]
        object.__setattr__(self, "authority", host if default else f"{host}:{self.port}")
        object.__setattr__(self, "key", f"{self.scheme}://{host}:{self.port}")

    @property
    def secure(self) -> bool:
        return self.scheme == "https"

    @classmethod
    def from_url(cls, url: str) -> tuple["Origin", str]:
        """
        The origin of `url` and its path prefix, without a slash at the end (`""` for the root).

        Raises ValueError for anything but `http(s)://host[:port][/path]`; the message never repeats the URL, because
        a URL with a password in it is one of the mistakes.
        """
        if UNFIT.search(url):
            raise ValueError("the URL holds a space, a control character or one outside ASCII")
        parts = urlsplit(url)
        if "@" in parts.netloc:
            raise ValueError("the URL holds credentials; they belong in a header")
        if "?" in url or "#" in url:
            raise ValueError("the URL holds a query or a fragment")
        scheme = parts.scheme.lower()
        port = parts.port if parts.port is not None else DEFAULT_PORTS.get(scheme, 0)
        return cls(scheme, (parts.hostname or "").lower(), port), parts.path.rstrip("/")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds, all above 0. `first_byte` runs to the end of the response head, `idle` from one read to the next."""

    connect: float = 5.0
    first_byte: float = 60.0
    idle: float = 60.0
    total: float = 600.0

    def __post_init__(self) -> None:
        for name in ("connect", "first_byte", "idle", "total"):
            seconds = getattr(self, name)
            if not (seconds > 0 and math.isfinite(seconds)):
                raise ValueError(f"the {name} timeout must be above 0 seconds, not {seconds}")
