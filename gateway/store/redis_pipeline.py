"""
One connection to Redis that all requests of a process share.

Commands of concurrent requests are written together at the end of the loop's turn and answered in order, so a request
pays for a future and a few dozen bytes, not for a connection and a system call. The scripts are loaded when a
connection opens, so every call is an EVALSHA.

It never hangs: one timer watches the oldest unanswered command; past `reply_seconds` the connection is dropped and
everything on it fails with RedisAway. While there is no connection every call fails at once, and a task tries to open
one again. A failed call may have been executed: callers end it through the spool, whose replay the ledger recognises
by the event's id.
"""

import asyncio
import logging
import re
import ssl
from collections import deque
from collections.abc import Callable, Iterable
from typing import cast

import hiredis

from core.process.settings import Secret
from core.redis.address import RedisAddress
from core.redis.lua_scripts import Argument, Call, LuaScript

__all__ = ["RedisAway", "RedisPipeline", "RedisReplyError", "RedisUnanswered"]

log = logging.getLogger(__name__)

RUN_ID = re.compile(rb"^run_id:(\w+)\r?$", re.MULTILINE)
MAX_UNANSWERED = 100_000
MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.05, 1.0

Reply = bytes | int | list["Reply"] | None


class RedisAway(Exception):
    """No connection: the command was not sent."""


class RedisUnanswered(RedisAway):
    """It was sent, and no answer came in time. It may have been executed all the same."""


class RedisReplyError(Exception):
    """Redis refused the command."""

    @property
    def code(self) -> str:
        """Its first word, by which Redis tells kinds of errors apart."""
        return str(self).partition(" ")[0]


class RedisPipeline:
    """`run` owns the connection; `call` and `command` may be used by any task of the same loop."""

    def __init__(
        self,
        url: Secret,
        scripts: Iterable[LuaScript],
        *,
        reply_seconds: float,
        on_change: Callable[[bool], None] = lambda connected: None,
    ) -> None:
        self._address = RedisAddress.parse(url.reveal())
        self._tls = ssl.create_default_context() if self._address.tls else None
        self._scripts = {script.name: script for script in scripts}
        self._shas = {script.name: script.sha for script in self._scripts.values()}
        self._reply_seconds = reply_seconds
        self._on_change = on_change
        self._connection: _Connection | None = None
        self._connections = 0
        self._answered_at = 0.0

    @property
    def connected(self) -> bool:
        return self._connection is not None

    @property
    def connection_number(self) -> int:
        """Which one of this process' connections there is now, from 1; 0 while there is none."""
        return self._connections if self._connection is not None else 0

    @property
    def epoch(self) -> str:
        """The `run_id` of the server that answers now; empty without a connection. A restarted server has another."""
        return self._connection.run_id if self._connection is not None else ""

    @property
    def answered_at(self) -> float:
        """When Redis last said something, by the loop's clock; 0 before it ever did."""
        return self._connection.answered_at if self._connection is not None else self._answered_at

    def call(self, call: Call) -> "asyncio.Future[Reply]":
        """Run a script. Raises RedisAway at once when there is no connection; the future raises it later."""
        return self.command("EVALSHA", self._shas[call.script], len(call.keys), *call.keys, *call.arguments)

    def command(self, *parts: Argument) -> "asyncio.Future[Reply]":
        connection = self._connection
        if connection is None:
            raise RedisAway("not connected")
        return connection.send(parts)

    async def run(self) -> None:
        """Keep a connection open until cancelled."""
        pause = MIN_PAUSE_SECONDS
        while True:
            try:
                connection = await self._open()
            except (OSError, RedisAway, RedisReplyError, TimeoutError) as error:
                log.warning("redis is away", extra={"error": repr(error), "next_try_seconds": pause})
                await asyncio.sleep(pause)
                pause = min(MAX_PAUSE_SECONDS, pause * 2)
                continue
            pause = MIN_PAUSE_SECONDS
            self._connection = connection
            self._connections += 1
            self._on_change(True)
            try:
                await connection.lost.wait()
            finally:
                self._answered_at = connection.answered_at
                self._connection = None
                connection.close("the pipeline was closed")
                self._on_change(False)
            log.warning("redis connection lost", extra={"error": connection.reason})

    async def _open(self) -> "_Connection":
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(max(1.0, self._reply_seconds)):
            _, connection = await loop.create_connection(
                lambda: _Connection(loop, self._reply_seconds),
                self._address.host,
                self._address.port,
                ssl=self._tls,
            )
            try:
                for command in _greeting(self._address):
                    await connection.send(command)
                connection.run_id = _run_id(await connection.send(("INFO", "server")))
                for script in self._scripts.values():
                    await connection.send(("SCRIPT", "LOAD", script.text))
            except BaseException:
                connection.close("the greeting failed")
                raise
        return connection


