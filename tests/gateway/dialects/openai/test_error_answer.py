"""An error as bytes and headers: the official SDKs decide by these alone whether they try again."""

import json
from pathlib import Path

import pytest

from gateway import errors
from gateway.dialects.openai.error_answer import error_answer
from gateway.errors import GatewayError, InvalidKey, InvalidRequest, MethodNotAllowed, RateLimited, SpendingCapReached
from gateway.inbound.refusal import CODES

DOCUMENT = Path(__file__).parents[4] / "docs" / "api.md"


def answer(error: GatewayError) -> tuple[int, dict[str, str], dict[str, object]]:
    status, headers, body = error_answer(error)
    return status, {name.decode(): value.decode() for name, value in headers}, json.loads(body)


def test_the_body_is_openais_error_object() -> None:
    status, headers, body = answer(InvalidRequest("`n` must be one.", param="n"))

    assert (status, headers) == (400, {"content-type": "application/json"})
    assert body == {
        "error": {"message": "`n` must be one.", "type": "invalid_request_error", "param": "n", "code": None}
    }


@pytest.mark.parametrize(
    ("retry_after", "milliseconds", "seconds"),
    [
        (0.0, "1", "1"),
        (0.0004, "1", "1"),
        (0.25, "250", "1"),
        (1.0, "1000", "1"),
        (1.001, "1001", "2"),
        (59.5, "59500", "60"),
        (60.0, "60000", "60"),
        (86_400.0, "60000", "60"),
    ],
)
def test_a_pause_is_given_in_both_units_and_never_so_long_that_an_sdk_gives_up(
    retry_after: float, milliseconds: str, seconds: str
) -> None:
    _, headers, _ = answer(RateLimited("Too many.", retry_after=retry_after))

    assert (headers["retry-after-ms"], headers["retry-after"]) == (milliseconds, seconds)
    assert "x-should-retry" not in headers


def test_what_only_money_can_cure_is_not_to_be_repeated() -> None:
    _, headers, _ = answer(SpendingCapReached("Enough.", retry_after=3600))

    assert headers["x-should-retry"] == "false"
    assert not {"retry-after", "retry-after-ms"} & set(headers)


def test_a_refused_key_and_a_refused_method_say_what_would_be_right() -> None:
    assert answer(InvalidKey("No."))[1]["www-authenticate"] == "Bearer"
    assert answer(MethodNotAllowed("No.", allow="GET, POST"))[1]["allow"] == "GET, POST"


def test_an_error_says_nothing_that_breaks_its_json_or_its_headers() -> None:
    _, headers, body = answer(InvalidRequest('a "quote"\r\nx-evil: 1\0 \u2028 é', param="\r\n"))

    assert set(headers) == {"content-type"}
    assert body["error"]["message"].startswith('a "quote"')  # type: ignore[index]


CLASSES = [one for name in errors.__all__ if issubclass(one := getattr(errors, name), GatewayError)]


@pytest.mark.parametrize("name", [one.__name__ for one in CLASSES])
def test_the_docstring_lists_every_error_with_its_status_and_code(name: str) -> None:
    kind = getattr(errors, name)
    line = next(line for line in (errors.__doc__ or "").splitlines() if f" {name} " in f"{line} ")

    if name not in ("GatewayError", "UpstreamRefused"):
        assert f" {kind.status} " in line
        assert (kind.code or kind.type) in line


@pytest.mark.parametrize(
    ("status", "code"),
    sorted({(one.status, one.code) for one in CLASSES if one.code} | set(CODES.items()), key=str),
)
def test_every_code_is_in_the_documents_beside_its_status(status: int, code: str) -> None:
    """C18: `invalid_http` was not."""
    rows = [line for line in DOCUMENT.read_text().splitlines() if line.startswith(f"| {status} |")]

    assert any(f"`{code}`" in row for row in rows)
