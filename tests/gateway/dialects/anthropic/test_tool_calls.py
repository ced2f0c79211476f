"""C11 = E11, C12, C13, E18: what a history of tool calls may hold, and Anthropic would refuse or a parser round."""

from typing import Any

import orjson
import pytest

from gateway.dialects.anthropic.messages import conversation
from gateway.dialects.anthropic.tool_ids import ToolIds

Message = dict[str, Any]


def calls(*ids: str, arguments: str = "{}") -> Message:
    made = [{"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}} for id in ids]
    return {"role": "assistant", "content": None, "tool_calls": made}


def results(*ids: str) -> list[Message]:
    return [{"role": "tool", "tool_call_id": id, "content": f"for {id}"} for id in ids]


def sent(*messages: Message) -> bytes:
    return orjson.dumps(conversation([{"role": "user", "content": "Go"}, *messages])[1])


def ids(*messages: Message) -> list[str]:
    blocks = [block for turn in orjson.loads(sent(*messages)) for block in turn["content"]]
    return [block.get("id") or block["tool_use_id"] for block in blocks if block["type"] != "text"]


def input_of(arguments: str) -> bytes:
    body = sent(calls("a", arguments=arguments), *results("a"))
    return body.split(b'"input":')[1].split(b"}]},")[0]


@pytest.mark.parametrize(
    "arguments",
    [
        '{"wei":1234567890123456789012}',
        '{"wei":1000000000000000000000,"low":-9223372036854775809}',
        '{"share":0.1234567890123456789}',
        '{ "city": "Köln" }',
    ],
)
def test_e11_arguments_of_the_history_keep_their_digits(arguments: str) -> None:
    assert input_of(arguments) == arguments.encode()


@pytest.mark.parametrize(
    ("arguments", "input"),
    [
        ("", {}),
        (" \n", {}),
        ("null", {}),
        ('{"city": "Par', {"arguments": '{"city": "Par'}),
        ("Paris", {"arguments": "Paris"}),
        ("NaN", {"arguments": "NaN"}),
        ("[1, 2]", {"arguments": [1, 2]}),
        ("7", {"arguments": 7}),
    ],
)
def test_c12_arguments_that_are_no_object_do_not_end_the_conversation(arguments: str, input: Any) -> None:
    assert orjson.loads(input_of(arguments)) == input


@pytest.mark.parametrize(
    ("arguments", "input"),
    [
        (r'{"a":"\ud83d"}', {"a": "\ufffd"}),
        (r'{"a":"\ud83d\ude00 \\ud83d"}', {"a": "\U0001f600 \\ud83d"}),
        (r'["\ud83d"]', {"arguments": ["\ufffd"]}),
    ],
)
def test_e18_half_a_surrogate_pair_in_arguments_becomes_a_replacement_character(arguments: str, input: Any) -> None:
    assert orjson.loads(input_of(arguments)) == input


def test_an_id_of_another_provider_is_made_acceptable_on_both_sides() -> None:
    assert ids(calls("functions.f:0"), *results("functions.f:0")) == ["functions_f_0"] * 2


def test_c13_ids_that_every_turn_counts_from_zero_are_numbered_and_results_follow() -> None:
    turn = [calls("call_0", "call_1"), *results("call_1", "call_0")]

    assert ids(*turn, *turn, *turn) == [
        *("call_0", "call_1", "call_1", "call_0"),
        *("call_0_2", "call_1_2", "call_1_2", "call_0_2"),
        *("call_0_3", "call_1_3", "call_1_3", "call_0_3"),
    ]


def test_c13_ids_that_only_foreign_letters_tell_apart_stay_apart() -> None:
    sent = ids(calls("a:1", "a.1", "a_1"), *results("a.1", "a_1", "a:1"))

    assert sent == ["a_1", "a_1_2", "a_1_3", "a_1_2", "a_1_3", "a_1"]


def test_c13_equal_ids_in_one_turn_are_answered_in_their_order() -> None:
    assert ids(calls("", ""), *results("", "")) == ["call", "call_2", "call", "call_2"]


def test_a_second_result_and_one_that_answers_nothing_stay_what_they_are() -> None:
    ids = ToolIds()
    ids.call("a")

    assert [ids.result("a"), ids.result("a"), ids.result("b.c")] == ["a", "a", "b_c"]
