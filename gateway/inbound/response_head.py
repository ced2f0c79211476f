"""The head of an answer as bytes. Pure."""

from http import HTTPStatus

from gateway.inbound.headers import Headers

__all__ = ["STATUS_LINES", "header_lines"]

VISIBLE = bytes(code for code in range(256) if code >= 0x20 and code != 0x7F) + b"\t"


def _status_line(status: int) -> bytes:
    phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


STATUS_LINES = {status: _status_line(status) for status in range(100, 600)}


def header_lines(headers: Headers) -> bytes:
    """`name: value` lines, each with its line end. Raises ValueError when one of them would split the answer."""
    lines = b"".join([b"%b: %b\r\n" % header for header in headers])
    if lines.translate(None, VISIBLE) != b"\r\n" * len(headers):
        raise ValueError("a header of the answer holds a control character")
    return lines
