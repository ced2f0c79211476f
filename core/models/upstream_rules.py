"""
What may stand in the address of an upstream and in the head of a request to it. One rule for the models file and for
the transport that builds the head: whatever `models check` approves, a gateway can use.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

__all__ = [
    "DEFAULT_PORTS",
    "OURS",
    "TOKEN",
    "UPSTREAM_NAME",
    "Address",
    "header_problem",
    "parse_address",
    "provider_problems",
    "require_host",
]

DEFAULT_PORTS = {"http": 80, "https": 443}
UPSTREAM_NAME = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
"""Of a provider, or of its model: together they are a header of each answer."""
UNFIT = re.compile(r"[^\x21-\x7e]")
TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
UNFIT_IN_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
OURS = frozenset(
    # Each of these frames a message or rules the connection: two opinions about them are request smuggling.
    (
        b"accept-encoding",
        b"connection",
        b"content-length",
        b"expect",
        b"host",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)


class Address(NamedTuple):
    scheme: str
    host: str
    """A name or an address; IPv6 stands without brackets."""
    port: int
    path: str
    """Without a slash at the end: "" for the root."""


def parse_address(url: str) -> Address:
    """Raises ValueError for anything but `http(s)://host[:port][/path]`; the message never repeats the URL, because a
    URL with a password in it is one of the mistakes.
    """
    if UNFIT.search(url):
        raise ValueError("the URL holds a space, a control character or one outside ASCII")
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise ValueError("the URL holds credentials; they belong in a header")
    if "?" in url or "#" in url:
        raise ValueError("the URL holds a query or a fragment")
    scheme, host = parts.scheme.lower(), (parts.hostname or "").lower()
    port = parts.port if parts.port is not None else DEFAULT_PORTS.get(scheme, 0)
    require_host(scheme, host, port)
    return Address(scheme, host, port, parts.path.rstrip("/"))


def require_host(scheme: str, host: str, port: int) -> None:
    """Raises ValueError for what no connection can be made to."""
    if scheme not in DEFAULT_PORTS:
        raise ValueError(f"scheme must be http or https, not {scheme!r}")
    if not host or UNFIT.search(host) or any(mark in host for mark in "/?#@[]\\"):
        raise ValueError(f"not a host: {host!r}")
    if not 0 < port < 65536:
        raise ValueError(f"port must be 1 to 65535, not {port}")


def header_problem(name: bytes, value: bytes) -> str | None:
    """Why a header can't be sent; never shows its value. `name` is in lower case."""
    if not TOKEN.fullmatch(name):
        return f"not a header name: {name!r}"
    if name in OURS:
        return f"the transport itself sets {name.decode()}"
    if UNFIT_IN_VALUE.search(value):
        return f"the value of {name.decode()} holds a control character"
    return None


def provider_problems(name: str, api_key: str, headers: Sequence[tuple[str, str]]) -> Iterator[str]:
    """What keeps a provider's own headers out of the head of a request. Never shows a value."""
    if not UPSTREAM_NAME.fullmatch(name):
        yield "the name of a provider consists of visible ASCII characters"
    if len({header.lower() for header, _ in headers}) < len(headers):
        yield "headers names one header twice"
    for field, header, value in [("api_key", "authorization", api_key), *(("headers", *pair) for pair in headers)]:
        if not (header.isascii() and value.isascii()):
            yield f"{field} holds a character outside ASCII"
        elif problem := header_problem(header.lower().encode(), value.encode()):
            yield f"{field}: {problem}"
        elif value != value.strip():
            yield f"{field} begins or ends with a space"
