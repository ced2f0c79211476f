"""
The Lua scripts in `core/redis/lua`, by name. Each script's header says what it takes, what it returns and why it is one
script. `script_calls` has a function for each that says the same in types.
"""

import hashlib
from dataclasses import dataclass
from importlib import resources

__all__ = ["Argument", "Call", "LuaScript", "load_script"]

Argument = bytes | str | int


@dataclass(slots=True)  # Not frozen: a request makes three, and freezing them would triple what that costs.
class Call:
    """One call of a script. The replies are described in the scripts' headers."""

    script: str
    keys: tuple[str, ...]
    arguments: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class LuaScript:
    name: str
    text: str

    @property
    def sha(self) -> str:
        """The name under which the server keeps it (EVALSHA)."""
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


def load_script(name: str) -> LuaScript:
    return LuaScript(name, resources.files("core.redis").joinpath("lua", f"{name}.lua").read_text())
