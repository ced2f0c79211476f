"""
What is charged for an answer: the upstream's own usage, or our count of it where the upstream reported none or a flawed
one. Pure.
"""

from dataclasses import dataclass, replace

from core.token_usage import TokenUsage

__all__ = ["Charge", "ChargeTerms"]

NOTHING_REPORTED = "no_usage_reported"


@dataclass(slots=True)  # Not frozen: a request makes one, and freezing it would triple what that costs.
class ChargeTerms:
    """What an estimate is made of."""

    likely_input: int
    most_output: int
    """An estimate never exceeds what the request was granted."""


@dataclass(slots=True)  # Not frozen: a request makes one, and freezing it would triple what that costs.
class Charge:
    usage: TokenUsage
    estimated: str
    """Why the counts are ours; empty when they are the upstream's."""

    @classmethod
    def of(cls, reported: TokenUsage | None, flaw: str | None, delivered: int, terms: ChargeTerms) -> "Charge":
        """`reported` is None when the upstream said nothing; zeros that it did say are values. `flaw` says why the
        report can't be trusted as it is (the stream broke off, the input is missing); `delivered` is our own count of
        the output.
        """
        if reported is not None and not flaw:
            return cls(reported, "")
        output = min(delivered, terms.most_output)
        if reported is None:
            return cls(TokenUsage(input=terms.likely_input, output=output), flaw or NOTHING_REPORTED)
        usage = reported if reported.prompt else replace(reported, input=terms.likely_input)
        # A placeholder, or a count that stopped growing: what was delivered was used as well.
        return cls(replace(usage, output=max(usage.output, output - usage.reasoning)), flaw or "")
