"""
Bringing a `Reply` to the client, well or badly: pauses, cuts, stalls, garbage, wrong lengths, odd borders of chunks.

Order that matters: a complete answer is recorded before its last byte is written (`_Writer.finish` is called after
`Record.add`), so that a client that has all of it can never be without an entry.
"""

from collections.abc import Iterator

from simulators.answers.replies import Frame, Reply
from simulators.faults.directives import Script
from simulators.faults.record import Record, ServedCall
from simulators.faults.refusals import Refused
from simulators.http.connection import Connection

EVENT_STREAM = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
JSON = {"content-type": "application/json"}
NOT_HTTP = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 this is not HTTP\r\n\r\n"
NOT_JSON = b"<html><body>502 Bad Gateway</body></html>"
BROKEN_EVENT = b'data: {"id": "chatcmpl-broken", "choices": [{"ind\n\n'
WRONG_LENGTH = {"short": -10, "long": 10}


class Cut(Exception):
    """The script ended the answer early; the connection is in the state that it asked for."""


class Delivery:
    """One answer on its way. `call` is filled in as the answer is produced; whoever runs it records abnormal ends."""

    def __init__(self, connection: Connection, script: Script, call: ServedCall, record: Record) -> None:
        self._connection = connection
        self._script = script
        self._call = call
        self._record = record
        self.is_recorded = False

    async def before_the_head(self, headers: dict[str, str]) -> None:
        """Everything that can go wrong before the answer begins; `Cut` when it does."""
        script = self._script
        await self._connection.pause(script.first_byte_ms / 1000)
        if script.stall == "before_head":
            await self._connection.stall()
        if script.garbage == "http":
            self._connection.write_raw(NOT_HTTP)
        if script.cut == "before_head" or script.garbage == "http":
            await self._close()
        if script.garbage == "json":
            await self._connection.start(200, {**headers, **JSON, "content-length": str(len(NOT_JSON))})
            await self._connection.finish(NOT_JSON)
            raise Cut
        if "after_head" in (script.cut, script.stall):
            await self._connection.start(200, {**headers, **(EVENT_STREAM if self._call.stream else JSON)})
            if script.stall:
                await self._connection.stall()
            await self._close()

    async def stream(self, reply: Reply, headers: dict[str, str], error_event: bytes) -> None:
        """The frames of a reply. `error_event` is what a failing stream says."""
        await self._connection.start(200, {**headers, **EVENT_STREAM})
        self._call.charge_input(reply.usage)
        writer = _Writer(self._connection, self._script.split_bytes)
        frames = _glued(reply.frames()) if self._script.glue else reply.frames()
        content_frames = 0
        is_due = True
        for frame in frames:
            # An answer shorter than `after` misbehaves where its content ends, so that no fault is lost silently.
            if is_due and (content_frames == self._script.after if frame.content else frame.closing):
                is_due = False
                await self._misbehave(writer, error_event)
            if frame.content:
                if content_frames:
                    await self._connection.pause(self._script.pause_ms / 1000)
                content_frames += 1
            await self._send(writer, frame, reply)

    async def _send(self, writer: "_Writer", frame: Frame, reply: Reply) -> None:
        call = self._call
        call.output_tokens += frame.output_tokens
        call.reasoning_tokens += frame.reasoning_tokens
        call.delivered_chunks += frame.content
        if not frame.last:
            await writer.write(frame.data)
            return
        await self._connection.pause(0)
        call.charge_output(reply.usage)
        self._recorded("complete")
        await writer.finish(frame.data)

    async def _misbehave(self, writer: "_Writer", error_event: bytes) -> None:
        """What the script wants after `after` chunks of content."""
        script = self._script
        if script.garbage == "sse":
            await writer.write(BROKEN_EVENT)
        if script.error_event == "mid":
            self._recorded("error")
            await writer.finish(error_event)
            raise Cut
        if script.stall == "stream":
            await writer.flush()
            await self._connection.stall()
        if script.cut in ("reset", "fin", "eof"):
            await writer.flush()
            self._recorded("cut")
            await self._cut()

    async def _cut(self) -> None:
        if self._script.cut == "eof":
            await self._connection.finish()
            raise Cut
        if self._script.cut == "reset":
            # One turn of the loop, so that what was written so far is with the kernel before the reset.
            await self._connection.pause(0)
            self._connection.reset()
        else:
            self._connection.close()
        await self._close()

    async def error_instead(self, headers: dict[str, str], error_event: bytes) -> None:
        """A 200 stream that begins with an error event and ends."""
        await self._connection.start(200, {**headers, **EVENT_STREAM})
        await self._connection.finish(error_event)
        raise Cut

    async def whole(self, reply: Reply, headers: dict[str, str]) -> None:
        """A reply as one JSON body."""
        body = reply.whole()
        self._call.charge_input(reply.usage)
        self._call.charge_output(reply.usage)
        if self._script.content_length:
            await self._with_wrong_length(body, headers)
        await self._connection.start(200, {**headers, **JSON, "content-length": str(len(body))})
        writer = _Writer(self._connection, self._script.split_bytes)
        if self._script.stall == "stream" or self._script.cut in ("reset", "fin", "eof"):
            await writer.write(body[: len(body) // 2])
            await writer.flush()
            if self._script.stall:
                await self._connection.stall()
            self._recorded("cut")
            self._connection.reset() if self._script.cut == "reset" else self._connection.close()
            await self._close()
        self._recorded("complete")
        await writer.finish(body)

    async def _with_wrong_length(self, body: bytes, headers: dict[str, str]) -> None:
        length = len(body) + WRONG_LENGTH[self._script.content_length or "long"]
        lines = [f"{name}: {value}" for name, value in {**headers, **JSON, "content-length": str(length)}.items()]
        self._recorded("cut")
        self._connection.write_raw("\r\n".join(["HTTP/1.1 200 OK", *lines, "", ""]).encode() + body)
        await self._close()

    async def _close(self) -> None:
        self._connection.close()
        await self._connection.closed()
        raise Cut

    def _recorded(self, outcome: str) -> None:
        self._call.outcome = outcome
        self._record.add(self._call)
        self.is_recorded = True


class _Writer:
    """Writes a body as it comes, or in pieces of exactly `split` bytes whatever the frames are."""

    def __init__(self, connection: Connection, split: int) -> None:
        self._connection = connection
        self._split = split
        self._held = b""

    async def write(self, data: bytes) -> None:
        if not self._split:
            await self._connection.write(data)
            return
        self._held += data
        while len(self._held) > self._split:
            await self._connection.write(self._held[: self._split])
            self._held = self._held[self._split :]
            await self._connection.pause(0)

    async def flush(self) -> None:
        held, self._held = self._held, b""
        if held:
            await self._connection.write(held)

    async def finish(self, data: bytes) -> None:
        if self._split:
            await self.write(data)
            data, self._held = self._held, b""
        await self._connection.finish(data)


def _glued(frames: Iterator[Frame]) -> Iterator[Frame]:
    """The closing frames as one."""
    closing: list[Frame] = []
    for frame in frames:
        if frame.closing:
            closing.append(frame)
        else:
            yield frame
    yield Frame(b"".join(frame.data for frame in closing), closing=True, last=True)


def scripted_error(script: Script, status: int) -> Refused:
    """The error that a script asks for, with its retry headers."""
    wishes = {
        "retry-after": script.retry_after,
        "retry-after-ms": script.retry_after_ms,
        "x-should-retry": None if script.should_retry is None else str(script.should_retry).lower(),
    }
    given = {name: wish for name, wish in wishes.items() if wish is not None}
    headers = {name: f"{wish:g}" if isinstance(wish, float) else wish for name, wish in given.items()}
    return Refused(status, script.message or "", script.error_type or "", script.code, headers=headers, scripted=True)
