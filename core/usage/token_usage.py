"""The token classes of one answer."""

from dataclasses import dataclass

__all__ = ["CLASSES", "TokenUsage"]


@dataclass(slots=True)  # Not frozen: a request makes one, and freezing it would triple what that costs.
class TokenUsage:
    """Tokens by price class. The classes are disjoint: their sum is everything the upstream counted.

    OpenAI counts cached tokens inside `prompt_tokens` and reasoning inside `completion_tokens`, Anthropic counts its
    cache classes beside `input_tokens`; translators turn both into this form, so that a price is a plain dot product.
    """

    input: int = 0
    """Prompt tokens neither read from nor written to a provider's prompt cache."""
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    output: int = 0
    """Answer tokens without reasoning."""
    reasoning: int = 0

    @property
    def prompt(self) -> int:
        """What OpenAI calls `prompt_tokens`."""
        return self.input + self.cache_read + self.cache_write_5m + self.cache_write_1h

    @property
    def completion(self) -> int:
        """What OpenAI calls `completion_tokens`."""
        return self.output + self.reasoning

    @property
    def total(self) -> int:
        return self.prompt + self.completion

    def as_tuple(self) -> tuple[int, ...]:
        """The counts in the order of `CLASSES`. Written out, because `dataclasses.astuple` copies deeply."""
        return self.input, self.cache_read, self.cache_write_5m, self.cache_write_1h, self.output, self.reasoning


CLASSES: tuple[str, ...] = tuple(TokenUsage.__dataclass_fields__)
