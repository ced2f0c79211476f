"""
A network between two processes that can be cut: a relay on a port of its own.

While it is cut nothing arrives on either side and no connection ends, as when packets are dropped; what was sent
meanwhile is lost with its connections when the network heals.
"""

import asyncio
import contextlib
import threading

__all__ = ["Partition"]

PIECE_BYTES = 65_536


class Partition:
    """`port` leads to `target` on this machine. Runs in a thread of its own until `close`."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = target
        self._cut = False
        self._connections: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self._listening.wait()

    def cut(self) -> None:
        self._loop.call_soon_threadsafe(self._set_cut)

    def heal(self) -> None:
        self._loop.call_soon_threadsafe(self._set_healed)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _set_cut(self) -> None:
        self._cut = True

    def _set_healed(self) -> None:
        self._cut = False
        for connection in list(self._connections):
            connection.transport.abort()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        async with asyncio.TaskGroup() as self._tasks:
            server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            self._listening.set()
            await self._stop.wait()
            server.close()
            for connection in list(self._connections):
                connection.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        there = self._tasks.create_task(self._carry(reader, far_writer))
        back = self._tasks.create_task(self._carry(far_reader, writer))
        self._connections |= {writer, far_writer}
        await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
        for connection in (writer, far_writer):
            connection.transport.abort()
            self._connections.discard(connection)

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while piece := await source.read(PIECE_BYTES):
                if not self._cut:
                    sink.write(piece)
                    await sink.drain()
