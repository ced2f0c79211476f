"""The `usage` object of an OpenAI answer as disjoint token classes."""

from typing import Any

from core.usage.token_usage import TokenUsage

__all__ = ["MAX_TOKENS", "Counter", "read_usage"]

MAX_TOKENS = 10_000_000
"""More than any model reads or writes in one request: a larger count is a mistake of the upstream."""

CACHE_READ = (
    ("prompt_tokens_details", "cached_tokens"),
    ("input_tokens_details", "cached_tokens"),
    ("", "prompt_cache_hit_tokens"),  # DeepSeek
    ("", "cached_tokens"),  # Moonshot
    ("", "input_cached_tokens"),
    ("", "cache_read_input_tokens"),
)
CACHE_WRITTEN = (
    ("prompt_tokens_details", "cache_write_tokens"),
    ("prompt_tokens_details", "cache_creation_tokens"),
    ("", "cache_creation_input_tokens"),
)
"""Names of one count, and the object that it stands in ("" is the report itself): the first that is there counts."""
CACHE_PLACES = frozenset(place or name for place, name in (*CACHE_READ, *CACHE_WRITTEN))
"""A report without any of them does not speak of a cache."""
PLAIN_REPORT = frozenset(
    ("prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details")
)
PLAIN_PROMPT = frozenset(("cached_tokens", "audio_tokens"))
PLAIN_COMPLETION = frozenset(
    ("reasoning_tokens", "audio_tokens", "accepted_prediction_tokens", "rejected_prediction_tokens")
)


class Counter:
    """Reads counts out of upstream objects and remembers the first thing that was wrong with them."""

    def __init__(self) -> None:
        self.flaw: str | None = None

    def mark(self, flaw: str) -> None:
        self.flaw = self.flaw or flaw

    def count(self, source: object, name: str) -> int:
        """0 when absent. What is not a whole number from 0 to MAX_TOKENS says nothing: it is marked and counts as 0."""
        value = source.get(name) if isinstance(source, dict) else None
        if type(value) is int and 0 <= value <= MAX_TOKENS:
            return value
        return 0 if value is None else self._repaired(value, name)

    def _repaired(self, value: object, name: str) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # A serialiser's habit: 12.0 is a count.
        if type(value) is int and 0 <= value <= MAX_TOKENS:
            return value
        self.mark(f"{name}_huge" if type(value) is int and value > 0 else f"{name}_invalid")
        return 0

    def part(self, source: object, name: str, whole: int) -> int:
        """A count that can't exceed what it is a part of. One that does is not believed: all of the whole stays at its
        own price, which is not the cheaper one."""
        value = self.count(source, name)
        if value > whole:
            self.mark(f"{name}_exceeds_whole")
            return 0
        return value


def read_usage(usage: object, *, input_includes_cache: bool = True) -> tuple[TokenUsage | None, str | None]:
    """
    The token classes and what was wrong with the report. (None, None) when there is no report: none at all, or an
    object with neither of the two counts. An explicit zero is a value, a missing count is marked.

    `prompt_tokens` includes what was read from or written to the cache (unless `input_includes_cache` is False: some
    upstreams count that beside it), `completion_tokens` the reasoning. Some upstreams (xAI, Gemini) count reasoning
    beside the completion instead; their `total_tokens` gives it away.
    """
    if not isinstance(usage, dict) or (usage.get("prompt_tokens") is None and usage.get("completion_tokens") is None):
        return None, None
    if (plain := _plain(usage)) is not None and input_includes_cache:
        return plain, None
    counter = Counter()
    prompt = counter.count(usage, "prompt_tokens")
    cached, written = _cache(counter, usage, prompt if input_includes_cache else 2 * MAX_TOKENS)  # No whole to exceed.
    if not input_includes_cache:
        prompt += cached + written
    output, reasoning = _completion(counter, usage, prompt)
    if prompt == 0 and (output + reasoning > 0 or usage.get("prompt_tokens") is None):
        counter.mark("input_missing")
    tokens = TokenUsage(
        input=prompt - cached - written,
        cache_read=cached,
        cache_write_5m=written,
        output=output,
        reasoning=reasoning,
    )
    return tokens, counter.flaw


def _plain(usage: dict[str, Any]) -> TokenUsage | None:
    """The report of nearly every answer, in which every count is a number and all of them agree. The rules below say
    the same of it, at ten times the cost."""
    if not usage.keys() <= PLAIN_REPORT:
        return None
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    total = usage.get("total_tokens")
    if type(prompt) is not int or type(completion) is not int or type(total) is not int or total != prompt + completion:
        return None
    cached = _plain_part(usage.get("prompt_tokens_details"), PLAIN_PROMPT, "cached_tokens")
    reasoning = _plain_part(usage.get("completion_tokens_details"), PLAIN_COMPLETION, "reasoning_tokens")
    if not 0 <= cached <= prompt <= MAX_TOKENS or not 0 <= reasoning <= completion <= MAX_TOKENS or prompt == 0:
        return None
    return TokenUsage(input=prompt - cached, cache_read=cached, output=completion - reasoning, reasoning=reasoning)


def _plain_part(details: object, names: frozenset[str], name: str) -> int:
    """-1 when there is more to look at."""
    if details is None:
        return 0
    if type(details) is not dict or not details.keys() <= names:
        return -1
    value = details.get(name, 0)
    return value if type(value) is int else -1


def _cache(counter: Counter, usage: dict[str, Any], whole: int) -> tuple[int, int]:
    """Read from and written to the provider's cache."""
    if CACHE_PLACES.isdisjoint(usage):
        return 0, 0
    cached = _first_reported(counter, usage, CACHE_READ, whole)
    return cached, _first_reported(counter, usage, CACHE_WRITTEN, whole - cached)


def _first_reported(counter: Counter, usage: dict[str, Any], names: tuple[tuple[str, str], ...], whole: int) -> int:
    for place, name in names:
        source = usage.get(place) if place else usage
        if isinstance(source, dict) and source.get(name) is not None:
            return counter.part(source, name, whole)
    return 0


def _completion(counter: Counter, usage: dict[str, Any], prompt: int) -> tuple[int, int]:
    """Output and reasoning."""
    total = counter.count(usage, "total_tokens")
    if usage.get("completion_tokens") is None:
        counter.mark("output_missing")
        return max(0, total - prompt), 0
    completion = counter.count(usage, "completion_tokens")
    surplus = total - prompt - completion
    details = usage.get("completion_tokens_details")
    if surplus > 0 and counter.flaw is None and (prompt > 0 or completion == 0):
        if prompt == 0 or surplus != counter.count(details, "reasoning_tokens"):
            counter.mark("total_exceeds_sum")
        return completion, surplus if prompt else 0
    reasoning = counter.part(details, "reasoning_tokens", completion)
    return completion - reasoning, reasoning
