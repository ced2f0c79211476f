"""OpenAI in, Anthropic out: the whole request and the whole answer are translated."""

from gateway.dialects.anthropic.answer import chat_answer
from gateway.dialects.anthropic.errors import response_failure
from gateway.dialects.anthropic.request import request_document
from gateway.dialects.anthropic.stream import AnthropicStream
from gateway.dialects.generation_request import GenerationRequest, encode
from gateway.dialects.translator import Answer, Header
from gateway.failure import UpstreamFailure

__all__ = ["ChatToAnthropic"]


class ChatToAnthropic:
    """The translator for Anthropic, and for upstreams that speak its Messages API."""

    path = "/v1/messages"

    def __init__(self, *, input_includes_cache: bool = False) -> None:
        """`input_includes_cache`: this upstream, unlike Anthropic, counts cached tokens inside `input_tokens` too."""
        self._input_includes_cache = input_includes_cache

    def request(self, chat: GenerationRequest, *, upstream_model: str, max_output_tokens: int, clamp: bool) -> bytes:
        return encode(
            request_document(chat, upstream_model=upstream_model, max_output_tokens=max_output_tokens, clamp=clamp)
        )

    def answer(self, chat: GenerationRequest, body: bytes, *, created: int) -> Answer:
        return chat_answer(body, created=created, input_includes_cache=self._input_includes_cache)

    def stream(self, chat: GenerationRequest, *, created: int) -> AnthropicStream:
        return AnthropicStream(
            created=created, wants_usage=chat.wants_usage, input_includes_cache=self._input_includes_cache
        )

    def failure(self, status: int, header: Header, body: bytes, *, now: float | None = None) -> UpstreamFailure:
        return response_failure(status, header, body, now)
