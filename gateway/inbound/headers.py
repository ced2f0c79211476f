"""Header fields: those of an answer as they go over the wire, and what repeated ones of a request mean."""

__all__ = ["Headers", "head_without_upgrade", "joined"]

Headers = list[tuple[bytes, bytes]]

ONE_VALUE = frozenset({b"authorization", b"x-api-key", b"content-length", b"content-type", b"origin"})
"""A list of these means nothing: two different ones would let two readers of one request disagree."""


def joined(name: bytes, first: bytes, second: bytes) -> bytes | None:
    """One value for a field that came twice (RFC 9110, 5.3). None: the field must not repeat like this."""
    if name == b"host":
        return None
    if name in ONE_VALUE:
        return first if first == second else None
    return first + (b"; " if name == b"cookie" else b", ") + second


def head_without_upgrade(method: bytes, target: bytes, version: bytes, fields: dict[bytes, bytes]) -> bytes:
    """The same request without its offer to change the protocol."""
    kept = {name: value for name, value in fields.items() if name not in (b"upgrade", b"http2-settings", b"connection")}
    tokens = [token.strip() for token in fields.get(b"connection", b"").split(b",")]
    options = b", ".join(token for token in tokens if token.lower() not in (b"", b"upgrade", b"http2-settings"))
    if options:
        kept[b"connection"] = options
    lines = [b"%b: %b\r\n" % field for field in kept.items()]
    return b"%b %b HTTP/%b\r\n%b\r\n" % (method, target, version, b"".join(lines))
