from typing import Any

import orjson
import pytest

from core.usage.token_usage import TokenUsage
from gateway.dialects.generation_request import GenerationRequest
from gateway.dialects.openai.chat_request import parse_chat
from gateway.dialects.openai.request import Dialect
from gateway.dialects.openai.stream import OpenAIStream
from gateway.dialects.pairs.chat_openai import ChatToOpenAI
from gateway.dialects.translator import MalformedAnswer
from gateway.failure import Fault
from tests.gateway.dialects.replay import chat

TRANSLATOR = ChatToOpenAI()
BOTH = {"max_completion_tokens": 100, "max_tokens": 100}


def sent(request: GenerationRequest, *, model: str = "m", limit: int = 64, clamp: bool = False) -> bytes:
    return TRANSLATOR.request(request, upstream_model=model, max_output_tokens=limit, clamp=clamp)


def test_f25_a_request_that_needs_no_change_goes_out_as_an_sdk_wrote_it() -> None:
    raw = b'{"model":"m","messages":[{"role":"user","content":"h\xc3\xa4"}],"unknown":[1.5,null,{"b":1,"a":2}]}'

    assert sent(parse_chat(raw)) == raw


def test_f25_a_request_that_needs_a_change_keeps_its_order_and_its_document() -> None:
    request = parse_chat(b'{"stream":true,"messages":[{"content":"x","role":"user"}],"model":"m","z":1,"a":2}')
    before = orjson.dumps(request.document)

    body = sent(request, model="n", clamp=True)

    assert body == (
        b'{"stream":true,"messages":[{"content":"x","role":"user"}],"model":"n","z":1,"a":2,'
        b'"max_completion_tokens":64,"stream_options":{"include_usage":true}}'
    )
    assert body == sent(request, model="n", clamp=True)
    assert orjson.dumps(request.document) == before


@pytest.mark.parametrize("fields", [{"max_tokens": 100}, {"max_completion_tokens": 100}, BOTH, {"max_tokens": None}])
@pytest.mark.parametrize("clamp", [False, True])
@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_e4_f61_one_limit_with_one_value_goes_out_under_the_only_name_that_the_upstream_knows(
    fields: dict[str, Any], clamp: bool, name: str
) -> None:
    limit = 64 if clamp else 100
    request = chat(**fields)
    body = ChatToOpenAI(Dialect(max_tokens_parameter=name)).request(
        request, upstream_model="m", max_output_tokens=limit, clamp=clamp or request.max_output_tokens is None
    )

    assert {key: value for key, value in orjson.loads(body).items() if key.startswith("max")} == {name: limit}


def test_c3_an_upstream_without_stream_options_is_sent_none() -> None:
    translator = ChatToOpenAI(Dialect(stream_options=False))

    for options in (None, {"include_usage": True}):
        request = chat(stream=True, stream_options=options)
        body = translator.request(request, upstream_model="m", max_output_tokens=64, clamp=False)
        assert "stream_options" not in orjson.loads(body)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (None, {"include_usage": True}),
        ({}, {"include_usage": True}),
        ({"include_usage": False}, {"include_usage": True}),
        (
            {"include_obfuscation": False, "include_usage": None},
            {"include_obfuscation": False, "include_usage": True},
        ),
    ],
)
def test_usage_is_asked_of_every_stream(options: object, expected: dict[str, Any]) -> None:
    assert orjson.loads(sent(chat(stream=True, stream_options=options)))["stream_options"] == expected


def test_a_stream_that_asks_for_usage_itself_goes_out_as_it_came() -> None:
    request = chat(stream=True, stream_options={"include_usage": True})

    assert sent(request) == request.raw


@pytest.mark.parametrize(
    "raw",
    [
        b'{"model":"dear","messages":[{"role":"user","content":"x"}],"model":"m"}',
        b'{"mod\\u0065l":"dear","messages":[{"role":"user","content":"x"}],"model":"m"}',
        b'{"model":"m","messages":[{"role":"user","content":"x"}],"model":"m"}',
    ],
)
def test_a_second_model_never_reaches_an_upstream_that_would_take_the_first(raw: bytes) -> None:
    assert sent(parse_chat(raw)) == b'{"model":"m","messages":[{"role":"user","content":"x"}]}'


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "n"])
def test_a_second_limit_never_reaches_an_upstream_that_would_take_the_first(name: str) -> None:
    raw = b'{"KEY":100,"model":"m","messages":[{"role":"user","content":"x"}],"KEY":1}'.replace(b"KEY", name.encode())

    body = sent(parse_chat(raw))
    assert body.count(b'"n"') + body.count(b'"max_') == 1


