"""The error object of an upstream's answer, whatever its dialect, and what every failure made of it has in common."""

import re
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.dialects.error_text import message_of, other_members, place_of, shown
from gateway.dialects.exact_json import load
from gateway.failure import Fault, UpstreamFailure

__all__ = ["ErrorObject", "failure_of", "identifier", "load_object", "readable"]

UNAUTHORIZED = 401
"""Only about our key: its words stay with us."""
MAX_NAME = 64
MAX_PLACE = 200
NAME = re.compile(r"[A-Za-z0-9_.:-]+")
PLACE = re.compile(r"[A-Za-z0-9_.:\[\]'\"$/-]+")
"""Where in a request something is wrong: `messages[1].content`."""

ABOUT_THE_REQUEST = (Fault.REQUEST, Fault.UNCLEAR)
"""Faults whose plain words are for the client."""

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
    others: dict[str, Any] = field(default_factory=dict)
    """What else the upstream's error object held."""
    plain: str | None = None
    """The body, where it is no JSON and no page."""

    @classmethod
    def read(cls, body: bytes) -> "ErrorObject":
        """Of an answer that is not 200: JSON of any shape, or text."""
        try:
            document = load(body)
        except orjson.JSONDecodeError:
            return cls(None, None, None, None, {}, plain=_plain(body))
        if isinstance(document, list):  # Gemini.
            document = next((item for item in document if isinstance(item, dict)), None)
        return cls.parse({"message": document} if isinstance(document, str) else document)

    @classmethod
    def parse(cls, document: object) -> "ErrorObject":
        """`document` is a body or event: {"error": {...}}, {"error": "..."}, {"message": ...}, {"detail": ...}, …"""
        outer = document if isinstance(document, dict) else {}
        error = outer.get("error") or outer
        if not isinstance(error, dict):
            error = {"message": error}
        metadata = error.get("metadata") or error.get("details")
        detail = error.get("detail")
        first = detail[0] if isinstance(detail, list) and detail else None
        place = error.get("param") or place_of(first.get("loc") if isinstance(first, dict) else None)
        return cls(
            message=message_of(error),
            type=identifier(error.get("type")),
            code=identifier(error.get("code")),
            param=identifier(place, PLACE, MAX_PLACE),
            metadata=metadata if isinstance(metadata, dict) else {},
            others={} if error is outer else other_members(error),
        )

    @property
    def numeric_code(self) -> int:
        """OpenRouter puts the HTTP status into `code`; 0 when it is none."""
        return int(self.code) if self.code and re.fullmatch(r"[45]\d\d", self.code) else 0


def load_object(body: bytes) -> dict[str, Any] | None:
    """None for what is not a JSON object."""
    return readable(body)[1]


def readable(body: bytes) -> tuple[bytes, dict[str, Any] | None]:
    """A JSON object, and its bytes as a client can read them: what is no UTF-8 becomes U+FFFD. A complete answer is not
    worth less for a character that was cut."""
    try:
        document = load(body)
    except orjson.JSONDecodeError:
        body = body.decode(errors="replace").encode()
        try:
            document = load(body)
        except orjson.JSONDecodeError:
            return body, None
    return body, document if isinstance(document, dict) else None


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
        others=error.others if fault is Fault.REQUEST else {},
    )


def _message(fault: Fault, status: int, error: ErrorObject) -> str:
    if fault is Fault.ACCOUNT:  # What a provider says about our account is not the client's business.
        return (
            f"The provider refused the gateway's account ({error.code or error.type or status or 'no reason given'})."
        )
    message = error.message or (error.plain if fault in ABOUT_THE_REQUEST else None)
    if fault is Fault.UNCLEAR:
        reason = f": {message}" if message and status != UNAUTHORIZED else "."
        return f"The provider refused this request (HTTP {status or USUAL_STATUS[fault]}){reason}"
    return message or f"The provider answered with an error (HTTP {status or USUAL_STATUS[fault]})."


def _plain(body: bytes) -> str | None:
    """The words of a server that answers without JSON. A page of HTML is a proxy's, and says nothing to a program."""
    text = body.decode(errors="replace").strip()
    return shown(text) if text and not text.startswith("<") and text.isprintable() else None


def identifier(value: object, pattern: re.Pattern[str] = NAME, longest: int = MAX_NAME) -> str | None:
    """Types, codes and parameters go into logs and answers: None for what is not a short identifier."""
    text = str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    return text if len(text) <= longest and pattern.fullmatch(text) else None
