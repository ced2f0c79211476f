"""
What is charged for an answer: the upstream's own usage, or our count of it where the upstream reported none or one that
can't be true. Pure.

A report is believed as far as the request can explain it. A count that is missing or no count at all is replaced by our
estimate; an input larger than the request can hold as well, because nothing of it is known then; an output larger than
the request was granted counts as what was granted. Whatever is changed is marked, and the mark is counted
(`poindexter_estimated_events_total`): one wrong number of an upstream must not empty a customer's cap.
"""

from dataclasses import dataclass, replace

from core.usage.token_usage import TokenUsage

__all__ = ["Charge", "is_contradiction"]

NOTHING_REPORTED = "no_usage_reported"
INPUT_EXCEEDS_REQUEST = "input_exceeds_request"
OUTPUT_EXCEEDS_GRANT = "output_exceeds_grant"
CONTRADICTIONS = ("_exceeds_request", "_exceeds_grant", "_exceeds_whole", "_exceeds_sum", "_exceeds_input",
                  "_huge", "_invalid", "_unpriced")  # fmt: skip
"""How the marks end of a report that says something wrong, and not merely too little."""


@dataclass(slots=True)  # Not frozen: a request makes one, and freezing it would triple what that costs.
class Charge:
    usage: TokenUsage
    estimated: str
    """Why the counts are ours; empty when they are the upstream's."""

    @classmethod
    def of(
        cls,
        reported: TokenUsage | None,
        flaw: str | None,
        delivered: int,
        *,
        likely_input: int,
        max_input: int,
        max_output: int,
    ) -> "Charge":
        """All in tokens. `reported` is None when the upstream said nothing; zeros that it did say are values. `flaw`
        says why the report can't be trusted as it is (the stream broke off, the input is missing); `delivered` is our
        own count of the output. An estimate has `likely_input`; no charge exceeds `max_input`, which is more than the
        request's bytes can hold or the model reads, and `max_output`, granted to all choices together.
        """
        if reported is None:
            output = min(delivered, max_output)
            return cls(TokenUsage(input=likely_input, output=output), flaw or NOTHING_REPORTED)
        if not flaw and reported.prompt <= max_input and reported.completion <= max_output:
            return cls(reported, "")
        usage = reported
        if flaw:  # A placeholder, or a count that stopped growing: what was delivered was used as well.
            usage = replace(usage, output=max(usage.output, delivered - usage.reasoning))
        usage, output_flaw = _output_bounded(usage, max_output)
        usage, input_flaw = _input_bounded(usage, likely_input, max_input)
        return cls(usage, flaw or input_flaw or output_flaw)


def _output_bounded(usage: TokenUsage, max_output: int) -> tuple[TokenUsage, str]:
    if usage.completion <= max_output:
        return usage, ""
    output = min(usage.output, max_output)
    return replace(usage, output=output, reasoning=max_output - output), OUTPUT_EXCEEDS_GRANT


def _input_bounded(usage: TokenUsage, likely_input: int, max_input: int) -> tuple[TokenUsage, str]:
    """A missing input leaves nothing to go by, and neither does one that is too large to be this request's."""
    if 0 < usage.prompt <= max_input:
        return usage, ""
    return TokenUsage(input=likely_input, output=usage.output, reasoning=usage.reasoning), INPUT_EXCEEDS_REQUEST


def is_contradiction(estimated: str) -> bool:
    """Whether an event is marked because its upstream reported what can't be true. Somebody should look at it."""
    return estimated.endswith(CONTRADICTIONS)
