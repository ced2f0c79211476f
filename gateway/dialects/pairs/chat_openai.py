"""OpenAI in, OpenAI out: the request changes only where it must, the answer not at all."""

from gateway.dialects.delivered import text_tokens
from gateway.dialects.error_object import readable
from gateway.dialects.generation_request import GenerationRequest, encode
from gateway.dialects.openai.errors import in_band_failure, response_failure
from gateway.dialects.openai.request import Dialect, request_document
from gateway.dialects.openai.stream import OpenAIStream, served_tier
from gateway.dialects.openai.usage import read_usage
from gateway.dialects.translator import Answer, Header, MalformedAnswer
from gateway.failure import Fault, UpstreamFailure

__all__ = ["ChatToOpenAI"]


class ChatToOpenAI:
    """The translator for every upstream that speaks OpenAI's chat completions."""

    path = "/chat/completions"

    def __init__(self, dialect: Dialect = Dialect()) -> None:  # noqa: B008  A value that never changes.
        self._dialect = dialect

    def request(self, chat: GenerationRequest, *, upstream_model: str, max_output_tokens: int, clamp: bool) -> bytes:
        """
        The client's document with its keys in the client's order, never its raw bytes.

        JSON parsers differ in which of two equal keys they take: raw, `{"model": "dear", ..., "model": "cheap"}` could
        be admitted and priced as one model and served as another. Writing costs half a microsecond per kilobyte.
        """
        return encode(
            request_document(
                chat, self._dialect, upstream_model=upstream_model, max_output_tokens=max_output_tokens, clamp=clamp
            )
        )

    def answer(self, chat: GenerationRequest, body: bytes, *, created: int) -> Answer:
        """The upstream's own bytes (but for what is no UTF-8), and its usage."""
        body, document = readable(body)
        if document is not None and document.get("error"):
            raise MalformedAnswer(in_band_failure(document))
        if document is None or not isinstance(document.get("choices"), list):
            raise MalformedAnswer(
                UpstreamFailure(Fault.UPSTREAM, 200, "The provider's answer is not a chat completion.")
            )
        usage, flaw = read_usage(document.get("usage"), input_includes_cache=self._dialect.input_includes_cache)
        trusted = usage is not None and flaw is None
        estimate = 0 if trusted else _estimate(document["choices"])
        return Answer(body, usage, estimate, flaw, service_tier=served_tier(document))

    def stream(self, chat: GenerationRequest, *, created: int) -> OpenAIStream:
        return OpenAIStream(
            wants_usage=chat.wants_usage,
            done_after=None if self._dialect.sends_done else chat.choices,
            input_includes_cache=self._dialect.input_includes_cache,
        )

    def failure(self, status: int, header: Header, body: bytes, *, now: float | None = None) -> UpstreamFailure:
        return response_failure(status, header, body, now)


def _estimate(choices: list[object]) -> int:
    return sum(text_tokens(choice.get("message")) for choice in choices if isinstance(choice, dict))
