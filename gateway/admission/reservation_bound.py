"""The upper bound of what a request can use and cost. Pure."""

from dataclasses import dataclass

from core.models.models_file import Model
from gateway.admission.token_estimate import estimate_parts
from gateway.dialects.generation_request import GenerationRequest
from gateway.errors import ContextTooLong

__all__ = ["ReservationBound"]

MIN_OUTPUT_TOKENS = 16
"""Less than this is no answer worth paying the input for."""

ADEQUATE_OUTPUT_TOKENS = 4_096
"""An answer of this length is not cut short for the sake of a window that is probably large enough."""

MIN_DEFAULT_OUTPUT_TOKENS = 1_024
"""Nor is one of this length, however long the input: it may be of long words."""

ADDED_BY_PROVIDERS = 1_024
"""Input tokens beyond the request's own bytes: a chat template, the system prompt that goes with tools."""

LIKELY_PERCENT = {"openai": 49, "openai-mini": 49, "claude": 52, "claude-4": 50}
"""Of the bound by bytes, what ordinary English text comes to (measured; docs/decisions/0006-estimates.md)."""


@dataclass(slots=True)  # Not frozen: a request makes one, and freezing it would triple what that costs.
class ReservationBound:
    input_tokens: int
    input_cost: int
    """Nano-dollars, every token in the most expensive class: only the answer tells which it is in."""
    likely_input_tokens: int
    """What an answer without reported usage is charged for its input."""
    max_input_tokens: int
    """What an upstream may report at most: no token is shorter than a byte, and no model reads more than it can."""
    output_tokens: int
    """Per choice: the client's limit, or the model's default, and never more than the model can."""
    output_cost: int
    """Nano-dollars for one more output token of every choice."""
    choices: int

    @classmethod
    def of(cls, chat: GenerationRequest, model: Model) -> "ReservationBound":
        """Raises ContextTooLong for an input that no text of this length makes short enough."""
        text, media = estimate_parts(chat, model.tokenizer)
        tokens, percent = text + media, LIKELY_PERCENT[model.tokenizer]
        likely_text = _fitting(text * percent // 100, model)
        prices = model.prices.bound(tokens, chat.service_tier)
        wanted = chat.max_output_tokens or _default_output(model, text, likely_text)
        return cls(
            input_tokens=tokens,
            input_cost=tokens * prices.highest_input_price,
            likely_input_tokens=min(tokens * percent // 100, model.context_tokens),
            max_input_tokens=_max_input(len(chat.raw) + tokens, model),
            output_tokens=min(wanted, model.max_output_tokens),
            output_cost=prices.highest_output_price * chat.choices,
            choices=chat.choices,
        )

    @property
    def cost(self) -> int:
        return self.input_cost + self.output_tokens * self.output_cost

    @property
    def min_output_tokens(self) -> int:
        return min(MIN_OUTPUT_TOKENS, self.output_tokens)


def _fitting(likely_tokens: int, model: Model) -> int:
    """Whether a text fits is for the provider to say, who counts it. But one that would have twice the tokens of the
    window if it were ordinary does not fit; and a larger window than the models file knows may have a higher price.
    """
    if likely_tokens > 2 * model.context_tokens:
        message = f"{model.name!r} reads at most {model.context_tokens} tokens; the request has some {likely_tokens}."
        raise ContextTooLong(message, param="messages")
    return likely_tokens


def _max_input(request_tokens: int, model: Model) -> int:
    """What a provider's own tools find is part of the input as well, where they are allowed."""
    if model.allow_unpriced:
        return model.context_tokens
    return min(request_tokens + ADDED_BY_PROVIDERS, model.context_tokens)


def _default_output(model: Model, text_tokens: int, likely_text_tokens: int) -> int:
    """A limit that the client did not ask for must not make the request too long for servers that add it to the input.

    What the bound of the text leaves of the window is enough for all but long texts. There the bound, which is twice
    what ordinary text has, must not leave next to nothing of an answer that would fit.
    """
    window = model.context_tokens
    ordinary = max((window - likely_text_tokens) // 4, min(MIN_DEFAULT_OUTPUT_TOKENS, window // 4))
    room = max(window - text_tokens, min(ADEQUATE_OUTPUT_TOKENS, ordinary))
    return max(1, min(model.default_output_tokens, room))
