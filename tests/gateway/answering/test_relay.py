"""
An answer on its way from a scripted upstream to a client: what the client sees, what is settled, and in which order.
"""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from core.usage.token_usage import TokenUsage
from core.usage.usage_event import Outcome
from deploy.local.servers.valkey import ValkeyServer
from gateway.answering import relay
from gateway.dialects.translator import StreamTranslator
from gateway.records import metrics
from tests.gateway.accounting.bench import bench_on
from tests.gateway.answering.serving import END, Cue, Serving, ask, event, serving, stream_of, upstreams_at, whole
from tests.gateway.canned import completion, message, pieces
from tests.gateway.outbound.peer import Call, answer_with, peer
from tests.gateway.wire import wire
from tests.harness.waiting import until

REPORT = {"prompt_tokens": 7, "completion_tokens": 3}
REPORTED = TokenUsage(input=7, output=3)
LIKELY_INPUT = 20
"""Of every reservation of these tests."""
DONE = b"data: [DONE]"
BROKEN = b'"code":"upstream_error"'
WORDS = pieces("one ", "two ", "three ")


async def elsewhere(gateway: Serving) -> None:
    """Another connection has been answered meanwhile: whatever was ready to be sent has been."""
    async with wire(gateway.port) as other:
        await other.send(b"no request\r\n\r\n")
        assert (await other.head()).status == 400


def contents(received: bytes) -> list[str]:
    """What the deltas of a stream say, in order; chunks that say nothing are left out."""
    lines = [line.removeprefix(b"data: ") for line in received.split(b"\n") if line.startswith(b"data: {")]
    deltas = [choice["delta"] for line in lines for choice in json.loads(line).get("choices", [])]
    return [delta["content"] for delta in deltas if delta.get("content")]


async def test_a_whole_answer_is_passed_on_as_it_is_and_charged_as_reported(tmp_path: Path, redis_url: str) -> None:
    answer = completion("Hello.", usage=REPORT)
    script = answer_with(whole(answer, headers=b"x-request-id: req-1\r\n"))
    async with bench_on(tmp_path, redis_url) as bench, peer(script) as upstream, serving(bench, upstream) as gateway:
        async with wire(gateway.port) as client:
            await client.send(ask())
            head, received = await client.answer()

        booked = await gateway.recorded()
        assert (head.status, received) == (200, answer)
        assert head.headers["x-poindexter-target"] == "p0/p0-m"
        assert head.headers["x-poindexter-attempts"] == "1"
        assert (booked.usage, booked.estimated, booked.outcome) == (REPORTED, "", Outcome.COMPLETE)
        assert (booked.status, booked.upstream_request_id, booked.attempt) == (200, "req-1", 1)


async def test_a_whole_answer_without_a_report_is_estimated_and_marked(tmp_path: Path, redis_url: str) -> None:
    script = answer_with(whole(completion("eight words are about as many tokens, surely")))
    async with bench_on(tmp_path, redis_url) as bench, peer(script) as upstream, serving(bench, upstream) as gateway:
        async with wire(gateway.port) as client:
            await client.send(ask())
            await client.answer()

        booked = await gateway.recorded()
        assert (booked.usage.input, booked.estimated) == (LIKELY_INPUT, "no_usage_reported")
        assert 5 <= booked.usage.output <= 20


