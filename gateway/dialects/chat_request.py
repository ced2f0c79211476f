"""The little of a chat completion request that the gateway relies on. Everything else passes through untouched."""

from dataclasses import dataclass
from typing import Any

import orjson

from gateway.dialects.exact_json import load_request
from gateway.errors import InvalidRequest

__all__ = ["ChatRequest", "Document", "encode"]

Document = dict[str, Any]

MAX_CHOICES = 128
MAX_MODEL_NAME = 256


@dataclass(slots=True)  # Not frozen: a request makes one, and freezing it would triple what that costs.
class ChatRequest:
    """A parsed body of `POST /v1/chat/completions` (OpenAI schema)."""

    raw: bytes
    document: Document
    model: str
    stream: bool
    wants_usage: bool
    """The client asked for `stream_options.include_usage`."""
    max_output_tokens: int | None
    """Per choice: `max_completion_tokens` or the older `max_tokens`, which may not disagree."""
    choices: int
    media: list[Document]
    """The content parts that are not text, of every message."""
    service_tier: str
    """As asked for; empty when the client leaves it to the provider."""

    @classmethod
    def parse(cls, raw: bytes) -> "ChatRequest":
        """Validate what admission, routing and relay depend on. Raises InvalidRequest, which names the parameter."""
        document = _document(raw)
        media = _media_of_messages(document)
        stream = _boolean("stream", document.get("stream"))
        _boolean("parallel_tool_calls", document.get("parallel_tool_calls"))
        return cls(
            raw=raw,
            document=document,
            model=_model(document),
            stream=stream,
            wants_usage=_include_usage(document, stream=stream),
            max_output_tokens=_max_output_tokens(document),
            choices=_whole_number(document, "n", maximum=MAX_CHOICES) or 1,
            media=media,
            service_tier=_text("service_tier", document.get("service_tier")),
        )


def encode(document: Document) -> bytes:
    """The document as JSON, keys in the client's order: the same request always becomes the same bytes."""
    try:
        return orjson.dumps(document)
    except orjson.JSONEncodeError as error:  # Only nesting: the document came out of a JSON parser.
        raise InvalidRequest("The body is nested too deeply.", code="invalid_json") from error


def _document(raw: bytes) -> Document:
    try:
        document = load_request(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}.", code="invalid_json") from None
    if not isinstance(document, dict):
        raise InvalidRequest("The body must be a JSON object.", code="invalid_json")
    return document


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


def _model(document: Document) -> str:
    model = document.get("model")
    if not isinstance(model, str) or not 0 < len(model) <= MAX_MODEL_NAME:
        raise InvalidRequest("`model` must be the name of a model; GET /v1/models lists them.", param="model")
    return model


def _include_usage(document: Document, *, stream: bool) -> bool:
    options = document.get("stream_options")
    if options is None:
        return False
    if not stream:
        raise InvalidRequest("`stream_options` is only allowed when `stream` is true.", param="stream_options")
    if not isinstance(options, dict):
        raise InvalidRequest("`stream_options` must be an object.", param="stream_options")
    return _boolean("stream_options.include_usage", options.get("include_usage"))


def _boolean(name: str, value: object) -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    raise InvalidRequest(f"`{name}` must be true or false.", param=name)


def _text(name: str, value: object) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    raise InvalidRequest(f"`{name}` must be a string.", param=name)


def _max_output_tokens(document: Document) -> int | None:
    newer = _whole_number(document, "max_completion_tokens")
    older = _whole_number(document, "max_tokens")
    if newer is None or older is None:
        return older if newer is None else newer
    if newer != older:
        message = f"`max_tokens` ({older}) and `max_completion_tokens` ({newer}) disagree. Send one of them."
        raise InvalidRequest(message, param="max_tokens")
    return newer


def _whole_number(document: Document, name: str, maximum: int | None = None) -> int | None:
    value = document.get(name)
    if value is None:
        return None
    if type(value) is not int or value < 1 or (maximum is not None and value > maximum):
        bound = "a whole number of at least 1" if maximum is None else f"a whole number from 1 to {maximum}"
        raise InvalidRequest(f"`{name}` must be {bound}.", param=name)
    return value
