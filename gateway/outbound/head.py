"""The request head, built once and used for many requests. Nothing in it can split a request."""

import re
from collections.abc import Iterable

from core.models.upstream_rules import TOKEN, header_problem

UNFIT_IN_TARGET = re.compile(rb"[^\x21-\x7e]|#")


def request_head(method: str, path: str, host: str, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """
    The request line and headers for `Transport.send`, which adds `content-length` and the blank line.

    `path` begins with a slash and may hold a query; `host` is `Origin.authority`. More lines may be appended with
    `header_line`. Raises ValueError for control characters anywhere and for headers that the transport itself sets.
    """
    verb, target, authority = _ascii(method), _ascii(path), _ascii(host)
    if not TOKEN.fullmatch(verb):
        raise ValueError(f"not a method: {method!r}")
    if not target.startswith(b"/") or UNFIT_IN_TARGET.search(target):
        raise ValueError("the path must begin with a slash and hold visible ASCII only")
    if not authority or UNFIT_IN_TARGET.search(authority):
        raise ValueError(f"not a host: {host!r}")
    first = b"%b %b HTTP/1.1\r\nhost: %b\r\naccept-encoding: identity\r\n" % (verb, target, authority)
    return first + b"".join([header_line(name, value) for name, value in headers])


def header_line(name: bytes, value: bytes) -> bytes:
    """One header with its line end. Raises ValueError as `request_head` does; the message never shows the value."""
    name = name.lower()
    problem = header_problem(name, value)
    if problem is not None:
        raise ValueError(problem)
    return b"%b: %b\r\n" % (name, value)


def _ascii(text: str) -> bytes:
    try:
        return text.encode("ascii")
    except UnicodeEncodeError:
        raise ValueError("the request line holds a character outside ASCII") from None
