"""
How long the model thinks: `reasoning_effort`, OpenRouter's `reasoning`, or Anthropic's own `thinking`; one of them.

Newer models think as long as they find useful and take an effort (`output_config.effort`). Older ones take a budget of
tokens, of at least 1,024 and below `max_tokens`: a share of `max_tokens` by effort.
"""

import re
from dataclasses import dataclass
from typing import Any

from gateway.dialects.anthropic.shape import as_object, unsupported
from gateway.dialects.anthropic.thinking_blocks import thoughts
from gateway.errors import InvalidRequest

__all__ = ["Thinking", "thinking"]

MIN_BUDGET = 1_024
MAX_BUDGET = 32_000
SHARE_PERCENT = {"minimal": 10, "low": 20, "medium": 50, "high": 80, "xhigh": 90, "max": 95}
EFFORT = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
TAKES_A_BUDGET = re.compile(r"claude-(?:3|[a-z]+-(?:4(?![-.]\d\b)|4[-.][0-5]\b))")
SOURCES = ("thinking", "reasoning", "reasoning_effort")


@dataclass(frozen=True, slots=True)
class Thinking:
    """What goes into the request: `config` as `thinking`, `effort` into `output_config`. None: not sent."""

    config: dict[str, Any] | None = None
    effort: str | None = None

    @property
    def is_on(self) -> bool:
        return self.config is not None and self.config.get("type") != "disabled"


UNSAID = Thinking()


def thinking(document: dict[str, Any], *, model: str, max_tokens: int, clamped: bool) -> Thinking:
    """`clamped` says that `max_tokens` is lower than the client knows: an explicit budget then shrinks with it."""
    sent = [name for name in SOURCES if document.get(name) is not None]
    if len(sent) > 1:
        raise InvalidRequest(f"Send one of {', '.join(f'`{name}`' for name in sent)}.", param=sent[1])
    if not sent:
        return UNSAID
    if sent == ["thinking"]:
        config = as_object(document["thinking"], "thinking")
        if config.get("type") == "enabled" and _continues_without_thinking(document["messages"]):
            return UNSAID
        return Thinking(_fitted(config, max_tokens if clamped else None))
    wish = _wish(document)
    if wish is None:
        return UNSAID
    if wish.effort == "none":
        return Thinking({"type": "disabled"})
    if TAKES_A_BUDGET.search(model):
        return UNSAID if _must_not_think(document) else _budgeted(wish, max_tokens)
    return _adaptive(wish)


@dataclass(frozen=True, slots=True)
class _Wish:
    effort: str
    budget: int | None = None
    hidden: bool = False

    @property
    def display(self) -> str:
        return "omitted" if self.hidden else "summarized"


def _wish(document: dict[str, Any]) -> _Wish | None:
    effort = document.get("reasoning_effort")
    if effort is not None:
        return _Wish(_effort(effort, "reasoning_effort"))
    reasoning = as_object(document["reasoning"], "reasoning")
    unknown = reasoning.keys() - {"effort", "max_tokens", "enabled", "exclude"}
    if unknown:
        raise unsupported(f"`reasoning.{min(unknown)}`", f"reasoning.{min(unknown)}")
    if reasoning.get("enabled") is False:
        return _Wish("none")
    if not any(reasoning.get(name) for name in ("effort", "max_tokens", "enabled")):
        return None
    return _Wish(
        effort=_effort(reasoning.get("effort") or "medium", "reasoning.effort"),
        budget=_budget(reasoning.get("max_tokens")),
        hidden=reasoning.get("exclude") is True,
    )


def _effort(value: object, param: str) -> str:
    if isinstance(value, str) and (value in EFFORT or value == "none"):
        return value
    raise InvalidRequest(f"`{param}` must be one of none, {', '.join(EFFORT)}.", param=param)


def _budget(value: object) -> int | None:
    if value is None or (type(value) is int and value > 0):
        return value
    raise InvalidRequest("`reasoning.max_tokens` must be a whole number of at least 1.", param="reasoning.max_tokens")


def _adaptive(wish: _Wish) -> Thinking:
    if wish.budget is not None:
        raise unsupported("`reasoning.max_tokens`", "reasoning.max_tokens", "This model takes `reasoning.effort`.")
    return Thinking({"type": "adaptive", "display": wish.display}, EFFORT[wish.effort])


def _budgeted(wish: _Wish, max_tokens: int) -> Thinking:
    """An effort is a hint: where no budget fits, the model answers without."""
    budget = wish.budget or min(MAX_BUDGET, max_tokens * SHARE_PERCENT[wish.effort] // 100)
    budget = min(max(budget, MIN_BUDGET), max_tokens - 1)
    if budget < MIN_BUDGET:
        return UNSAID
    config: dict[str, Any] = {"type": "enabled", "budget_tokens": budget}
    if wish.hidden:
        config["display"] = wish.display
    return Thinking(config)


def _must_not_think(document: dict[str, Any]) -> bool:
    """These models refuse to think where a tool is forced, or in a turn that began without thinking."""
    forced = document.get("tool_choice") not in (None, "auto", "none")
    begun = document["messages"][-1]["role"] == "assistant"
    return forced or begun or _continues_without_thinking(document["messages"])


def _continues_without_thinking(messages: list[dict[str, Any]]) -> bool:
    """Whether tool results follow an assistant message that came back without usable thinking blocks."""
    for message in reversed(messages):
        if message["role"] == "assistant":
            return bool(message.get("tool_calls")) and not thoughts(message.get("thinking_blocks"), "thinking_blocks")
        if message["role"] != "tool":
            return False
    return False


def _fitted(config: dict[str, Any], max_tokens: int | None) -> dict[str, Any]:
    budget = config.get("budget_tokens")
    if max_tokens is None or type(budget) is not int or budget < max_tokens:
        return config
    if max_tokens <= MIN_BUDGET:
        raise InvalidRequest(
            f"`thinking` needs more than {MIN_BUDGET} tokens of output; {max_tokens} are left.", param="thinking"
        )
    return {**config, "budget_tokens": max_tokens - 1}
