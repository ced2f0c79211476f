"""
What REDIS_URL says, read in one place for every client: `redis[s]://[[user]:password@]host[:port][/database]`.

The database may also come as `?db=`. Whatever would mean one thing to one client and another to the next is refused:
the gateway and its key look-ups must never talk to different servers. Pure.
"""

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from core.process.settings import LARGEST_PORT, Secret, host_name, is_port

__all__ = ["RedisAddress", "redis_url"]

FORM = "must look like redis[s]://[[user]:password@]host[:port][/database]"
DEFAULT_PORT = 6379
is_host = re.compile(r"[0-9A-Za-z._-]+|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.%]*").fullmatch
is_whole = re.compile(r"[0-9]{1,5}").fullmatch


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """One server. `username` and `password` are empty when the server asks for none."""

    host: str
    port: int
    database: int
    tls: bool
    username: str
    password: str = field(repr=False)

    @classmethod
    def parse(cls, url: str) -> "RedisAddress":
        """Raises ValueError, whose message repeats nothing of the URL: any part may hold the password."""
        try:
            parts = urlsplit(url)
        except ValueError:
            raise ValueError(FORM) from None
        if parts.scheme not in ("redis", "rediss") or any(character.isspace() for character in url):
            raise ValueError(FORM)
        credentials, at, place = parts.netloc.rpartition("@")
        username, _, password = credentials.partition(":")
        if at and not password:
            raise ValueError("there is a user or an @ and no password")
        host, port = _host_and_port(place)
        return cls(
            host,
            port,
            _database(parts.path, parts.query, parts.fragment),
            tls=parts.scheme == "rediss",
            username=unquote(username),
            password=unquote(password),
        )


def redis_url(text: str) -> Secret:
    """For a setting: the URL as it is, after a look at it. Raises ValueError as `RedisAddress.parse`."""
    RedisAddress.parse(text)
    return Secret(text)


def _host_and_port(place: str) -> tuple[str, int]:
    """Of `host`, `host:port`, `[::1]` or `[::1]:port`."""
    if place.startswith("["):
        host, _, rest = place[1:].partition("]")
        colon, port = rest[:1], rest[1:]
    else:
        host, colon, port = place.partition(":")
    if not is_host(host):
        raise ValueError(f"{FORM}; the host is missing, or the password is not percent-encoded")
    host_name(host)
    if colon not in ("", ":") or (colon and not is_port(port)):
        # The port may be the beginning of a password with a slash: it is not repeated.
        raise ValueError(f"the port is no number up to {LARGEST_PORT}, or the password is not percent-encoded")
    return host, int(port or DEFAULT_PORT)


def _database(path: str, query: str, fragment: str) -> int:
    options = parse_qsl(query, keep_blank_values=True)
    named = [value for name, value in options if name == "db"]
    if fragment or len(named) != len(options):
        raise ValueError("it has options other than db, or the password is not percent-encoded")
    numbers = {*named, *([path.strip("/")] if path.strip("/") else [])}
    if len(numbers) > 1:
        raise ValueError("it names two databases")
    number = numbers.pop() if numbers else "0"
    if not is_whole(number):
        raise ValueError("the database is no number, or the password is not percent-encoded")
    return int(number)
