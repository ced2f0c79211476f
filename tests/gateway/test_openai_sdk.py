"""The official OpenAI SDK against the gateway, in front of both kinds of upstream: every feature, booked once."""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionChunk
from pydantic import BaseModel

from core.usage.usage_event import Outcome
from tests.gateway.served import booked_once
from tests.harness.installation import Customer, Installation
from tests.harness.running_gateway import RunningGateway
from tests.harness.simulated_upstream import SimulatedUpstream

MODELS = ["gpt-4o-mini", "claude-haiku-4-5"]
PIXEL = base64.b64encode(
    base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
).decode()
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"Tells the {name} of a city.",
            "strict": True,
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
                "required": ["city", "days"],
                "additionalProperties": False,
            },
        },
    }
    for name in ("weather", "traffic")
]


class City(BaseModel):
    name: str
    inhabitants: int


@pytest.fixture
def client(gateway: RunningGateway, customer: Customer) -> Iterator[OpenAI]:
    with OpenAI(api_key=customer.key, base_url=gateway.openai_url, max_retries=0, timeout=20) as client:
        yield client


@asynccontextmanager
async def async_client(gateway: RunningGateway, customer: Customer) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(api_key=customer.key, base_url=gateway.openai_url, max_retries=0, timeout=20) as client:
        yield client


def say(text: str) -> list[Any]:
    return [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]


def text_of(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


@pytest.mark.parametrize("model", MODELS)
def test_an_answer_arrives_and_is_booked_once(
    client: OpenAI, model: str, shared: Installation, upstream: SimulatedUpstream, customer: Customer
) -> None:
    answer = client.chat.completions.create(model=model, messages=say('[[sim text="Good morning to you"]]'))

    assert answer.object == "chat.completion"
    assert answer.choices[0].message.content == "Good morning to you"
    assert answer.choices[0].finish_reason == "stop"
    [booked] = booked_once(shared, upstream, customer)
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == booked.event.usage.prompt
    assert answer.usage.completion_tokens == booked.event.usage.completion == 4
    assert answer.usage.total_tokens == booked.event.usage.total
    assert (booked.event.outcome, booked.event.estimated) == (Outcome.COMPLETE, "")
    shared.assert_nothing_held()


@pytest.mark.parametrize("model", MODELS)
def test_a_stream_arrives_whole_and_is_booked_once(
    client: OpenAI, model: str, shared: Installation, upstream: SimulatedUpstream, customer: Customer
) -> None:
    chunks = list(
        client.chat.completions.create(model=model, messages=say('[[sim text="One two three"]]'), stream=True)
    )

    assert text_of(chunks) == "One two three"
    assert chunks[0].choices[0].delta.role == "assistant"
    finishes = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert finishes == ["stop"]
    assert [chunk for chunk in chunks if chunk.usage or not chunk.choices] == []  # Nobody asked for usage.
    assert len({chunk.id for chunk in chunks}) == 1
    [booked] = booked_once(shared, upstream, customer)
    assert (booked.event.stream, booked.event.usage.output, booked.event.estimated) == (True, 3, "")
    shared.assert_nothing_held()


@pytest.mark.parametrize("model", MODELS)
def test_a_stream_ends_with_its_usage_when_the_client_asks(
    client: OpenAI, model: str, shared: Installation, upstream: SimulatedUpstream, customer: Customer
) -> None:
    chunks = list(
        client.chat.completions.create(
            model=model, messages=say("[[sim words=4]]"), stream=True, stream_options={"include_usage": True}
        )
    )

    assert [bool(chunk.usage) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].choices == []
    [booked] = booked_once(shared, upstream, customer)
    usage = chunks[-1].usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (booked.event.usage.prompt, 4)
    assert usage.total_tokens == booked.event.usage.total


@pytest.mark.parametrize("model", MODELS)
def test_the_streaming_helper_assembles_the_answer(client: OpenAI, model: str) -> None:
    with client.chat.completions.stream(model=model, messages=say('[[sim text="A helping hand"]]')) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion()

    assert final.choices[0].message.content == "A helping hand"
    assert kinds.count("content.done") == 1
    assert kinds.count("content.delta") >= 3


@pytest.mark.parametrize("model", MODELS)
def test_parallel_tool_calls_come_back(
    client: OpenAI, model: str, shared: Installation, upstream: SimulatedUpstream, customer: Customer
) -> None:
    answer = client.chat.completions.create(model=model, messages=say("[[sim tools=2]]"), tools=TOOLS)

    calls: list[Any] = answer.choices[0].message.tool_calls or []
    assert answer.choices[0].finish_reason == "tool_calls"
    assert [call.function.name for call in calls] == ["weather", "traffic"]
    assert len({call.id for call in calls}) == 2
    booked_once(shared, upstream, customer)


@pytest.mark.parametrize("model", MODELS)
def test_streamed_tool_calls_are_assembled_and_parsed(
    client: OpenAI, model: str, shared: Installation, upstream: SimulatedUpstream, customer: Customer
) -> None:
    with client.chat.completions.stream(model=model, messages=say("[[sim tools=2 words=3]]"), tools=TOOLS) as stream:
        final = stream.get_final_completion()

    calls: list[Any] = final.choices[0].message.tool_calls or []
    assert [call.function.name for call in calls] == ["weather", "traffic"]
    assert all(set(call.function.parsed_arguments) == {"city", "days"} for call in calls)
    booked_once(shared, upstream, customer)


@pytest.mark.parametrize("model", MODELS)
def test_a_conversation_goes_on_with_the_results_of_its_tools(client: OpenAI, model: str) -> None:
    question = say("[[sim tools=2]]")
    first = client.chat.completions.create(model=model, messages=question, tools=TOOLS)
    calls = first.choices[0].message.tool_calls or []
    results: list[Any] = [{"role": "tool", "tool_call_id": call.id, "content": "sunny"} for call in calls]
    said: Any = first.choices[0].message.model_dump(include={"role", "content", "tool_calls"}, exclude_none=True)

    second = client.chat.completions.create(
        model=model,
        messages=[*question, said, *results, {"role": "user", "content": '[[sim text="Take a hat"]]'}],
        tools=TOOLS,
    )

    assert second.choices[0].message.content == "Take a hat"


@pytest.mark.parametrize("model", MODELS)
def test_a_structured_answer_is_parsed(
    client: OpenAI, model: str, shared: Installation, upstream: SimulatedUpstream, customer: Customer
) -> None:
    answer = client.chat.completions.parse(model=model, messages=say("A city?"), response_format=City)

    assert isinstance(answer.choices[0].message.parsed, City)
    booked_once(shared, upstream, customer)


@pytest.mark.parametrize("model", MODELS)
def test_a_structured_answer_is_parsed_from_a_stream(client: OpenAI, model: str) -> None:
    with client.chat.completions.stream(model=model, messages=say("A city?"), response_format=City) as stream:
        final = stream.get_final_completion()

    assert isinstance(final.choices[0].message.parsed, City)


@pytest.mark.parametrize("model", MODELS)
def test_an_image_is_seen_by_the_upstream(
    client: OpenAI, model: str, shared: Installation, upstream: SimulatedUpstream, customer: Customer
) -> None:
    content: list[Any] = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
    ]

    client.chat.completions.create(model=model, messages=[{"role": "user", "content": content}])

    [booked] = booked_once(shared, upstream, customer)
    assert booked.event.usage.prompt == 85 + 4  # 85 for the image, 13 letters of text.