async def test_a_stream_reaches_the_client_to_its_end_and_is_charged_as_reported(
    tmp_path: Path, redis_url: str
) -> None:
    script = answer_with(stream_of(*pieces("one ", "two ", usage=REPORT)))
    async with bench_on(tmp_path, redis_url) as bench, peer(script) as upstream, serving(bench, upstream) as gateway:
        async with wire(gateway.port) as client:
            await client.send(ask(stream=True))
            head = await client.head()
            await client.read_past(DONE)

        booked = await gateway.recorded()
        assert (head.status, head.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert contents(client.received) == ["one ", "two "]
        assert (booked.usage, booked.estimated, booked.outcome) == (REPORTED, "", Outcome.COMPLETE)


async def test_a_stream_without_a_report_is_estimated_and_marked(tmp_path: Path, redis_url: str) -> None:
    script = answer_with(stream_of(*WORDS))
    async with bench_on(tmp_path, redis_url) as bench, peer(script) as upstream, serving(bench, upstream) as gateway:
        async with wire(gateway.port) as client:
            await client.send(ask(stream=True))
            await client.read_past(DONE)

        booked = await gateway.recorded()
        assert (booked.usage.input, booked.estimated) == (LIKELY_INPUT, "no_usage_reported")
        assert booked.usage.output >= 3
        assert booked.outcome is Outcome.COMPLETE


ERROR_EVENT = event({"error": {"message": "The model broke.", "type": "server_error"}})
DEATHS: dict[str, tuple[bytes, Callable[[Call], None]]] = {
    "closes": (b"", Call.close),
    "resets": (b"", Call.reset_hard),
    "says an error": (ERROR_EVENT, Call.close),
    "ends without an end": (END, Call.close),
    "breaks the protocol": (b"no chunk at all\r\n", Call.close),
}


@pytest.mark.parametrize("death", DEATHS)
async def test_an_upstream_that_dies_in_the_middle_is_told_and_what_was_delivered_is_charged(
    tmp_path: Path, redis_url: str, death: str
) -> None:
    """The client sees an error event and no end: half an answer must not look like a whole one."""
    last, way = DEATHS[death]
    cue = Cue()
    script = cue.pauses_between(stream_of(*WORDS[:3], done=False), last, then=way)
    async with bench_on(tmp_path, redis_url) as bench, peer(script) as upstream, serving(bench, upstream) as gateway:
        async with wire(gateway.port) as client:
            await client.send(ask(stream=True))
            await client.read_past(b"three ")
            cue.given.set()
            await client.read_past(BROKEN)
            await client.read_past(END)

        booked = await gateway.recorded()
        assert DONE not in client.received
        assert (booked.usage.input, booked.estimated) == (LIKELY_INPUT, "upstream_failed")
        assert (booked.usage.output >= 3, booked.outcome) == (True, Outcome.UPSTREAM_FAILED)


async def test_a_client_that_hangs_up_stops_the_upstream_and_pays_what_was_delivered(
    tmp_path: Path, redis_url: str
) -> None:
    cue = Cue()
    script = cue.pauses_between(stream_of(*WORDS[:2], done=False))
    async with bench_on(tmp_path, redis_url) as bench, peer(script) as upstream, serving(bench, upstream) as gateway:
        async with wire(gateway.port) as client:
            await client.send(ask(stream=True))
            await client.read_past(b"two ")

        booked = await gateway.recorded()
        cue.given.set()
        await until(lambda: upstream.open == 0)
        assert (booked.usage.input, booked.estimated) == (LIKELY_INPUT, "client_gone")
        assert 2 <= booked.usage.output < 10
        assert (booked.outcome, gateway.records[0].outcome) == (Outcome.CLIENT_GONE, "client_gone")


@pytest.mark.parametrize("pieces_left", [1, 2])
async def test_a_drain_reads_on_to_the_report_of_an_answer_that_nobody_waits_for(
    tmp_path: Path, redis_url: str, pieces_left: int
) -> None:
    """Also when all that is left comes in one piece, and nothing of it could be sent before the end was seen."""
    cue = Cue()
    report, end = event({"id": "c", "choices": [], "usage": REPORT}), event("[DONE]") + END
    rest = [event(WORDS[1]), event(WORDS[2]) + report + end]
    script = cue.pauses_between(stream_of(*WORDS[:1], done=False), *(rest if pieces_left == 2 else [b"".join(rest)]))
    async with (
        bench_on(tmp_path, redis_url) as bench,
        peer(script) as upstream,
        serving(bench, upstream, max_drains=1) as gateway,
    ):
        async with wire(gateway.port) as client:
            await client.send(ask(stream=True))
            await client.read_past(b"one ")
        await until(lambda: gateway.clients[0].client_gone)
        cue.given.set()

        booked = await gateway.recorded()
        assert (booked.usage, booked.estimated, booked.outcome) == (REPORTED, "", Outcome.CLIENT_GONE)
        assert gateway.records[0].outcome == "client_gone"
        assert gateway.transport.use(upstream.origin).idle == 1


async def test_a_process_that_must_stop_charges_what_was_delivered_and_closes_the_connection(
    tmp_path: Path, redis_url: str
) -> None:
    script = Cue().pauses_between(stream_of(*WORDS[:2], done=False))
    async with bench_on(tmp_path, redis_url) as bench, peer(script) as upstream, serving(bench, upstream) as gateway:
        async with wire(gateway.port) as client:
            await client.send(ask(stream=True))
            await client.read_past(b"two ")
            await gateway.server.stop()
            received = await client.read_to_end()

        booked = await gateway.recorded()
        assert not received.endswith(END)
        assert DONE not in received
        assert (booked.outcome, booked.estimated, gateway.records[0].outcome) == (Outcome.CUT, "cut", "cut")
        assert 2 <= booked.usage.output < 10


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_the_last_bytes_go_out_when_redis_has_taken_the_settlement(
    tmp_path: Path, redis_url: str, valkey_server: ValkeyServer, stream: bool
) -> None:
    answer = stream_of(*pieces("one ", usage=REPORT)) if stream else whole(completion("Hello.", usage=REPORT))
    async with (
        bench_on(tmp_path, redis_url, reply_seconds=30.0) as bench,
        peer(answer_with(answer)) as upstream,
        serving(bench, upstream) as gateway,
        wire(gateway.port) as client,
    ):
        valkey_server.pause()
        await client.send(ask(stream=stream))
        await until(lambda: gateway.reservations and gateway.reservations[0].ended)
        await elsewhere(gateway)
        early = gateway.clients[0].finished, gateway.clients[0].started
        valkey_server.resume()
        await client.read_past(DONE if stream else b"Hello.")

        assert early == (False, stream)
        assert (await gateway.recorded()).usage == REPORTED


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_while_redis_is_away_the_last_bytes_go_out_when_the_disk_has_the_settlement(
    tmp_path: Path, redis_url: str, valkey_server: ValkeyServer, stream: bool
) -> None:
    answer = stream_of(*pieces("one ", usage=REPORT)) if stream else whole(completion("Hello.", usage=REPORT))
    async with (
        bench_on(tmp_path, redis_url) as bench,
        peer(answer_with(answer)) as upstream,
        serving(bench, upstream, on_trust=True) as gateway,
        wire(gateway.port) as client,
    ):
        await asyncio.to_thread(valkey_server.kill)
        await until(lambda: not bench.pipeline.connected)
        await client.send(ask(stream=stream))
        await until(lambda: gateway.reservations and bench.spool.intended(str(gateway.reservations[0].event_id)))
        await bench.spool.flush()
        await until(lambda: gateway.reservations[0].ended)
        await elsewhere(gateway)
        early = gateway.clients[0].finished
        await bench.spool.flush()
        await client.read_past(DONE if stream else b"Hello.")
        await gateway.ended()

        assert not early
        assert gateway.reservations[0].settled is not None
        assert gateway.reservations[0].settled.usage == REPORTED


async def test_behind_a_keep_alive_the_answer_goes_on_without_a_second_head_or_role(
    tmp_path: Path, redis_url: str
) -> None:
    cue = Cue()
    role = {"id": "c", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}
    script = cue.pauses_between(b"", stream_of(role, *pieces("one ", usage=REPORT)))
    async with bench_on(tmp_path, redis_url) as bench, peer(script) as upstream, serving(bench, upstream) as gateway:
        keeping = asyncio.create_task(gateway.keep_alives.run())
        async with wire(gateway.port) as client:
            await client.send(ask(stream=True))
            await client.head()
            await client.read_past(b'"role":"assistant"')
            kept_alive_at = gateway.clients[0].first_byte_at
            cue.given.set()
            await client.read_past(DONE)
        keeping.cancel()

        await gateway.ended()
        assert b"HTTP/1.1" not in client.received
        assert client.received.count(b'"role"') == 1
        assert contents(client.received) == ["one "]
        assert gateway.records[0].first_byte_at > kept_alive_at


async def test_a_body_that_ends_behind_the_answers_end_leaves_the_connection_in_use(
    tmp_path: Path, redis_url: str
) -> None:
    """The last chunk comes on its own, a little later."""
    cue = Cue()
    answer = stream_of(*pieces("one ", usage=REPORT)).removesuffix(END)

    async def play(call: Call) -> None:
        await call.request()
        await call.send(answer)
        await cue.given.wait()
        await call.send(END)
        await call.request()
        await call.send(answer + END)
        await call.closed_by_client()

    async with bench_on(tmp_path, redis_url) as bench, peer(play) as upstream, serving(bench, upstream) as gateway:
        async with wire(gateway.port) as client:
            await client.send(ask(stream=True))
            await client.read_past(DONE)
            in_use = gateway.transport.use(upstream.origin).idle
            cue.given.set()
            await until(lambda: gateway.transport.use(upstream.origin).idle == 1)
            await client.send(ask(stream=True))
            await client.read_past(DONE, times=2)

        assert (in_use, upstream.accepted) == (0, 1)


async def test_a_body_that_does_not_end_costs_its_connection_and_nothing_else(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "TAIL_SECONDS", 0.05)
    script = answer_with(stream_of(*pieces("one ", usage=REPORT)).removesuffix(END))
    async with bench_on(tmp_path, redis_url) as bench, peer(script) as upstream, serving(bench, upstream) as gateway:
        async with wire(gateway.port) as client:
            await client.send(ask(stream=True))
            await client.read_past(DONE)
            booked = await gateway.recorded()

        await until(lambda: upstream.open == 0)
        assert (booked.usage, booked.outcome) == (REPORTED, Outcome.COMPLETE)


async def test_a_report_behind_the_end_of_the_answer_still_counts(tmp_path: Path, redis_url: str) -> None:
    late = event({"id": "c", "choices": [], "usage": REPORT})
    answer = stream_of(*WORDS).removesuffix(END)
    cue = Cue()
    script = cue.pauses_between(answer, late + END)
    async with bench_on(tmp_path, redis_url) as bench, peer(script) as upstream, serving(bench, upstream) as gateway:
        async with wire(gateway.port) as client:
            await client.send(ask(stream=True))
            await until(lambda: gateway.reservations and finished(gateway.reservations[0].progress))
            cue.given.set()
            await client.read_past(DONE)

        booked = await gateway.recorded()
        assert (booked.usage, booked.estimated) == (REPORTED, "")
        assert b"prompt_tokens" not in client.received


async def test_a_client_that_reads_slowly_gets_every_byte_in_order(tmp_path: Path, redis_url: str) -> None:
    words = [f"{number:07d}" * 1_000 for number in range(100)]
    script = answer_with(stream_of(*pieces(*words, usage=REPORT)))
    async with (
        bench_on(tmp_path, redis_url) as bench,
        peer(script) as upstream,
        serving(bench, upstream, send_buffer=4096) as gateway,
    ):
        async with wire(gateway.port, receive_buffer=4096) as client:
            await client.send(ask(stream=True))
            await client.head()
            await until(lambda: gateway.clients[0]._writer.blocked)
            await client.read_past(END)

        assert contents(dechunked(client.received)) == words
        assert (await gateway.recorded()).usage == REPORTED


async def test_what_our_tables_have_no_row_for_is_counted(tmp_path: Path, redis_url: str) -> None:
    strange = message("Hi.", stop_reason="bored", usage={"input_tokens": 7, "output_tokens": 3})
    before = metrics.UNUSUAL_ANSWERS._value.get()
    async with (
        bench_on(tmp_path, redis_url) as bench,
        peer(answer_with(whole(strange))) as upstream,
        serving(bench, upstreams=upstreams_at(upstream, schemas=["anthropic"])) as gateway,
        wire(gateway.port) as client,
    ):
        await client.send(ask())
        head, _ = await client.answer()
        booked = await gateway.recorded()

    assert (head.status, booked.usage) == (200, REPORTED)
    assert metrics.UNUSUAL_ANSWERS._value.get() - before == 1


def finished(stream: StreamTranslator | None) -> bool:
    return stream is not None and stream.finished


def dechunked(body: bytes) -> bytes:
    pieces_: list[bytes] = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        pieces_.append(rest[: int(size, 16)])
        body = rest[int(size, 16) + 2 :]
    return b"".join(pieces_)
