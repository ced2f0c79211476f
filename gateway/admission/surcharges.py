"""
What costs more than its tokens is refused before anything is sent, unless the models file prices or allows it. Pure.

A search, a container or an answer that is sound has a price that no token counts; another service tier has other prices
for the same tokens; and some gateways let a request name the model that answers it. Admission could not reserve any of
it, and it would not be charged.
"""

from typing import Any

from core.models.models_file import Model
from gateway.dialects.generation_request import GenerationRequest
from gateway.errors import InvalidRequest

__all__ = ["refuse_unpriced"]

PARAMETERS = {
    "web_search_options": "web_search",
    "search_parameters": "web_search",  # xAI
    "enable_search": "web_search",  # Qwen
    "plugins": "server_tools",  # OpenRouter
    "data_sources": "server_tools",  # Azure
    "audio": "audio",
    "prediction": "prediction",  # OpenAI bills rejected parts of it as output, beyond the limit.
    "mcp_servers": "server_tools",
    "container": "server_tools",
    "models": "routing",  # OpenRouter, like the next three: another model, or a provider with other prices.
    "route": "routing",
    "provider": "routing",
    "preset": "routing",
    "speed": "routing",  # Anthropic: a faster model, at several times the price.
    "inference_geo": "routing",  # Anthropic: another price where the work has to stay in a country.
}
USUAL_VALUES = {"speed": "standard", "inference_geo": "global"}
"""These ask for nothing."""
OWN_TOOLS = (None, "function", "custom")
"""Tools that run at the client. All others run at the provider, and are billed by the call."""
ANTHROPIC_CLIENT_TOOLS = ("bash_", "text_editor_", "computer_", "memory_")
"""Defined by Anthropic, with a date behind the name, and run at the client."""


def refuse_unpriced(chat: GenerationRequest, model: Model) -> None:
    """Raises InvalidRequest, which names the parameter."""
    document = chat.document
    if not PARAMETERS.keys().isdisjoint(document):
        for name, kind in PARAMETERS.items():
            value = document.get(name)
            asks = bool(value) or (value == {} and kind == "web_search")  # `web_search_options: {}` searches.
            if asks and value != USUAL_VALUES.get(name) and (name != "prediction" or _asks_openai(model)):
                _require(kind, model, f"`{name}`", name)
    if chat.media and any(part.get("input_audio") is not None for part in chat.media):
        _require("audio", model, "Sound as input", "messages")
    if tools := document.get("tools"):
        _require_own_tools(tools, model)
    if modalities := document.get("modalities"):
        _require_text(modalities, model)
    if chat.service_tier and not model.prices.knows(chat.service_tier):
        message = f"The service tier {chat.service_tier[:64]!r} has no price for {model.name!r} here."
        raise InvalidRequest(f"{message} Send auto or default.", param="service_tier", code="unsupported_parameter")


def _require_text(modalities: object, model: Model) -> None:
    for modality in _list(modalities):
        if modality != "text":
            _require("audio" if modality == "audio" else "images", model, "An answer beside text", "modalities")


def _require_own_tools(tools: object, model: Model) -> None:
    for index, tool in enumerate(_list(tools)):
        _require_own_tool(tool, model, f"tools[{index}].type")


def _require_own_tool(tool: object, model: Model, param: str) -> None:
    kind = tool.get("type") if isinstance(tool, dict) else None
    if kind not in OWN_TOOLS and not str(kind).startswith(ANTHROPIC_CLIENT_TOOLS):
        text = str(kind)[:64]
        _require(
            "web_search" if text.startswith("web_search") else "server_tools", model, f"A tool of type {text!r}", param
        )


def _require(kind: str, model: Model, what: str, param: str) -> None:
    if kind not in model.allow_unpriced:
        message = f"{what} costs more than its tokens, and is not enabled for {model.name!r} here."
        raise InvalidRequest(message, param=param, code="unsupported_parameter")


def _asks_openai(model: Model) -> bool:
    return any(target.provider.schema == "openai" for target in model.targets)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