@pytest.mark.parametrize("model", MODELS)
def test_the_raw_response_tells_who_answered_and_what_is_left(
    client: OpenAI, model: str, shared: Installation, customer: Customer
) -> None:
    raw = client.chat.completions.with_raw_response.create(model=model, messages=say("Hello"))

    [booked] = shared.wait_events(customer, 1)
    assert raw.headers["x-request-id"] == raw.request_id == str(booked.event.event_id)
    assert raw.headers["x-poindexter-target"] == booked.event.target
    assert raw.headers["x-poindexter-attempts"] == "1"
    assert float(raw.headers["x-poindexter-overhead-ms"]) >= 0
    assert raw.headers["x-ratelimit-limit-requests"] == "6000"
    assert raw.headers["x-ratelimit-remaining-requests"] == "5999"
    assert raw.headers["ratelimit-policy"].startswith('"rpm";q=6000;w=60')
    assert raw.parse().choices[0].message.content


@pytest.mark.parametrize("model", MODELS)
def test_a_streaming_response_is_read_line_by_line(client: OpenAI, model: str) -> None:
    with client.chat.completions.with_streaming_response.create(
        model=model, messages=say("[[sim words=3]]"), stream=True
    ) as response:
        lines = [line for line in response.iter_lines() if line]

    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["x-accel-buffering"] == "no"
    assert lines[-1] == "data: [DONE]"
    assert all(line.startswith(("data: ", ":")) for line in lines)  # A comment is a sign of life.


