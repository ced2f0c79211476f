from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.lib.streaming._deltas import accumulate_delta
from openai.types.chat import ChatCompletionChunk

from core.usage.token_usage import TokenUsage
from gateway.dialects.anthropic.stream import AnthropicStream
from gateway.dialects.sse import MAX_EVENT_BYTES
from gateway.failure import Fault
from tests.gateway.dialects.replay import Outcome, cut, play, split_everywhere
from tests.gateway.dialects.streams import anthropic as streams

ALL = streams.COMPLETE | streams.BROKEN
CACHED = TokenUsage(input=18, cache_read=8831, cache_write_5m=100, output=15)
CACHED_SPLIT = TokenUsage(input=18, cache_read=8831, cache_write_5m=60, cache_write_1h=40, output=15)


def asked() -> AnthropicStream:
    return AnthropicStream(created=1700000000, wants_usage=True, input_includes_cache=False)


def unasked() -> AnthropicStream:
    return AnthropicStream(created=1700000000, wants_usage=False, input_includes_cache=False)


def inclusive() -> AnthropicStream:
    return AnthropicStream(created=1700000000, wants_usage=True, input_includes_cache=True)


def merged(outcome: Outcome) -> dict[Any, Any]:
    """The message as the OpenAI SDK puts it together."""
    message: dict[Any, Any] = {}
    for delta in outcome.deltas:
        message = accumulate_delta(message, dict(delta.items()))
    return message


