"""A body of `POST /v1/chat/completions`."""

from gateway.dialects.generation_request import Document, GenerationRequest
from gateway.dialects.request_fields import boolean, load_document, model_name, text, whole_number
from gateway.errors import InvalidRequest

__all__ = ["API", "parse_chat"]

API = "chat"
MAX_CHOICES = 128


def parse_chat(raw: bytes) -> GenerationRequest:
    """Validate what admission, routing and relay depend on. Raises InvalidRequest, which names the parameter."""
    document = load_document(raw)
    media = _media_of_messages(document)
    stream = boolean("stream", document.get("stream"))
    boolean("parallel_tool_calls", document.get("parallel_tool_calls"))
    return GenerationRequest(
        api=API,
        raw=raw,
        document=document,
        model=model_name(document),
        stream=stream,
        wants_usage=_include_usage(document, stream=stream),
        # `max_completion_tokens` or the older `max_tokens`, which may not disagree.
        max_output_tokens=_max_output_tokens(document),
        choices=whole_number(document, "n", maximum=MAX_CHOICES) or 1,
        media=media,
        service_tier=text("service_tier", document.get("service_tier")),
    )


def _media_of_messages(document: Document) -> list[Document]:
    """Decided on what the parser made of the body: an escape (`"image\\u005furl"`) hides nothing from it."""
    messages = document.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidRequest("`messages` must be a list with at least one message.", param="messages")
    media: list[Document] = []
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise InvalidRequest(f"`messages[{index}]` must be an object with a `role`.", param=f"messages[{index}]")
        content = message.get("content")
        if type(content) is list:
            media += [part for part in content if isinstance(part, dict) and part.get("type") != "text"]
    return media


def _include_usage(document: Document, *, stream: bool) -> bool:
    options = document.get("stream_options")
    if options is None:
        return False
    if not stream:
        raise InvalidRequest("`stream_options` is only allowed when `stream` is true.", param="stream_options")
    if not isinstance(options, dict):
        raise InvalidRequest("`stream_options` must be an object.", param="stream_options")
    return boolean("stream_options.include_usage", options.get("include_usage"))


def _max_output_tokens(document: Document) -> int | None:
    newer = whole_number(document, "max_completion_tokens")
    older = whole_number(document, "max_tokens")
    if newer is None or older is None:
        return older if newer is None else newer
    if newer != older:
        message = f"`max_tokens` ({older}) and `max_completion_tokens` ({newer}) disagree. Send one of them."
        raise InvalidRequest(message, param="max_tokens")
    return newer
