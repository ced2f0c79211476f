"""OpenAI in, OpenAI out: the request changes only where it must, the answer not at all."""

from gateway.chat_request import ChatRequest, Document, encode
from gateway.translators.delivered import text_tokens
from gateway.translators.error_object import load_object
from gateway.translators.openai_errors import in_band_failure, response_failure
from gateway.translators.openai_stream import OpenAIStream
from gateway.translators.openai_usage import read_usage
from gateway.translators.translator import Answer, Header, MalformedAnswer
from gateway.upstream_failure import Fault, UpstreamFailure

__all__ = ["OpenAIToOpenAI"]

OUTPUT_LIMITS = ("max_completion_tokens", "max_tokens")


class OpenAIToOpenAI:
    """The translator for every upstream that speaks OpenAI's chat completions."""

    path = "/chat/completions"

    def __init__(self, max_tokens_parameter: str = "max_completion_tokens") -> None:
        """`max_tokens_parameter` is the limit's name at this upstream, used when the client sent none."""
        self._max_tokens_parameter = max_tokens_parameter

    def request(self, chat: ChatRequest, *, upstream_model: str, max_output_tokens: int, clamp: bool) -> bytes:
        """
        The client's document with its keys in the client's order, never its raw bytes.

        JSON parsers differ in which of two equal keys they take: raw, `{"model": "dear", ..., "model": "cheap"}` could
        be admitted and priced as one model and served as another. Writing costs half a microsecond per kilobyte.
        """
        changes: Document = {}
        if chat.model != upstream_model:
            changes["model"] = upstream_model
        if clamp:
            changes |= dict.fromkeys(self._limits_in_use(chat.document), max_output_tokens)
        if chat.stream and not chat.wants_usage:
            changes["stream_options"] = {**(chat.document.get("stream_options") or {}), "include_usage": True}
        return encode({**chat.document, **changes})

    def _limits_in_use(self, document: Document) -> list[str]:
        used = [name for name in OUTPUT_LIMITS if document.get(name) is not None]
        return used or [self._max_tokens_parameter]

    def answer(self, chat: ChatRequest, body: bytes, *, created: int) -> Answer:
        """The upstream's own bytes, and its usage."""
        document = load_object(body)
        if document is not None and document.get("error"):
            raise MalformedAnswer(in_band_failure(document))
        if document is None or not isinstance(document.get("choices"), list):
            raise MalformedAnswer(
                UpstreamFailure(Fault.UPSTREAM, 200, "The provider's answer is not a chat completion.")
            )
        usage, flaw = read_usage(document.get("usage"))
        trusted = usage is not None and flaw is None
        return Answer(body, usage, 0 if trusted else _estimate(document["choices"]), flaw)

    def stream(self, chat: ChatRequest, *, created: int) -> OpenAIStream:
        return OpenAIStream(wants_usage=chat.wants_usage)

    def failure(self, status: int, header: Header, body: bytes, *, now: float | None = None) -> UpstreamFailure:
        return response_failure(status, header, body, now)


def _estimate(choices: list[object]) -> int:
    return sum(text_tokens(choice.get("message")) for choice in choices if isinstance(choice, dict))
