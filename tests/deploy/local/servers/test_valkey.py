import asyncio
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from deploy.local.errors import ValkeyError
from deploy.local.servers.pids import command_line, wait_for_exit
from deploy.local.servers.valkey import ValkeyServer
from tests.harness.servers import valkey

NOT_A_SERVER = Path(sys.executable)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyServer]:
    server = ValkeyServer(tmp_path / "a directory with blanks" / "data")
    yield server
    server.kill()


async def test_data_and_url_survive_a_stop_and_a_kill(server: ValkeyServer) -> None:
    server.start()
    url = server.url
    async with valkey(url) as client:
        await client.xadd("stream", {"field": "value"})

    server.restart()
    server.kill()
    server.start()

    async with valkey(url) as client:
        assert await client.xlen("stream") == 1


async def test_nothing_is_evicted_and_the_file_is_synced_every_second(server: ValkeyServer) -> None:
    server.start()

    async with valkey(server.url) as client:
        settings = await client.config_get("maxmemory-policy", "appendonly", "appendfsync", "save", "bind")

    assert settings == {
        "maxmemory-policy": "noeviction",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "bind": "127.0.0.1",
    }


async def test_a_password_is_needed_and_stands_on_no_command_line(server: ValkeyServer) -> None:
    server.start()
    password = server.url.partition("://:")[2].partition("@")[0]

    with pytest.raises(redis.AuthenticationError):
        async with valkey(f"redis://127.0.0.1:{server.port}") as client:
            await client.get("key")

    assert password not in command_line(server.pids[0])
    assert (server.data_directory / "valkey.conf").stat().st_mode & 0o077 == 0


async def test_a_paused_server_answers_nothing_until_resumed(server: ValkeyServer) -> None:
    server.start()
    async with valkey(server.url) as client:
        await client.set("key", 1)
    server.pause()

    paused = redis.Redis.from_url(server.url, socket_timeout=0.1, retry=None)
    with pytest.raises(redis.TimeoutError):
        paused.get("key")
    paused.close()

    server.resume()
    async with valkey(server.url) as client:
        assert await client.get("key") == b"1"


def test_a_server_forgotten_by_another_run_is_ended_first(server: ValkeyServer) -> None:
    server.start()
    forgotten = server.pids[0]

    successor = ValkeyServer(server.data_directory)
    successor.start()
    successor.stop()

    assert wait_for_exit(forgotten, timeout=0)


def test_a_pid_file_whose_number_another_program_has_is_no_reason_to_kill_it(server: ValkeyServer) -> None:
    server.data_directory.mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        (server.data_directory / "valkey.pid").write_text(f"{other.pid}\n")

        server.start()

        assert other.poll() is None
        other.communicate(b"\n")


def test_a_given_port_that_is_taken_is_an_error(tmp_path: Path, valkey_server: ValkeyServer) -> None:
    with pytest.raises(ValkeyError, match="Address already in use"):
        ValkeyServer(tmp_path / "data", valkey_server.port).start()


def test_a_program_that_does_not_start_is_shown_with_its_log_tail(tmp_path: Path) -> None:
    with pytest.raises(ValkeyError, match="Valkey does not start on port"):
        ValkeyServer(tmp_path / "data", program=NOT_A_SERVER).start()


async def test_a_damaged_append_only_file_is_named_with_a_command_that_mends_it(server_directory: Path) -> None:
    """S23: the reason stood below twenty lines of banner and named a program that nobody had."""
    server = ValkeyServer(server_directory / "data")
    server.start()
    async with valkey(server.url) as client:
        await client.set("kept", "1")
    server.stop()
    (increments,) = (server.data_directory / "appendonlydir").glob("*.incr.aof")
    increments.write_bytes(increments.read_bytes() + b"*1\r\n$nonsense\r\n" * 5)

    with pytest.raises(ValkeyError, match=r"cannot read its append-only file: (Error|Bad file format)") as caught:
        server.start()
    command = next(line.split() for line in str(caught.value).splitlines() if " --fix " in line)
    await asyncio.to_thread(subprocess.run, command, input=b"y\n", check=True, capture_output=True)
    server.start()

    async with valkey(server.url) as client:
        assert await client.get("kept") == b"1"
    server.stop()


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")
def test_debians_redis_will_do_as_well(tmp_path: Path) -> None:
    server = ValkeyServer(tmp_path / "data", program=Path(shutil.which("redis-server") or ""))

    server.start()
    server.stop()
