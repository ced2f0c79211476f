"""
`Prompt` measures what a request sends: its content in order, the last user text, and how many tokens it counts.

The rule of counting, the same for both providers: the UTF-8 bytes of all text (system and message texts, tool results,
names and arguments of tool calls, tool names, descriptions and compact JSON schemas) divided by 4, rounded up, at
least 1; an image or a file counts as 340 bytes, which is 85 tokens.
"""

import hashlib
from typing import Any

import orjson

BYTES_PER_TOKEN = 4
BYTES_OF_AN_IMAGE = 340


class Prompt:
    """Content in the order in which the provider's cache sees it: tools, system, messages."""

    def __init__(self, model: str) -> None:
        self.bytes = 0
        self.last_user_text = ""
        self._digest = hashlib.sha256(model.encode())

    @property
    def tokens(self) -> int:
        return max(1, -(-self.bytes // BYTES_PER_TOKEN))

    @property
    def tokens_so_far(self) -> int:
        """Whole tokens up to here: where a cached prefix ends."""
        return self.bytes // BYTES_PER_TOKEN

    @property
    def fingerprint(self) -> bytes:
        """Equal for equal content up to here, in the same order, for the same model."""
        return self._digest.digest()

    @property
    def seed(self) -> int:
        return int.from_bytes(self.fingerprint[:3], "big")

    def add_text(self, text: str) -> None:
        data = text.encode("utf-8", "surrogatepass")
        self.bytes += len(data)
        self._digest.update(b"\0" + data)

    def add_json(self, value: Any) -> None:
        self.add_text(orjson.dumps(value).decode())

    def add_image(self, source: Any) -> None:
        self.bytes += BYTES_OF_AN_IMAGE
        self._digest.update(b"\1" + orjson.dumps(source))

    def mark(self, label: str) -> None:
        """Something that changes the content without counting: a role, the border of a message."""
        self._digest.update(b"\2" + label.encode())