def tool_calls(outcome: Outcome) -> list[tuple[str, str, str]]:
    calls = merged(outcome)["tool_calls"]
    return [(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in calls]


@pytest.mark.parametrize("new_stream", [asked, unasked])
@pytest.mark.parametrize("name", ALL)
def test_f41_no_split_changes_what_is_delivered_or_counted(name: str, new_stream: type[AnthropicStream]) -> None:
    stream = ALL[name]
    whole = play(new_stream, stream)

    for chunks in split_everywhere(stream):
        assert play(new_stream, *chunks) == whole, [len(chunk) for chunk in chunks]


@given(st.sampled_from(sorted(ALL)), st.lists(st.integers(0, 3000), max_size=30))
@settings(max_examples=200, deadline=None)
def test_no_partition_changes_the_result(name: str, positions: list[int]) -> None:
    outcome = play(asked, *cut(ALL[name], positions))

    assert outcome == play(asked, ALL[name])


@pytest.mark.parametrize("name", streams.COMPLETE)
def test_f42_a_finished_stream_has_one_role_one_finish_reason_and_one_done(name: str) -> None:
    outcome = play(unasked, streams.COMPLETE[name])

    assert outcome.finished
    assert outcome.failure is None
    assert outcome.deltas[0] == {"role": "assistant", "content": "", "refusal": None}
    assert sum("role" in delta for delta in outcome.deltas) == 1
    assert len(outcome.finish_reasons) == 1
    assert outcome.frames[-1]["choices"][0]["finish_reason"] == outcome.finish_reasons[0]
    assert outcome.body.count(b"[DONE]") == 1
    assert outcome.done


@pytest.mark.parametrize("new_stream", [asked, unasked])
@pytest.mark.parametrize("name", streams.COMPLETE)
def test_every_frame_is_a_chunk_of_the_openai_sdk(name: str, new_stream: type[AnthropicStream]) -> None:
    for frame in play(new_stream, streams.COMPLETE[name]).frames:
        chunk = ChatCompletionChunk.model_validate(frame, strict=True)
        assert (chunk.id, chunk.created, chunk.model) == ("msg_1", 1700000000, "claude-sonnet-4-5-20250929")


def test_usage_is_in_a_chunk_of_its_own_and_null_before_when_it_was_asked_for() -> None:
    *others, last = play(asked, streams.PLAIN).frames

    assert all(frame["usage"] is None for frame in others)
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 40
    assert all("usage" not in frame for frame in play(unasked, streams.PLAIN).frames)


def test_f42_usage_that_was_not_reported_is_not_made_up() -> None:
    outcome = play(asked, streams.NO_USAGE)

    assert outcome.usage is None
    assert all(frame["usage"] is None for frame in outcome.frames)
    assert outcome.delivered_output == 3


def test_text_arrives_as_it_was_cut() -> None:
    outcome = play(unasked, streams.PLAIN)

    assert [delta["content"] for delta in outcome.deltas[:-1]] == ["", "Hel", "lo", " \u2028\U0001f600"]
    assert outcome.finish_reasons == ["stop"]


def test_a_ping_is_kept_to_ourselves() -> None:
    """C16: a comment makes some clients lose the error that follows it."""
    assert b"ping" not in play(unasked, streams.PLAIN).body


def test_thinking_is_readable_and_can_be_sent_back_signed() -> None:
    message = merged(play(unasked, streams.THINKING))

    assert message["reasoning_content"] == "Let me thinkonce more"
    assert message["content"] == "It is 42"
    assert message["thinking_blocks"] == [
        {"index": 0, "type": "thinking", "thinking": "Let me think", "signature": "EqQBCgIYAg=="},
        {
            "index": 1,
            "type": "thinking",
            "thinking": "once more",
            "signature": "Second==",
            "after": {"characters": 5, "tool_calls": 0},
        },
    ]


def test_redacted_thinking_can_be_sent_back() -> None:
    message = merged(play(unasked, streams.REDACTED))

    assert message["thinking_blocks"] == [{"index": 0, "type": "redacted_thinking", "data": "EmwKAhgB"}]


def test_e3_thinking_blocks_come_whole_in_one_delta_because_nodes_sdk_keeps_only_the_last() -> None:
    outcome = play(unasked, streams.THINKING)

    assert sum("thinking_blocks" in delta for delta in outcome.deltas) == 1
    assert "thinking_blocks" in outcome.deltas[-2]


def test_e3_thinking_that_is_not_shown_comes_with_an_empty_text() -> None:
    hidden = streams.start() + streams.thought(0, "", signature="S") + streams.text(1, "Hi") + streams.end()

    message = merged(play(unasked, hidden))

    assert "reasoning_content" not in message
    assert message["thinking_blocks"] == [{"index": 0, "type": "thinking", "thinking": "", "signature": "S"}]


def test_c15_a_model_that_thinks_in_secret_has_begun_its_answer() -> None:
    opened = streams.event("content_block_start", index=0, content_block={"type": "thinking", "thinking": ""})

    assert play(unasked, streams.start(), ends=False).committed is False
    assert play(unasked, streams.start() + opened, ends=False).committed is True


@pytest.mark.parametrize(
    ("reason", "oddity"),
    [("end_turn", None), ("tool_use", None), ("brand_new", "stop_reason brand_new"), (None, "stop_reason missing")],
)
def test_e19_a_reason_that_nobody_knows_is_noted(reason: Any, oddity: str | None) -> None:
    stream = unasked()
    stream.feed(streams.start() + streams.text(0, "Hi") + streams.end(reason))

    assert stream.finished
    assert stream.oddity == oddity


@pytest.mark.parametrize(
    ("name", "calls"),
    [
        ("tool", [("toolu_1", "get_weather", '{"location": "Paris"}')]),
        (
            "parallel_tools",
            [("toolu_1", "get_weather", '{"location": "Paris"}'), ("toolu_2", "get_time", '{"zone": "CET"}')],
        ),
        ("interleaved_tools", [("a", "f", "{}"), ("b", "g", '{"x":1}')]),
        ("empty_input", [("toolu_1", "now", "{}"), ("toolu_2", "later", "{}")]),
        ("whole_input", [("toolu_1", "add", '{"a":1,"b":2}')]),
        ("reused_index", [("toolu_1", "f", '{"a":1}'), ("toolu_2", "g", '{"b":2}')]),
        ("whole_long_input", [("toolu_1", "pay", '{"wei":1234567890123456789012}')]),
    ],
)
def test_f43_tool_calls_arrive_complete_and_numbered_from_zero(name: str, calls: list[tuple[str, str, str]]) -> None:
    outcome = play(unasked, streams.COMPLETE[name])

    assert tool_calls(outcome) == calls
    assert outcome.finish_reasons == ["tool_calls"]


def test_a_tool_that_ran_at_the_provider_is_no_tool_call_of_the_client() -> None:
    message = merged(play(unasked, streams.SERVER_TOOL))

    assert "tool_calls" not in message
    assert message["content"] == "Found it"


def test_a_refusal_carries_its_explanation() -> None:
    outcome = play(unasked, streams.REFUSAL)

    assert merged(outcome)["refusal"] == "That is unsafe."
    assert outcome.finish_reasons == ["content_filter"]


@pytest.mark.parametrize(
    ("name", "usage"),
    [
        ("plain", TokenUsage(input=25, output=15)),
        ("thinking", TokenUsage(input=25, output=20, reasoning=40)),
        ("usage_in_start_only", CACHED_SPLIT),
        ("usage_repeated", CACHED_SPLIT),
        ("usage_split_later", CACHED),
        ("usage_cumulative", CACHED),
        ("usage_after_stop", TokenUsage(input=25, output=15)),
    ],
)
def test_f10_f15_f16_each_field_counts_once_whatever_the_shape_of_the_report(name: str, usage: TokenUsage) -> None:
    outcome = play(asked, streams.COMPLETE[name])

    assert (outcome.usage, outcome.usage_flaw) == (usage, None)


def test_f16_an_upstream_that_counts_the_cache_inside_its_input_is_told_by_configuration() -> None:
    assert play(inclusive, streams.USAGE_INCLUSIVE).usage == CACHED


def test_f17_prompt_and_completion_add_up_to_the_total_with_the_cache_inside_the_prompt() -> None:
    usage = play(asked, streams.USAGE_REPEATED).frames[-1]["usage"]

    assert usage == {
        "prompt_tokens": 8949,
        "completion_tokens": 15,
        "total_tokens": 8964,
        "prompt_tokens_details": {"cached_tokens": 8831, "cache_write_tokens": 100},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def test_f5_f53_zero_and_zero_is_a_report_and_zero_input_with_output_is_a_flaw() -> None:
    nothing = play(asked, streams.start(input_tokens=0) + streams.end(usage={"output_tokens": 0}))
    half = play(asked, streams.start(input_tokens=0) + streams.text(0, "Hi") + streams.end())

    assert (nothing.usage, nothing.usage_flaw) == (TokenUsage(), None)
    assert (half.usage, half.usage_flaw) == (TokenUsage(output=15), "input_missing")


def test_f16_the_placeholder_of_message_start_is_never_the_output_of_a_stream_that_was_cut() -> None:
    outcome = play(asked, streams.BROKEN["cut_after_text"])

    assert (outcome.usage, outcome.usage_flaw) == (TokenUsage(input=25, output=3), "output_missing")


@pytest.mark.parametrize(
    ("name", "committed", "message"),
    [
        ("error_first", False, "Overloaded"),
        ("error_after_start", False, "Overloaded"),
        ("error_later", True, "Overloaded"),
        ("cut_after_text", True, "it ended before message_stop"),
        ("cut_before_stop", True, "it ended before message_stop"),
        ("cut_in_stop", True, "it ended before message_stop"),
        ("nothing", False, "it ended before message_stop"),
        ("html", False, "it ended before message_stop"),
        ("garbage_event", False, "not a JSON object"),
        ("no_start", False, "content before message_start"),
        ("no_message_delta", True, "it ended without message_delta"),
    ],
)
def test_f45_f70_f71_a_broken_stream_is_a_failure_and_never_ends_cleanly(
    name: str, committed: bool, message: str
) -> None:
    outcome = play(unasked, streams.BROKEN[name])

    assert outcome.failure is not None
    assert outcome.failure.fault is Fault.UPSTREAM
    assert message in outcome.failure.message
    assert outcome.committed is committed
    assert not outcome.finished
    assert outcome.finish_reasons == []
    assert b"[DONE]" not in outcome.body
    assert b"Overloaded" not in outcome.body


def test_f22_an_error_event_delivers_no_tokens() -> None:
    assert play(unasked, streams.ERROR).delivered_output == 0
    assert play(unasked, streams.BROKEN["error_later"]).delivered_output == 1


def test_an_event_beyond_the_limit_is_a_failure_after_what_came_before() -> None:
    stream = streams.start() + streams.text(0, "Hi") + b"data: " + b"x" * MAX_EVENT_BYTES

    outcome = play(unasked, stream)

    assert outcome.failure is not None
    assert f"longer than {MAX_EVENT_BYTES} bytes" in outcome.failure.message
    assert merged(outcome)["content"] == "Hi"


def test_what_follows_the_end_is_not_even_too_large() -> None:
    outcome = play(unasked, streams.PLAIN + b"data: " + b"x" * MAX_EVENT_BYTES)

    assert outcome == play(unasked, streams.PLAIN)


def test_a_tool_input_nested_too_deeply_to_be_written_again_is_a_failure() -> None:
    deep = b'{"a":' * 300 + b"1" + b"}" * 300
    started = streams.tool(0, "toolu_1", "f", input={"deep": 1}).replace(b'{"deep":1}', deep)

    outcome = play(unasked, streams.start() + started)

    assert outcome.failure is not None
    assert "nested too deeply" in outcome.failure.message


def test_the_error_frame_ends_the_stream_in_the_clients_schema() -> None:
    frame = unasked().error_frame("broken", "api_error", None)

    assert frame == b'data: {"error":{"message":"broken","type":"api_error","param":null,"code":null}}\n\n'
