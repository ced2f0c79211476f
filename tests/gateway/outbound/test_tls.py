import asyncio
import ssl
import subprocess
from pathlib import Path

import pytest

from gateway.outbound.errors import ConnectFailed, ConnectionLost, ConnectTimeout
from gateway.outbound.origin import Origin
from gateway.outbound.pool import PoolUse
from gateway.outbound.timeouts import Timeouts
from gateway.outbound.tls import verified_context
from tests.gateway.outbound.peer import OK, STREAM_HEAD, Call, answer_always, answer_with, opened, peer, transport
from tests.harness.waiting import until

WAIT = Timeouts(connect=30, first_byte=30, idle=30, total=30)
EXTENSIONS = "subjectAltName=DNS:localhost,IP:127.0.0.1\n"


def openssl(directory: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True, timeout=30)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a private authority (ca.pem) and a server of its (server.pem, server.key)."""
    directory = tmp_path_factory.mktemp("authority")
    (directory / "extensions").write_text(EXTENSIONS)
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl(
        directory, "req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Test", "-days", "2"
    )
    openssl(directory, "req", *new_key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=server")
    signed_by = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "extensions")
    openssl(directory, "x509", "-req", "-in", "server.csr", "-out", "server.pem", *signed_by)
    return directory


def server_context(authority: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "server.pem", authority / "server.key")
    return context


def client_context(authority: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority / "ca.pem"))


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
async def test_a_verified_upstream_is_spoken_to_and_kept(authority: Path, name: str) -> None:
    async with (
        peer(answer_always, context=server_context(authority), name=name) as upstream,
        transport(ssl_context=client_context(authority)) as client,
    ):
        for _ in range(3):
            exchange = await opened(client, upstream.origin, upstream.head(), b"x" * 500_000, WAIT)
            assert await exchange.read(100) == b"hello"
            exchange.close()

        assert upstream.accepted == 1


async def test_the_upstream_is_told_the_name_it_is_asked_for(authority: Path) -> None:
    names = []
    context = server_context(authority)
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    async with (
        peer(answer_always, context=context, name="localhost") as upstream,
        transport(ssl_context=client_context(authority)) as client,
    ):
        (await opened(client, upstream.origin, upstream.head(), b"", WAIT)).close()

        assert names == ["localhost"]


async def test_a_certificate_of_an_unknown_authority_is_refused(authority: Path) -> None:
    async with peer(answer_always, context=server_context(authority)) as upstream, transport() as client:
        exchange = client.send(upstream.origin, upstream.head(), b"secret", WAIT)

        with pytest.raises(ConnectFailed, match="certificate verify failed") as failure:
            await exchange.head()
        exchange.close()

        assert not failure.value.dispatched
        await until(lambda: client.use(upstream.origin).connecting == 0)


async def test_a_certificate_for_another_name_is_refused(authority: Path) -> None:
    async with (
        peer(answer_always, context=server_context(authority), host="::1") as upstream,
        transport(ssl_context=client_context(authority)) as client,
    ):
        exchange = client.send(upstream.origin, upstream.head(), b"", WAIT)

        with pytest.raises(ConnectFailed, match="mismatch"):
            await exchange.head()
        exchange.close()


async def test_an_upstream_that_speaks_no_tls_is_refused() -> None:
    async def talk(call: Call) -> None:
        await call.send(OK)
        await call.closed_by_client()

    async with peer(talk) as upstream, transport() as client:
        plain = Origin("https", "127.0.0.1", upstream.origin.port)
        exchange = client.send(plain, upstream.head(), b"", WAIT)

        with pytest.raises(ConnectFailed):
            await exchange.head()
        exchange.close()


async def test_an_upstream_that_never_shakes_hands_times_out() -> None:
    async with peer(Call.closed_by_client) as upstream, transport() as client:
        silent = Origin("https", "127.0.0.1", upstream.origin.port)
        exchange = client.send(silent, upstream.head(), b"", Timeouts(connect=0.1))

        with pytest.raises(ConnectTimeout):
            await exchange.head()
        exchange.close()

        await until(lambda: upstream.open == 0)
        await until(lambda: client.use(silent) == PoolUse())


@pytest.mark.parametrize("way", ["close", "reset"])
async def test_an_answer_cut_short_is_an_error_over_tls_too(authority: Path, way: str) -> None:
    async def leave(call: Call) -> None:
        await call.request()
        await call.send(OK[:-1])
        await asyncio.sleep(0.02)
        getattr(call, way)()

    async with (
        peer(leave, context=server_context(authority), name="localhost") as upstream,
        transport(ssl_context=client_context(authority)) as client,
    ):
        exchange = client.send(upstream.origin, upstream.head(), b"", WAIT)

        with pytest.raises(ConnectionLost):
            await exchange.read(100)
        exchange.close()

        await until(lambda: client.use(upstream.origin) == PoolUse())


async def test_a_stale_tls_connection_is_replaced_unnoticed(authority: Path) -> None:
    async def serve_once(call: Call) -> None:
        await call.request()
        await call.send(OK)
        await call.request()
        call.close()

    async with (
        peer(serve_once, answer_always, context=server_context(authority), name="localhost") as upstream,
        transport(ssl_context=client_context(authority)) as client,
    ):
        for _ in range(2):
            exchange = await opened(client, upstream.origin, upstream.head(), b"", WAIT)
            assert await exchange.read(100) == b"hello"
            exchange.close()

        assert upstream.accepted == 2


async def test_a_slow_reader_slows_a_tls_upstream_down_and_loses_nothing(authority: Path) -> None:
    sent = 0

    async def pour(call: Call) -> None:
        nonlocal sent
        await call.request()
        await call.send(STREAM_HEAD)
        for sent in range(1, 41):  # noqa: B007 the test looks at it
            await call.send(b"100000\r\n" + b"x" * 0x100000 + b"\r\n")
        await call.send(b"0\r\n\r\n")
        await call.closed_by_client()

    async with (
        peer(pour, context=server_context(authority), name="localhost") as upstream,
        transport(ssl_context=client_context(authority)) as client,
    ):
        exchange = await opened(client, upstream.origin, upstream.head(), b"", WAIT)
        await asyncio.sleep(0.3)
        held_back = sent
        received = len(await exchange.read(50_000_000))
        exchange.close()

        assert held_back < 40
        assert received == 40 * 0x100000


async def test_an_abort_ends_a_tls_connection_at_once(authority: Path) -> None:
    async with (
        peer(answer_with(STREAM_HEAD), context=server_context(authority), name="localhost") as upstream,
        transport(ssl_context=client_context(authority)) as client,
    ):
        exchange = await opened(client, upstream.origin, upstream.head(), b"", WAIT)

        exchange.abort()

        await until(lambda: upstream.open == 0)
        await until(lambda: client.use(upstream.origin).busy == 0)
        exchange.close()


def test_the_default_context_verifies_everything() -> None:
    context = verified_context()

    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context.get_ca_certs()
