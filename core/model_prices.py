"""
What tokens cost and how much they weigh. Pure integer arithmetic: 10,000 calls of one token cost 10,000 times the
token.
"""

from dataclasses import astuple, dataclass

from core.token_usage import TokenUsage

__all__ = ["DEFAULT_WEIGHTS", "TokenPrices", "TokenWeights"]


@dataclass(frozen=True, slots=True)
class TokenPrices:
    """Nano-dollars for one token of each class (1 nano-dollar per token = $0.001 per 1M tokens)."""

    input: int
    cache_read: int
    cache_write_5m: int
    cache_write_1h: int
    output: int
    reasoning: int

    def cost(self, usage: TokenUsage) -> int:
        """Nano-dollars."""
        return (
            self.input * usage.input
            + self.cache_read * usage.cache_read
            + self.cache_write_5m * usage.cache_write_5m
            + self.cache_write_1h * usage.cache_write_1h
            + self.output * usage.output
            + self.reasoning * usage.reasoning
        )

    @property
    def dearest_input(self) -> int:
        """What an input token costs at worst: before the answer nobody knows which class it will be in."""
        return max(self.input, self.cache_read, self.cache_write_5m, self.cache_write_1h)

    @property
    def dearest_output(self) -> int:
        return max(self.output, self.reasoning)


@dataclass(frozen=True, slots=True)
class TokenWeights:
    """Thousandths by which a token of each class counts against an included pool."""

    input: int = 1000
    cache_read: int = 100
    cache_write_5m: int = 1250
    cache_write_1h: int = 2000
    output: int = 1000
    reasoning: int = 1000

    def scaled(self, model_weight: int) -> tuple[int, ...]:
        """The weights of a model whose tokens count `model_weight` thousandths, in the order of the token classes."""
        return tuple(weight * model_weight // 1000 for weight in astuple(self))


DEFAULT_WEIGHTS = TokenWeights()
