"""The port on which a process listens, and what to do about it when it can't be opened."""

import errno
import os
import socket

__all__ = ["CannotListen", "open_listener"]

BACKLOG = 4096


class CannotListen(Exception):
    """The message names the address, the reason and the setting to change."""


def open_listener(host: str, port: int, *, setting: str) -> socket.socket:
    """`setting` begins the names of the two variables, `<setting>_HOST` and `<setting>_PORT`. Raises CannotListen."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        reason = error.strerror if isinstance(error, socket.gaierror) or not error.errno else os.strerror(error.errno)
        raise CannotListen(f"can't open {host}:{port}: {reason}.\n{_advice(error, setting)}") from error
    listener.setblocking(False)
    return listener


def _advice(error: OSError, setting: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Stop what is using the port, or set {setting}_PORT."
    if error.errno == errno.EACCES:
        return f"Ports below 1024 need a right of their own: set {setting}_PORT."
    return f"Set {setting}_HOST to an address of this machine."
