import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk

from core.usage.token_usage import TokenUsage
from gateway.dialects.openai.stream import OpenAIStream
from gateway.dialects.sse import MAX_EVENT_BYTES
from gateway.failure import Fault
from tests.gateway.dialects.replay import cut, play, split_everywhere
from tests.gateway.dialects.streams import openai as streams

ALL = streams.COMPLETE | streams.BROKEN
REPORTED = TokenUsage(input=15, cache_read=4, output=7, reasoning=3)


def asked() -> OpenAIStream:
    return OpenAIStream(wants_usage=True)


def unasked() -> OpenAIStream:
    return OpenAIStream(wants_usage=False)


@pytest.mark.parametrize("new_stream", [asked, unasked])
@pytest.mark.parametrize("name", ALL)
def test_f41_no_split_changes_what_is_delivered_or_counted(name: str, new_stream: type[OpenAIStream]) -> None:
    stream = ALL[name]
    whole = play(new_stream, stream)

    for chunks in split_everywhere(stream):
        assert play(new_stream, *chunks) == whole, [len(chunk) for chunk in chunks]


@given(st.sampled_from(sorted(ALL)), st.lists(st.integers(0, 2000), max_size=30), st.booleans())
@settings(max_examples=200, deadline=None)
def test_no_partition_changes_the_result(name: str, positions: list[int], wants_usage: bool) -> None:
    def new_stream() -> OpenAIStream:
        return OpenAIStream(wants_usage=wants_usage)

    outcome = play(new_stream, *cut(ALL[name], positions))

    assert outcome == play(new_stream, ALL[name])


@pytest.mark.parametrize("name", ["plain", "tricky_text", "tools", "reasoning", "usage_with_choices", "azure"])
def test_a_client_that_asked_for_usage_gets_the_upstreams_own_bytes(name: str) -> None:
    stream = streams.COMPLETE[name]

    outcome = play(asked, stream)

    assert outcome.body == stream
    assert outcome.usage == REPORTED


@pytest.mark.parametrize("name", streams.COMPLETE)
def test_a_client_that_did_not_ask_never_sees_a_usage_field(name: str) -> None:
    outcome = play(unasked, streams.COMPLETE[name])

    assert outcome.finished
    assert outcome.done
    assert all("usage" not in frame for frame in outcome.frames)
    assert all(frame["choices"] for frame in outcome.frames if "prompt_filter_results" not in frame)


@pytest.mark.parametrize("name", sorted(set(streams.COMPLETE) - {"azure", "multi_line"}))
def test_every_frame_is_a_chunk_of_the_openai_sdk(name: str) -> None:
    for frame in play(unasked, streams.COMPLETE[name]).frames:
        ChatCompletionChunk.model_validate(frame, strict=True)


@pytest.mark.parametrize("name", ["carriage_returns", "lone_carriage_returns"])
def test_other_line_ends_become_line_feeds(name: str) -> None:
    outcome = play(asked, streams.COMPLETE[name])

    assert outcome.body == streams.PLAIN


def test_text_that_looks_like_protocol_is_text() -> None:
    outcome = play(unasked, streams.TRICKY_TEXT)

    texts = [delta.get("content") for delta in outcome.deltas]
    assert texts[1:-1] == ['"usage":null', "usage", "error", "[DONE]", 'data: [DONE]\n\n"error":', "\r\n\r\n"]


@pytest.mark.parametrize(
    ("name", "usage"),
    [
        ("plain", REPORTED),
        ("usage_with_choices", REPORTED),
        ("usage_in_every_chunk", REPORTED),
        ("spaced", REPORTED),
        ("zero_usage", TokenUsage()),
        ("no_usage", None),
        ("comments", None),
    ],
)
def test_f5_reported_usage_absent_usage_and_zero_are_three_different_things(
    name: str, usage: TokenUsage | None
) -> None:
    for new_stream in (asked, unasked):
        assert play(new_stream, streams.COMPLETE[name]).usage == usage


def test_a_finish_reason_shares_its_chunk_with_usage_and_keeps_it_when_the_usage_is_stripped() -> None:
    outcome = play(unasked, streams.USAGE_WITH_CHOICES)

    assert outcome.finish_reasons == ["stop"]


def test_an_incomplete_event_is_held_back_and_a_complete_one_never() -> None:
    stream = unasked()
    event = streams.text("Hi", usage="")
    stream.feed(streams.ROLE)

    assert stream.feed(event[:-1]) == b""
    assert stream.feed(event[-1:]) == event
    assert stream.feed(event) == event
    assert stream.feed(event + event[:5]) == event
    assert stream.feed(event[5:] + event) == event + event


