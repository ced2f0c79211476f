from pathlib import Path

import pytest

from deploy.local.servers.ports import DEFAULT_PORTS
from deploy.local.services.processes import SIMULATED_KEY, Installation, given, our_processes
from deploy.local.services.service import Process

INSTALLATION = Installation(
    database_url="postgresql://user:database-secret@127.0.0.1/db",
    redis_url="redis://:redis-secret@127.0.0.1/0",
    pepper="1:" + "ab" * 32,
    ports=DEFAULT_PORTS,
    gateway_workers=2,
    spool=Path("/state/spool"),
)


def gateway(environment: dict[str, str]) -> Process:
    return our_processes(INSTALLATION, environment)[-1]


def test_the_gateway_starts_last_so_that_it_stops_first() -> None:
    names = [process.name for process in our_processes(INSTALLATION, {})]

    assert names == ["simulators", "metering", "gateway"]


def test_without_keys_both_upstreams_are_simulated() -> None:
    environment = gateway({}).environment

    assert environment["OPENAI_UPSTREAM_URL"] == "http://127.0.0.1:9092/openai"
    assert environment["ANTHROPIC_UPSTREAM_URL"] == "http://127.0.0.1:9092/anthropic"
    assert environment["OPENAI_API_KEY"] == environment["ANTHROPIC_API_KEY"] == SIMULATED_KEY


def test_a_key_makes_its_upstream_real_and_only_that_one() -> None:
    environment = gateway({"OPENAI_API_KEY": "sk-real"}).environment

    assert environment["OPENAI_API_KEY"] == "sk-real"
    assert "OPENAI_UPSTREAM_URL" not in environment
    assert environment["ANTHROPIC_UPSTREAM_URL"] == "http://127.0.0.1:9092/anthropic"


def test_with_both_keys_no_simulator_is_started(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-ant-real\n")
    keys = {"OPENAI_API_KEY": "sk-real", "ANTHROPIC_API_KEY_FILE": str(tmp_path / "key")}

    assert [process.name for process in our_processes(INSTALLATION, keys)] == ["metering", "gateway"]


@pytest.mark.parametrize(
    ("variable", "value", "kept"),
    [
        ("GATEWAY_MAX_OPEN_REQUESTS", "7", True),
        ("GATEWAY_MODELS_FILE", "/etc/models.toml", True),
        ("GATEWAY_PORT", "1", False),
        ("DATABASE_URL", "postgresql://elsewhere", False),
    ],
)
def test_the_operators_own_settings_reach_the_gateway(variable: str, value: str, kept: bool) -> None:
    environment = gateway({variable: value}).environment

    assert (environment[variable] == value) == kept


def test_a_setting_in_a_file_is_read_once_and_not_passed_on_in_both_forms(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql://elsewhere\n")
    environment = {"DATABASE_URL_FILE": str(tmp_path / "url")}

    assert given(environment, "DATABASE_URL") == "postgresql://elsewhere"
    assert "DATABASE_URL_FILE" not in gateway(environment).environment


def test_simulators_are_not_told_any_secret_of_ours() -> None:
    simulators = our_processes(INSTALLATION, {})[0]

    values = " ".join(simulators.environment.values())

    assert "secret" not in values
    assert INSTALLATION.pepper not in values


def test_secrets_do_not_show() -> None:
    shown = repr([INSTALLATION, *our_processes(INSTALLATION, {})])

    assert "secret" not in shown
    assert INSTALLATION.pepper not in shown
