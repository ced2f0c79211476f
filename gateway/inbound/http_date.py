"""The `date` header (RFC 9110, 6.6.1) of every answer of a process, made once a second."""

import time
from email.utils import formatdate

__all__ = ["HttpDate"]


class HttpDate:
    def __init__(self) -> None:
        self.line = b""
        self.tick()

    def tick(self) -> None:
        self.line = f"date: {formatdate(time.time(), usegmt=True)}\r\n".encode()
