from typing import Any

import pytest

from gateway.translators.error_object import ErrorObject, failure_of, identifier, load_object
from gateway.upstream_failure import Fault

NOTHING = ErrorObject(None, None, None, None, {})


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"error": {"message": "A"}}, "A"),
        ({"error": "B"}, "B"),
        ({"message": "C", "type": "BadRequestError", "code": 400}, "C"),
        ({"detail": "D"}, "D"),
        ({"error": {"message": ["E"]}}, None),
        ({"error": 7}, None),
        ({"detail": [{"msg": "x"}]}, None),
        ([], None),
        (None, None),
    ],
)
def test_every_dialect_has_a_message_or_none(document: Any, message: str | None) -> None:
    assert ErrorObject.parse(document).message == message


def test_an_answer_that_is_no_object_says_nothing() -> None:
    assert ErrorObject.parse(load_object(b"<html>")) == NOTHING
    assert ErrorObject.parse(load_object(b"[1]")) == NOTHING


@pytest.mark.parametrize(
    "secret", ["sk-proj-abcDEF123", "Bearer eyJhbGciOi.x.y", "sk-ant-api03-AbC_d", "gsk_abcdef", "key-12345678"]
)
def test_a_message_never_carries_a_key(secret: str) -> None:
    message = ErrorObject.parse({"error": f"Bad key {secret}, sorry"}).message

    assert message is not None
    assert secret.split()[-1] not in message
    assert message.endswith("sorry")


def test_a_message_is_bounded() -> None:
    assert ErrorObject.parse({"error": "x" * 5_000}).message == "x" * 1_000


@pytest.mark.parametrize(
    ("value", "name"),
    [("a_b.c-d:e", "a_b.c-d:e"), (429, "429"), (True, None), ("a b", None), ("", None), ("x" * 65, None), ({}, None)],
)
def test_an_identifier_is_short_and_plain(value: object, name: str | None) -> None:
    assert identifier(value) == name


def test_an_answer_without_words_gets_some() -> None:
    assert failure_of(Fault.UPSTREAM, 503, NOTHING).message == "The provider answered with an error (HTTP 503)."
    assert (
        failure_of(Fault.ACCOUNT, 0, NOTHING).message == "The provider refused the gateway's account (no reason given)."
    )
