"""Anthropic's Messages in, the same out: the request changes only where it must, the answer not at all."""

from gateway.dialects.anthropic.errors import in_band_failure, response_failure
from gateway.dialects.anthropic.request import require_no_compaction
from gateway.dialects.anthropic.stop_reasons import unknown_reason
from gateway.dialects.anthropic.usage import UsageReport
from gateway.dialects.delivered import BYTES_PER_TOKEN
from gateway.dialects.error_object import load_object
from gateway.dialects.generation_request import Document, GenerationRequest, encode
from gateway.dialects.messages.messages_stream import MessagesStream, block_length
from gateway.dialects.translator import Answer, Header, MalformedAnswer
from gateway.errors import InvalidRequest
from gateway.failure import Fault, UpstreamFailure

__all__ = ["MessagesToAnthropic"]

LEAST_THINKING = 1_024
"""Tokens; Anthropic takes no smaller budget, and it must be below `max_tokens`."""


class MessagesToAnthropic:
    """The translator for Anthropic, and for upstreams that speak its Messages API, in front of the same API."""

    path = "/v1/messages"

    def __init__(self, *, input_includes_cache: bool = False) -> None:
        """`input_includes_cache`: this upstream, unlike Anthropic, counts cached tokens inside `input_tokens` too."""
        self._input_includes_cache = input_includes_cache

    def request(self, chat: GenerationRequest, *, upstream_model: str, max_output_tokens: int, clamp: bool) -> bytes:
        """The client's document with its keys in the client's order, never its raw bytes: of two equal keys another
        parser might take the other one."""
        document = {**chat.document, "model": upstream_model}
        require_no_compaction(document.get("context_management"))
        if clamp:
            document["max_tokens"] = max_output_tokens
            _bound_thinking(document, max_output_tokens)
        return encode(document)

    def answer(self, chat: GenerationRequest, body: bytes, *, created: int) -> Answer:
        document = load_object(body)
        if document is not None and document.get("type") == "error":
            raise MalformedAnswer(in_band_failure(document))
        if document is None or not isinstance(document.get("content"), list):
            message = "The provider's answer is broken: it is not a message."
            raise MalformedAnswer(UpstreamFailure(Fault.UPSTREAM, 200, message))
        report = UsageReport(input_includes_cache=self._input_includes_cache)
        report.note_final(document.get("usage"))
        delivered = -(-sum(map(block_length, document["content"])) // BYTES_PER_TOKEN)
        usage, flaw = report.read(delivered)
        trusted = usage is not None and flaw is None
        oddity = unknown_reason(document.get("stop_reason")) or report.oddity
        return Answer(body, usage, 0 if trusted else delivered, flaw, oddity)

    def stream(self, chat: GenerationRequest, *, created: int) -> MessagesStream:
        return MessagesStream(input_includes_cache=self._input_includes_cache)

    def failure(self, status: int, header: Header, body: bytes, *, now: float | None = None) -> UpstreamFailure:
        return response_failure(status, header, body, now)


def _bound_thinking(document: Document, max_tokens: int) -> None:
    """The caps leave less than the client asked for: thinking has to fit as well."""
    thinking = document.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    if not isinstance(thinking, dict) or type(budget) is not int or budget < max_tokens:
        return
    if max_tokens <= LEAST_THINKING:
        message = f"What is left of a cap pays for {max_tokens} tokens of output, too few for thinking."
        raise InvalidRequest(message, param="thinking")
    document["thinking"] = {**thinking, "budget_tokens": max_tokens - 1}
