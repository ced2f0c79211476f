"""The user a server becomes when we are root: Postgres refuses to run as root."""

import os
from pathlib import Path

NOBODY = 65534
"""The conventional id of a user that owns nothing. No account is created and no directory of others is opened."""


def server_user() -> int | None:
    """The user id a server has to run under; None when we may run it as ourselves."""
    return NOBODY if os.geteuid() == 0 else None


def obstacle(path: Path, user: int) -> Path | None:
    """The first directory on the way to `path` that `user` may not enter; None when the way is free."""
    resolved = path.resolve()
    on_the_way = [*reversed(resolved.parents), resolved] if resolved.is_dir() else [*reversed(resolved.parents)]
    return next((directory for directory in on_the_way if not _may_enter(directory, user)), None)


def _may_enter(directory: Path, user: int) -> bool:
    if not directory.exists():
        return True  # We create it ourselves.
    status = directory.stat()
    return bool(status.st_mode & 0o001) or (status.st_uid == user and bool(status.st_mode & 0o100))