def test_several_choices_are_reserved_and_booked_together(
    client: OpenAI, shared: Installation, upstream: SimulatedUpstream, customer: Customer
) -> None:
    answer = client.chat.completions.create(model="gpt-4o-mini", messages=say("[[sim words=5]]"), n=3, max_tokens=40)

    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    [booked] = booked_once(shared, upstream, customer)
    assert booked.event.usage.output == 15


@pytest.mark.parametrize(
    ("model", "effort"), [("gpt-5-mini", "low"), ("claude-haiku-4-5", "low")], ids=["openai", "anthropic"]
)
def test_reasoning_is_counted_apart(
    client: OpenAI, model: str, effort: Any, shared: Installation, upstream: SimulatedUpstream, customer: Customer
) -> None:
    answer = client.chat.completions.create(model=model, messages=say("[[sim words=4]]"), reasoning_effort=effort)

    [booked] = shared.wait_events(customer, 1)
    assert answer.usage is not None
    assert booked.event.usage.completion == answer.usage.completion_tokens > 4


@pytest.mark.parametrize("model", MODELS)
async def test_the_asynchronous_client_streams_many_answers_at_once(
    gateway: RunningGateway, model: str, shared: Installation, upstream: SimulatedUpstream, customer: Customer
) -> None:
    async with async_client(gateway, customer) as client:

        async def stream(number: int) -> str:
            answer = await client.chat.completions.create(
                model=model, messages=say(f'[[sim text="This is answer {number}" pause_ms=5]]'), stream=True
            )
            return text_of([chunk async for chunk in answer])

        texts = await asyncio.gather(*(stream(number) for number in range(20)))

    assert texts == [f"This is answer {number}" for number in range(20)]
    booked_once(shared, upstream, customer, 20)
    shared.assert_nothing_held()


@pytest.mark.parametrize("model", MODELS)
async def test_the_asynchronous_helpers_work(gateway: RunningGateway, model: str, customer: Customer) -> None:
    async with async_client(gateway, customer) as client:
        plain = await client.chat.completions.create(model=model, messages=say('[[sim text="Plain"]]'))
        parsed = await client.chat.completions.parse(model=model, messages=say("A city?"), response_format=City)
        async with client.chat.completions.stream(model=model, messages=say("[[sim tools=1]]"), tools=TOOLS) as stream:
            final = await stream.get_final_completion()

    assert plain.choices[0].message.content == "Plain"
    assert isinstance(parsed.choices[0].message.parsed, City)
    assert [call.function.name for call in final.choices[0].message.tool_calls or []] == ["weather"]


def test_models_are_listed_and_retrieved(client: OpenAI) -> None:
    names = {model.id for model in client.models.list()}
    one = client.models.retrieve("gpt-4o-mini")

    assert {"gpt-4o-mini", "claude-haiku-4-5"} <= names
    assert (one.id, one.object) == ("gpt-4o-mini", "model")


def test_the_alias_answers_like_the_route(gateway: RunningGateway, client: OpenAI, customer: Customer) -> None:
    answer: Any = client.post(
        "/ai/chat", cast_to=object, body={"model": "gpt-4o-mini", "messages": say('[[sim text="Alias"]]')}
    )

    assert answer["choices"][0]["message"]["content"] == "Alias"


@pytest.mark.parametrize("model", MODELS)
def test_an_upstream_that_fails_in_the_middle_of_a_stream_raises(
    client: OpenAI, model: str, shared: Installation, customer: Customer
) -> None:
    stream = client.chat.completions.create(
        model=model, messages=say("[[sim words=9 error_event=mid after=3]]"), stream=True
    )

    with pytest.raises(openai.APIError) as raised:
        list(stream)

    assert raised.value.type == "api_error"
    [booked] = shared.wait_events(customer, 1)
    assert booked.event.outcome == Outcome.UPSTREAM_FAILED
    shared.assert_nothing_held()


def test_leaving_the_streaming_helper_early_is_booked_as_a_hang_up(
    client: OpenAI, shared: Installation, customer: Customer
) -> None:
    with client.chat.completions.stream(model="gpt-4o-mini", messages=say("[[sim words=500 pause_ms=10]]")) as stream:
        next(event for event in stream if event.type == "content.delta")

    [booked] = shared.wait_events(customer, 1)
    assert booked.event.outcome == Outcome.CLIENT_GONE
    assert 1 <= booked.event.usage.output < 500
    shared.assert_nothing_held()
