"""The runbook has an answer for every alert, and what it tells people to type works."""

import re
from pathlib import Path

import click
import pytest
import yaml

from deploy.cli import main
from tests.harness.servers import postgres
from tests.observability.artefacts import ROOT, RUNBOOK, alerts, sections

PARTS = ("**Means**", "**Customers notice**", "**Look**", "**Mend**", "**Over when**")
README = ROOT / "deploy" / "README.md"
TEXT = re.sub(r"\s+", " ", RUNBOOK.read_text())
SQL = sorted({sql for sql in re.findall(r'`sql "(.+?)"', TEXT) if not sql.startswith("\\") and "PID" not in sql})
COMMANDS = sorted(set(re.findall(r"`poindexter ([a-z-]+(?: [a-z-]+)?)", TEXT)))
COMPOSE = re.compile(r"docker compose (exec|run|logs|ps|up|restart|build) ([^`|·&#()\n]*)")
WITH_A_VALUE = re.compile(r"--(?:tail|since|entrypoint) \S+")
LOGGED = sorted(set(re.findall(r"grep (?:-A\d+ )?'\"?([a-z' ]{8,})\"?'", TEXT)))


def test_every_alert_has_its_heading_and_every_heading_its_alert() -> None:
    assert sorted(sections()) == sorted(alert["alert"] for alert in alerts())


@pytest.mark.parametrize("name", sections())
def test_an_entry_says_what_it_means_who_notices_where_to_look_how_to_mend_and_when_it_is_over(name: str) -> None:
    text = sections()[name]

    assert re.findall(r"^\*\*[^*]+\*\*", text, flags=re.MULTILINE) == list(PARTS)


def test_the_entry_and_the_alert_agree_on_how_grave_it_is() -> None:
    severities = {alert["alert"]: alert["labels"]["severity"] for alert in alerts()}
    written = {
        name: found.group().lower() if (found := re.search("Critical|Warning", text)) else "none"
        for name, text in sections().items()
    }

    assert written == severities


def test_links_inside_the_runbook_lead_somewhere() -> None:
    anchors = {name.lower() for name in sections()}

    assert set(re.findall(r"\]\(#([\w-]+)\)", TEXT)) <= anchors


@pytest.mark.parametrize("statement", SQL)
async def test_every_query_works(statement: str, database_url: str) -> None:
    async with postgres(database_url) as connection:
        assert isinstance(await connection.fetch(statement), list)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_ours_exists(command: str) -> None:
    found: click.Command = main
    for word in command.split():
        if not isinstance(found, click.Group):
            return
        assert word in found.commands, f"poindexter {command}"
        found = found.commands[word]


@pytest.mark.parametrize("document", [RUNBOOK, README], ids=lambda path: path.stem)
def test_every_service_that_is_named_to_compose_exists(document: Path) -> None:
    services = set(yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"])
    named = {name for kind, rest in COMPOSE.findall(document.read_text()) for name in _services(kind, rest)}

    assert named
    assert named <= services


@pytest.mark.parametrize("phrase", LOGGED)
def test_every_line_to_look_for_is_logged_somewhere(phrase: str) -> None:
    sources = [path for package in ("gateway", "metering", "core") for path in (ROOT / package).rglob("*.py")]

    assert any(phrase in path.read_text() for path in sources)


def _services(kind: str, rest: str) -> list[str]:
    """`exec` and `run` take one and its command; the others take any number."""
    words = [word for word in WITH_A_VALUE.sub("", rest).split() if re.fullmatch(r"[a-z]+(-\d)?", word)]
    return words[:1] if kind in {"exec", "run"} else words
