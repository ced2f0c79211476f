import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.errors import PostgresError
from deploy.local.servers.pids import command_line, wait_for_exit
from deploy.local.servers.postgres import PostgresServer
from deploy.local.servers.programs import PostgresPrograms
from deploy.local.servers.unprivileged import NOBODY
from tests.harness.servers import enterable_directory, postgres

DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")


@pytest.fixture(scope="module")
def data() -> Iterator[Path]:
    """One data directory for the tests that don't care how it was made."""
    with enterable_directory() as directory:
        yield directory / "data"


@pytest.fixture
def server(data: Path) -> Iterator[PostgresServer]:
    server = PostgresServer(data, fsync=False)
    yield server
    server.kill()


async def keep_a_row(server: PostgresServer) -> None:
    async with postgres(server.url) as connection:
        await connection.execute("DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT 7 AS number")


async def kept_row(server: PostgresServer) -> int:
    async with postgres(server.url) as connection:
        number: int = await connection.fetchval("SELECT number FROM kept")
        return number


async def test_data_and_url_survive_a_stop_and_a_kill(server: PostgresServer) -> None:
    server.start()
    url = server.url
    await keep_a_row(server)

    server.restart()
    after_stop = await kept_row(server)
    server.kill()
    server.start()
    after_kill = await kept_row(server)

    assert (after_stop, after_kill) == (7, 7)
    assert server.url == url


async def test_a_server_forgotten_by_another_run_is_ended_first(server: PostgresServer) -> None:
    server.start()
    await keep_a_row(server)
    forgotten = server.pids[0]

    successor = PostgresServer(server.data_directory, fsync=False)
    successor.start()

    number = await kept_row(successor)
    successor.stop()
    assert number == 7
    assert wait_for_exit(forgotten, timeout=0)


def test_a_pid_file_whose_number_another_program_has_is_no_obstacle(server: PostgresServer) -> None:
    server.start()
    server.stop()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        (server.data_directory / "postmaster.pid").write_text(f"{other.pid}\n{server.data_directory}\n")

        server.start()

        assert other.poll() is None
        assert server.is_ready
        other.communicate(b"\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to drop")
def test_root_drops_its_rights(server: PostgresServer) -> None:
    server.start()

    owner = Path(f"/proc/{server.pids[0]}").stat().st_uid

    assert owner == NOBODY
    assert server.data_directory.stat().st_uid == NOBODY


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to drop")
def test_a_directory_closed_to_the_unprivileged_user_is_an_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)

    with pytest.raises(PostgresError, match="may not enter"):
        PostgresServer(tmp_path / "data").start()


def test_no_password_is_on_a_command_line_or_readable_by_others(server: PostgresServer) -> None:
    server.start()
    password = server.url.partition("://")[2].partition(":")[2].partition("@")[0]

    programs = server.data_directory.with_name("data.programs")  # Copied there when the server's user can't reach ours.
    kept = [path for path in server.data_directory.parent.iterdir() if path != programs]
    modes = [path.stat().st_mode & 0o077 for path in kept]

    assert password not in command_line(server.pids[0])
    assert modes == [0] * len(modes)


def test_an_interrupted_creation_of_the_data_is_begun_again(server_directory: Path) -> None:
    server = PostgresServer(server_directory / "data", fsync=False)
    (server_directory / "data.unfinished").mkdir()
    (server_directory / "data.unfinished" / "half").touch()

    server.start()
    server.stop()

    assert (server.data_directory / "PG_VERSION").exists()
    assert not (server.data_directory / "half").exists()


def test_a_directory_that_holds_something_else_is_left_alone(server_directory: Path) -> None:
    precious = server_directory / "data" / "precious"
    precious.parent.mkdir()
    precious.touch()

    with pytest.raises(PostgresError, match="no PostgreSQL data"):
        PostgresServer(precious.parent).start()

    assert precious.exists()


@pytest.mark.parametrize("repetition", range(3))
async def test_a_commit_survives_a_kill_that_follows_at_once(server: PostgresServer, repetition: int) -> None:
    server.start()
    async with postgres(server.url) as connection:
        await connection.execute("CREATE TABLE IF NOT EXISTS commits (number int)")
        await connection.execute("INSERT INTO commits VALUES ($1)", repetition)
        server.kill()

    server.start()

    async with postgres(server.url) as connection:
        assert await connection.fetchval("SELECT count(*) FROM commits WHERE number = $1", repetition) == 1


def test_a_port_of_our_own_choice_that_was_taken_meanwhile_is_replaced(
    server: PostgresServer, postgres_server: PostgresServer
) -> None:
    server.port = postgres_server.port

    server.start()

    assert server.port != postgres_server.port


def test_a_given_port_that_is_taken_is_an_error(data: Path, postgres_server: PostgresServer) -> None:
    server = PostgresServer(data, postgres_server.port)

    with pytest.raises(PostgresError, match="Address already in use"):
        server.start()


@pytest.mark.skipif(not DEBIAN_15.exists(), reason="Debian's PostgreSQL 15 is not installed")
async def test_the_oldest_supported_version_runs_and_does_not_mix_with_another(server_directory: Path) -> None:
    old = PostgresServer(server_directory / "data", fsync=False, programs=PostgresPrograms(DEBIAN_15))
    old.start()
    await keep_a_row(old)
    old.stop()

    with pytest.raises(PostgresError, match="was made by PostgreSQL 15"):
        PostgresServer(old.data_directory).start()


def test_a_server_ends_with_the_process_that_started_it(data: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from deploy.local.servers.postgres import PostgresServer; "
        "server = PostgresServer(Path(sys.argv[1])); server.start(); print(*server.pids, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, data], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout
        pids = [int(word) for word in owner.stdout.readline().split()]

        owner.kill()

        assert [wait_for_exit(pid, timeout=10) for pid in pids] == [True, True]


def test_a_server_that_hangs_can_be_stopped(server: PostgresServer) -> None:
    server.start()
    pid = server.pids[0]
    os.kill(pid, signal.SIGSTOP)

    server.stop(timeout=10)

    assert wait_for_exit(pid, timeout=0)


def test_a_lost_password_is_named_with_what_to_do(server_directory: Path) -> None:
    """S23: it was a bare `[Errno 2]`."""
    server = PostgresServer(server_directory / "postgres", fsync=False)
    server.start()
    server.stop()
    (server_directory / "postgres.password").unlink()

    with pytest.raises(PostgresError, match=r"postgres.password is missing.* Restore it"):
        server.start()
