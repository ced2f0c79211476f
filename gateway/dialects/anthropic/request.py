"""The body for `POST /v1/messages`, made of a chat completion request. docs/translation.md shows it row by row."""

import hashlib
import re
from typing import Any

from gateway.dialects.anthropic.messages import conversation
from gateway.dialects.anthropic.response_format import AnswerFormat, answer_format
from gateway.dialects.anthropic.sampling import sampling
from gateway.dialects.anthropic.shape import as_list, as_object, as_text, unsupported
from gateway.dialects.anthropic.thinking import Thinking, thinking
from gateway.dialects.anthropic.tools import tool_choice, tool_definitions, tools_of_the_history
from gateway.dialects.generation_request import Document, GenerationRequest

__all__ = ["request_document", "require_no_compaction"]

TRANSLATED = {
    "max_completion_tokens", "max_tokens", "messages", "metadata", "model", "output_config", "parallel_tool_calls",
    "reasoning", "reasoning_effort", "response_format", "safety_identifier", "service_tier", "stop", "stream",
    "stream_options", "temperature", "thinking", "tool_choice", "tools", "top_k", "top_p", "user",
}  # fmt: skip
PASSED_ON = ("cache_control", "container", "mcp_servers", "context_management")
"""Anthropic's own parameters. Those that cost money beside tokens are refused at admission, unless allowed."""
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
NO_BEGINNING = re.compile(r"claude-(?:[a-z]+-4[-.][6-9]|[a-z]+-[5-9]|mythos)")
"""Models that refuse an assistant's message at the end."""
SERVICE_TIERS = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}


def request_document(chat: GenerationRequest, *, upstream_model: str, max_output_tokens: int, clamp: bool) -> Document:
    """Equal requests give equal documents, keys in the same order. Raises InvalidRequest."""
    document = chat.document
    _require_expressible(document)
    if "context_management" in document:
        require_no_compaction(document["context_management"])
    limit = max_output_tokens if clamp else chat.max_output_tokens or max_output_tokens
    system, messages = conversation(document["messages"], may_begin_answer=not NO_BEGINNING.search(upstream_model))
    tools = tool_definitions(document.get("tools"))
    answer = answer_format(document.get("response_format"), model=upstream_model, has_tools=bool(tools))
    if answer.instruction is not None:
        system.append({"type": "text", "text": answer.instruction})
    thought = thinking(document, model=upstream_model, max_tokens=limit, clamped=clamp)
    body = {
        "model": upstream_model,
        "max_tokens": limit,
        "system": system or None,
        "messages": messages,
        **_tools(document, tools, messages),
        "thinking": thought.config,
        "output_config": _output_config(document, answer, thought),
        "stop_sequences": _stop_sequences(document.get("stop")),
        **sampling(document, model=upstream_model, thinks=thought.is_on),
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


def require_no_compaction(management: object) -> None:
    """The model's work on a summary is billed, and stands in no count that the answer's usage adds up."""
    edits = management.get("edits") if isinstance(management, dict) else None
    for edit in edits if isinstance(edits, list) else []:
        if isinstance(edit, dict) and str(edit.get("type")).startswith("compact"):
            raise unsupported("Compaction", "context_management", "Other edits are passed on.")


def _tools(document: Document, tools: list[dict[str, Any]], messages: list[dict[str, Any]]) -> dict[str, Any]:
    choice = tool_choice(document.get("tool_choice"), document.get("parallel_tool_calls"), has_tools=bool(tools))
    if not tools and _has_results(document) and (called := tools_of_the_history(messages)):
        return {"tools": called, "tool_choice": {"type": "none"}}
    return {"tools": tools or None, "tool_choice": choice}


def _has_results(document: Document) -> bool:
    return any(message["role"] == "tool" for message in document["messages"])


def _output_config(document: Document, answer: AnswerFormat, thought: Thinking) -> dict[str, Any] | None:
    config = dict(as_object(document.get("output_config") or {}, "output_config"))
    if answer.format is not None:
        config["format"] = answer.format
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


def _metadata(document: Document) -> dict[str, str] | None:
    """
    Anthropic knows one thing about the end user: an opaque id. Other metadata is OpenAI's bookkeeping.

    A hash is as good an id as the name or address that clients put here, and says nothing about a person.
    """
    metadata = as_object(document.get("metadata") or {}, "metadata")
    for value in (metadata.get("user_id"), document.get("safety_identifier"), document.get("user")):
        if value is not None and as_text(value, "user"):
            return {"user_id": hashlib.sha256(as_text(value, "user").encode("utf-8", "replace")).hexdigest()}
    return None


def _service_tier(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, str) and value in SERVICE_TIERS:
        return SERVICE_TIERS[value]
    raise unsupported(f"`service_tier` {value!r}", "service_tier", "Send auto or default.")
