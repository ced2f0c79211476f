import json
import os
import signal
import socket
import stat
from pathlib import Path

import asyncpg
import pytest

from deploy.local.env_file import read_env_file
from deploy.local.servers.pids import command_line, wait_for_exit
from deploy.local.servers.ports import DEFAULT_PORTS
from tests.deploy.launched import Launched, launched
from tests.harness.ports import free_port
from tests.harness.servers import postgres, valkey
from tests.harness.waiting import eventually, until

READY = "Ctrl-C stops everything"
STARTED = ["simulators started", "metering started", "gateway started"]
STOPPED = ["gateway stopped", "metering stopped", "simulators stopped"]


def settings_of(run: Launched) -> dict[str, str]:
    return read_env_file((run.state / "demo.env").read_text())


def server_pids(run: Launched) -> list[int]:
    postmaster = (run.state / "postgres" / "postmaster.pid").read_text().splitlines()[0]
    return [int(postmaster), int((run.state / "valkey" / "valkey.pid").read_text())]


def external(database_url: str, redis_url: str) -> dict[str, str]:
    return {"DATABASE_URL": database_url, "REDIS_URL": redis_url}


async def test_one_command_starts_everything_and_a_second_start_keeps_the_data(server_directory: Path) -> None:
    with launched(server_directory) as first:
        first.wait_for(READY)
        settings = settings_of(first)
        async with postgres(settings["DATABASE_URL"]) as connection, valkey(settings["REDIS_URL"]) as client:
            await connection.execute("CREATE TABLE kept (number int)")
            await client.set("kept", 1)
        first.end()

    with launched(server_directory) as second:
        second.wait_for(READY)
        async with postgres(settings["DATABASE_URL"]) as connection, valkey(settings["REDIS_URL"]) as client:
            tables = await connection.fetch(
                "SELECT tablename FROM pg_tables WHERE tablename IN ('kept', 'usage_events')"
            )
            value = await client.get("kept")

    assert len(tables) == 2
    assert value == b"1"
    assert settings_of(second)["OPENAI_API_KEY"] == settings["OPENAI_API_KEY"]
    assert second.events == [*STARTED, *STOPPED, *STARTED, *STOPPED]


def test_the_welcome_shows_what_demo_env_holds(server_directory: Path, database_url: str, redis_url: str) -> None:
    with launched(server_directory, external(database_url, redis_url)) as run:
        run.wait_for(READY)

        settings = settings_of(run)

    assert f"Base URL   {settings['OPENAI_BASE_URL']}" in run.text
    assert f"API key    {settings['OPENAI_API_KEY']}" in run.text
    assert settings["GATEWAY_METRICS_URL"] in run.text
    assert (settings["DATABASE_URL"], settings["REDIS_URL"]) == (database_url, redis_url)
    assert stat.S_IMODE((run.state / "demo.env").stat().st_mode) == 0o600
    assert not (run.state / "postgres").exists()


def test_without_a_demo_account_the_databases_can_still_be_found(
    server_directory: Path, database_url: str, redis_url: str
) -> None:
    with launched(server_directory, external(database_url, redis_url), demo="no-demo") as run:
        run.wait_for(READY)

        settings = settings_of(run)

    assert settings["DATABASE_URL"] == database_url
    assert "OPENAI_API_KEY" not in settings
    assert "demo account" not in run.text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_signal_ends_everything_in_order(
    server_directory: Path, database_url: str, redis_url: str, number: signal.Signals
) -> None:
    with launched(server_directory, external(database_url, redis_url)) as run:
        run.wait_for(READY)

        exit_code = run.end(number)

    assert exit_code == 0
    assert run.events == [*STARTED, *STOPPED]
    assert list(run.state.glob("*.pid")) == []


def test_ctrl_c_while_the_database_is_made_is_no_failure(server_directory: Path) -> None:
    with launched(server_directory) as run:
        run.wait_for("postgres")
        await_unfinished(run.state)

        exit_code = run.press_ctrl_c()

    assert exit_code == 0
    assert "cannot run" not in run.text
    assert run.text.endswith("Stopped.\n")


