"""Every error as the official OpenAI SDK sees it: its class, what it says, and whether the SDK tries again."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import openai
import pytest
from openai import OpenAI

from core.accounts.api_key import ApiKey
from portal_api.api_keys import KeyLimits
from tests.harness.installation import Customer, Installation
from tests.harness.models_text import FreshModels
from tests.harness.running_gateway import RunningGateway
from tests.harness.waiting import eventually

UNKNOWN_KEY = ApiKey.generate().text


@dataclass(frozen=True)
class Shop:
    """What a case needs to bring about its error."""

    gateway: RunningGateway
    installation: Installation
    models: FreshModels
    clients: ExitStack

    def client(self, secret: str | None = None, *, retries: int = 0, **customer: Any) -> OpenAI:
        secret = secret or self.installation.customer(**customer).key
        client = OpenAI(api_key=secret, base_url=self.gateway.openai_url, max_retries=retries, timeout=20)
        return self.clients.enter_context(client)


@pytest.fixture
def shop(gateway: RunningGateway, shared: Installation, fresh_models: FreshModels) -> Iterator[Shop]:
    with ExitStack() as clients:
        yield Shop(gateway, shared, fresh_models, clients)


def ask(client: OpenAI, text: str = "Hello", **more: Any) -> Any:
    messages: list[Any] = [{"role": "user", "content": text}]
    return client.chat.completions.create(**{"model": "gpt-4o-mini", "messages": messages, **more})


def ask_fresh(shop: Shop, kind: str, directive: str) -> Any:
    return ask(shop.client(), f"[[sim {directive}]]", model=shop.models.take(kind))


def revoked(shop: Shop) -> Any:
    customer = shop.installation.customer()
    shop.installation.with_services(lambda services: services.api_keys.revoke(customer.key_id))
    return ask(shop.client(customer.key))


def suspended(shop: Shop) -> Any:
    customer = shop.installation.customer()
    shop.installation.with_services(lambda services: services.accounts.change(customer.account_id, status="suspended"))
    return ask(shop.client(customer.key))


def behind_an_open_circuit(shop: Shop) -> Any:
    model = shop.models.take("openai")
    with pytest.raises(openai.InternalServerError):
        ask(shop.client(), "[[sim status=401]]", model=model)
    return ask(shop.client(), model=model)


def twice(shop: Shop, **customer: Any) -> Any:
    """The second of two requests in one minute, or the third where a minute ended between them."""
    made = shop.installation.customer(**customer)
    for _ in range(2):
        ask(shop.client(made.key), max_tokens=10)
    return ask(shop.client(made.key), max_tokens=10)


YESTERDAY = datetime.now(UTC) - timedelta(days=1)
BAD, AUTH, DENIED, MISSING = (
    openai.BadRequestError,
    openai.AuthenticationError,
    openai.PermissionDeniedError,
    openai.NotFoundError,
)
LIMITED, FAILED, OTHER = openai.RateLimitError, openai.InternalServerError, openai.APIStatusError
NO, YES, SILENT = "no", "yes", "silent"

Trigger = Callable[[Shop], Any]

ERRORS: list[tuple[str, Trigger, int, str, str | None, type[openai.APIStatusError], str]] = [
    ("messages missing", lambda s: ask(s.client(), messages=[]), 400, "invalid_request_error", None, BAD, SILENT),
    ("wrong type", lambda s: ask(s.client(), n="two"), 400, "invalid_request_error", None, BAD, SILENT),
    (
        "refused by the upstream",
        lambda s: ask_fresh(s, "openai", "status=400 code=unsupported_value message=no"),
        *(400, "invalid_request_error", "unsupported_value", BAD, SILENT),
    ),
    (
        "context too long",
        lambda s: ask_fresh(s, "anthropic", "status=400 message='prompt is too long: 210000 tokens > 200000 maximum'"),
        *(400, "invalid_request_error", "context_length_exceeded", BAD, SILENT),
    ),
    ("unknown key", lambda s: ask(s.client(UNKNOWN_KEY)), 401, "authentication_error", "invalid_api_key", AUTH, SILENT),
    ("malformed key", lambda s: ask(s.client("sk-x")), 401, "authentication_error", "invalid_api_key", AUTH, SILENT),
    ("revoked key", revoked, 401, "authentication_error", "invalid_api_key", AUTH, SILENT),
    (
        "expired key",
        lambda s: ask(s.client(key=KeyLimits(expires_at=YESTERDAY))),
        *(401, "authentication_error", "invalid_api_key", AUTH, SILENT),
    ),
    ("cap reached", lambda s: ask(s.client(cap=5)), 402, "insufficient_quota", "spend_cap_exceeded", OTHER, NO),
    (
        "model not allowed",
        lambda s: ask(s.client(key=KeyLimits(models=("gpt-5-mini",)))),
        *(403, "permission_error", "model_not_allowed", DENIED, SILENT),
    ),
    ("suspended account", suspended, 403, "permission_error", "account_suspended", DENIED, SILENT),
    (
        "unknown model",
        lambda s: ask(s.client(), model="gpt-none"),
        *(404, "invalid_request_error", "model_not_found", MISSING, SILENT),
    ),
    (
        "unknown model retrieved",
        lambda s: s.client().models.retrieve("gpt-none"),
        *(404, "invalid_request_error", "model_not_found", MISSING, SILENT),
    ),
    (
        "unknown route",
        lambda s: s.client().get("/nothing", cast_to=object),
        *(404, "invalid_request_error", "not_found", MISSING, SILENT),
    ),
    (
        "wrong method",
        lambda s: s.client().get("/chat/completions", cast_to=object),
        *(405, "invalid_request_error", "method_not_allowed", OTHER, SILENT),
    ),
    (
        "body too large",
        lambda s: ask(s.client(), "x" * 34_000_000),
        *(413, "invalid_request_error", "request_too_large", OTHER, SILENT),
    ),
    (
        "requests per minute",
        lambda s: twice(s, requests_per_minute=1),
        *(429, "rate_limit_error", "rate_limit_exceeded", LIMITED, YES),
    ),
    (
        "tokens per minute",
        lambda s: twice(s, tokens_per_minute=70),
        *(429, "rate_limit_error", "rate_limit_exceeded", LIMITED, YES),
    ),
    (
        "more tokens than a minute has",
        lambda s: ask(s.client(tokens_per_minute=30), max_tokens=101),
        *(429, "rate_limit_error", "rate_limit_exceeded", LIMITED, NO),
    ),
    (
        "upstream at its rate limit",
        lambda s: ask_fresh(s, "openai", "status=429 retry_after=30"),
        *(429, "rate_limit_error", "upstream_rate_limited", LIMITED, YES),
    ),
    (
        "upstream broken",
        lambda s: ask_fresh(s, "openai", "status=500"),
        *(502, "api_error", "upstream_error", FAILED, YES),
    ),
    (
        "upstream overloaded",
        lambda s: ask_fresh(s, "anthropic", "status=529"),
        *(503, "api_error", "upstream_overloaded", FAILED, YES),
    ),
    (
        "our key refused by the upstream",
        lambda s: ask_fresh(s, "openai", "status=401"),
        *(502, "api_error", "upstream_error", FAILED, YES),
    ),
    (
        "our credit used up at the upstream",
        lambda s: ask_fresh(s, "openai", "status=429 code=insufficient_quota"),
        *(502, "api_error", "upstream_error", FAILED, YES),
    ),
    ("no target", behind_an_open_circuit, 503, "api_error", "no_provider_available", FAILED, YES),
    (
        "upstream too slow",
        lambda s: ask_fresh(s, "hurried", "first_byte_ms=1500"),
        *(504, "timeout_error", "upstream_timeout", FAILED, SILENT),
    ),
]


@pytest.mark.parametrize(
    ("trigger", "status", "type_", "code", "exception", "retry"),
    [case[1:] for case in ERRORS],
    ids=[case[0] for case in ERRORS],
)
def test_an_error_is_the_sdks_own(
    shop: Shop,
    trigger: Trigger,
    status: int,
    type_: str,
    code: str | None,
    exception: type[openai.APIStatusError],
    retry: str,
) -> None:
    with pytest.raises(openai.APIStatusError) as raised:
        trigger(shop)

    error = raised.value
    assert type(error) is exception
    assert (error.status_code, error.type, error.code) == (status, type_, code)
    assert isinstance(error.body, dict)
    assert set(error.body) == {"message", "type", "param", "code"}
    assert error.body["message"]
    assert error.request_id == error.response.headers["x-request-id"]
    assert RETRY_HINTS[retry](error.response.headers)
    shop.installation.assert_nothing_held()


RETRY_HINTS: dict[str, Callable[[Any], bool]] = {
    NO: lambda headers: headers["x-should-retry"] == "false" and "retry-after" not in headers,
    YES: lambda headers: 0 < float(headers["retry-after-ms"]) / 1000 <= int(headers["retry-after"]) <= 60,
    SILENT: lambda headers: not {"x-should-retry", "retry-after", "retry-after-ms"} & set(headers),
}


def test_a_refused_key_is_told_how_to_authenticate(shop: Shop) -> None:
    with pytest.raises(openai.AuthenticationError) as raised:
        ask(shop.client(UNKNOWN_KEY))

    assert raised.value.response.headers["www-authenticate"] == "Bearer"


def test_a_wrong_method_is_told_the_right_one(shop: Shop) -> None:
    with pytest.raises(openai.APIStatusError) as raised:
        shop.client().get("/chat/completions", cast_to=object)

    assert raised.value.response.headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("customer", "request_", "message"),
    [
        ({"requests_per_minute": 0}, {}, "Limit of this account: 0 requests per minute."),
        ({"key": KeyLimits(requests_per_minute=0)}, {}, "Limit of this key: 0 requests per minute."),
        ({"concurrent_requests": 0}, {}, "Limit of this account: 0 requests at once."),
        ({"cap": 1_000}, {}, "The spending cap of this account, $0.000001 per billing period, leaves no room"),
        ({"key": KeyLimits(models=("gpt-5-mini",))}, {}, "This API key may not use the model 'gpt-4o-mini'"),
        ({"tokens_per_minute": 50}, {"max_tokens": 51}, "This request alone may use more than the 50 tokens"),
        ({}, {"model": "gpt-none"}, "The model 'gpt-none' does not exist"),
        ({}, {"n": 129}, "`n` must be a whole number from 1 to 128."),
    ],
)
def test_the_message_names_the_limit_and_the_number(
    shop: Shop, customer: dict[str, Any], request_: dict[str, Any], message: str
) -> None:
    with pytest.raises(openai.APIStatusError) as raised:
        ask(shop.client(**customer), **request_)

    assert isinstance(raised.value.body, dict)
    assert raised.value.body["message"].startswith(message)


def test_an_upstreams_own_account_is_not_shown_to_a_client(shop: Shop) -> None:
    with pytest.raises(openai.InternalServerError) as raised:
        ask_fresh(shop, "openai", "status=401 message='the key sk-sim-openai is wrong'")

    assert "sk-sim" not in raised.value.response.text
    assert "sk-sim" not in shop.gateway.log.read_text()


def requests_of(shop: Shop, customer: Customer) -> int:
    return len(shop.gateway.log_lines(logger="gateway.request", account=customer.account_id))


def test_the_sdk_comes_back_when_it_is_told_to(shop: Shop) -> None:
    customer = shop.installation.customer()
    began = time.monotonic()

    answer = ask(
        shop.client(customer.key, retries=1),
        '[[sim text="At last" status=429 retry_after_ms=700 times=2 id=comes-back]]',
        model=shop.models.take("openai"),
    )

    assert answer.choices[0].message.content == "At last"
    assert time.monotonic() - began >= 1.4  # Once by the gateway, once by the SDK.
    eventually(lambda: requests_of(shop, customer) == 2, "second request")
    assert len(shop.installation.wait_events(customer, 1)) == 1


@pytest.mark.parametrize(
    ("limits", "request_"),
    [({"cap": 5}, {}), ({"tokens_per_minute": 50}, {"max_tokens": 60}), ({"key": KeyLimits(models=("x",))}, {})],
    ids=["cap", "oversized", "model"],
)
def test_the_sdk_does_not_repeat_what_waiting_cannot_cure(
    shop: Shop, limits: dict[str, Any], request_: dict[str, Any]
) -> None:
    customer = shop.installation.customer(**limits)

    with pytest.raises(openai.APIStatusError):
        ask(shop.client(customer.key, retries=2), **request_)

    eventually(lambda: requests_of(shop, customer) >= 1, "log line")
    assert requests_of(shop, customer) == 1


@pytest.mark.parametrize(("kind", "status"), [("openai", 502), ("anthropic", 503)])  # `api_error`, `overloaded_error`.
def test_a_stream_that_fails_before_its_first_content_is_an_error_with_a_status(
    shop: Shop, kind: str, status: int
) -> None:
    with pytest.raises(openai.InternalServerError) as raised:
        ask(shop.client(), "[[sim error_event=start]]", model=shop.models.take(kind), stream=True)

    assert raised.value.status_code == status
