"""
`python -m simulators --port 0 [--record served.jsonl] [--api-key sk-sim-a]`: serve until SIGTERM.

Prints one JSON line, `{"event": "ready", "port": 40123}`, on stdout as soon as connections are accepted.
"""

import argparse
import asyncio
import logging
import os
import resource
import socket
import sys
from pathlib import Path

import orjson
import uvicorn

from simulators.app import build_app
from simulators.faults.record import Record
from simulators.http.connection import WireProtocol

BACKLOG = 4096
# Streams that are still open at SIGTERM are cut, and recorded as cut.
SHUTDOWN_SECONDS = 1


class Server(uvicorn.Server):
    """uvicorn, telling its port when it accepts, and ending its streams before the process ends."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            ready = {"event": "ready", "port": sockets[0].getsockname()[1], "pid": os.getpid()}
            sys.stdout.buffer.write(orjson.dumps(ready, option=orjson.OPT_APPEND_NEWLINE))
            sys.stdout.buffer.flush()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        # uvicorn cancels what is still open and raises the signal again at once: without this wait the process would
        # be gone before the cancelled streams have written their entries.
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=SHUTDOWN_SECONDS)


def main() -> None:
    arguments = _arguments()
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    config = uvicorn.Config(
        build_app(Record(arguments.record), frozenset(arguments.api_key)),
        http=WireProtocol,
        ws="none",
        loop="uvloop",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    _allow_many_connections()
    listener = _listen(arguments.host, arguments.port)
    Server(config).run([listener])


def _allow_many_connections() -> None:
    """Thousands of open streams need more file descriptors than the usual soft limit of 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), backlog=BACKLOG)
    except OSError as error:
        sys.exit(f"simulators cannot listen on {host}:{port}: {error.strerror}. Choose another --port (0 = any).")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="simulators", description="OpenAI and Anthropic, locally and scriptable.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 chooses a free port; the ready line tells it")
    parser.add_argument("--record", type=Path, help="append one JSON line per served call to this file")
    parser.add_argument("--api-key", action="append", default=[], help="accept only this key (repeatable)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
