"""
What a provider module makes of a request and `delivery` brings to the client: a `Reply` of bytes and `Frame`s.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from simulators.answers.answers import Answer
from simulators.answers.models import Family
from simulators.answers.prompt_cache import CacheUse
from simulators.faults.directives import Script
from simulators.faults.record import Usage


@dataclass(frozen=True, slots=True)
class Frame:
    """
    One server-sent event (or two that belong together) and the tokens that it carries.

    `content` frames are what `after=k` counts and `pause_ms` separates; `closing` ones come after the last content;
    `last` ends the stream.
    """

    data: bytes
    output_tokens: int = 0
    reasoning_tokens: int = 0
    content: bool = False
    closing: bool = False
    last: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """A request that passed every check."""

    body: dict[str, Any]
    family: Family
    script: Script
    created: int

    @property
    def model(self) -> str:
        return str(self.body["model"])

    @property
    def stream(self) -> bool:
        return bool(self.body.get("stream"))


class Reply(Protocol):
    """An answer in a provider's format."""

    usage: Usage

    def whole(self) -> bytes: ...

    def frames(self) -> Iterator[Frame]: ...


def count_usage(script: Script, cache: CacheUse, answers: tuple[Answer, ...], reasoning: int) -> Usage:
    """The usage of a call, as the script changes it."""
    if script.usage == "zero":
        return Usage()
    read, uncached = cache.read, cache.uncached
    if script.cached_tokens is not None:
        read, uncached = script.cached_tokens, max(0, cache.uncached + cache.read - script.cached_tokens)
    output = sum(answer.output_tokens for answer in answers)
    return Usage(
        input_tokens=uncached if script.input_tokens is None else script.input_tokens,
        cache_read_tokens=read,
        cache_write_5m_tokens=cache.written_5m,
        cache_write_1h_tokens=cache.written_1h,
        output_tokens=output if script.output_tokens is None else script.output_tokens,
        reasoning_tokens=reasoning,
    )


def grouped(tokens: tuple[str, ...], size: int) -> Iterator[tuple[str, ...]]:
    """The tokens in groups of `size`: one group is one chunk of a stream."""
    size = max(1, size)
    for start in range(0, len(tokens), size):
        yield tokens[start : start + size]
