"""A body of `POST /v1/messages`."""

from collections.abc import Iterator
from typing import Any

from gateway.dialects.generation_request import Document, GenerationRequest
from gateway.dialects.request_fields import boolean, load_document, model_name, text, whole_number
from gateway.errors import InvalidRequest

__all__ = ["API", "parse_messages"]

API = "messages"
USUAL_TIERS = ("auto", "standard_only")
"""Neither names a tier with another price."""
MAX_DEPTH = 4
"""Of content inside the results of tools."""


def parse_messages(raw: bytes) -> GenerationRequest:
    """Validate what admission, routing and relay depend on. Raises InvalidRequest, which names the parameter."""
    document = load_document(raw)
    max_tokens = whole_number(document, "max_tokens")
    if max_tokens is None:
        raise InvalidRequest("`max_tokens` is missing.", param="max_tokens")
    tier = text("service_tier", document.get("service_tier"))
    return GenerationRequest(
        api=API,
        raw=raw,
        document=document,
        model=model_name(document),
        stream=boolean("stream", document.get("stream")),
        wants_usage=True,
        max_output_tokens=max_tokens,
        choices=1,
        media=list(_media_of_messages(document)),
        service_tier="" if tier in USUAL_TIERS else tier,
    )


def _media_of_messages(document: Document) -> Iterator[Document]:
    messages = document.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidRequest("`messages` must be a list with at least one message.", param="messages")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise InvalidRequest(f"`messages[{index}]` must be an object with a `role`.", param=f"messages[{index}]")
        yield from _media(message.get("content"), MAX_DEPTH)


def _media(content: Any, depth: int) -> Iterator[Document]:
    """Blocks with a `source`, those inside the results of tools included."""
    if type(content) is not list or not depth:
        return
    for block in content:
        if not isinstance(block, dict):
            continue
        if block.get("source") is not None:
            yield block
        yield from _media(block.get("content"), depth - 1)
