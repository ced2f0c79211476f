"""What `poindexter` says about an installation: none, a broken one, one without a schema; and every --help."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from deploy.cli import main
from deploy.local.state import StateDirectory
from tests.deploy.command_line import PEPPER, CommandLine

POINDEXTER = Path(sys.executable).parent / "poindexter"
ASKING = [("accounts", "list"), ("keys", "list"), ("usage", "1"), ("keys", "publish"), ("keys", "create", "1")]
WORKING = {
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "API_KEY_PEPPER": PEPPER,
    "DATABASE_URL": "postgresql://x@127.0.0.1:1/x",
}


def commands(group: click.Group, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)


COMMANDS = dict(commands(main))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_the_help_of_a_command_teaches(path: tuple[str, ...]) -> None:
    answer = CommandLine().ok(*path, "--help")

    command = COMMANDS[path]
    assert (command.help or "").partition("\n")[0].strip().endswith((".", ")", ":", "?"))
    assert "Usage:" in answer.out
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help or parameter.show_default, parameter.name
        elif parameter.human_readable_name.isupper() and not isinstance(command, click.Group):
            assert parameter.human_readable_name in answer.out


def test_the_first_page_names_the_first_steps() -> None:
    answer = CommandLine().ok("--help")

    for step in ("poindexter up", "poindexter accounts create", "poindexter keys create", "poindexter usage"):
        assert step in answer.out
    assert {path[0] for path in COMMANDS} <= set(answer.out.split())
    assert "75 saved" in answer.out
    assert "..." not in answer.out.partition("Commands:")[2]


@pytest.mark.parametrize("arguments", ASKING, ids=" ".join)
def test_without_an_installation_every_missing_setting_is_named(arguments: tuple[str, ...]) -> None:
    answer = CommandLine().run(*arguments)

    assert answer.status == 78
    for name in ("DATABASE_URL", "REDIS_URL", "API_KEY_PEPPER", "poindexter up"):
        assert name in answer.err
    assert answer.out == ""


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"API_KEY_PEPPER": "canary"}, "API_KEY_PEPPER is not valid"),
        ({"REDIS_URL": "canary"}, "REDIS_URL is not valid"),
        ({"REDIS_SHARDS": "0"}, "REDIS_SHARDS is not valid: must be at least 1"),
        ({"DATABASE_URL_FILE": "/canary", "DATABASE_URL": ""}, "DATABASE_URL is not valid: No such file"),
    ],
)
def test_a_setting_that_is_wrong_is_named(changed: dict[str, str], message: str) -> None:
    answer = CommandLine(**{**WORKING, **changed}).run("accounts", "list")

    assert answer.status == 78
    assert message in answer.err
    assert "canary" not in answer.err.replace("/canary", "")


@pytest.mark.parametrize("url", ["postgresql://user:canary@127.0.0.1:1/x", "canary", "postgresql://u:canary@[/x", ""])
def test_a_database_that_cannot_be_used_is_a_message_without_its_password(url: str) -> None:
    answer = CommandLine(**{**WORKING, "DATABASE_URL": url}).run("accounts", "list")

    assert answer.status in (1, 78)
    assert answer.err
    assert "Traceback" not in answer.err
    assert "canary" not in answer.err


def test_a_database_without_a_schema_says_which_command_is_missing(empty_database_url: str, redis_url: str) -> None:
    line = CommandLine.of(empty_database_url, redis_url)

    before = line.run("accounts", "list")
    migrated = line.ok("migrate")
    again = line.ok("migrate")

    assert before.status == 1
    assert "poindexter migrate" in before.err
    assert "applied 0001_accounts" in migrated.out
    assert again.out == "The schema is up to date.\n"
    assert line.ok("accounts", "list").out.startswith("No account yet.")


@pytest.mark.parametrize(
    ("environment", "status", "message"),
    [
        ({}, 78, "DATABASE_URL"),
        ({"DATABASE_URL": "postgresql://u:canary@127.0.0.1:1/x"}, 1, "The database can't be used"),
        ({"DATABASE_URL": "canary"}, 78, "DATABASE_URL is not valid"),
    ],
)
def test_migrate_says_what_it_needs(environment: dict[str, str], status: int, message: str) -> None:
    answer = CommandLine(**environment).run("migrate")

    assert answer.status == status
    assert message in answer.err
    assert "canary" not in answer.err


def test_an_installation_of_this_machine_is_found_by_its_directory(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    state = StateDirectory(tmp_path / "state")
    state.open()
    state.pepper()
    state.demo_environment.write_text(f"DATABASE_URL='{database_url}'\nREDIS_URL='{redis_url}'\n")
    state.close()

    created = CommandLine().ok("accounts", "create", "ACME", "--state-directory", str(state.path), "--json")
    elsewhere = CommandLine().run("accounts", "list", "--state-directory", str(tmp_path / "other"))

    assert created.document["name"] == "ACME"
    assert elsewhere.status == 78


def test_the_models_file_is_checked_before_it_goes_live(tmp_path: Path) -> None:
    line = CommandLine(OPENAI_API_KEY="x", ANTHROPIC_API_KEY="x")
    broken = tmp_path / "models.toml"
    broken.write_text("[models.m]\nprice = 1\n")

    delivered, refused = line.ok("models", "check"), line.run("models", "check", str(broken))

    assert "dex-default" in delivered.out
    assert line.json("models", "check")["valid"] is True
    assert refused.status == 1
    assert "context_tokens is missing" in refused.err
    assert line.run("models", "check", str(broken), "--json").document["valid"] is False
    assert "OPENAI_API_KEY is not set" in CommandLine().run("models", "check").err


def test_a_models_file_that_is_no_text_is_refused_in_a_sentence(tmp_path: Path) -> None:
    binary = tmp_path / "models.toml"
    binary.write_bytes(b"\xff\xfe\x00")

    answer = CommandLine().run("models", "check", str(binary))

    assert answer.status == 1
    assert "is refused" in answer.err


def test_the_installed_command_runs_and_ends_with_its_status(database_url: str, redis_url: str) -> None:
    environment = CommandLine.of(database_url, redis_url).environment
    command = [str(POINDEXTER), "accounts", "create", "ACME", "--json"]

    done = subprocess.run(command, env=environment, capture_output=True, timeout=30, check=False)
    refused = subprocess.run(
        [POINDEXTER, "keys", "create", "9"], env=environment, capture_output=True, timeout=30, check=False
    )

    assert (done.returncode, json.loads(done.stdout)["account_id"], done.stderr) == (0, 1, b"")
    assert (refused.returncode, refused.stdout, refused.stderr) == (1, b"", b"There is no account 9.\n")
