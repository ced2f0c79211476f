from typing import Any

import pytest

from gateway.dialects.error_object import ErrorObject, failure_of, identifier, load_object
from gateway.failure import Fault

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
        ({"detail": [{"loc": ["body", "messages", 0, "content"], "msg": "F"}]}, "messages[0].content: F"),
        ({"object": "error", "message": {"detail": [{"loc": ["body", "n"], "msg": "G"}, {"msg": "H"}]}}, "n: G; H"),
        ({"errors": [{"code": 7, "message": "I"}]}, "I"),
        ({"error": {"errors": [{"message": "J"}]}}, "J"),
        ({"error": {"message": {"message": {"message": {"message": {"message": "deep"}}}}}}, None),
        ([], None),
        (None, None),
    ],
)
def test_every_dialect_has_a_message_or_none(document: Any, message: str | None) -> None:
    assert ErrorObject.parse(document).message == message


def test_s21_of_very_many_reasons_the_first_twenty_are_read() -> None:
    """A list of them may be as long as an answer."""
    error = {"error": {"message": [{"msg": str(number)} for number in range(50)]}}

    assert ErrorObject.parse(error).message == "; ".join(map(str, range(20)))


def test_an_answer_that_is_no_object_says_nothing() -> None:
    assert ErrorObject.parse(load_object(b"<html>")) == NOTHING
    assert ErrorObject.parse(load_object(b"[1]")) == NOTHING


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'[{"error":{"code":400,"message":"Gemini","status":"INVALID_ARGUMENT"}}]', "Gemini"),
        (b'"just a text"', "just a text"),
        (b"max_tokens must be positive\n", "max_tokens must be positive"),
        (b"<html>nginx</html>", "The provider answered with an error (HTTP 400)."),
        (b"\x00\x01", "The provider answered with an error (HTTP 400)."),
        (b"", "The provider answered with an error (HTTP 400)."),
        (b"[]", "The provider answered with an error (HTTP 400)."),
    ],
)
def test_c7_the_reason_is_passed_on_in_whatever_form_it_comes(body: bytes, message: str) -> None:
    assert failure_of(Fault.REQUEST, 400, ErrorObject.read(body)).message == message


def test_c7_the_plain_text_of_a_broken_server_is_not_for_the_client() -> None:
    assert "worker" not in failure_of(Fault.UPSTREAM, 500, ErrorObject.read(b"worker 7 died")).message


def test_c7_further_members_of_a_refusal_are_passed_on_without_keys_unless_they_are_large() -> None:
    inner = {"code": "ResponsibleAIPolicyViolation", "key": "Bearer abc.def", "none": None}
    small = {"error": {"message": "m", "code": "c", "innererror": inner, "failed_generation": "<x>", "empty": None}}
    large = {"error": {"message": "m", "innererror": "x" * 5_000}}
    expected = {**inner, "key": "[key]"}

    assert ErrorObject.parse(small).others == {"innererror": expected, "failed_generation": "<x>"}
    assert ErrorObject.parse(large).others == {}
    assert ErrorObject.parse({"message": "m", "user_id": "u"}).others == {}
    assert failure_of(Fault.REQUEST, 400, ErrorObject.parse(small)).others["failed_generation"] == "<x>"
    assert failure_of(Fault.ACCOUNT, 401, ErrorObject.parse(small)).others == {}


@pytest.mark.parametrize(
    "place", ["tools[0].function.parameters", "messages[1].content[0]", "a['b c']".replace(" ", "")]
)
def test_c6_a_parameter_may_be_a_path(place: str) -> None:
    assert ErrorObject.parse({"error": {"message": "m", "param": place}}).param == place


def test_c6_a_frameworks_path_is_the_parameter() -> None:
    assert ErrorObject.parse({"detail": [{"loc": ["body", "tools", 0], "msg": "x"}]}).param == "tools[0]"


@pytest.mark.parametrize(
    "words",
    ["Missing 'key_value'.", "no table pk_orders", "see sk-learn-tutorial", "key_name_2 is unknown", "keyboard"],
)
def test_c6_innocent_words_stay(words: str) -> None:
    assert ErrorObject.parse({"error": words}).message == words


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcDEF123",
        "Bearer eyJhbGciOi.x.y",
        "sk-ant-api03-AbC_d",
        "gsk_abcdef",
        "key-12345678",
        "sk-ab***xyz",
        "AIzaSyA-bcd",
        "pk_live_abcdefgh",
        "sk-0aB1cD2eF3gH4iJ5kL6mN7oP8qR9sT",
    ],
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