def await_unfinished(state: Path) -> None:
    """Until initdb has begun to fill its directory."""
    eventually(lambda: any(state.glob("postgres.unfinished/*")), "initdb under way")


def test_a_second_stop_signal_waits_for_nobody(server_directory: Path, database_url: str, redis_url: str) -> None:
    with launched(server_directory, external(database_url, redis_url) | {"STANDIN_GATEWAY": "linger"}) as run:
        run.wait_for(READY)
        gateway = run.pid("gateway")
        run.process.send_signal(signal.SIGINT)
        run.wait_for("Stopping gateway")

        exit_code = run.end()

    assert exit_code == 0
    assert "Killing gateway" in run.text
    assert wait_for_exit(gateway, timeout=5)


def test_a_dead_process_is_named_with_its_log_tail(server_directory: Path, database_url: str, redis_url: str) -> None:
    with launched(server_directory, external(database_url, redis_url) | {"STANDIN_METERING": "die"}) as run:
        exit_code = run.process.wait(30)

    assert exit_code == 1
    assert "metering ended before it was ready (exit code 1)" in run.text
    assert str(run.state / "logs" / "metering.log") in run.text
    assert "| metering has no upstream to talk to" in run.text
    assert run.events == ["simulators started", "metering started", "simulators stopped"]


async def test_a_process_or_server_that_dies_later_is_started_again(server_directory: Path) -> None:
    with launched(server_directory) as run:
        run.wait_for(READY)
        database, valkey_server = server_pids(run)
        os.kill(run.pid("gateway"), signal.SIGKILL)
        os.kill(database, signal.SIGKILL)
        os.kill(valkey_server, signal.SIGKILL)

        run.wait_for("Starting gateway again")
        run.wait_for("Starting postgres again")
        run.wait_for("Starting valkey again")
        await answering_again(settings_of(run)["DATABASE_URL"])
        await_gateway(run, starts=2)

    assert "gateway died (signal 9)" in run.text
    assert run.events[-3:] == STOPPED


def test_a_process_that_could_only_fail_again_is_not_started_again(
    server_directory: Path, database_url: str, redis_url: str
) -> None:
    settings = external(database_url, redis_url) | {"STANDIN_GATEWAY": "give-up-later"}
    with launched(server_directory, settings) as run:
        run.wait_for(READY)
        os.kill(run.pid("gateway"), signal.SIGKILL)

        exit_code = run.process.wait(30)

    assert exit_code == 1
    assert "gateway died of its settings; it would do so again (exit code 78)" in run.text
    assert run.events[-2:] == ["metering stopped", "simulators stopped"]


async def answering_again(url: str) -> None:
    async def answers() -> bool:
        async with postgres(url):
            return True

    await until(answers, "an answer of Postgres", not_yet=(OSError, asyncpg.PostgresError))


def await_gateway(run: Launched, starts: int) -> None:
    eventually(lambda: run.events.count("gateway started") >= starts, f"{starts} starts of the gateway")


def test_a_second_launcher_is_told_about_the_first(server_directory: Path, database_url: str, redis_url: str) -> None:
    with launched(server_directory, external(database_url, redis_url)) as first:
        first.wait_for(READY)

        with launched(server_directory) as second:
            exit_code = second.process.wait(30)

    assert exit_code == 1
    assert f"Poindexter is running here already (process {first.process.pid})" in second.text


