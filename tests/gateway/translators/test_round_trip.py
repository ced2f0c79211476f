"""A turn with thinking and tools, there and back again, with nothing but what OpenAI's SDK keeps."""

from typing import Any

import orjson
import pytest
from openai._utils import maybe_transform
from openai.lib.streaming._deltas import accumulate_delta
from openai.types.chat import ChatCompletion, ChatCompletionMessage
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming

from gateway.translators.openai_anthropic import OpenAIToAnthropic
from tests.gateway.translators.replay import chat, play
from tests.gateway.translators.streams import anthropic as streams

CONTENT = [
    {"type": "thinking", "thinking": "I should look.", "signature": "S1"},
    {"type": "redacted_thinking", "data": "D1"},
    {"type": "text", "text": "Looking."},
    {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": "Köln"}},
    {"type": "tool_use", "id": "toolu_2", "name": "look", "input": {}},
]
STREAM = (
    streams.start()
    + streams.thought(0, "I should", " look.", signature="S1")
    + streams.block(1, {"type": "redacted_thinking", "data": "D1"})
    + streams.text(2, "Look", "ing.")
    + streams.tool(3, "toolu_1", "look", '{"at":', '"Köln"}')
    + streams.tool(4, "toolu_2", "look")
    + streams.end("tool_use")
)
TRANSLATOR = OpenAIToAnthropic()


def answered() -> ChatCompletionMessage:
    body = orjson.dumps({"id": "msg_1", "model": "m", "content": CONTENT, "stop_reason": "tool_use"})
    answer = TRANSLATOR.answer(chat(), body, created=1)
    return ChatCompletion.model_validate_json(answer.body).choices[0].message


def streamed() -> ChatCompletionMessage:
    message: dict[Any, Any] = {}
    for delta in play(lambda: TRANSLATOR.stream(chat(stream=True), created=1), STREAM).deltas:
        message = accumulate_delta(message, dict(delta.items()))
    for call in message["tool_calls"]:
        del call["index"]
    return ChatCompletionMessage.model_validate(message)


@pytest.mark.parametrize("receive", [answered, streamed])
def test_f43_an_assistant_message_that_is_sent_back_is_the_one_that_anthropic_sent(receive: Any) -> None:
    question = {"role": "user", "content": "Look"}
    results = [{"role": "tool", "tool_call_id": f"toolu_{number}", "content": "seen"} for number in (1, 2)]
    params = {"model": "m", "messages": [question, receive(), *results]}

    sent = maybe_transform(params, CompletionCreateParamsNonStreaming)
    body = TRANSLATOR.request(
        chat(**orjson.loads(orjson.dumps(sent))), upstream_model="m", max_output_tokens=64, clamp=True
    )

    assert orjson.loads(body)["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "Look"}]},
        {"role": "assistant", "content": CONTENT},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": id, "content": [{"type": "text", "text": "seen"}]}
                for id in ("toolu_1", "toolu_2")
            ],
        },
    ]
