"""Caddy with compose/Caddyfile in front of two stand-ins for gateways, on addresses of this machine."""

import asyncio
import contextlib
import ssl
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from tests.deploy.composed import DEPLOY
from tests.harness.ports import free_port
from tests.harness.waiting import until

HEAD = b"HTTP/1.1 %s\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


class StandIn:
    """Answers each request with its own name, in two chunks; the second waits for `go_on`."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.ready = True
        self.served: list[str] = []
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.served.append(head.split()[1])
        await self._send(writer, HEAD % b"200 OK" + self.address.encode())
        await self.go_on.wait()
        await self._send(writer, b" done")
        writer.close()

    async def report(self, reader: StreamReader, writer: StreamWriter) -> None:
        """The admin port."""
        await reader.readuntil(b"\r\n\r\n")
        await self._send(writer, HEAD % (b"200 OK" if self.ready else b"503 Draining"))
        writer.close()

    async def _send(self, writer: StreamWriter, data: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def proxied(caddy: str, directory: Path) -> AsyncIterator[tuple[httpx.AsyncClient, list[StandIn]]]:
    """A client that trusts the proxy's certificate, and the two stand-ins behind it."""
    gateways = [StandIn("127.0.0.1"), StandIn("127.0.0.2")]
    port, admin_port, https, http = free_port(), free_port(), free_port(), free_port()
    configuration = directory / "Caddyfile"
    text = (DEPLOY / "compose" / "Caddyfile").read_text()
    configuration.write_text(text.replace("\tadmin off\n", f"\tadmin off\n\thttp_port {http}\n", 1))
    environment = {
        "HOME": str(directory),
        "XDG_DATA_HOME": str(directory),
        "DOMAIN": f"https://localhost:{https}",
        "GATEWAYS": " ".join(f"{gateway.address}:{port}" for gateway in gateways),
        "GATEWAY_ADMIN_PORT": str(admin_port),
    }
    async with contextlib.AsyncExitStack() as stack:
        for gateway in gateways:
            for serve, where in ((gateway.serve, port), (gateway.report, admin_port)):
                await stack.enter_async_context(await asyncio.start_server(serve, gateway.address, where))
        with (directory / "caddy.log").open("wb") as log:
            command = (caddy, "run", "--config", configuration, "--adapter", "caddyfile")
            process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=log, stderr=log)
        stack.push_async_callback(_end, process)
        authority = directory / "caddy" / "pki" / "authorities" / "local" / "root.crt"
        await until(authority.exists, "a certificate")
        trust = ssl.create_default_context(cafile=authority)
        client = httpx.AsyncClient(base_url=f"https://localhost:{https}", verify=trust, trust_env=False, timeout=10)
        await stack.enter_async_context(client)
        await until(lambda: _answers(client), "an answer through the proxy", not_yet=httpx.TransportError)
        yield client, gateways


async def _answers(client: httpx.AsyncClient) -> bool:
    return (await client.get("/v1/anything")).status_code == 200


async def _end(process: asyncio.subprocess.Process) -> None:
    process.terminate()
    try:
        async with asyncio.timeout(10):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
