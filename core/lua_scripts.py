"""
The Lua scripts in `core/lua`, by name. Each script's header says what it takes, what it returns and why it is one
script.
"""

import hashlib
from dataclasses import dataclass
from importlib import resources

__all__ = ["LuaScript", "load_script"]


@dataclass(frozen=True, slots=True)
class LuaScript:
    name: str
    text: str

    @property
    def sha(self) -> str:
        """The name under which the server keeps it (EVALSHA)."""
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


def load_script(name: str) -> LuaScript:
    return LuaScript(name, resources.files("core").joinpath("lua", f"{name}.lua").read_text())
