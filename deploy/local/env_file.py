"""Files of `NAME='value'` lines: for `. file` in a shell, and for readers of .env files."""

import shlex
from collections.abc import Mapping

__all__ = ["as_env_file", "read_env_file"]


def as_env_file(variables: Mapping[str, str]) -> str:
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in variables.items())


def read_env_file(text: str) -> dict[str, str]:
    """Raises ValueError for a quote that does not end."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {name: "".join(shlex.split(value)) for name, _, value in pairs}
