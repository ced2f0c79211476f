"""Messages in front of OpenAI's schema: what is nested too deeply is an error, never an internal one."""

import json

import pytest

from gateway.dialects.messages.messages_request import parse_messages
from gateway.dialects.pairs.chat_openai import ChatToOpenAI
from gateway.dialects.pairs.messages_chat import MessagesOverChat
from gateway.dialects.translator import MalformedAnswer
from gateway.errors import InvalidRequest

DEEP = '{"a":' * 300 + "1" + "}" * 300
TRANSLATOR = MessagesOverChat(ChatToOpenAI())


def body(input_: str = "{}") -> bytes:
    call = f'{{"type": "tool_use", "id": "t", "name": "n", "input": {input_}}}'
    messages = f'[{{"role": "user", "content": "x"}}, {{"role": "assistant", "content": [{call}]}}]'
    return f'{{"model": "m", "max_tokens": 9, "messages": {messages}}}'.encode()


def test_a_request_nested_too_deeply_is_refused() -> None:
    request = parse_messages(body(DEEP))

    with pytest.raises(InvalidRequest):
        TRANSLATOR.request(request, upstream_model="u", max_output_tokens=9, clamp=False)


def test_arguments_nested_too_deeply_are_a_broken_answer() -> None:
    function = {"name": "n", "arguments": DEEP}
    message = {"content": None, "tool_calls": [{"id": "t", "function": function}]}
    answer = json.dumps({"id": "c", "choices": [{"message": message, "finish_reason": "tool_calls"}]}).encode()

    with pytest.raises(MalformedAnswer):
        TRANSLATOR.answer(parse_messages(body()), answer, created=0)