def test_a_port_in_use_is_an_error_that_says_what_to_do(server_directory: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        with launched(server_directory, port=port) as run:
            exit_code = run.process.wait(30)

    assert exit_code == 1
    assert f"Port {port} of this machine, wanted for the gateway, is in use" in run.text
    assert f"--port {port + 1}" in run.text
    assert run.events == []


def test_the_answer_of_another_program_on_a_chosen_port_is_not_taken_for_our_process(
    server_directory: Path, database_url: str, redis_url: str
) -> None:
    """Two installations that start at once choose the same ports; the later one said that it was running."""
    ports = {name: free_port() for name in DEFAULT_PORTS}
    (server_directory / "state").mkdir(mode=0o711)
    (server_directory / "state" / "ports.json").write_text(json.dumps(ports))
    thief = {"STANDIN_SIMULATORS": f"also {ports['metering-admin']}"}

    with launched(server_directory, external(database_url, redis_url) | thief) as run:
        exit_code = run.process.wait(30)

    assert exit_code == 1
    assert f"Port {ports['metering-admin']} of this machine, chosen for metering, was taken by another" in run.text
    assert "Start again" in run.text
    assert "metering started" not in run.events


def test_a_shell_that_has_read_demo_env_can_start_everything_again(server_directory: Path) -> None:
    with launched(server_directory) as first:
        first.wait_for(READY)
        settings = settings_of(first)
        first.end()

    with launched(server_directory, settings) as second:
        second.wait_for(READY)

    assert settings_of(second)["DATABASE_URL"] == settings["DATABASE_URL"]
    assert "openai: simulated" in second.text


def test_a_setting_in_a_file_that_is_missing_is_named(server_directory: Path) -> None:
    with launched(server_directory, {"DATABASE_URL_FILE": "/nowhere"}) as run:
        exit_code = run.process.wait(30)

    assert exit_code == 1
    assert "DATABASE_URL_FILE names /nowhere, which can't be read" in run.text


def test_a_database_that_does_not_answer_is_an_error(server_directory: Path, redis_url: str) -> None:
    unused = "postgresql://nobody:nothing@127.0.0.1:1/none?sslmode=disable"

    with launched(server_directory, external(unused, redis_url)) as run:
        exit_code = run.process.wait(30)

    assert exit_code == 1
    assert "The database cannot be prepared: ConnectionRefusedError" in run.text
    assert "It is the one of DATABASE_URL" in run.text


def test_real_providers_need_no_simulators(server_directory: Path, database_url: str, redis_url: str) -> None:
    keys = {"OPENAI_API_KEY": "sk-real-one", "ANTHROPIC_API_KEY": "sk-real-two"}

    with launched(server_directory, keys | external(database_url, redis_url)) as run:
        run.wait_for(READY)

    assert "simulators started" not in run.events
    assert "openai: the real one" in run.text
    assert "sk-real" not in run.text


async def test_a_launcher_killed_with_9_leaves_no_process_and_its_successor_starts(server_directory: Path) -> None:
    with launched(server_directory) as killed:
        killed.wait_for(READY)
        pids = [*server_pids(killed), *(killed.pid(name) for name in ("gateway", "metering", "simulators"))]
        killed.process.kill()
        killed.process.wait()

        gone = [wait_for_exit(pid, timeout=15) for pid in pids]

    assert all(gone)
    with launched(server_directory) as successor:
        successor.wait_for(READY)
        async with postgres(settings_of(successor)["DATABASE_URL"]) as connection:
            assert await connection.fetchval("SELECT 1") == 1


async def test_what_survived_a_killed_launcher_is_ended_by_its_successor(server_directory: Path) -> None:
    with launched(server_directory) as killed:
        killed.wait_for(READY)
        survivors = [*server_pids(killed), *(killed.pid(name) for name in ("gateway", "metering", "simulators"))]
        killed.process.send_signal(signal.SIGSTOP)
        end_guards(survivors)
        killed.process.kill()
        killed.process.wait()
        assert all(command_line(pid) for pid in survivors)

    with launched(server_directory) as successor:
        successor.wait_for(READY)

        gone = [not command_line(pid) for pid in survivors]

    assert all(gone)


def end_guards(guarded: list[int]) -> None:
    for process in Path("/proc").glob("[0-9]*"):
        words = command_line(int(process.name)).split()
        if "poindexter-guard" in words and int(words[words.index("poindexter-guard") + 1]) in guarded:
            os.kill(int(process.name), signal.SIGKILL)
            wait_for_exit(int(process.name), timeout=5)
