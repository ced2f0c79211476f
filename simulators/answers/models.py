"""
The models that the simulated providers offer, as families of names: a family has limits and refuses some parameters.

Any name that matches a family's pattern exists (`gpt-4o-my-test` is a gpt-4o); every other name answers 404.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Family:
    """What all models whose name matches `pattern` have in common. Limits are tokens."""

    pattern: re.Pattern[str]
    context: int
    max_output: int
    reasoning: bool = False
    """OpenAI: refuses max_tokens and sampling parameters."""
    stop: bool = True
    """OpenAI: accepts stop."""
    sampling: bool = True
    """Anthropic: accepts temperature, top_p and top_k."""
    one_sampling_parameter: bool = False
    """Anthropic: refuses temperature together with top_p."""
    manual_thinking: bool = True
    """Anthropic: accepts thinking.type enabled."""
    adaptive_thinking: bool = False
    """Anthropic: accepts thinking.type adaptive."""
    prefill: bool = True
    """Anthropic: accepts a final assistant message."""
    structured: bool = False
    """Anthropic: accepts output_config.format."""
    stops_at_window: bool = False
    """Anthropic: a limit beyond the context window is no mistake; the answer stops there."""


OPENAI = (
    Family(
        re.compile(r"(gpt-5(\.[0-4])?|o[134])(-.*)?"), context=400_000, max_output=128_000, reasoning=True, stop=False
    ),
    Family(re.compile(r"gpt-[56]([.-].*)?"), context=400_000, max_output=128_000, reasoning=True),
    Family(re.compile(r"gpt-4\.1([.-].*)?"), context=1_047_576, max_output=32_768),
    Family(re.compile(r"(gpt-4o|chatgpt-4o|gpt-sim)([.-].*)?"), context=128_000, max_output=16_384),
    Family(re.compile(r"gpt-4(-.*)?"), context=128_000, max_output=4_096),
    Family(re.compile(r"gpt-3\.5-turbo(-.*)?"), context=16_385, max_output=4_096),
)

ANTHROPIC = (
    Family(re.compile(r"claude-3-(opus|sonnet|haiku)-.*"), context=200_000, max_output=4_096),
    Family(re.compile(r"claude-3-5-.*"), context=200_000, max_output=8_192),
    Family(re.compile(r"claude-(3-7-sonnet|sonnet-4)(-(0|latest|2025\d+))?"), context=200_000, max_output=64_000),
    Family(
        re.compile(r"claude-opus-4(-[01])?(-2025\d+)?"), context=200_000, max_output=32_000, one_sampling_parameter=True
    ),
    Family(
        re.compile(r"claude-((opus|sonnet|haiku)-4-5|sim)(-.*)?"),
        context=200_000,
        max_output=64_000,
        one_sampling_parameter=True,
        structured=True,
        stops_at_window=True,
    ),
    Family(
        re.compile(r"claude-(opus|sonnet)-4-6(-.*)?"),
        context=1_000_000,
        max_output=128_000,
        one_sampling_parameter=True,
        adaptive_thinking=True,
        prefill=False,
        structured=True,
        stops_at_window=True,
    ),
    Family(
        re.compile(r"claude-(opus-4-[78]|(opus|sonnet|haiku|fable|mythos)-5(-\d+)?|mythos-preview)(-.*)?"),
        context=1_000_000,
        max_output=128_000,
        sampling=False,
        manual_thinking=False,
        adaptive_thinking=True,
        prefill=False,
        structured=True,
        stops_at_window=True,
    ),
)

LISTED_OPENAI = ("gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-5", "gpt-6-astra", "o3", "gpt-sim")
LISTED_ANTHROPIC = ("claude-opus-4-8", "claude-sonnet-5", "claude-sonnet-4-6", "claude-sonnet-4-5", "claude-haiku-4-5")


Families = tuple[Family, ...]


def find(families: Families, model: str) -> Family | None:
    """The family of a model name; None if the provider has no such model."""
    return next((family for family in families if family.pattern.fullmatch(model)), None)
