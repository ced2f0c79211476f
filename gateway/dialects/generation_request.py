"""The little of a request that the gateway relies on, whatever API it came through. The rest passes through."""

from dataclasses import dataclass
from typing import Any

import orjson

from gateway.errors import InvalidRequest

__all__ = ["Document", "GenerationRequest", "encode"]

Document = dict[str, Any]


@dataclass(slots=True)  # Not frozen: a request makes one, and freezing it would triple what that costs.
class GenerationRequest:
    """A parsed body. Made by the `parse` of its API."""

    api: str
    """The `name` of the client API whose words `document` is in."""
    raw: bytes
    document: Document
    model: str
    stream: bool
    wants_usage: bool
    """Of a stream: the client asked for its usage, or its API always reports it."""
    max_output_tokens: int | None
    """Per choice; None when the client sets no limit."""
    choices: int
    media: list[Document]
    """The content parts that are not text, of every message."""
    service_tier: str
    """As asked for; empty when the client leaves it to the provider."""


def encode(document: Document) -> bytes:
    """The document as JSON, keys in the client's order: the same request always becomes the same bytes."""
    try:
        return orjson.dumps(document)
    except orjson.JSONEncodeError as error:  # Only nesting: the document came out of a JSON parser.
        raise InvalidRequest("The body is nested too deeply.", code="invalid_json") from error
