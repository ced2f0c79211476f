"""The same exchanges with servers that people run: uvicorn (both parsers), hypercorn, and nginx before uvicorn."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from gateway.outbound.client import Transport
from gateway.outbound.errors import ConnectionLost
from gateway.outbound.exchange import UpstreamExchange
from gateway.outbound.head import request_head
from gateway.outbound.origin import Origin
from gateway.outbound.timeouts import Timeouts
from tests.gateway.outbound.asgi_app import CHUNKS, LARGE
from tests.gateway.outbound.peer import transport
from tests.harness.ports import free_port
from tests.harness.waiting import eventually

WAIT = Timeouts(connect=30, first_byte=30, idle=30, total=30)
APP = "tests.gateway.outbound.asgi_app:app"
NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
NGINX_CONFIGURATION = """
daemon off; master_process off; pid {directory}/pid; error_log {directory}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off; client_max_body_size 0; proxy_http_version 1.1; proxy_buffering off;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  server {{
    listen 127.0.0.1:{port};
    keepalive_timeout {keepalive};
    location / {{ proxy_pass http://127.0.0.1:{upstream}; }}
  }}
}}
"""


@contextmanager
def running(*command: str, descriptors: tuple[int, ...] = ()) -> Iterator[None]:
    process = subprocess.Popen(
        command,
        pass_fds=descriptors,
        cwd=Path(__file__).parents[3],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def listening(*command: str) -> Iterator[Origin]:
    """A server that takes over a socket which listens already: no port to guess, no start to wait for."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(512)
        descriptor = listener.fileno()
        arguments = [argument.format(descriptor=descriptor) for argument in command]
        with running(sys.executable, "-m", *arguments, descriptors=(descriptor,)):
            yield Origin("http", "127.0.0.1", listener.getsockname()[1])


@contextmanager
def nginx(directory: Path, upstream: Origin, *, keepalive: str) -> Iterator[Origin]:
    if not os.access(NGINX, os.X_OK):
        pytest.skip("nginx is not installed")
    port = free_port()
    configuration = directory / "nginx.conf"
    configuration.write_text(
        NGINX_CONFIGURATION.format(directory=directory, port=port, upstream=upstream.port, keepalive=keepalive)
    )
    with running(NGINX, "-e", str(directory / "error.log"), "-p", str(directory), "-c", str(configuration)):
        wait_for(port)
        yield Origin("http", "127.0.0.1", port)


def wait_for(port: int) -> None:
    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    eventually(listens, f"a listener on port {port}")


SERVERS = {
    "uvicorn-httptools": ("uvicorn", "--fd", "{descriptor}", "--http", "httptools", "--log-level", "critical", APP),
    "uvicorn-h11": ("uvicorn", "--fd", "{descriptor}", "--http", "h11", "--log-level", "critical", APP),
    "hypercorn": ("hypercorn", "--bind", "fd://{descriptor}", "--log-level", "critical", APP),
}


@pytest.fixture(scope="module", params=[*SERVERS, "nginx"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Origin]:
    with ExitStack() as stack:
        name = request.param if request.param in SERVERS else "uvicorn-httptools"
        origin = stack.enter_context(listening(*SERVERS[name]))
        if request.param == "nginx":
            directory = tmp_path_factory.mktemp("nginx")
            origin = stack.enter_context(nginx(directory, origin, keepalive="75s"))
        yield origin


def ask(client: Transport, server: Origin, path: str, body: bytes = b"") -> UpstreamExchange:
    return client.send(server, request_head("POST", path, server.authority, []), body, WAIT)


@pytest.mark.parametrize("size", [0, 1, 1300, 200_000, 5_000_000])
async def test_a_body_of_any_size_goes_there_and_back(server: Origin, size: int) -> None:
    body = os.urandom(size)
    async with transport() as client:
        exchange = ask(client, server, "/echo", body)

        answer = await exchange.read(size)
        exchange.close()

        assert (exchange.status, answer) == (200, body)
        assert client.use(server).idle == 1


async def test_a_stream_arrives_whole_and_its_connection_is_kept(server: Origin) -> None:
    async with transport() as client:
        for _ in range(5):
            exchange = ask(client, server, "/stream")
            received = []
            while chunk := await exchange.next_chunk():
                received.append(chunk)
            exchange.close()

            assert b"".join(received) == b"".join(CHUNKS)
        assert client.use(server).idle == 1


async def test_many_at_once_do_not_mix(server: Origin) -> None:
    async with transport(max_connections_per_origin=20) as client:

        async def echo(number: int) -> bytes:
            exchange = ask(client, server, "/echo", b"%d" % number * 1000)
            answer = await exchange.read(100_000)
            exchange.close()
            return answer

        answers = []
        for start in range(0, 200, 40):
            answers += await asyncio.gather(*[echo(number) for number in range(start, start + 40)])

        assert answers == [b"%d" % number * 1000 for number in range(200)]


@pytest.mark.parametrize(
    ("path", "status", "body", "kept"),
    [("/large", 200, LARGE, 1), ("/empty", 204, b"", 1), ("/status", 529, b"busy", 1)],
)
async def test_every_kind_of_answer_is_understood(
    server: Origin, path: str, status: int, body: bytes, kept: int
) -> None:
    async with transport() as client:
        exchange = ask(client, server, path)

        answer = await exchange.read(10_000_000)
        exchange.close()

        assert (exchange.status, answer) == (status, body)
        assert client.use(server).idle == kept


async def test_after_a_last_answer_the_next_request_is_served_too(server: Origin) -> None:
    async with transport() as client:
        for _ in range(3):
            exchange = ask(client, server, "/last")

            assert await exchange.read(10) == b"bye"
            exchange.close()


async def test_an_application_that_dies_amid_its_answer_is_an_error(server: Origin) -> None:
    async with transport() as client:
        exchange = ask(client, server, "/dies")

        with pytest.raises(ConnectionLost):
            await exchange.read(1000)
        exchange.close()

        assert client.use(server).idle == 0


async def test_an_abort_amid_a_stream_leaves_the_server_serving(server: Origin) -> None:
    async with transport() as client:
        for _ in range(10):
            exchange = ask(client, server, "/large")
            await exchange.next_chunk()
            exchange.abort()

        exchange = ask(client, server, "/echo", b"still here")

        assert await exchange.read(100) == b"still here"
        exchange.close()


async def test_no_request_is_lost_to_connections_that_nginx_closes_as_idle(tmp_path: Path) -> None:
    with (
        listening(*SERVERS["uvicorn-httptools"]) as upstream,
        nginx(tmp_path, upstream, keepalive="30ms") as server,
    ):
        async with transport() as client:
            for number in range(60):
                exchange = ask(client, server, "/echo", b"%d" % number)
                assert await exchange.read(100) == b"%d" % number
                exchange.close()
                await asyncio.sleep(0.029 + (number % 3) * 0.0005)
