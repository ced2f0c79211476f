"""Fields of the request body that exist only for a request that names their beta in `anthropic-beta`."""

from simulators.schemas.validation import ANYTHING, Choice, Fields, Items, Spec, optional

__all__ = ["with_betas"]

CONTEXT_EDIT = Fields({"type": Choice("clear_tool_uses_20250919", "clear_thinking_20251015")}, extra=ANYTHING)
FIELDS: dict[str, dict[str, Spec]] = {
    "context-management-2025-06-27": {
        "context_management": optional(Fields(optional={"edits": Items(CONTEXT_EDIT)})),
    },
}


def with_betas(spec: Fields, header: str) -> Fields:
    """`header` is the value of `anthropic-beta`; betas that are not known here add nothing."""
    added: dict[str, Spec] = {}
    for beta in header.split(","):
        added |= FIELDS.get(beta.strip(), {})
    return Fields(spec.required, {**spec.optional, **added}, spec.extra, spec.most) if added else spec