def _greeting(address: RedisAddress) -> list[tuple[Argument, ...]]:
    commands: list[tuple[Argument, ...]] = []
    if address.password:
        commands.append(("AUTH", address.username or "default", address.password))
    commands.append(("CLIENT", "SETNAME", "poindexter-gateway"))
    commands.append(("SELECT", address.database))
    return commands


def _run_id(info: Reply) -> str:
    """The field of `INFO server`, drawn anew whenever a server starts. Raises RedisReplyError when it is not there."""
    found = RUN_ID.search(info) if isinstance(info, bytes) else None
    if found is None:
        raise RedisReplyError("INFO server names no run_id")
    return found[1].decode()


class _Connection(asyncio.Protocol):
    """Commands out, replies in, in the same order."""

    def __init__(self, loop: asyncio.AbstractEventLoop, reply_seconds: float) -> None:
        self.lost = asyncio.Event()
        self.reason = ""
        self.run_id = ""
        self.answered_at = 0.0
        self._loop = loop
        self._reply_seconds = reply_seconds
        self._reader = hiredis.Reader()
        self._waiting: deque[tuple[asyncio.Future[Reply], float]] = deque()
        self._outgoing: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._watch: asyncio.TimerHandle | None = None

    def send(self, parts: tuple[Argument, ...]) -> "asyncio.Future[Reply]":
        if self.lost.is_set() or len(self._waiting) >= MAX_UNANSWERED:
            raise RedisAway(self.reason or "too many unanswered commands")
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(hiredis.pack_command(parts))  # type: ignore[arg-type]  # Its stub means any length.
        future: asyncio.Future[Reply] = self._loop.create_future()
        now = self._loop.time()
        self._waiting.append((future, now))
        if self._watch is None:
            self._watch = self._loop.call_at(now + self._reply_seconds, self._check)
        return future

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.answered_at = self._loop.time()
        reader, waiting = self._reader, self._waiting
        reader.feed(data)
        try:
            while (reply := reader.gets()) is not False:
                future, _ = waiting.popleft()
                if future.done():  # Its request was cancelled.
                    continue
                if isinstance(reply, hiredis.ReplyError):
                    future.set_exception(RedisReplyError(str(reply)))
                    if str(reply).startswith("NOSCRIPT"):  # Somebody flushed them: a new connection loads them.
                        self.close("the scripts are gone")
                        return
                else:
                    future.set_result(reply)
        except (hiredis.ProtocolError, IndexError) as error:
            self.close(f"broken reply: {error!r}")

    def connection_lost(self, error: Exception | None) -> None:
        self.close(repr(error) if error else "closed by the server")

    def close(self, reason: str) -> None:
        if self.lost.is_set():
            return
        self.reason = reason
        self.lost.set()
        if self._watch is not None:
            self._watch.cancel()
        if self._transport is not None:
            self._transport.abort()
        while self._waiting:
            future, _ = self._waiting.popleft()
            if not future.done():
                future.set_exception(RedisUnanswered(reason))
                future.exception()  # A caller that has gone needs no "never retrieved" warning.

    def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        if self._transport is not None and not self.lost.is_set():
            self._transport.write(b"".join(outgoing))

    def _check(self) -> None:
        """Replies come in order, so the oldest command tells for all."""
        self._watch = None
        if not self._waiting:
            return
        due = self._waiting[0][1] + self._reply_seconds
        if self._loop.time() >= due:
            self.close(f"no answer within {self._reply_seconds} seconds")
        else:
            self._watch = self._loop.call_at(due, self._check)
