"""The record of truth, in memory, in its file, and when somebody dies."""

import concurrent.futures
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI

from tests.harness.simulated_upstream import SimulatedUpstream

FIELDS = {
    "provider",
    "model",
    "client_request_id",
    "upstream_request_id",
    "api_key_tail",
    "stream",
    "status",
    "outcome",
    "input_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "reasoning_tokens",
    "delivered_chunks",
    "started_at",
    "ended_at",
}


def chat(directive: str, stream: bool = True) -> dict[str, Any]:
    return {"model": "gpt-4o", "stream": stream, "messages": [{"role": "user", "content": f"[[sim {directive}]]"}]}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_entry_says_who_got_what(openai: OpenAI, upstream: SimulatedUpstream) -> None:
    answer = openai.chat.completions.with_raw_response.create(
        **chat("words=6", stream=False), extra_headers={"x-client-request-id": "mine"}
    )
    openai.chat.completions.create(**chat("words=7", stream=False))

    (entry,) = upstream.served(client_request_id="mine")
    assert entry.keys() == FIELDS
    assert entry["upstream_request_id"] == answer.headers["x-request-id"]
    assert (entry["provider"], entry["model"], entry["api_key_tail"]) == ("openai", "gpt-4o", "test")
    assert (entry["outcome"], entry["output_tokens"], entry["stream"]) == ("complete", 6, False)
    assert entry["started_at"] <= entry["ended_at"]


@pytest.mark.parametrize("stream", [False, True])
def test_an_entry_is_in_the_file_before_the_answer_ends(tmp_path: Path, stream: bool) -> None:
    record = tmp_path / "served.jsonl"
    upstream = SimulatedUpstream.start(record=record)
    try:
        headers = {"authorization": "Bearer any-key"}
        answer = httpx.post(f"{upstream.openai_url}/chat/completions", json=chat("words=3", stream), headers=headers)
        assert answer.status_code == 200
        upstream.process.kill()

        assert [(entry["outcome"], entry["output_tokens"]) for entry in lines(record)] == [("complete", 3)]
    finally:
        upstream.stop()


def test_a_stream_that_is_open_at_sigterm_is_recorded_as_cut(tmp_path: Path) -> None:
    record = tmp_path / "served.jsonl"
    upstream = SimulatedUpstream.start(record=record)
    try:
        with httpx.stream(
            "POST",
            f"{upstream.openai_url}/chat/completions",
            json=chat("words=9 stall=stream after=2"),
            headers={"authorization": "Bearer any-key"},
        ) as answer:
            parts = answer.iter_raw()
            next(parts)
            upstream.process.terminate()
            upstream.process.wait(5)
    finally:
        upstream.stop()

    assert [(entry["outcome"], entry["output_tokens"]) for entry in lines(record)] == [("cut", 2)]


def test_hundreds_of_streams_at_once_are_all_recorded(openai: OpenAI, upstream: SimulatedUpstream) -> None:
    def read(_: int) -> int:
        return sum(1 for chunk in openai.chat.completions.create(**chat("words=20 pause_ms=5")) if chunk.choices)

    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        chunks = list(pool.map(read, range(200)))

    assert set(chunks) == {22}
    assert len({entry["upstream_request_id"] for entry in upstream.served(outcome="complete")}) == 200
    assert sum(entry["output_tokens"] for entry in upstream.served()) == 4000