def test_an_answer_passes_through_with_its_usage_read() -> None:
    body = b'{ "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}, "error": null }'

    answer = TRANSLATOR.answer(chat(), body, created=1)

    assert answer.body is body
    assert answer.usage == TokenUsage(input=5, output=2)
    assert (answer.estimated_output, answer.usage_flaw) == (0, None)


@pytest.mark.parametrize("usage", [b"", b',"usage":null', b',"usage":"none"'])
def test_f5_an_answer_without_usage_is_estimated_by_its_text(usage: bytes) -> None:
    call = b'"tool_calls":[{"function":{"name":"abcd","arguments":"{\\"a\\":1}"}},7],"function_call":null'
    messages = b'[{"message":{"content":"12345678","reasoning":"1234",' + call + b'}},{"message":null},7]'

    answer = TRANSLATOR.answer(chat(), b'{"choices":' + messages + usage + b"}", created=1)

    assert answer.usage is None
    assert answer.estimated_output == 6


def test_f53_a_flawed_report_comes_with_an_estimate() -> None:
    body = b'{"choices":[{"message":{"content":"12345678"}}],"usage":{"prompt_tokens":0,"completion_tokens":9}}'

    answer = TRANSLATOR.answer(chat(), body, created=1)

    assert (answer.usage, answer.usage_flaw, answer.estimated_output) == (TokenUsage(output=9), "input_missing", 2)


@pytest.mark.parametrize(
    ("body", "fault", "message"),
    [
        (b"", Fault.UPSTREAM, "not a chat completion"),
        (b"network connection lost", Fault.UPSTREAM, "not a chat completion"),
        (b"[]", Fault.UPSTREAM, "not a chat completion"),
        (b'{"id":"x"}', Fault.UPSTREAM, "not a chat completion"),
        (b'{"choices":{}}', Fault.UPSTREAM, "not a chat completion"),
        (b'{"error":"model is loading"}', Fault.UPSTREAM, "model is loading"),
        (b'{"error":{"message":"Rate limited","code":429},"choices":[]}', Fault.RATE, "Rate limited"),
    ],
)
def test_f45_an_error_or_garbage_under_200_is_a_failed_attempt(body: bytes, fault: Fault, message: str) -> None:
    with pytest.raises(MalformedAnswer, match=message) as caught:
        TRANSLATOR.answer(chat(), body, created=1)

    assert caught.value.failure.fault is fault


def test_streams_and_failures_are_those_of_openai() -> None:
    assert isinstance(TRANSLATOR.stream(chat(), created=1), OpenAIStream)
    assert TRANSLATOR.failure(429, {b"retry-after": b"3"}.get, b"").retry_after == 3
    assert TRANSLATOR.path == "/chat/completions"


@pytest.mark.parametrize(("cut", "read"), [(rb"a \ud83d b", rb"a \ud83d b"), (b"a \xf0\x9f b", "a \ufffd b".encode())])
def test_e8_an_answer_with_half_an_emoji_passes_through_and_is_counted(cut: bytes, read: bytes) -> None:
    message = b'{"choices":[{"message":{"content":"' + cut + b'"}}]'
    body = message + b',"usage":{"prompt_tokens":5,"completion_tokens":2}}'

    answer = TRANSLATOR.answer(chat(), body, created=1)

    assert (answer.body, answer.usage) == (body.replace(cut, read), TokenUsage(input=5, output=2))


def test_e5_the_tier_that_was_served_is_read() -> None:
    body = b'{"choices":[],"service_tier":"flex","usage":{"prompt_tokens":5,"completion_tokens":2}}'

    assert TRANSLATOR.answer(chat(), body, created=1).service_tier == "flex"
    assert TRANSLATOR.answer(chat(), b'{"choices":[],"service_tier":7}', created=1).service_tier == ""
