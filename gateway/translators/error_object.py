"""The error object of an upstream's answer, whatever its dialect, and what every failure made of it has in common."""

import re
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.exact_json import load
from gateway.upstream_failure import Fault, UpstreamFailure

__all__ = ["ErrorObject", "failure_of", "identifier", "load_object"]

UNAUTHORIZED = 401
"""Only about our key: its words stay with us."""
MAX_MESSAGE = 1_000
MAX_NAME = 64
NAME = re.compile(r"[A-Za-z0-9_.:-]+")
PLACE = re.compile(r"[A-Za-z0-9_.:\[\]-]+")
"""Where in a request something is wrong: `messages[1].content`."""
SECRET = re.compile(r"\b(?:sk|pk|gsk|xai|key|AIza)[-_][A-Za-z0-9*_-]{4,}|Bearer +\S+", re.IGNORECASE)

USUAL_STATUS = {
    Fault.REQUEST: 400,
    Fault.ACCOUNT: 403,
    Fault.UNCLEAR: 403,
    Fault.RATE: 429,
    Fault.UPSTREAM: 502,
    Fault.TIMEOUT: 504,
}
USUAL_TYPE = {
    Fault.REQUEST: "invalid_request_error",
    Fault.ACCOUNT: "api_error",
    Fault.UNCLEAR: "api_error",
    Fault.RATE: "rate_limit_error",
    Fault.UPSTREAM: "api_error",
    Fault.TIMEOUT: "timeout_error",
}


@dataclass(frozen=True, slots=True)
class ErrorObject:
    """Strings are bounded and free of keys; what has the wrong type is None, or empty where a dict is expected."""

    message: str | None
    type: str | None
    code: str | None
    param: str | None
    metadata: dict[str, Any]
    """OpenRouter's `metadata`, Anthropic's `details`."""

    @classmethod
    def parse(cls, document: object) -> "ErrorObject":
        """`document` is a body or event: {"error": {...}}, {"error": "..."}, {"message": ...} or {"detail": ...}."""
        outer = document if isinstance(document, dict) else {}
        error = outer.get("error") or outer
        if isinstance(error, str):
            error = {"message": error}
        if not isinstance(error, dict):
            error = {}
        message = error.get("message") or error.get("detail")
        metadata = error.get("metadata") or error.get("details")
        return cls(
            message=_text(message),
            type=identifier(error.get("type")),
            code=identifier(error.get("code")),
            param=identifier(error.get("param"), PLACE),
            metadata=metadata if isinstance(metadata, dict) else {},
        )

    @property
    def numeric_code(self) -> int:
        """OpenRouter puts the HTTP status into `code`; 0 when it is none."""
        return int(self.code) if self.code and re.fullmatch(r"[45]\d\d", self.code) else 0


def load_object(body: bytes) -> dict[str, Any] | None:
    """None for what is not a JSON object."""
    try:
        document = load(body)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None


def failure_of(fault: Fault, status: int, error: ErrorObject, retry_after: float | None = None) -> UpstreamFailure:
    """`status` 0 stands for an error inside a stream: it gets the status that its kind of fault usually has."""
    return UpstreamFailure(
        fault=fault,
        status=status or USUAL_STATUS[fault],
        message=_message(fault, status, error),
        type=error.type or USUAL_TYPE[fault],
        code=error.code,
        param=error.param,
        retry_after=retry_after,
    )


def _message(fault: Fault, status: int, error: ErrorObject) -> str:
    if fault is Fault.ACCOUNT:  # What a provider says about our account is not the client's business.
        return (
            f"The provider refused the gateway's account ({error.code or error.type or status or 'no reason given'})."
        )
    if fault is Fault.UNCLEAR:
        reason = f": {error.message}" if error.message and status != UNAUTHORIZED else "."
        return f"The provider refused this request (HTTP {status or USUAL_STATUS[fault]}){reason}"
    return error.message or f"The provider answered with an error (HTTP {status or USUAL_STATUS[fault]})."


def _text(value: object) -> str | None:
    if not isinstance(value, str) or not value:
        return None
    return SECRET.sub("[key]", value)[:MAX_MESSAGE]


def identifier(value: object, pattern: re.Pattern[str] = NAME) -> str | None:
    """Types, codes and parameters go into logs and answers: None for what is not a short identifier."""
    text = str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    return text if len(text) <= MAX_NAME and pattern.fullmatch(text) else None
