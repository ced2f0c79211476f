"""What the script `admit` refuses, as the client hears it."""

import re

import pytest

from core.redis.lua_scripts import load_script
from gateway.admission.refusals import REFUSALS, refusal
from gateway.errors import GatewayError


def refused(reason: str, scope: str = "key", limit: int = 60, wait: int = 1500) -> GatewayError:
    return refusal([reason.encode(), scope.encode(), limit, wait], "gpt-x")


@pytest.mark.parametrize(
    ("reason", "status", "code", "retry_after", "should_retry"),
    [
        ("suspended", 403, "account_suspended", None, None),
        ("revoked", 401, "invalid_api_key", None, None),
        ("expired", 401, "invalid_api_key", None, None),
        ("model", 403, "model_not_allowed", None, None),
        ("requests", 429, "rate_limit_exceeded", 1.5, None),
        ("tokens", 429, "rate_limit_exceeded", 1.5, None),
        ("concurrency", 429, "rate_limit_exceeded", 1.5, None),
        ("oversized", 429, "rate_limit_exceeded", None, False),
        ("cap", 402, "spend_cap_exceeded", None, False),
        ("cold", 503, "service_unavailable", 1.0, None),
    ],
)
def test_each_reason_is_an_error_with_its_retry_hint(
    reason: str, status: int, code: str, retry_after: float | None, should_retry: bool | None
) -> None:
    error = refused(reason)

    assert (error.status, error.code, error.retry_after, error.should_retry) == (
        status,
        code,
        retry_after,
        should_retry,
    )


@pytest.mark.parametrize("reason", ["requests", "tokens", "concurrency"])
def test_a_limit_of_0_names_no_time_to_wait(reason: str) -> None:
    """E23"""
    error = refused(reason, limit=0)

    assert (error.retry_after, error.should_retry) == (None, False)
    assert error.message.startswith("Limit of this key: 0 ")


@pytest.mark.parametrize("scope", ["account", "key"])
@pytest.mark.parametrize(
    ("reason", "limit", "message"),
    [
        ("requests", 6000, "Limit of this {scope}: 6,000 requests per minute."),
        ("tokens", 150_000, "Limit of this {scope}: 150,000 tokens per minute."),
        ("concurrency", 1, "Limit of this {scope}: 1 requests at once."),
        ("cap", 12_500_000_000, "The spending cap of this {scope}, $12.50 per billing period"),
        ("oversized", 100, "This request alone may use more than the 100 tokens per minute of this {scope}"),
        ("model", 0, "This API key may not use the model 'gpt-x'"),
    ],
)
def test_the_message_names_whose_limit_it_is_and_the_number(reason: str, limit: int, message: str, scope: str) -> None:
    assert refused(reason, scope, limit).message.startswith(message.format(scope=scope))


def test_every_reason_of_the_script_is_known() -> None:
    script = load_script("admit").text
    returned = set(re.findall(r"return \{'(\w+)'", script)) - {"admitted"}

    assert {"suspended", "revoked"} | returned == {reason.decode() for reason in REFUSALS}
