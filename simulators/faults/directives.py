"""
The `Script`: how one answer shall look and fail. A test writes it as a directive into the last user message,
`[[sim words=50 pause_ms=20 status=429 retry_after=1]]`, or queues it as a fault through the control API.

The fields of `Script` are the language; `simulators/__init__.py` and docs/simulators.md explain each of them.
"""

import re
import shlex
from dataclasses import dataclass, fields
from typing import Any, get_args, get_type_hints

from simulators.faults.refusals import Refused

DIRECTIVE = re.compile(r"\[\[sim\b(.*?)\]\]", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Script:
    """Everything a test can ask for. Times are milliseconds unless the name says otherwise."""

    words: int | None = None
    text: str | None = None
    chunk_words: int = 1
    pause_ms: int = 0
    first_byte_ms: int = 0
    tools: int = 0
    thinking: int | None = None
    redacted: bool = False
    interleaved: bool = False
    reasoning_content: bool = False
    refusal: bool = False
    finish: str | None = None

    usage: str = "normal"
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None

    status: int | None = None
    error_type: str | None = None
    code: str | None = None
    message: str | None = None
    retry_after: float | None = None
    retry_after_ms: float | None = None
    should_retry: bool | None = None

    after: int = 2
    cut: str | None = None
    stall: str | None = None
    error_event: str | None = None
    garbage: str | None = None
    content_length: str | None = None
    glue: bool = False
    split_bytes: int = 0

    times: int = 0
    id: str = ""
    model: str | None = None


CHOICES: dict[str, tuple[str, ...]] = {
    "usage": ("normal", "none", "zero", "repeat", "late_split", "inclusive", "input_zero"),
    "cut": ("before_head", "after_head", "reset", "fin", "eof"),
    "stall": ("before_head", "after_head", "stream"),
    "error_event": ("start", "mid"),
    "garbage": ("http", "json", "sse"),
    "content_length": ("short", "long"),
}
FAULT_FIELDS = frozenset(
    {
        "status",
        "cut",
        "stall",
        "error_event",
        "garbage",
        "content_length",
        "usage",
        "split_bytes",
        "glue",
        "first_byte_ms",
    }
)
_TYPES: dict[str, tuple[type, ...]] = {
    name: get_args(hint) or (hint,) for name, hint in get_type_hints(Script).items() if name != "return"
}
_TRUE, _FALSE = ("1", "true", "yes"), ("0", "false", "no")


def directive_settings(text: str) -> dict[str, Any]:
    """All settings of the directives in a text, later ones winning; {} without a directive."""
    settings: dict[str, Any] = {}
    for body in DIRECTIVE.findall(text):
        for word in shlex.split(body):
            name, _, value = word.partition("=")
            settings[name] = value or "1"
    return settings


def write_script(settings: dict[str, Any]) -> Script:
    """Settings from a directive (strings) or from the control API (JSON) as a Script; a 400 names what is wrong."""
    known = {field.name for field in fields(Script)}
    for name in settings:
        if name not in known:
            raise Refused(400, f"[[sim]] has no setting '{name}'", code="bad_directive")
    return Script(**{name: _convert(name, value) for name, value in settings.items()})


def _convert(name: str, value: Any) -> Any:
    wanted = next(kind for kind in _TYPES[name] if kind is not type(None))
    text = str(value)
    if name in CHOICES and text not in CHOICES[name]:
        raise Refused(400, f"[[sim {name}={text}]]: one of {', '.join(CHOICES[name])}", code="bad_directive")
    try:
        if wanted is bool:
            return {**dict.fromkeys(_TRUE, True), **dict.fromkeys(_FALSE, False)}[text.lower()]
        return wanted(text)
    except (KeyError, ValueError):
        raise Refused(400, f"[[sim {name}={text}]]: not a {wanted.__name__}", code="bad_directive") from None