def test_the_answer_is_committed_by_content_and_not_by_the_role() -> None:
    stream = unasked()

    stream.feed(b": ping\n\n" + streams.ROLE)
    assert not stream.committed

    stream.feed(streams.text("Hi"))
    assert stream.committed
    assert (stream.response_id, stream.response_model) == ("chatcmpl-1", "gpt-4o-2024-08-06")


def test_an_empty_answer_is_committed_by_its_end() -> None:
    outcome = play(unasked, streams.DONE)

    assert outcome.committed
    assert outcome.finished


@pytest.mark.parametrize(
    ("name", "committed", "fault", "message"),
    [
        ("error_first", False, Fault.RATE, "Slow down"),
        ("error_later", True, Fault.UPSTREAM, "Provider disconnected"),
        ("cut_after_text", True, Fault.UPSTREAM, "it ended before [DONE]"),
        ("cut_in_an_event", True, Fault.UPSTREAM, "it ended before [DONE]"),
        ("cut_before_done", True, Fault.UPSTREAM, "it ended before [DONE]"),
        ("nothing", False, Fault.UPSTREAM, "it ended before [DONE]"),
        ("html", False, Fault.UPSTREAM, "it ended before [DONE]"),
        ("plain_json_error", False, Fault.UPSTREAM, "The model is loading"),
        ("garbage_event", False, Fault.UPSTREAM, "not a JSON object"),
        ("list_event", False, Fault.UPSTREAM, "not a JSON object"),
    ],
)
def test_f45_f70_f71_a_broken_stream_is_a_failure_and_never_ends_cleanly(
    name: str, committed: bool, fault: Fault, message: str
) -> None:
    outcome = play(unasked, streams.BROKEN[name])

    assert outcome.failure is not None
    assert outcome.failure.fault is fault
    assert message in outcome.failure.message
    assert outcome.committed is committed
    assert not outcome.finished
    assert b"[DONE]" not in outcome.body
    assert b'"error"' not in outcome.body


def test_f22_an_error_event_delivers_no_tokens() -> None:
    before = play(unasked, streams.ROLE + streams.text("Hi"), ends=False)

    outcome = play(unasked, streams.ERROR_LATER)

    assert outcome.delivered_output == before.delivered_output == 1
    assert play(unasked, streams.ERROR_FIRST).delivered_output == 0


def test_delivered_output_counts_events_and_where_they_are_full_their_bytes() -> None:
    one_token_each = play(unasked, streams.ROLE + streams.text(*["word"] * 50), ends=False)
    many_tokens_each = play(unasked, streams.ROLE + streams.text(*["a word or two " * 10] * 50), ends=False)

    assert 50 <= one_token_each.delivered_output <= 51
    assert 50 * 34 <= many_tokens_each.delivered_output <= 50 * 36


@pytest.mark.parametrize("name", ["reasoning", "tools"])
def test_reasoning_and_tool_arguments_are_delivered_output_too(name: str) -> None:
    assert play(unasked, streams.COMPLETE[name]).delivered_output >= 2


@pytest.mark.parametrize("chunk_size", [4096, 1 << 16, 1 << 22])
@pytest.mark.parametrize("excess", [0, 10_000])
@pytest.mark.parametrize("start", [b"", streams.ROLE + streams.text("Hi")])
def test_an_event_beyond_the_limit_is_a_failure(start: bytes, excess: int, chunk_size: int) -> None:
    stream = start + b"data: " + b"x" * (MAX_EVENT_BYTES + excess) + b"\n\n"

    outcome = play(unasked, *cut(stream, range(chunk_size, len(stream), chunk_size)))

    assert outcome.failure is not None
    assert f"longer than {MAX_EVENT_BYTES} bytes" in outcome.failure.message


def test_an_event_nested_too_deeply_to_be_written_again_is_a_failure() -> None:
    deep = b"[" * 300 + b"]" * 300
    event = b'data: {"choices":[{"delta":{"content":"x"}}],"x":' + deep + b',"usage":{"prompt_tokens":1}}\n\n'

    outcome = play(unasked, event)

    assert outcome.failure is not None
    assert "nested too deeply" in outcome.failure.message


