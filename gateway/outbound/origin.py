"""Where an upstream is."""

from dataclasses import dataclass, field

from core.models.upstream_rules import DEFAULT_PORTS, parse_address, require_host


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port of an upstream. `host` is a name or an address; IPv6 stands without brackets."""

    scheme: str
    host: str
    port: int
    authority: str = field(init=False, repr=False, compare=False)  # For the Host header: no default port.
    key: str = field(init=False, repr=False, compare=False)  # A string: its hash is computed once, not per look-up.

    def __post_init__(self) -> None:
        require_host(self.scheme, self.host, self.port)
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
        scheme, host, port, prefix = parse_address(url)
        return cls(scheme, host, port), prefix
