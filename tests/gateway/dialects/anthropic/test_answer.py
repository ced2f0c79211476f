from typing import Any

import orjson
import pytest
from openai.types.chat import ChatCompletion

from core.usage.token_usage import TokenUsage
from gateway.dialects.pairs.chat_anthropic import ChatToAnthropic
from gateway.dialects.translator import Answer, MalformedAnswer
from gateway.failure import Fault
from tests.gateway.dialects.replay import chat

USAGE = {"input_tokens": 25, "output_tokens": 15}


def answered(
    *content: dict[str, Any], usage: Any = USAGE, reason: str | None = "end_turn", inclusive: bool = False, **more: Any
) -> Answer:
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": list(content),
        "stop_reason": reason,
        "usage": usage,
        **more,
    }
    translator = ChatToAnthropic(input_includes_cache=inclusive)
    answer = translator.answer(chat(), orjson.dumps(message), created=1700000000)
    ChatCompletion.model_validate_json(answer.body, strict=True)
    return answer


def choice(answer: Answer) -> dict[str, Any]:
    [only] = orjson.loads(answer.body)["choices"]
    assert isinstance(only, dict)
    return only


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


def test_a_message_becomes_a_chat_completion() -> None:
    answer = answered(text("Hel"), text("lo"))

    assert orjson.loads(answer.body) == {
        "id": "msg_1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "claude-sonnet-4-5",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 25,
            "completion_tokens": 15,
            "total_tokens": 40,
            "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    }
    assert answer == Answer(answer.body, TokenUsage(input=25, output=15), 0, None)


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("a_new_reason", "stop"),
        (None, "stop"),
    ],
)
def test_the_reason_to_stop_is_said_in_openais_words(reason: str | None, finish: str) -> None:
    assert choice(answered(text("x"), reason=reason))["finish_reason"] == finish


def test_c21_a_refusal_is_told_as_one_and_its_text_kept_apart() -> None:
    """OpenAI ends such an answer with `stop`; Claude may have been cut short, which a client must see."""
    refused = choice(answered(text("So far."), reason="refusal"))

    assert refused["finish_reason"] == "content_filter"
    assert refused["message"]["content"] == "So far."
    assert refused["message"]["refusal"]


