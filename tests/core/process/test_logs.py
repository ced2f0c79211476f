import base64
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.accounts.api_key import ApiKey
from core.process.logs import HIDDEN, JsonFormatter, configure_logs, redact

CANARY = "Canary0123456789abcdefABCDEF"
JWT = ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (b'{"alg":1}', b'{"sub":2}', b"sig" * 9))
PEM = f"-----BEGIN RSA PRIVATE KEY-----\n{CANARY}\n{CANARY}\n-----END RSA PRIVATE KEY-----"
VALUES = [
    pytest.param(ApiKey.generate().text, id="a key of ours"),
    pytest.param(ApiKey.generate("pk_test_").text, id="a test key of ours"),
    f"sk_live_{CANARY}",
    f"sk_test_{CANARY}",
    f"rk_live_{CANARY}",
    f"rk_test_{CANARY}",
    f"whsec_{CANARY}",
    f"sk-ant-api03-{CANARY}",
    f"sk-proj-{CANARY}",
    f"sk-{CANARY}",
    "KEY0123456789ABCDEF01234567",
    f"wf_live_{CANARY}",
    f"ApiKey_{CANARY}",
    JWT,
    PEM,
]
NAMES = [
    "password", "pipl_password", "smtp_password", "imap_password", "token", "access_token", "refresh_token", "secret",
    "client_secret", "authorization", "cookie", "set-cookie", "x-api-key", "x-auth-zapmail", "x-workspace-key",
    "captcha", "pin", "adminDetails", "stripe-signature", "api_key", "apikey", "API_KEY_PEPPER", "pepper",
]  # fmt: skip
ADDRESSES = [
    "postgresql://poindexter:{}@127.0.0.1:5432/x",
    "redis://:{}@127.0.0.1:6379/0",
    "https://user:{}@example.com/path",
    "https://example.com/?key={}&a=1",
    "https://example.com/?a=1&token={}",
    "https://example.com/?api_key={}",
    "https://example.com/?pipl_password={}",
    "https://example.com/?a=1&access_token={}",
    "Authorization: Bearer {}",
    "authorization: bearer {}",
]


class Written:
    """What a process's log holds so far."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def getvalue(self) -> str:
        return self._path.read_text()


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[Written]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    path = tmp_path / "log"
    with path.open("ab") as file:
        configure_logs(descriptor=file.fileno())
        yield Written(path)
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(stream: Written) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_record_is_one_json_object_on_one_line(stream: Written) -> None:
    logging.getLogger("metering.consumer").warning("batch %s\nfailed", 7, extra={"entries": 3})

    [line] = lines(stream)
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "warning",
        "logger": "metering.consumer",
        "message": "batch 7\nfailed",
        "entries": 3,
    }


@pytest.mark.parametrize("secret", VALUES)
@pytest.mark.parametrize("form", ["{}", "before {} after", "'{}'", '{{"a": "{}"}}', "x={},"])
def test_a_secret_is_replaced_wherever_it_stands(stream: Written, secret: str, form: str) -> None:
    text = form.format(secret)
    log = logging.getLogger("test")

    log.warning(text)
    log.warning("%s", text)
    log.warning("extra", extra={"plain": text, "nested": {"deep": [text, {"deeper": (text,)}]}})

    assert HIDDEN in stream.getvalue()
    assert_hidden(stream, secret)


@pytest.mark.parametrize("secret", VALUES)
def test_a_secret_in_a_traceback_is_replaced(stream: Written, secret: str) -> None:
    error = RuntimeError(f"upstream said: {secret}")
    error.__cause__ = KeyError(secret)

    logging.getLogger("test").error("failed", exc_info=error)

    [line] = lines(stream)
    assert "RuntimeError" in line["traceback"]
    assert "KeyError" in line["traceback"]
    assert_hidden(stream, secret)


@pytest.mark.parametrize("secret", VALUES)
@pytest.mark.parametrize("make", [RuntimeError, lambda text: {text}, lambda text: text.encode()])
def test_a_secret_inside_any_object_is_replaced(stream: Written, secret: str, make: Any) -> None:
    logging.getLogger("test").warning("odd", extra={"thing": make(secret), "list": [make(secret)]})

    assert_hidden(stream, secret)


@pytest.mark.parametrize("secret", VALUES)
def test_a_secret_as_a_name_is_replaced(stream: Written, secret: str) -> None:
    logging.getLogger("test").warning("odd", extra={"by_key": {secret: 1}})

    assert_hidden(stream, secret)


@pytest.mark.parametrize("name", [*NAMES, *map(str.upper, NAMES)])
def test_a_field_is_hidden_by_its_name(stream: Written, name: str) -> None:
    logging.getLogger("test").warning("x", extra={name: CANARY, "nested": [{name: {"inner": CANARY}}]})

    assert CANARY not in stream.getvalue()


@pytest.mark.parametrize("address", ADDRESSES)
def test_credentials_inside_an_address_are_replaced(stream: Written, address: str) -> None:
    logging.getLogger("test").warning("connecting to %s", address.format(CANARY))

    assert CANARY not in stream.getvalue()


@pytest.mark.parametrize(
    "harmless",
    ["gpt-5", "max_tokens", "https://example.com/v1/chat?model=x", "req_0123456789abcdef", "sk-", "pk_live", "12:30",
     "01890000-0000-7000-8000-000000000001", "http://127.0.0.1:8080/v1"],
)  # fmt: skip
def test_what_is_no_secret_stays_readable(harmless: str) -> None:
    assert redact(harmless) == harmless


@pytest.mark.parametrize("name", ["input_tokens", "tokens", "key_id", "account_id", "model", "monkey", "spinner"])
def test_fields_that_only_sound_like_secrets_stay_readable(name: str) -> None:
    assert redact({name: 7}) == {name: 7}


def test_what_json_cannot_hold_is_written_all_the_same() -> None:
    record = logging.makeLogRecord({"msg": "odd", "big": 2**70, "text": "\ud800", "self": object, "x": float("nan")})

    assert json.loads(JsonFormatter().format(record))["message"] == "odd"


def test_a_message_that_cannot_be_formatted_does_not_stop_the_process() -> None:
    record = logging.makeLogRecord({"msg": "\ud800 lone"})

    assert "lone" in JsonFormatter().format(record)


def test_libraries_that_log_headers_are_kept_quiet(stream: Written) -> None:
    for name in ("httpx", "httpcore", "uvicorn.access"):
        logging.getLogger(name).info("Authorization: %s", CANARY)

    assert stream.getvalue() == ""


def assert_hidden(stream: Written, secret: str) -> None:
    written = "\n".join([stream.getvalue(), *map(str, lines(stream))])
    for part in secret.splitlines():
        if not part.startswith("-----"):
            assert part not in written
            assert part[12:] not in written
