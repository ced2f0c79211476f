"""
What Anthropic counted, as disjoint token classes.

A stream reports twice: `message_start` has the input and a placeholder for the output, `message_delta` has cumulative
counts. Nothing is added up; for each field the last event that carries it counts.
"""

from typing import Any

from core.usage.token_usage import TokenUsage
from gateway.dialects.error_object import identifier
from gateway.dialects.openai.usage import Counter

__all__ = ["UsageReport", "client_usage"]

INPUT_FIELDS = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation")
OUTPUT_FIELDS = ("output_tokens", "output_tokens_details", "server_tool_use")


class UsageReport:
    """Collects the usage objects of one answer."""

    __slots__ = ("_fields", "_includes_cache")

    def __init__(self, *, input_includes_cache: bool) -> None:
        """`input_includes_cache`: a compatible upstream whose `input_tokens` contains the cache classes as well."""
        self._includes_cache = input_includes_cache
        self._fields: dict[str, Any] = {}

    def note_start(self, usage: object) -> None:
        """Of `message_start`: its output count is a placeholder and never counts."""
        self._note(usage, INPUT_FIELDS)

    def note_final(self, usage: object) -> None:
        """Of `message_delta`, or of an answer that is not streamed."""
        self._note(usage, INPUT_FIELDS + OUTPUT_FIELDS)

    def _note(self, usage: object, names: tuple[str, ...]) -> None:
        if isinstance(usage, dict):
            self._fields |= {name: usage[name] for name in names if usage.get(name) is not None}

    def read(self, delivered_output: int) -> tuple[TokenUsage | None, str | None]:
        """
        The classes and the flaw. (None, None) when nothing was reported.

        Without a final report the output is `delivered_output`, our own estimate, and the flaw says "output_missing".
        """
        if not self._fields:
            return None, None
        counter = Counter()
        read, write_5m, write_1h = self._cache(counter)
        fresh = counter.count(self._fields, "input_tokens")
        if "input_tokens" not in self._fields:
            counter.mark("input_missing")
        if self._includes_cache:
            fresh = self._without_cache(counter, fresh, read + write_5m + write_1h)
        output, reasoning = self._output(counter, delivered_output)
        usage = TokenUsage(fresh, read, write_5m, write_1h, output, reasoning)
        if usage.prompt == 0 and usage.completion > 0:
            counter.mark("input_missing")
        return usage, counter.flaw

    @property
    def oddity(self) -> str | None:
        """Calls of the provider's own tools, which cost money beside the tokens: we never ask for them."""
        calls = self._fields.get("server_tool_use")
        counted = calls.items() if isinstance(calls, dict) else []
        told = [f"{identifier(name)}={count}" for name, count in counted if type(count) is int and count > 0]
        return f"server_tool_use {' '.join(told)}" if told else None

    def _cache(self, counter: Counter) -> tuple[int, int, int]:
        """Read, written for 5 minutes, written for an hour. What is not said to be for an hour is for 5 minutes."""
        split = self._fields.get("cache_creation")
        hour = counter.count(split, "ephemeral_1h_input_tokens")
        written = hour + counter.count(split, "ephemeral_5m_input_tokens")
        if "cache_creation_input_tokens" in self._fields:
            written = counter.count(self._fields, "cache_creation_input_tokens")
        hour = min(hour, written)
        return counter.count(self._fields, "cache_read_input_tokens"), written - hour, hour

    def _without_cache(self, counter: Counter, prompt: int, cached: int) -> int:
        if cached > prompt:
            counter.mark("cache_exceeds_input")
        return max(0, prompt - cached)

    def _output(self, counter: Counter, delivered: int) -> tuple[int, int]:
        if "output_tokens" not in self._fields:
            counter.mark("output_missing")
            return delivered, 0
        output = counter.count(self._fields, "output_tokens")
        thought = counter.part(self._fields.get("output_tokens_details"), "thinking_tokens", output)
        return output - thought, thought


def client_usage(usage: TokenUsage) -> dict[str, Any]:
    """OpenAI's `usage`: the prompt includes what came from and went to the cache, so that the sum holds."""
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.total,
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read,
            "cache_write_tokens": usage.cache_write_5m + usage.cache_write_1h,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }
