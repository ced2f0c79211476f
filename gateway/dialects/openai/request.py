"""
The body for an OpenAI-compatible upstream: the client's document, changed only where it must be.

A target that serves as a fallback for Claude gets requests that were written for Claude. What only Anthropic's side
knows is left out for it, where the answer stays the answer that was asked for; what can't be left out makes the target
one that can't be asked. docs/translation.md has the table.
"""

from dataclasses import dataclass
from typing import Any

from gateway.dialects.generation_request import Document, GenerationRequest
from gateway.errors import InvalidRequest

__all__ = ["Dialect", "request_document"]

LIMITS = ("max_completion_tokens", "max_tokens")
SAMPLING = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
FOREIGN_PARAMETERS = ("thinking", "reasoning", "output_config", "top_k", "cache_control", "context_management")
FOREIGN_IN_MESSAGES = (
    "reasoning_content",
    "thinking_blocks",
    "reasoning",
    "reasoning_details",
    "cache_control",
    "is_error",
)
IRREPLACEABLE = ("mcp_servers", "container")
EFFORTS = {"xhigh": "high", "max": "high"}
"""Not every reasoning model knows more than `high`."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """In what an OpenAI-compatible upstream differs from OpenAI's own API."""

    max_tokens_parameter: str = "max_completion_tokens"
    """Its only name of the output limit."""
    stream_options: bool = True
    """It takes `stream_options`."""
    sends_done: bool = True
    """It ends a stream with [DONE], so that one without it is broken."""
    foreign_fields: bool = True
    """It gets what only Anthropic's side knows as well."""
    fixed_sampling: bool = False
    """Its model takes only the default of `temperature` and the like."""
    input_includes_cache: bool = True
    """Its `prompt_tokens` include the cached ones."""


def request_document(
    chat: GenerationRequest, dialect: Dialect, *, upstream_model: str, max_output_tokens: int, clamp: bool
) -> Document:
    """A new document, keys in the client's order. Raises InvalidRequest for what this upstream can't be asked."""
    document = {**chat.document, "model": upstream_model}
    _set_limit(document, dialect, max_output_tokens if clamp else chat.max_output_tokens)
    if not dialect.stream_options:
        document.pop("stream_options", None)
    elif chat.stream and not chat.wants_usage:
        document["stream_options"] = {**(document.get("stream_options") or {}), "include_usage": True}
    if dialect.fixed_sampling:
        _leave_out_sampling(document)
    return document if dialect.foreign_fields else _without_foreign_fields(document)


def _set_limit(document: Document, dialect: Dialect, limit: int | None) -> None:
    """One name with one value: a server that reads another name than admission would not be limited at all."""
    for name in LIMITS:
        if name != dialect.max_tokens_parameter:
            document.pop(name, None)
    if limit is not None:
        document[dialect.max_tokens_parameter] = limit


def _leave_out_sampling(document: Document) -> None:
    if document.get("logprobs"):
        raise _inexpressible("logprobs")
    for name in SAMPLING:
        document.pop(name, None)


def _without_foreign_fields(document: Document) -> Document:
    for name in IRREPLACEABLE:
        if document.get(name):
            raise _inexpressible(name)
    config, reasoning = _object(document, "output_config"), _object(document, "reasoning")
    if config.get("format") is not None:
        raise _inexpressible("output_config")
    effort = document.get("reasoning_effort") or reasoning.get("effort") or config.get("effort")
    for name in FOREIGN_PARAMETERS:
        document.pop(name, None)
    if isinstance(effort, str):
        document["reasoning_effort"] = EFFORTS.get(effort, effort)
    if document.get("service_tier") == "standard_only":
        document["service_tier"] = "default"
    document["messages"] = [_message(message) for message in document["messages"]]
    if isinstance(document.get("tools"), list):
        document["tools"] = [_tool(tool) for tool in document["tools"]]
    return document


def _message(message: dict[str, Any]) -> dict[str, Any]:
    message = _without(message, FOREIGN_IN_MESSAGES)
    content = message.get("content")
    if isinstance(content, list):
        message = {**message, "content": [_without(part, ("cache_control",)) for part in content]}
    return message


def _tool(tool: Any) -> Any:
    tool = _without(tool, ("cache_control",))
    if isinstance(tool, dict) and isinstance(tool.get("function"), dict):
        tool = {**tool, "function": _without(tool["function"], ("cache_control",))}
    return tool


def _without(value: Any, names: tuple[str, ...]) -> Any:
    if not isinstance(value, dict) or value.keys().isdisjoint(names):
        return value
    return {name: item for name, item in value.items() if name not in names}


def _object(document: Document, name: str) -> dict[str, Any]:
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def _inexpressible(name: str) -> InvalidRequest:
    message = f"`{name}` can't be expressed for this model's provider (OpenAI). Leave it out."
    return InvalidRequest(message, param=name, code="unsupported_parameter")
