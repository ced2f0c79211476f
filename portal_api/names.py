"""What people may call their accounts and keys."""

from portal_api.errors import InvalidName

__all__ = ["checked_name"]

LONGEST = 200


def checked_name(text: str) -> str:
    """The name without spaces around it. Raises InvalidName: Postgres stores no NUL, and no table shows a line end."""
    name = text.strip()
    if not 0 < len(name) <= LONGEST or not name.isprintable():
        raise InvalidName(f"A name has 1 to {LONGEST} characters, and no line ends or control characters among them.")
    return name
