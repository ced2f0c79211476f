"""No request, however broken, may end in anything but an answer or a refusal in the provider's words."""

import copy
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulators.answers.prompt_cache import PromptCache
from simulators.answers.replies import Request
from simulators.anthropic.messages import AnthropicMessages
from simulators.faults.directives import write_script
from simulators.faults.refusals import Refused
from simulators.openai.chat import OpenAIChat

HEADERS = {"anthropic-version": "2023-06-01"}
LIST = {"type": "array", "items": {"enum": [1, "x"]}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}, "b": LIST}}
OPENAI_BODY: dict[str, Any] = {
    "model": "gpt-4o",
    "n": 2,
    "stop": ["x"],
    "logprobs": True,
    "tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}},
    "messages": [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a/b.png"}}]},
        {
            "role": "assistant",
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "done"}]},
    ],
}
ANTHROPIC_BODY: dict[str, Any] = {
    "model": "claude-haiku-4-5",
    "max_tokens": 2000,
    "system": [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
    "tools": [{"name": "f", "input_schema": SCHEMA}, {"type": "web_search_20250305", "name": "web_search"}],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    "thinking": {"type": "disabled"},
    "messages": [
        {"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "https://a/b.png"}}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {"a": "x"}}]},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "c", "content": [{"type": "text", "text": "done"}]}],
        },
    ],
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, one in inner for place in places(one, (*path, key)))]


def changed(body: dict[str, Any], path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copied = copy.deepcopy(body)
    target: Any = copied
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    return copied


def provider(name: str) -> OpenAIChat | AnthropicMessages:
    cache = PromptCache(lambda: 0.0)
    return OpenAIChat(frozenset(), cache) if name == "openai" else AnthropicMessages(frozenset(), cache)


def answer(name: str, body: Any) -> bytes | Refused:
    try:
        return served(name, body)
    except Refused as refused:
        return refused


def served(name: str, body: Any) -> bytes:
    one = provider(name)
    family = one.check(body, HEADERS)
    prompt, points = one.measure(body)
    reply = one.reply(Request(body, family, write_script({}), 0), prompt, points, "key")
    return reply.whole() + b"".join(frame.data for frame in reply.frames())


@pytest.mark.parametrize(("name", "body"), [("openai", OPENAI_BODY), ("anthropic", ANTHROPIC_BODY)])
def test_the_whole_example_is_answered(name: str, body: dict[str, Any]) -> None:
    assert served(name, body)


@pytest.mark.parametrize(("name", "body"), [("openai", OPENAI_BODY), ("anthropic", ANTHROPIC_BODY)])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_change_anywhere_is_answered_or_refused(name: str, body: dict[str, Any], data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(places(body)))
    broken = changed(body, path, orjson.loads(orjson.dumps(data.draw(JSON))))

    answered = answer(name, broken)

    if isinstance(answered, Refused):
        assert 400 <= answered.status < 500
        assert answered.message
        assert provider(name).error_body(answered, "req")
    else:
        assert answered
