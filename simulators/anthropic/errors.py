"""
How Anthropic words a refusal: from a `Problem` to its sentence, from a `Refused` to the error object.
"""

from typing import Any

import orjson

from simulators.faults.refusals import Refused
from simulators.schemas.validation import Path, Problem

TYPE_BY_STATUS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
USUAL_MESSAGE = {
    401: "invalid x-api-key",
    403: "Your API key does not have permission to use the specified resource.",
    404: "Not found",
    408: "Request timed out",
    413: "Request exceeds the maximum size",
    429: "This request would exceed your organization's rate limit of 50 requests per minute.",
    500: "Internal server error",
    529: "Overloaded",
}
OUT_OF_MONEY = {
    "enforced_spend_limit_reached": "Your organization has reached its enforced spend limit.",
    "contract_spend_limit_reached": "Your organization has reached its contract spend limit.",
    "linked_organization_spend_limit_reached": "The linked organization has reached its spend limit.",
    "linked_organization_billing_unavailable": "The linked organization's billing is unavailable.",
    "organization_on_hold": "Your organization is on hold.",
    "ramp_limit_exceeded": "Your usage is growing too fast; please retry later.",
}
NOUNS = {
    "string": "a valid string",
    "integer": "a valid integer",
    "decimal": "a valid number",
    "boolean": "a valid boolean",
    "array": "a valid list",
    "object": "a valid dictionary",
}


def error_object(refused: Refused, request_id: str) -> dict[str, Any]:
    """`{"type": "error", "error": {"type", "message", "details"?}, "request_id"}`"""
    usual = OUT_OF_MONEY.get(refused.code or "") or USUAL_MESSAGE.get(refused.status, "Error")
    error: dict[str, Any] = {
        "type": refused.type or TYPE_BY_STATUS.get(refused.status, "api_error"),
        "message": refused.message or usual,
    }
    if refused.code:
        error["details"] = {"error_code": refused.code}
    return {"type": "error", "error": error, "request_id": request_id}


def error_body(refused: Refused, request_id: str) -> bytes:
    return orjson.dumps(error_object(refused, request_id))


def error_event(refused: Refused, request_id: str) -> bytes:
    """The frame that reports an error inside a stream that began with status 200."""
    return b"event: error\ndata: " + error_body(refused, request_id) + b"\n\n"


def refusal(problem: Problem) -> Refused:
    """The 400 for a body that breaks the schema."""
    return Refused(400, f"{path_text(problem.path)}: {_sentence(problem)}")


def path_text(path: Path) -> str:
    """`messages.0.content`"""
    return ".".join(map(str, path))


def _sentence(problem: Problem) -> str:
    return SENTENCES[problem.kind](problem)


def _mistyped(problem: Problem) -> str:
    nouns = [NOUNS.get(noun, noun) for noun in problem.expected.split(" or ") if noun != "null"]
    return f"Input should be {' or '.join(nouns)}"


def _not_a_choice(problem: Problem) -> str:
    names = [f"'{choice}'" for choice in problem.expected]
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
    return f"Input should be {listed}"


def _bad_tag(problem: Problem) -> str:
    names = ", ".join(f"'{choice}'" for choice in problem.expected)
    return f"Input tag '{problem.got}' found using 'type' does not match any of the expected tags: {names}"


def _too_short(problem: Problem) -> str:
    unit = "character" if problem.noun == "string" else "item"
    return f"{problem.noun.capitalize()} should have at least {problem.expected} {unit}s"


def _too_long(problem: Problem) -> str:
    unit = "character" if problem.noun == "string" else "item"
    return f"{problem.noun.capitalize()} should have at most {problem.expected} {unit}s"


SENTENCES = {
    "unknown": lambda problem: "Extra inputs are not permitted",
    "missing": lambda problem: "Field required",
    "type": _mistyped,
    "below": lambda problem: f"Input should be greater than or equal to {problem.expected}",
    "above": lambda problem: f"Input should be less than or equal to {problem.expected}",
    "choice": _not_a_choice,
    "tag": _bad_tag,
    "pattern": lambda problem: f"String should match pattern '^{problem.expected}$'",
    "too_short": _too_short,
    "too_long": _too_long,
}
