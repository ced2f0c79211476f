from typing import Any

import orjson
import pytest

from gateway.dialects.openai.errors import in_band_failure, response_failure
from gateway.failure import Fault, UpstreamFailure


def failure(status: int, headers: dict[bytes, bytes] | None = None, **error: Any) -> UpstreamFailure:
    return response_failure(status, (headers or {}).get, orjson.dumps({"error": error}), None)


@pytest.mark.parametrize(
    ("status", "fault"),
    [
        (400, Fault.REQUEST),
        (401, Fault.UNCLEAR),
        (402, Fault.UNCLEAR),
        (403, Fault.UNCLEAR),
        (404, Fault.UNCLEAR),
        (407, Fault.UPSTREAM),
        (408, Fault.TIMEOUT),
        (409, Fault.UPSTREAM),
        (413, Fault.REQUEST),
        (422, Fault.REQUEST),
        (429, Fault.RATE),
        (500, Fault.UPSTREAM),
        (502, Fault.UPSTREAM),
        (503, Fault.UPSTREAM),
        (504, Fault.TIMEOUT),
        (524, Fault.TIMEOUT),
        (529, Fault.UPSTREAM),
        (301, Fault.UPSTREAM),
    ],
)
def test_the_status_tells_who_is_to_blame_where_nothing_else_does(status: int, fault: Fault) -> None:
    found = response_failure(status, lambda name: None, b"<html>nginx</html>", None)

    assert (found.fault, found.status) == (fault, status)
    assert "nginx" not in found.message


@pytest.mark.parametrize(
    ("status", "error", "fault"),
    [
        (429, {"type": "insufficient_quota", "code": "credit_balance_exhausted"}, Fault.ACCOUNT),
        (429, {"type": "insufficient_quota", "code": None}, Fault.ACCOUNT),
        (429, {"type": "x", "code": "organization_usage_limit_exceeded"}, Fault.ACCOUNT),
        (429, {"type": "tokens", "code": "rate_limit_exceeded"}, Fault.RATE),
        (429, {"code": "slow_down"}, Fault.RATE),
        (413, {"type": "tokens", "code": "rate_limit_exceeded"}, Fault.RATE),
        (400, {"code": "billing_hard_limit_reached"}, Fault.ACCOUNT),
        (400, {"code": "context_length_exceeded"}, Fault.REQUEST),
        (404, {"code": "DeploymentNotFound"}, Fault.ACCOUNT),
        (401, {"type": "invalid_request_error", "code": "invalid_api_key"}, Fault.ACCOUNT),
        (401, {"type": "invalid_request_error"}, Fault.UNCLEAR),
        (403, {"type": "request_forbidden"}, Fault.UNCLEAR),
        (403, {"type": "invalid_request_error"}, Fault.REQUEST),
        (403, {"type": "invalid_request_error", "param": "logprobs"}, Fault.REQUEST),
        (403, {"code": "unsupported_country_region_territory"}, Fault.ACCOUNT),
        (404, {"type": "invalid_request_error", "code": "model_not_found"}, Fault.ACCOUNT),
        (404, {"type": "invalid_request_error", "code": "model_not_found", "param": "model"}, Fault.ACCOUNT),
        (404, {"code": "model_not_found", "param": "tools[0].model"}, Fault.REQUEST),
        (404, {"type": "invalid_request_error", "param": "file_id"}, Fault.REQUEST),
        (401, {"code": "x", "param": "tools[0].authorization"}, Fault.REQUEST),
        (403, {"type": "permission_error"}, Fault.UNCLEAR),
        (400, {"type": "permission_error"}, Fault.REQUEST),
        (500, {"type": "permission_error"}, Fault.UPSTREAM),
        (503, {"code": "server_is_overloaded"}, Fault.UPSTREAM),
        (403, {"code": 403, "metadata": {"reasons": ["violence"]}}, Fault.REQUEST),
        (402, {"code": 402}, Fault.UNCLEAR),
        (402, {"code": "insufficient_quota"}, Fault.ACCOUNT),
        (402, {"type": "insufficient_quota"}, Fault.ACCOUNT),
        (402, {"code": 402, "metadata": {"limit_source": "openrouter_credits"}}, Fault.ACCOUNT),
        (402, {"code": 402, "metadata": {"limit_source": "openrouter_key_limit"}}, Fault.ACCOUNT),
        (402, {"code": 402, "metadata": {"limit_source": "openrouter_in_flight_budget"}}, Fault.RATE),
    ],
)
def test_the_code_tells_what_the_status_does_not(status: int, error: dict[str, Any], fault: Fault) -> None:
    assert failure(status, message="words", **error).fault is fault


@pytest.mark.parametrize(
    ("source", "fault"), [("openrouter_credits", Fault.ACCOUNT), (None, Fault.RATE), (["x"], Fault.RATE)]
)
def test_a_402_with_a_wait_is_cured_by_waiting_unless_money_is_gone(source: object, fault: Fault) -> None:
    headers = {b"retry-after": b"2"}

    assert failure(402, headers, metadata={"limit_source": source}).fault is fault


def test_a_refused_request_keeps_the_upstreams_words_type_code_and_parameter() -> None:
    found = failure(400, message="Bad temperature", type="invalid_request_error", code="bad", param="temperature")

    assert found == UpstreamFailure(
        Fault.REQUEST, 400, "Bad temperature", "invalid_request_error", "bad", "temperature", None
    )


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "The provider refused this request (HTTP 401)."),
        (403, "The provider refused this request (HTTP 403): No such thing for [key]"),
    ],
)
def test_an_unclear_refusal_gives_its_reason_but_for_what_can_only_be_our_key(status: int, message: str) -> None:
    """S14, C1"""
    assert failure(status, message="No such thing for sk-abcdefgh").message == message


def test_what_a_provider_says_about_our_account_stays_with_us() -> None:
    found = failure(401, message="Incorrect API key provided: sk-abc***xyz", code="invalid_api_key")

    assert found.message == "The provider refused the gateway's account (invalid_api_key)."


@pytest.mark.parametrize(
    ("error", "fault", "status"),
    [
        ({"code": 502, "message": "x"}, Fault.UPSTREAM, 502),
        ({"code": 429}, Fault.RATE, 429),
        ({"code": 408}, Fault.TIMEOUT, 408),
        ({"type": "invalid_request_error"}, Fault.REQUEST, 400),
        ({"code": "context_length_exceeded"}, Fault.REQUEST, 400),
        ({"type": "insufficient_quota"}, Fault.ACCOUNT, 403),
        ({"type": "permission_error"}, Fault.UNCLEAR, 403),
        ({"type": "timeout_error"}, Fault.TIMEOUT, 504),
        ({"type": "server_error"}, Fault.UPSTREAM, 502),
        ("text", Fault.UPSTREAM, 502),
        (True, Fault.UPSTREAM, 502),
        ({}, Fault.UPSTREAM, 502),
    ],
)
def test_f71_an_error_under_200_gets_the_status_that_it_should_have_had(
    error: object, fault: Fault, status: int
) -> None:
    found = in_band_failure({"error": error})

    assert (found.fault, found.status) == (fault, status)
