"""
What the operator's environment asks for, apart from what a shell has read from `demo.env`. Pure.

`demo.env` is made to be read by shells, and the next start may come from one of them: its own database, which is not
running then, is no database elsewhere, and its own key is no key of OpenAI's and must not be sent there.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

from core.accounts.api_key import is_well_formed
from deploy.local.servers.ports import LOOPBACK

__all__ = ["without_demo"]

OWN_SERVERS = {"DATABASE_URL": "postgres", "REDIS_URL": "valkey"}
"""Variable -> its name among the ports. Elsewhere, both are the operator's although `demo.env` repeats them."""


def without_demo(environment: Mapping[str, str], demo: Mapping[str, str], ports: Mapping[str, int]) -> dict[str, str]:
    """`demo` is what the last start wrote to `demo.env`, `ports` are the ports that it used."""
    return {name: value for name, value in environment.items() if not _is_ours(name, value, demo, ports)}


def _is_ours(name: str, value: str, demo: Mapping[str, str], ports: Mapping[str, int]) -> bool:
    if name == "OPENAI_API_KEY" and is_well_formed(value):
        return True  # Of this installation or of another one.
    if demo.get(name) != value:
        return False
    if server := OWN_SERVERS.get(name):
        return _address(value) == (LOOPBACK, ports.get(server))
    return True


def _address(url: str) -> tuple[str | None, int | None]:
    try:
        parts = urlsplit(url)
        return parts.hostname, parts.port
    except ValueError:
        return None, None
