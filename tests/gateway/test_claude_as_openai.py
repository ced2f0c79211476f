"""What OpenAI's API takes and Anthropic's does not, with the official SDK: Claude answers all of it."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import pytest
from openai import OpenAI
from pydantic import BaseModel, Field

from tests.harness.installation import Customer
from tests.harness.running_gateway import RunningGateway

MODEL = "claude-haiku-4-5"
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "minLength": 1},
                "days": {"type": ["integer", "null"], "minimum": 1},
            },
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture
def client(gateway: RunningGateway, customer: Customer) -> Iterator[OpenAI]:
    with OpenAI(api_key=customer.key, base_url=gateway.openai_url, max_retries=0, timeout=20) as client:
        yield client


def ask(client: OpenAI, *messages: Any, **more: Any) -> Any:
    return client.chat.completions.create(model=MODEL, messages=list(messages), **more)


def calling(id: str, arguments: str = "{}") -> dict[str, Any]:
    call = {"id": id, "type": "function", "function": {"name": "weather", "arguments": arguments}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def result(id: str) -> Any:
    return {"role": "tool", "tool_call_id": id, "content": "sun", "name": "weather"}


USER: Any = {"role": "user", "content": "[[sim words=2]] Hi"}


@pytest.mark.parametrize("script", ["", "interleaved=1", "redacted=1"])
@pytest.mark.parametrize("hidden", [False, True])
def test_e3_a_streamed_turn_with_thinking_and_tools_goes_on(client: OpenAI, script: str, hidden: bool) -> None:
    question: Any = {"role": "user", "content": f"[[sim tools=2 thinking=20 words=3 {script}]] go"}
    common: Any = {
        "model": MODEL,
        "tools": [WEATHER],
        "max_completion_tokens": 4_000,
        "extra_body": {"reasoning": {"effort": "low", "exclude": hidden}},
    }
    with client.chat.completions.stream(messages=[question], **common) as stream:
        message = stream.get_final_completion().choices[0].message
    sent_back: Any = message.model_dump(exclude_none=True, exclude={"parsed": True})
    for call in sent_back["tool_calls"]:
        call["function"].pop("parsed_arguments", None)
    results = [result(call["id"]) for call in sent_back["tool_calls"]]

    answer = client.chat.completions.create(messages=[question, sent_back, *results], **common)

    assert len(results) == 2
    assert sent_back["thinking_blocks"][0]["type"] == "thinking"
    assert answer.choices[0].message.content


@pytest.mark.parametrize(
    "lost",
    [
        [{"index": 0, "type": "thinking", "thinking": "hm"}],
        [{"index": 0, "type": "redacted_thinking"}, {}],
    ],
)
def test_e3_thinking_that_a_client_has_damaged_is_no_reason_to_refuse(client: OpenAI, lost: list[Any]) -> None:
    damaged = {**calling("a"), "thinking_blocks": lost}

    answer = ask(client, USER, damaged, result("a"), tools=[WEATHER], reasoning_effort="low", max_tokens=4_000)

    assert answer.choices[0].message.content


class Person(BaseModel):
    age: Annotated[int, Field(ge=0, le=150)]
    name: Annotated[str, Field(min_length=1, pattern="^[a-z]")]
    kind: Literal["a", "b"]
    tags: Annotated[list[str], Field(min_length=2, max_length=3)]
    nick: str | None


def test_c4_a_model_with_constraints_is_parsed(client: OpenAI) -> None:
    parsed = client.chat.completions.parse(model=MODEL, messages=[USER], response_format=Person, max_tokens=500)

    assert isinstance(parsed.choices[0].message.parsed, Person)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("tools", [[], [WEATHER]])
def test_c5_json_mode_is_asked_for_in_words(client: OpenAI, stream: bool, tools: list[Any]) -> None:
    answer = ask(client, USER, response_format={"type": "json_object"}, tools=tools, stream=stream)

    assert list(answer) if stream else answer.choices[0].message.content


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "developer", "content": "Say hi"}],
        [{"role": "system", "content": "S"}, {"role": "system", "content": "Say hi"}],
        [{"role": "user", "content": ""}],
        [{"role": "assistant", "content": "Welcome!"}, USER],
        [{"role": "user", "content": " "}, {"role": "assistant", "content": "Welcome!"}, USER],
        [USER, {"role": "assistant", "content": "Yes?"}, {"role": "system", "content": "Go on."}],
    ],
)
def test_c8_e23a_every_order_of_speakers_is_answered(client: OpenAI, messages: list[Any]) -> None:
    assert ask(client, *messages).choices[0].message.content


@pytest.mark.parametrize(
    "arguments", ['{"city": "Par', "[1]", "null", r'{"a":"\ud83d"}', '{"wei":1234567890123456789012}']
)
@pytest.mark.parametrize("tools", [[], [WEATHER]])
def test_c12_e18_broken_arguments_in_the_history_are_no_end(client: OpenAI, arguments: str, tools: list[Any]) -> None:
    assert ask(client, USER, calling("a", arguments), result("a"), USER, tools=tools).choices[0].message.content


def test_c13_ids_that_every_turn_counts_from_zero_are_answered(client: OpenAI) -> None:
    turn = [calling("call_0"), result("call_0")]

    assert ask(client, USER, *turn, *turn, *turn, USER, tools=[WEATHER]).choices[0].message.content


@pytest.mark.parametrize("user", ["jane.roe@example.com", "u" * 300, ""])
def test_e12_whoever_the_end_user_is_called_the_request_is_answered(client: OpenAI, user: str) -> None:
    assert ask(client, USER, user=user).choices[0].message.content


def test_e22_an_image_with_the_wrong_type_is_answered(client: OpenAI) -> None:
    image = {"type": "image_url", "image_url": {"url": f"DATA:image/jpeg;base64,{PNG}"}}

    assert (
        ask(client, {"role": "user", "content": [{"type": "text", "text": "What?"}, image]}).choices[0].message.content
    )
