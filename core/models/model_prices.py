"""
What tokens cost and how much they weigh. Pure integer arithmetic: 10,000 calls of one token cost 10,000 times the
token.
"""

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field

from core.usage.token_usage import TokenUsage

__all__ = ["DEFAULT_WEIGHTS", "USUAL_TIERS", "PriceList", "TokenPrices", "TokenWeights"]

USUAL_TIERS = frozenset({"", "auto", "default", "standard", "standard_only", "on_demand", "scale"})
"""What providers call the service tier that has no price of its own. `scale` is paid in advance."""


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

    def highest(self, other: "TokenPrices") -> "TokenPrices":
        """Of each class the higher price."""
        return TokenPrices(*map(max, astuple(self), astuple(other)))

    @property
    def highest_input_price(self) -> int:
        """What an input token costs at worst: only the answer tells which class it is in."""
        return max(self.input, self.cache_read, self.cache_write_5m, self.cache_write_1h)

    @property
    def highest_output_price(self) -> int:
        return max(self.output, self.reasoning)


@dataclass(frozen=True, slots=True)
class PriceList:
    """All prices of one model: the usual ones, those of other service tiers, and those of a long input."""

    usual: TokenPrices
    tiers: Mapping[str, TokenPrices] = field(default_factory=dict)
    long_input: TokenPrices | None = None
    """For the whole answer when its prompt has more than `long_input_tokens`, cached ones included."""
    long_input_tokens: int = 0

    def cost(self, usage: TokenUsage, served_tier: str = "", asked_tier: str = "") -> int:
        """Nano-dollars, at the prices of the tier that was served; a tier without a price costs the usual one. Where
        the upstream does not say which, the higher of the usual price and that of the tier that was asked for."""
        if not served_tier and asked_tier in self.tiers:
            return self.bound(usage.prompt, asked_tier).cost(usage)
        cost = self.tiers.get(served_tier, self.usual).cost(usage)
        if self.long_input is not None and usage.prompt > self.long_input_tokens:
            return max(cost, self.long_input.cost(usage))
        return cost

    def knows(self, tier: str) -> bool:
        """Whether what a tier costs is known."""
        return tier in USUAL_TIERS or tier in self.tiers

    def bound(self, max_input_tokens: int, tier: str = "") -> TokenPrices:
        """Prices that no token exceeds, of a request with at most so much input that asks for a tier: the provider may
        serve it in the usual one instead."""
        prices = self.usual
        if tier in self.tiers:
            prices = prices.highest(self.tiers[tier])
        if self.long_input is not None and max_input_tokens > self.long_input_tokens:
            prices = prices.highest(self.long_input)
        return prices


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
