"""Everything that can go wrong between a provider and its client, as a client sees it."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import openai as sdk
import pytest
from openai import OpenAI

from tests.harness.simulated_upstream import SimulatedUpstream
from tests.simulators.conftest import API_KEY


@pytest.fixture
def http(upstream_process: SimulatedUpstream) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {API_KEY}"}
    with httpx.Client(base_url=upstream_process.openai_url, headers=headers, timeout=5, trust_env=False) as client:
        yield client


def chat(directive: str, stream: bool = True) -> dict[str, Any]:
    return {"model": "gpt-4o", "stream": stream, "messages": [{"role": "user", "content": f"[[sim {directive}]]"}]}


def read(http: httpx.Client, directive: str, stream: bool = True) -> tuple[bytes, Exception | None]:
    """The bytes of a body as far as they came, and what ended them."""
    received = b""
    try:
        with http.stream("POST", "/chat/completions", json=chat(directive, stream)) as answer:
            for part in answer.iter_raw():
                received += part
    except httpx.TransportError as error:
        return received, error
    return received, None


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("directive", ["cut=before_head", "garbage=http"])
def test_a_call_without_an_answer_is_not_served(
    http: httpx.Client, upstream: SimulatedUpstream, directive: str, stream: bool
) -> None:
    _, error = read(http, directive, stream)

    assert isinstance(error, httpx.RemoteProtocolError)
    assert upstream.served() == []
    assert len(upstream.refused()) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_connection_cut_after_the_head_has_no_body(
    http: httpx.Client, upstream: SimulatedUpstream, stream: bool
) -> None:
    received, error = read(http, "cut=after_head", stream)

    assert received == b""
    assert isinstance(error, httpx.RemoteProtocolError)
    assert upstream.served() == []


@pytest.mark.parametrize(("cut", "clean"), [("reset", False), ("fin", False), ("eof", True)])
def test_a_stream_is_cut_after_k_chunks(http: httpx.Client, upstream: SimulatedUpstream, cut: str, clean: bool) -> None:
    received, error = read(http, f"words=9 cut={cut} after=4")

    assert (error is None) == clean
    assert b"[DONE]" not in received
    assert cut == "reset" or received.count(b'"content":" ') == 3
    (call,) = upstream.served()
    assert (call["outcome"], call["output_tokens"], call["delivered_chunks"]) == ("cut", 4, 4)
    assert call["input_tokens"] > 0


@pytest.mark.parametrize("cut", ["reset", "fin"])
def test_a_whole_answer_is_cut_in_its_middle(http: httpx.Client, upstream: SimulatedUpstream, cut: str) -> None:
    _, error = read(http, f"words=9 cut={cut}", stream=False)

    assert isinstance(error, httpx.TransportError)
    assert [call["outcome"] for call in upstream.served()] == ["cut"]


def test_a_cut_later_than_the_answer_comes_at_its_end(http: httpx.Client, upstream: SimulatedUpstream) -> None:
    received, error = read(http, "words=3 cut=fin after=50")

    assert error is not None
    assert b'"finish_reason":"stop"' not in received
    assert [call["output_tokens"] for call in upstream.served()] == [3]


@pytest.mark.parametrize("stall", ["before_head", "after_head", "stream"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_stalled_call_is_recorded_when_its_client_leaves(
    http: httpx.Client, upstream: SimulatedUpstream, stall: str, stream: bool
) -> None:
    with pytest.raises(httpx.ReadTimeout):
        http.post("/chat/completions", json=chat(f"words=9 stall={stall} after=1", stream), timeout=0.2)

    (call,) = upstream.wait_served(1)
    assert call["outcome"] == "client_gone"
    assert call["input_tokens"] > 0


def test_a_client_that_leaves_mid_stream_is_charged_for_what_it_got(
    http: httpx.Client, upstream: SimulatedUpstream
) -> None:
    with http.stream("POST", "/chat/completions", json=chat("words=500 pause_ms=5")) as answer:
        for _, _line in zip(range(9), answer.iter_lines(), strict=False):
            pass

    (call,) = upstream.wait_served(1)
    assert call["outcome"] == "client_gone"
    assert 1 <= call["output_tokens"] < 400


def test_an_error_can_stand_at_the_start_of_a_stream(
    openai: OpenAI, http: httpx.Client, upstream: SimulatedUpstream
) -> None:
    with pytest.raises(sdk.APIError, match="too much"):
        list(openai.chat.completions.create(**chat('error_event=start message="too much"')))

    assert upstream.served() == []
    assert len(upstream.refused()) == 1


def test_an_error_can_end_a_stream_in_its_middle(openai: OpenAI, upstream: SimulatedUpstream) -> None:
    stream = openai.chat.completions.create(**chat("words=9 error_event=mid after=2"))
    chunks: list[Any] = []

    with pytest.raises(sdk.APIError):
        chunks.extend(stream)

    assert [(call["outcome"], call["output_tokens"]) for call in upstream.served()] == [("error", 2)]


def test_garbage_takes_the_place_of_json(http: httpx.Client, upstream: SimulatedUpstream) -> None:
    answer = http.post("/chat/completions", json=chat("garbage=json", stream=False))

    assert answer.status_code == 200
    assert answer.text.startswith("<html>")
    assert upstream.served() == []


def test_garbage_can_stand_inside_a_stream(http: httpx.Client, upstream: SimulatedUpstream) -> None:
    received, _ = read(http, "words=5 garbage=sse after=2")

    assert b'[{"ind\n\n' in received
    assert received.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize(("wrong", "is_noticed"), [("short", False), ("long", True)])
def test_the_content_length_can_be_wrong(
    http: httpx.Client, upstream: SimulatedUpstream, wrong: str, is_noticed: bool
) -> None:
    received, error = read(http, f"content_length={wrong}", stream=False)

    assert (error is not None) == is_noticed
    assert received.endswith(b"}") == is_noticed


def test_a_first_byte_can_be_slow(http: httpx.Client, upstream: SimulatedUpstream) -> None:
    started = time.monotonic()
    http.post("/chat/completions", json=chat("first_byte_ms=150", stream=False))

    assert time.monotonic() - started >= 0.15


@pytest.mark.parametrize("size", [1, 7, 64])
@pytest.mark.parametrize("stream", [False, True])
def test_a_body_can_be_split_anywhere(http: httpx.Client, upstream: SimulatedUpstream, size: int, stream: bool) -> None:
    pieces: list[bytes] = []
    with http.stream("POST", "/chat/completions", json=chat(f"words=5 split_bytes={size}", stream)) as answer:
        pieces.extend(answer.iter_raw())

    assert max(len(piece) for piece in pieces) <= size or not stream
    assert b"".join(pieces).endswith(b"data: [DONE]\n\n" if stream else b"}}}")
    assert [call["outcome"] for call in upstream.served()] == ["complete"]


def test_terminal_frames_can_come_in_one_write(http: httpx.Client, upstream: SimulatedUpstream) -> None:
    with http.stream("POST", "/chat/completions", json=chat("words=2 glue=1 pause_ms=20")) as answer:
        *_, last = answer.iter_raw()

    assert b'"finish_reason":"stop"' in last
    assert last.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("stream", [False, True])
def test_usage_can_be_absent_and_is_recorded_all_the_same(
    openai: OpenAI, upstream: SimulatedUpstream, stream: bool
) -> None:
    request: Any = chat("words=4 usage=none", stream)
    if stream:
        request["stream_options"] = {"include_usage": True}
        chunks = list(openai.chat.completions.create(**request))
        assert [chunk.usage for chunk in chunks] == [None] * len(chunks)
    else:
        assert openai.chat.completions.create(**request).usage is None

    assert [call["output_tokens"] for call in upstream.served()] == [4]


def test_usage_can_be_an_explicit_zero(openai: OpenAI, upstream: SimulatedUpstream) -> None:
    usage = openai.chat.completions.create(**chat("usage=zero", stream=False)).usage

    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (0, 0)
    assert upstream.served()[0]["input_tokens"] == 0


def test_reported_usage_can_be_scripted(openai: OpenAI, upstream: SimulatedUpstream) -> None:
    directive = "input_tokens=1000 output_tokens=200 cached_tokens=24"

    usage = openai.chat.completions.create(**chat(directive, stream=False)).usage

    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (1024, 200)
