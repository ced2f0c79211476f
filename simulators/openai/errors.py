"""
How OpenAI words a refusal: from a `Problem` to its message and code, from a `Refused` to the error object.
"""

from typing import Any

import orjson

from simulators.faults.refusals import Refused
from simulators.schemas.validation import Path, Problem

TYPE_BY_STATUS = {401: "invalid_request_error", 403: "request_forbidden", 408: "timeout", 409: "conflict_error"}
USUAL = {
    400: ("invalid_request", "The request could not be processed."),
    401: ("invalid_api_key", "Incorrect API key provided. You can find your API key at https://platform.openai.com."),
    403: ("unsupported_country_region_territory", "Country, region, or territory not supported"),
    404: ("model_not_found", "The model does not exist or you do not have access to it."),
    408: ("timeout", "Request timed out."),
    409: ("conflict", "The resource was updated by another process."),
    429: ("rate_limit_exceeded", "Rate limit reached for requests per min (RPM): Limit 500, Used 500, Requested 1."),
    500: (None, "The server had an error while processing your request. Sorry about that!"),
    503: ("server_is_overloaded", "The engine is currently overloaded, please try again later"),
}
OUT_OF_MONEY = {
    "insufficient_quota": "You exceeded your current quota, please check your plan and billing details.",
    "credit_balance_exhausted": "Your credit balance is exhausted.",
    "organization_spend_limit_exceeded": "Your organization has reached its spend limit.",
    "project_spend_limit_exceeded": "Your project has reached its spend limit.",
    "organization_usage_limit_exceeded": "Your organization has reached its usage limit.",
}


def error_body(refused: Refused) -> bytes:
    """The error object, `{"error": {"message", "type", "param", "code"}}`."""
    usual_code, usual_message = USUAL.get(refused.status, (None, "An error occurred."))
    code = refused.code or (None if refused.message else usual_code)
    message = refused.message or OUT_OF_MONEY.get(code or "", usual_message)
    return orjson.dumps(
        {"error": {"message": message, "type": _type(refused, code), "param": refused.param, "code": code}}
    )


def error_event(refused: Refused) -> bytes:
    """The frame that reports an error inside a stream that began with status 200."""
    return b"data: " + error_body(refused) + b"\n\n"


def _type(refused: Refused, code: str | None) -> str:
    if refused.type:
        return refused.type
    if code in OUT_OF_MONEY:
        return "insufficient_quota"
    if refused.status == 429:
        return "requests"
    return TYPE_BY_STATUS.get(refused.status, "server_error" if refused.status >= 500 else "invalid_request_error")


def refusal(problem: Problem) -> Refused:
    """The 400 for a body that breaks the schema."""
    param = path_text(problem.path)
    message, code = WORDING[problem.kind](problem, param)
    return Refused(400, message, code=code, param=param or None)


def path_text(path: Path) -> str:
    """`messages[0].content`"""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _unknown(problem: Problem, param: str) -> tuple[str, str]:
    if len(problem.path) == 1:
        return f"Unrecognized request argument supplied: {param}", "unknown_parameter"
    return f"Unknown parameter: '{param}'.", "unknown_parameter"


def _missing(problem: Problem, param: str) -> tuple[str, str]:
    return f"Missing required parameter: '{param}'.", "missing_required_parameter"


def _mistyped(problem: Problem, param: str) -> tuple[str, str]:
    wanted, got = (_with_article(noun) for noun in (problem.expected, problem.got))
    return f"Invalid type for '{param}': expected {wanted}, but got {got} instead.", "invalid_type"


def _below(problem: Problem, param: str) -> tuple[str, str]:
    limit = f"Expected a value >= {problem.expected}, but got {problem.got} instead."
    return f"Invalid '{param}': {problem.noun} below minimum value. {limit}", f"{problem.noun}_below_min_value"


def _above(problem: Problem, param: str) -> tuple[str, str]:
    limit = f"Expected a value <= {problem.expected}, but got {problem.got} instead."
    return f"Invalid '{param}': {problem.noun} above maximum value. {limit}", f"{problem.noun}_above_max_value"


def _not_a_choice(problem: Problem, param: str) -> tuple[str, str]:
    names = [f"'{choice}'" for choice in problem.expected]
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])}, and {names[-1]}"
    return f"Invalid value: '{problem.got}'. Supported values are: {listed}.", "invalid_value"


def _mismatched(problem: Problem, param: str) -> tuple[str, str]:
    wanted = f"Expected a string that matches the pattern '{problem.expected}'."
    return f"Invalid '{param}': string does not match pattern. {wanted}", "invalid_value"


def _too_short(problem: Problem, param: str) -> tuple[str, str]:
    if problem.got == 0:
        return (
            f"Invalid '{param}': empty {problem.noun}. Expected at least {problem.expected}.",
            f"empty_{problem.noun}",
        )
    wanted = f"Expected minimum length {problem.expected}, but got length {problem.got} instead."
    return f"Invalid '{param}': {problem.noun} too short. {wanted}", f"{problem.noun}_below_min_length"


def _too_long(problem: Problem, param: str) -> tuple[str, str]:
    wanted = f"with maximum length {problem.expected}, but got {_with_article(problem.noun)} with length {problem.got}"
    message = f"Invalid '{param}': {problem.noun} too long. Expected {_with_article(problem.noun)} {wanted} instead."
    return message, f"{problem.noun}_above_max_length"


def _with_article(noun: Any) -> str:
    return f"an {noun}" if noun[0] in "aeio" else noun if noun == "null" else f"a {noun}"


WORDING = {
    "unknown": _unknown,
    "missing": _missing,
    "type": _mistyped,
    "below": _below,
    "above": _above,
    "choice": _not_a_choice,
    "tag": _not_a_choice,
    "pattern": _mismatched,
    "too_short": _too_short,
    "too_long": _too_long,
}
