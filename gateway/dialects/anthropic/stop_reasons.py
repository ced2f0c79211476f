"""Why the model stopped, in OpenAI's words."""

from gateway.dialects.error_object import identifier

__all__ = ["finish_reason", "refusal_text", "unknown_reason"]

FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
REFUSED = "The model refused to answer."


def finish_reason(stop_reason: object, *, has_tool_calls: bool) -> str:
    """A reason that is missing or newer than this table tells from the answer itself."""
    known = FINISH_REASONS.get(stop_reason) if isinstance(stop_reason, str) else None
    return known or ("tool_calls" if has_tool_calls else "stop")


def unknown_reason(stop_reason: object) -> str | None:
    """What an operator should know: an answer ended for a reason that the table does not have, or for none."""
    if isinstance(stop_reason, str) and stop_reason in FINISH_REASONS:
        return None
    return f"stop_reason {identifier(stop_reason) or 'missing'}"


def refusal_text(stop_reason: object, stop_details: object) -> str | None:
    """The provider's explanation, or a sentence of ours; None when nothing was refused."""
    if stop_reason != "refusal":
        return None
    explanation = stop_details.get("explanation") if isinstance(stop_details, dict) else None
    return explanation if isinstance(explanation, str) and explanation else REFUSED
