"""The `usage` object of an OpenAI answer as disjoint token classes."""

from typing import Any

from core.token_usage import TokenUsage

__all__ = ["MAX_TOKENS", "Counter", "read_usage"]

MAX_TOKENS = 10_000_000
"""More than any model reads or writes in one request: a larger count is a mistake of the upstream."""


class Counter:
    """Reads counts out of upstream objects and remembers the first thing that was wrong with them."""

    def __init__(self) -> None:
        self.flaw: str | None = None

    def mark(self, flaw: str) -> None:
        self.flaw = self.flaw or flaw

    def count(self, source: object, name: str) -> int:
        """0 when absent. What is not a whole number from 0 to MAX_TOKENS is brought into that range and marked."""
        value = source.get(name) if isinstance(source, dict) else None
        if type(value) is int and 0 <= value <= MAX_TOKENS:
            return value
        return 0 if value is None else self._repaired(value, name)

    def _repaired(self, value: object, name: str) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # A serialiser's habit: 12.0 is a count.
        if type(value) is not int or value < 0:
            self.mark(f"{name}_invalid")
            return 0
        if value > MAX_TOKENS:
            self.mark(f"{name}_huge")
        return min(value, MAX_TOKENS)

    def part(self, source: object, name: str, whole: int) -> int:
        """A count that can't exceed what it is a part of."""
        value = self.count(source, name)
        if value > whole:
            self.mark(f"{name}_exceeds_whole")
        return min(value, whole)


def read_usage(usage: object) -> tuple[TokenUsage | None, str | None]:
    """
    The token classes and what was wrong with the report. (None, None) when there is no report.

    `prompt_tokens` includes what was read from or written to the cache, `completion_tokens` the reasoning. Some
    upstreams (xAI, Gemini) count reasoning beside the completion instead; their `total_tokens` gives it away.
    """
    if not isinstance(usage, dict):
        return None, None
    counter = Counter()
    prompt = counter.count(usage, "prompt_tokens")
    cached = counter.part(usage.get("prompt_tokens_details"), "cached_tokens", prompt)
    written = counter.part(usage.get("prompt_tokens_details"), "cache_write_tokens", prompt - cached)
    output, reasoning = _completion(counter, usage, prompt)
    if prompt == 0 and output + reasoning > 0:
        counter.mark("input_missing")
    tokens = TokenUsage(
        input=prompt - cached - written,
        cache_read=cached,
        cache_write_5m=written,
        output=output,
        reasoning=reasoning,
    )
    return tokens, counter.flaw


def _completion(counter: Counter, usage: dict[str, Any], prompt: int) -> tuple[int, int]:
    """Output and reasoning."""
    completion = counter.count(usage, "completion_tokens")
    surplus = counter.count(usage, "total_tokens") - prompt - completion
    details = usage.get("completion_tokens_details")
    if surplus > 0 and prompt > 0 and counter.flaw is None:
        if surplus != counter.count(details, "reasoning_tokens"):
            counter.mark("total_exceeds_sum")
        return completion, surplus
    reasoning = counter.part(details, "reasoning_tokens", completion)
    return completion - reasoning, reasoning
