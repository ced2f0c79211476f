"""
What DATABASE_URL may hold, checked when a process starts and not at its first query. Pure.

    postgresql://user:password@host:5432/database?sslmode=require     (several hosts: h1:5432,h2:5432)
"""

from itertools import zip_longest
from urllib.parse import parse_qsl, urlsplit

from core.process.settings import LARGEST_PORT, Secret, host_name, is_port

__all__ = ["postgres_url"]

SCHEMES = ("postgresql", "postgres")
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


def postgres_url(text: str) -> Secret:
    """Raises ValueError. What it says repeats nothing of the text: a part of it is a password."""
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in SCHEMES:
        raise ValueError("must begin with postgresql:// and name a server")
    try:
        parts = urlsplit(text)
        options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    except ValueError:
        raise ValueError("is not a URL") from None
    if "@" in rest and "@" not in parts.netloc:
        raise ValueError("the user or the password holds a / ? or #: write it percent-encoded (/ is %2F)")
    if parts.netloc.count("@") > 1:
        raise ValueError("the user or the password holds an @: write it percent-encoded (@ is %40)")
    for place in parts.netloc.rpartition("@")[2].split(","):
        _check_host(place.partition(":")[0])
        _check_port(_port_of(place))
    for host, port in zip_longest(*(options.get(name, "").split(",") for name in ("host", "port")), fillvalue=""):
        _check_host(host)
        _check_port(port)
    if "sslmode" in options and options["sslmode"] not in SSL_MODES:
        raise ValueError(f"sslmode must be one of {', '.join(SSL_MODES)}")
    return Secret(text)


def _port_of(host: str) -> str:
    """Of `host:port` or `[v6 address]:port`; empty where none is named."""
    return host.rpartition("]")[2].partition(":")[2]


def _check_host(host: str) -> None:
    if not host.startswith("/"):  # The directory of a socket.
        host_name(host)


def _check_port(port: str) -> None:
    if port and not is_port(port):
        raise ValueError(f"the port must be a number from 1 to {LARGEST_PORT}")
