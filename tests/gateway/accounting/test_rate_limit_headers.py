"""What is left of a limit, as OpenAI and as the IETF draft say it."""

import pytest

from gateway.accounting.rate_limit_headers import Limits, limit_lines


def headers(reset_ms: int, requests: int, requests_left: int, tokens: int, tokens_left: int) -> dict[str, str]:
    limits = Limits(reset_ms, requests, requests_left, tokens, tokens_left)
    lines = limit_lines(limits).decode().split("\r\n")
    assert lines.pop() == ""
    return dict(line.split(": ", 1) for line in lines)


def test_both_limits_are_told_in_both_dialects() -> None:
    assert headers(1500, 60, 59, 150_000, 149_000) == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1.5s",
        "x-ratelimit-limit-tokens": "150000",
        "x-ratelimit-remaining-tokens": "149000",
        "x-ratelimit-reset-tokens": "1.5s",
        "ratelimit-policy": '"rpm";q=60;w=60, "tpm";q=150000;qu="tokens";w=60',
        "ratelimit": '"rpm";r=59;t=2, "tpm";r=149000;t=2',
    }


def test_without_a_token_limit_only_requests_are_told() -> None:
    found = headers(30_000, 60, 0, -1, -1)

    assert found["ratelimit"] == '"rpm";r=0;t=30'
    assert found["ratelimit-policy"] == '"rpm";q=60;w=60'
    assert not [name for name in found if "tokens" in name]


def test_without_a_request_limit_only_tokens_are_told() -> None:
    found = headers(30_000, -1, -1, 1000, 0)

    assert found["ratelimit"] == '"tpm";r=0;t=30'
    assert not [name for name in found if "requests" in name]


def test_nothing_is_said_of_limits_that_are_not_set_or_not_known() -> None:
    assert limit_lines(None) == b""
    assert headers(1000, -1, -1, -1, -1) == {}


@pytest.mark.parametrize(
    ("reset_ms", "text", "seconds"),
    [
        (0, "0ms", 0),
        (1, "1ms", 1),
        (999, "999ms", 1),
        (1000, "1s", 1),
        (1001, "1.001s", 2),
        (17_500, "17.5s", 18),
        (20_000, "20s", 20),
        (60_000, "60s", 60),
    ],
)
def test_durations_are_written_as_go_does_and_as_whole_seconds(reset_ms: int, text: str, seconds: int) -> None:
    found = headers(reset_ms, 1, 1, -1, -1)

    assert found["x-ratelimit-reset-requests"] == text
    assert found["ratelimit"] == f'"rpm";r=1;t={seconds}'
