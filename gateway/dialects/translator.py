"""What the relay asks of every pair of client schema and upstream schema."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from core.usage.token_usage import TokenUsage
from gateway.dialects.generation_request import GenerationRequest
from gateway.failure import UpstreamFailure

__all__ = ["Answer", "Header", "MalformedAnswer", "StreamTranslator", "Translator"]

Header = Callable[[bytes], bytes | None]
"""Looks a response header up by its lower-case name."""


class MalformedAnswer(Exception):
    """The upstream said 200 but sent garbage or an error body: a failed attempt, like any other."""

    def __init__(self, failure: UpstreamFailure) -> None:
        super().__init__(failure.message)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer for the client, not streamed."""

    body: bytes
    usage: TokenUsage | None
    """None when the upstream reported none; an explicit zero is a value."""
    estimated_output: int
    """Tokens of the delivered text by our own estimate; 0 when the reported usage can be trusted."""
    usage_flaw: str | None
    """Why the reported usage can't be trusted as it is, such as "input_missing": metered as estimated."""
    oddity: str | None = None
    """Something in the answer that our tables have no row for, in words for the log."""
    service_tier: str = ""
    """The tier that the upstream says it served; empty when it does not say."""


class StreamTranslator(Protocol):
    """
    One streamed answer on its way to the client. Not thread-safe.

    What `feed` returned before `committed` may be thrown away when another target is tried; after that nothing is
    taken back. Once `finished` or `failure` is set, nothing that follows reaches the client; late usage still counts.
    """

    @property
    def committed(self) -> bool:
        """Content, or a proper end, has been seen: no other target from here on."""

    @property
    def finished(self) -> bool:
        """The upstream ended its answer properly."""

    @property
    def failure(self) -> UpstreamFailure | None:
        """An error event, an unreadable or oversized event, or an end without an ending."""

    @property
    def usage(self) -> TokenUsage | None:
        """As far as reported; None if never. Output that is not reported yet is our estimate, as the flaw tells."""

    @property
    def usage_flaw(self) -> str | None:
        """Why `usage` can't be trusted as it is: "input_missing" leaves the input to the caller's own estimate."""

    @property
    def oddity(self) -> str | None:
        """Something in a finished answer that our tables have no row for, in words for the log."""

    @property
    def service_tier(self) -> str:
        """The tier that the upstream says it serves; empty when it does not say."""

    @property
    def delivered_output(self) -> int:
        """Estimate of the output tokens handed out so far."""

    @property
    def response_id(self) -> str | None: ...

    @property
    def response_model(self) -> str | None: ...

    def feed(self, chunk: bytes) -> bytes:
        """The bytes for the client that this chunk completes, b"" when none."""

    def end(self) -> bytes:
        """The upstream closed. Normally b""; sets `failure` when the answer was not finished."""

    def error_frame(self, message: str, type: str, code: str | None) -> bytes:
        """The event that ends a broken answer. Nothing may follow it, least of all [DONE]."""


class Translator(Protocol):
    """Stateless; one per pair of client schema and upstream schema."""

    @property
    def path(self) -> str:
        """Of the upstream's endpoint, below its base URL."""

    def request(self, chat: GenerationRequest, *, upstream_model: str, max_output_tokens: int, clamp: bool) -> bytes:
        """
        The body for the upstream. `max_output_tokens` is per choice, as admission granted it; `clamp` says that it must
        be sent, because the client sent none or more. Raises InvalidRequest for what the upstream can't express.
        """

    def answer(self, chat: GenerationRequest, body: bytes, *, created: int) -> Answer:
        """Turn a complete answer into the client's schema. Raises MalformedAnswer."""

    def stream(self, chat: GenerationRequest, *, created: int) -> StreamTranslator:
        """A translator for one streamed answer. `created` is Unix time in seconds."""

    def failure(self, status: int, header: Header, body: bytes, *, now: float | None = None) -> UpstreamFailure:
        """Who is to blame for an answer that is not 200. `now` (Unix seconds) gives a Retry-After date its meaning."""
