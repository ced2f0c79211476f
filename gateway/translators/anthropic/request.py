"""The body for `POST /v1/messages`, made of a chat completion request. docs/translation.md shows it row by row."""

from typing import Any

from gateway.chat_request import ChatRequest, Document
from gateway.errors import InvalidRequest
from gateway.translators.anthropic.messages import conversation
from gateway.translators.anthropic.response_format import output_format
from gateway.translators.anthropic.shape import as_list, as_object, as_text, unsupported
from gateway.translators.anthropic.thinking import Thinking, thinking
from gateway.translators.anthropic.tools import tool_choice, tool_definitions

__all__ = ["request_document"]

TRANSLATED = {
    "max_completion_tokens", "max_tokens", "messages", "metadata", "model", "output_config", "parallel_tool_calls",
    "reasoning", "reasoning_effort", "response_format", "safety_identifier", "service_tier", "stop", "stream",
    "stream_options", "temperature", "thinking", "tool_choice", "tools", "top_p", "user",
}  # fmt: skip
PASSED_ON = ("top_k", "cache_control", "container", "mcp_servers", "context_management")
"""Anthropic's own parameters."""
IGNORED = {"prediction", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "seed", "store"}
"""Hints and bookkeeping: an answer without them is still the answer that was asked for."""
ONLY_AS_DEFAULT: dict[str, tuple[object, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "modalities": (["text"],),
    "verbosity": ("medium",),
}
"""What Anthropic can't do is fine as long as it asks for nothing."""
SERVICE_TIERS = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}


def request_document(chat: ChatRequest, *, upstream_model: str, max_output_tokens: int, clamp: bool) -> Document:
    """Equal requests give equal documents, keys in the same order. Raises InvalidRequest."""
    document = chat.document
    _require_expressible(document)
    limit = max_output_tokens if clamp else chat.max_output_tokens or max_output_tokens
    system, messages = conversation(document["messages"])
    tools = tool_definitions(document.get("tools"))
    thought = thinking(document, model=upstream_model, max_tokens=limit, clamped=clamp)
    body = {
        "model": upstream_model,
        "max_tokens": limit,
        "system": system or None,
        "messages": messages,
        "tools": tools or None,
        "tool_choice": tool_choice(
            document.get("tool_choice"), document.get("parallel_tool_calls"), has_tools=bool(tools)
        ),
        "thinking": thought.config,
        "output_config": _output_config(document, thought),
        "stop_sequences": _stop_sequences(document.get("stop")),
        "temperature": _temperature(document.get("temperature")),
        "top_p": _top_p(document.get("top_p")),
        "metadata": _metadata(document),
        "service_tier": _service_tier(document.get("service_tier")),
        "stream": chat.stream or None,
        **{name: document.get(name) for name in PASSED_ON},
    }
    return {name: value for name, value in body.items() if value is not None}


def _require_expressible(document: Document) -> None:
    for name, value in document.items():
        if value is None or name in TRANSLATED or name in PASSED_ON or name in IGNORED:
            continue
        if value not in ONLY_AS_DEFAULT.get(name, ()):
            raise unsupported(f"`{name}`", name, "Leave it out.")


def _output_config(document: Document, thought: Thinking) -> dict[str, Any] | None:
    config = dict(as_object(document.get("output_config") or {}, "output_config"))
    wanted = output_format(document.get("response_format"))
    if wanted is not None:
        config["format"] = wanted
    if thought.effort is not None:
        config.setdefault("effort", thought.effort)
    return config or None


def _stop_sequences(stop: object) -> list[str] | None:
    if stop is None:
        return None
    stops = [stop] if isinstance(stop, str) else as_list(stop, "stop")
    for sequence in stops:
        if not as_text(sequence, "stop").strip():
            raise unsupported("A stop sequence of white space only", "stop")
    return stops or None


def _temperature(value: object) -> float | None:
    """0 to 2 for OpenAI, 0 to 1 for Anthropic: more than 1 becomes 1. 1 is the default and stays unsaid."""
    temperature = _number(value, "temperature", 2)
    return temperature if temperature is not None and temperature < 1 else None


def _top_p(value: object) -> float | None:
    """1 is the default and stays unsaid: newer models refuse `top_p` beside a temperature, or at all."""
    top_p = _number(value, "top_p", 1)
    return top_p if top_p is not None and top_p < 1 else None


def _number(value: object, name: str, most: int) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise InvalidRequest(f"`{name}` must be a number from 0 to {most}.", param=name)
    return value


def _metadata(document: Document) -> dict[str, str] | None:
    """Anthropic knows one thing about the end user: an opaque id. Other metadata is OpenAI's bookkeeping."""
    metadata = as_object(document.get("metadata") or {}, "metadata")
    for value in (metadata.get("user_id"), document.get("safety_identifier"), document.get("user")):
        if value is not None:
            return {"user_id": as_text(value, "user")}
    return None


def _service_tier(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, str) and value in SERVICE_TIERS:
        return SERVICE_TIERS[value]
    raise unsupported(f"`service_tier` {value!r}", "service_tier", "Send auto or default.")