def test_the_error_frame_is_one_event_that_the_sdk_raises_on() -> None:
    frame = unasked().error_frame("The provider's stream broke.", "api_error", "upstream_error")

    assert frame == (
        b'data: {"error":{"message":"The provider\'s stream broke.","type":"api_error","param":null,'
        b'"code":"upstream_error"}}\n\n'
    )


@pytest.mark.parametrize("wants_usage", [False, True])
@pytest.mark.parametrize(
    ("stream", "choices"),
    [
        (streams.PLAIN[: -len(streams.DONE)], 1),
        (streams.PLAIN[: -len(streams.DONE)], 3),
        (streams.ROLE + streams.text("Hi") + streams.STOP, 1),
    ],
)
def test_c20_an_upstream_that_never_sends_done_ends_with_its_usage_or_its_only_choice(
    stream: bytes, choices: int, wants_usage: bool
) -> None:
    for chunks in split_everywhere(stream):
        outcome = play(lambda: OpenAIStream(wants_usage=wants_usage, done_after=choices), *chunks)
        assert (outcome.finished, outcome.failure, outcome.done) == (True, None, True)


@pytest.mark.parametrize("wants_usage", [False, True])
@pytest.mark.parametrize("cut", [1, 2])
def test_c20_without_done_the_last_event_may_lack_its_blank_line(wants_usage: bool, cut: int) -> None:
    chunks = streams.PLAIN.removesuffix(streams.DONE)[:-cut]

    outcome = play(lambda: OpenAIStream(wants_usage=wants_usage, done_after=1), chunks)

    assert (outcome.finished, outcome.failure, outcome.done, outcome.usage) == (True, None, True, REPORTED)


@pytest.mark.parametrize(
    ("stream", "choices"), [(streams.ROLE + streams.text("Hi"), 1), (streams.text("Hi") + streams.STOP, 2), (b"", 1)]
)
def test_c20_without_done_an_answer_that_stops_anywhere_else_is_still_broken(stream: bytes, choices: int) -> None:
    outcome = play(lambda: OpenAIStream(wants_usage=True, done_after=choices), stream)

    assert outcome.failure is not None


def test_e6_an_empty_usage_object_at_the_end_does_not_erase_the_report_before_it() -> None:
    empty = b'data: {"choices":[],"usage":{}}\n\n'

    assert play(unasked, streams.PLAIN[: -len(streams.DONE)] + empty + streams.DONE).usage == REPORTED


def test_e5_the_tier_that_was_served_is_picked_up_wherever_it_stands() -> None:
    first = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}],"service_tier":"default"}\n\n'
    last = b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1},"service_tier":"flex"}\n\n'
    stream = unasked()

    stream.feed(first)
    tier = stream.service_tier
    stream.feed(last)

    assert (tier, stream.service_tier) == ("default", "flex")


def test_e8_half_an_emoji_before_the_first_content_breaks_no_stream() -> None:
    stream = (
        rb'data: {"choices":[{"index":0,"delta":{"content":"a \ud83d b"}}]}' + b"\n\n" + streams.STOP + streams.DONE
    )

    outcome = play(unasked, stream)

    assert outcome.failure is None
    assert outcome.body == stream.replace(b',"usage":null', b"")


def test_e21_usage_that_comes_after_the_end_counts_and_is_not_passed_on() -> None:
    stream = unasked()
    stream.feed(streams.ROLE + streams.text("Hi"))
    last = stream.feed(b"data: [DONE]\n\n")

    late = stream.feed(b'data: {"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":20}}\n\n: bye\n\n')

    assert (last, late) == (b"data: [DONE]\n\n", b"")
    assert stream.usage == TokenUsage(input=100, output=20)


@pytest.mark.parametrize("comment", [b": ping\n\n", b":\n", b"\n\n\n", b": a\n: b\n\n"])
def test_c16_comments_and_blank_lines_stay_with_us(comment: bytes) -> None:
    """Some clients take one for an event, others lose the error that follows it."""
    event = streams.text("Hi", usage="")
    stream = unasked()
    stream.feed(streams.ROLE)

    assert stream.feed(comment) == b""
    assert not stream.committed
    assert stream.feed(event) == event
    assert stream.feed(b": ping\n\n" + event + b": ping\n\n") == event


def test_c14_an_image_in_one_event_passes() -> None:
    image = streams.text("x" * 5_000_000, usage="")
    stream = unasked()
    stream.feed(streams.ROLE)

    assert b"".join(stream.feed(part) for part in cut(image, range(65_536, len(image), 65_536))) == image
