"""A turn with thinking and tools, there and back again, with nothing but what OpenAI's SDKs keep (F43, E3)."""

from typing import Any

import orjson
import pytest
from openai._utils import maybe_transform
from openai.lib.streaming._deltas import accumulate_delta
from openai.types.chat import ChatCompletion, ChatCompletionMessage
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming

from gateway.dialects.pairs.chat_anthropic import ChatToAnthropic
from tests.gateway.dialects.replay import chat, play
from tests.gateway.dialects.streams import anthropic as streams

THOUGHT = {"type": "thinking", "thinking": "I should look.", "signature": "S1"}
HIDDEN = {"type": "thinking", "thinking": "", "signature": "S2"}
REDACTED = {"type": "redacted_thinking", "data": "D1"}
TEXT = {"type": "text", "text": "Looking."}
CALLS = [
    {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": "Köln", "wei": 1234567890123456789}},
    {"type": "tool_use", "id": "toolu_2", "name": "look", "input": {}},
]
CONTENTS = {
    "thinking first": [THOUGHT, REDACTED, TEXT, *CALLS],
    "hidden thinking": [HIDDEN, *CALLS],
    "redacted thinking": [REDACTED, TEXT, *CALLS],
    "thinking between": [THOUGHT, TEXT, HIDDEN, CALLS[0], REDACTED, CALLS[1]],
    "text first": [TEXT, THOUGHT, *CALLS],
    "two texts": [THOUGHT, TEXT, HIDDEN, {"type": "text", "text": " I see 😀"}, *CALLS],
}


def events(content: list[dict[str, Any]]) -> bytes:
    return streams.start() + b"".join(map(block, range(len(content)), content)) + streams.end("tool_use")


def block(index: int, one: dict[str, Any]) -> bytes:
    if one["type"] == "thinking":
        return streams.thought(index, one["thinking"][:4], one["thinking"][4:], signature=one["signature"])
    if one["type"] == "text":
        return streams.text(index, one["text"][:4], one["text"][4:])
    if one["type"] == "tool_use":
        return streams.tool(index, one["id"], one["name"], orjson.dumps(one["input"]).decode())
    return streams.block(index, one)


TRANSLATOR = ChatToAnthropic()


def answered(content: list[dict[str, Any]]) -> dict[str, Any]:
    """Not streamed, as Python's SDK keeps it."""
    body = orjson.dumps({"id": "msg_1", "model": "m", "content": content, "stop_reason": "tool_use"})
    answer = TRANSLATOR.answer(chat(), body, created=1)
    return ChatCompletion.model_validate_json(answer.body).choices[0].message.model_dump(exclude_none=True)


def merged_in_python(content: list[dict[str, Any]]) -> dict[str, Any]:
    """Python's SDK joins texts, and lists by their `index`."""
    message: dict[Any, Any] = {}
    for delta in deltas(content):
        message = accumulate_delta(message, dict(delta.items()))
    for call in message["tool_calls"]:
        del call["index"]
    return ChatCompletionMessage.model_validate(message).model_dump(exclude_none=True)


def merged_in_node(content: list[dict[str, Any]]) -> dict[str, Any]:
    """Node's SDK joins what it knows (content, tool calls); of every other field the last delta's value stays."""
    message: dict[str, Any] = {"content": "", "tool_calls": []}
    for delta in deltas(content):
        message |= {name: value for name, value in delta.items() if name not in ("content", "refusal", "tool_calls")}
        message["content"] += delta.get("content") or ""
        for call in delta.get("tool_calls", []):
            if "id" in call:
                message["tool_calls"].append({name: value for name, value in call.items() if name != "index"})
            else:
                message["tool_calls"][call["index"]]["function"]["arguments"] += call["function"]["arguments"]
    return message


def deltas(content: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return play(lambda: TRANSLATOR.stream(chat(stream=True), created=1), events(content)).deltas


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
@pytest.mark.parametrize("receive", [answered, merged_in_python, merged_in_node])
def test_e3_an_assistant_message_that_is_sent_back_is_the_one_that_anthropic_sent(
    receive: Any, content: list[dict[str, Any]]
) -> None:
    question = {"role": "user", "content": "Look"}
    results = [{"role": "tool", "tool_call_id": f"toolu_{number}", "content": "seen"} for number in (1, 2)]
    params = {"model": "m", "messages": [question, receive(content), *results]}

    sent = maybe_transform(params, CompletionCreateParamsNonStreaming)
    body = TRANSLATOR.request(
        chat(**orjson.loads(orjson.dumps(sent))), upstream_model="m", max_output_tokens=64, clamp=True
    )

    assert orjson.loads(body)["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "Look"}]},
        {"role": "assistant", "content": joined(content)},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": id, "content": [{"type": "text", "text": "seen"}]}
                for id in ("toolu_1", "toolu_2")
            ],
        },
    ]


def joined(content: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Texts that nothing stands between are one: their border is the only thing that an OpenAI message loses."""
    blocks: list[dict[str, Any]] = []
    for one in content:
        if blocks and blocks[-1]["type"] == one["type"] == "text":
            blocks[-1] = {**one, "text": blocks[-1]["text"] + one["text"]}
        else:
            blocks.append(one)
    return blocks