def test_f43_tool_calls_with_and_without_input() -> None:
    message = choice(
        answered(
            {"type": "tool_use", "id": "a", "name": "f", "input": {"city": "Köln"}},
            {"type": "tool_use", "id": "b", "name": "g", "input": {}},
            {"type": "server_tool_use", "id": "c", "name": "web_search", "input": {}},
            reason="a_new_reason",
        )
    )

    assert message["finish_reason"] == "tool_calls"
    assert message["message"]["content"] is None
    assert message["message"]["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"city":"Köln"}'}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]


@pytest.mark.parametrize(
    "number", ["1234567890123456789012", "1000000000000000000000", "-9223372036854775809", "0.12345678901234567890"]
)
def test_e11_numbers_in_a_tools_input_keep_their_digits(number: str) -> None:
    body = b'{"content":[{"type":"tool_use","id":"a","name":"pay","input":{"wei":%b}}],"usage":{"input_tokens":1}}'

    answer = ChatToAnthropic().answer(chat(), body % number.encode(), created=1)

    assert choice(answer)["message"]["tool_calls"][0]["function"]["arguments"] == f'{{"wei":{number}}}'
    assert answer.usage == TokenUsage(input=1, output=answer.estimated_output)


@pytest.mark.parametrize(
    ("reason", "oddity"),
    [
        ("end_turn", None),
        ("brand_new", "stop_reason brand_new"),
        (None, "stop_reason missing"),
        ("\n", "stop_reason missing"),
    ],
)
def test_e19_a_reason_that_nobody_knows_is_noted(reason: str | None, oddity: str | None) -> None:
    assert answered(text("x"), reason=reason).oddity == oddity


def test_e5_calls_of_tools_at_the_provider_are_noted() -> None:
    usage = {**USAGE, "server_tool_use": {"web_search_requests": 3, "web_fetch_requests": 0, "x y": "z"}}

    answer = answered(text("x"), usage=usage)

    assert (answer.oddity, answer.usage_flaw) == ("server_tool_use web_search_requests=3", None)


def test_thinking_is_readable_and_can_be_sent_back_signed() -> None:
    thoughts = [
        {"type": "thinking", "thinking": "Hm", "signature": "S"},
        {"type": "redacted_thinking", "data": "D"},
        {"type": "thinking", "thinking": "", "signature": "T"},
    ]

    message = choice(answered(*thoughts, text("42")))["message"]

    assert (message["reasoning_content"], message["content"]) == ("Hm", "42")
    assert message["thinking_blocks"] == thoughts


@pytest.mark.parametrize(
    ("details", "refusal"),
    [
        ({"type": "refusal", "explanation": "That is unsafe."}, "That is unsafe."),
        ({"type": "refusal", "explanation": None}, "The model refused to answer."),
        (None, "The model refused to answer."),
    ],
)
def test_a_refusal_carries_its_explanation(details: Any, refusal: str) -> None:
    message = choice(answered(reason="refusal", stop_details=details))["message"]

    assert (message["content"], message["refusal"]) == ("", refusal)


@pytest.mark.parametrize(
    ("usage", "inclusive", "tokens", "flaw"),
    [
        (USAGE, False, TokenUsage(input=25, output=15), None),
        ({"input_tokens": 0, "output_tokens": 0}, False, TokenUsage(), None),
        ({"input_tokens": 0, "output_tokens": 9}, False, TokenUsage(output=9), "input_missing"),
        ({"input_tokens": 5}, False, TokenUsage(input=5, output=3), "output_missing"),
        ({"output_tokens": 0}, False, TokenUsage(), "input_missing"),
        (
            {"cache_read_input_tokens": 7, "output_tokens": 9},
            False,
            TokenUsage(cache_read=7, output=9),
            "input_missing",
        ),
        ({}, False, None, None),
        (None, False, None, None),
        (
            {
                "input_tokens": 18,
                "cache_read_input_tokens": 8831,
                "cache_creation_input_tokens": 100,
                "cache_creation": {"ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 40},
                "output_tokens": 15,
            },
            False,
            TokenUsage(input=18, cache_read=8831, cache_write_5m=60, cache_write_1h=40, output=15),
            None,
        ),
        (
            {
                "input_tokens": 18,
                "cache_creation": {"ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 40},
                "output_tokens": 15,
            },
            False,
            TokenUsage(input=18, cache_write_5m=60, cache_write_1h=40, output=15),
            None,
        ),
        (
            {"input_tokens": 1, "cache_creation_input_tokens": 100, "cache_creation": None, "output_tokens": 1},
            False,
            TokenUsage(input=1, cache_write_5m=100, output=1),
            None,
        ),
        (
            {"input_tokens": 173306, "cache_read_input_tokens": 173056, "output_tokens": 1},
            True,
            TokenUsage(input=250, cache_read=173056, output=1),
            None,
        ),
        (
            {"input_tokens": 5, "cache_read_input_tokens": 10, "output_tokens": 1},
            True,
            TokenUsage(cache_read=10, output=1),
            "cache_exceeds_input",
        ),
        (
            {"input_tokens": 5, "output_tokens": 10, "output_tokens_details": {"thinking_tokens": 4}},
            False,
            TokenUsage(input=5, output=6, reasoning=4),
            None,
        ),
        (
            {"input_tokens": -5, "output_tokens": 10.5},
            False,
            TokenUsage(),
            "input_tokens_invalid",
        ),
    ],
)
def test_f5_f10_f15_f16_f53_usage_in_every_shape(
    usage: Any, inclusive: bool, tokens: TokenUsage | None, flaw: str | None
) -> None:
    answer = answered(text("Hello there"), usage=usage, inclusive=inclusive)

    assert (answer.usage, answer.usage_flaw) == (tokens, flaw)
    assert ("usage" in orjson.loads(answer.body)) is (tokens is not None)
    assert answer.estimated_output == (0 if tokens is not None and flaw is None else 3)


@pytest.mark.parametrize("cached", [0, 1000])
@pytest.mark.parametrize("written", [0, 200])
def test_f17_prompt_and_completion_add_up_to_the_total(cached: int, written: int) -> None:
    usage = {**USAGE, "cache_read_input_tokens": cached, "cache_creation_input_tokens": written}

    reported = orjson.loads(answered(text("x"), usage=usage).body)["usage"]

    assert reported["prompt_tokens"] == 25 + cached + written
    assert reported["total_tokens"] == reported["prompt_tokens"] + reported["completion_tokens"]


@pytest.mark.parametrize(
    ("body", "fault", "message"),
    [
        (b"", Fault.UPSTREAM, "it is not a message"),
        (b"<html>", Fault.UPSTREAM, "it is not a message"),
        (b"[]", Fault.UPSTREAM, "it is not a message"),
        (b'{"content":"text"}', Fault.UPSTREAM, "it is not a message"),
        (
            b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}',
            Fault.UPSTREAM,
            "Overloaded",
        ),
        (b'{"error":{"type":"rate_limit_error","message":"Slow"}}', Fault.RATE, "Slow"),
        (
            b'{"content":[{"type":"tool_use","input":' + b'{"a":' * 300 + b"1" + b"}" * 300 + b"}]}",
            Fault.UPSTREAM,
            "it is nested too deeply",
        ),
    ],
)
def test_f45_an_error_or_garbage_under_200_is_a_failed_attempt(body: bytes, fault: Fault, message: str) -> None:
    with pytest.raises(MalformedAnswer, match=message) as caught:
        ChatToAnthropic().answer(chat(), body, created=1)

    assert caught.value.failure.fault is fault
