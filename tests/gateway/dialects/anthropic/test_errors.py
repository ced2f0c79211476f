from typing import Any

import orjson
import pytest

from gateway.dialects.pairs.chat_anthropic import ChatToAnthropic
from gateway.failure import Fault, UpstreamFailure


def failure(
    status: int, type: str, message: str = "Some words", headers: dict[bytes, bytes] | None = None, **details: Any
) -> UpstreamFailure:
    error = {"type": type, "message": message, "details": details or None}
    body = orjson.dumps({"type": "error", "error": error, "request_id": "req_1"})
    return ChatToAnthropic().failure(status, (headers or {}).get, body)


@pytest.mark.parametrize(
    ("status", "type", "fault"),
    [
        (400, "invalid_request_error", Fault.REQUEST),
        (401, "authentication_error", Fault.ACCOUNT),
        (402, "billing_error", Fault.ACCOUNT),
        (401, "", Fault.UNCLEAR),
        (403, "permission_error", Fault.UNCLEAR),
        (403, "forbidden", Fault.UNCLEAR),
        (403, "invalid_request_error", Fault.REQUEST),
        (404, "not_found_error", Fault.REQUEST),
        (404, "", Fault.UNCLEAR),
        (408, "timeout_error", Fault.TIMEOUT),
        (409, "conflict_error", Fault.UPSTREAM),
        (413, "request_too_large", Fault.REQUEST),
        (422, "invalid_request_error", Fault.REQUEST),
        (429, "rate_limit_error", Fault.RATE),
        (500, "api_error", Fault.UPSTREAM),
        (502, "api_error", Fault.UPSTREAM),
        (504, "timeout_error", Fault.TIMEOUT),
        (529, "overloaded_error", Fault.UPSTREAM),
        (302, "", Fault.UPSTREAM),
    ],
)
def test_the_status_tells_who_is_to_blame(status: int, type: str, fault: Fault) -> None:
    found = failure(status, type)

    assert (found.fault, found.status) == (fault, status)


@pytest.mark.parametrize(
    ("status", "type", "code", "fault"),
    [
        (429, "rate_limit_error", "enforced_spend_limit_reached", Fault.ACCOUNT),
        (429, "rate_limit_error", "contract_spend_limit_reached", Fault.ACCOUNT),
        (429, "rate_limit_error", "ramp_limit_exceeded", Fault.RATE),
        (402, "billing_error", "linked_organization_spend_limit_reached", Fault.ACCOUNT),
        (402, "billing_error", "linked_organization_billing_unavailable", Fault.ACCOUNT),
        (400, "invalid_request_error", "organization_on_hold", Fault.ACCOUNT),
        (400, "invalid_request_error", "cmek_key_disabled", Fault.ACCOUNT),
        (400, "invalid_request_error", "tool_name_conflict", Fault.REQUEST),
    ],
)
def test_the_error_code_tells_what_waiting_can_not_cure(status: int, type: str, code: str, fault: Fault) -> None:
    found = failure(status, type, error_code=code)

    assert (found.fault, found.code) == (fault, code)


@pytest.mark.parametrize(
    ("status", "type", "message", "fault"),
    [
        (403, "permission_error", "Your API key does not have permission to use the model.", Fault.ACCOUNT),
        (403, "permission_error", "The beta `x` is not enabled.", Fault.UNCLEAR),
        (404, "not_found_error", "model: claude-99", Fault.ACCOUNT),
        (404, "not_found_error", "Container c_1 was not found.", Fault.REQUEST),
        (404, "not_found_error", "Not found", Fault.UNCLEAR),
        (201, "not_found_error", "Container c_1 was not found.", Fault.UPSTREAM),
        (301, "not_found_error", "Container c_1 was not found.", Fault.UPSTREAM),
        (429, "not_found_error", "Container c_1 was not found.", Fault.RATE),
        (500, "not_found_error", "model: claude-99", Fault.UPSTREAM),
    ],
)
def test_only_words_about_our_key_or_our_model_blame_our_account(
    status: int, type: str, message: str, fault: Fault
) -> None:
    """S14, C1"""
    assert failure(status, type, message).fault is fault


def test_a_request_that_quotes_the_words_for_no_credit_is_a_bad_request() -> None:
    """C1: Anthropic repeats the names of unknown fields."""
    message = "messages.0.your credit balance is too low: Extra inputs are not permitted"

    assert failure(400, "invalid_request_error", message).fault is Fault.REQUEST


def test_no_credit_is_our_account_although_it_comes_as_a_bad_request() -> None:
    found = failure(400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API.")

    assert found.fault is Fault.ACCOUNT
    assert "credit" not in found.message


def test_a_prompt_that_is_too_long_gets_the_code_that_openais_clients_know() -> None:
    found = failure(400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum")

    assert (found.fault, found.code) == (Fault.REQUEST, "context_length_exceeded")
    assert found.message == "prompt is too long: 210000 tokens > 200000 maximum"


def test_the_wait_is_handed_on() -> None:
    assert failure(429, "rate_limit_error", headers={b"retry-after": b"7"}).retry_after == 7


@pytest.mark.parametrize("code", [["x"], 7.5, "a b", "x" * 65])
def test_a_code_that_is_none_is_dropped(code: object) -> None:
    assert failure(400, "invalid_request_error", error_code=code).code is None
