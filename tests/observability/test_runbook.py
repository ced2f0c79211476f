"""The runbook has an answer for every alert, and what it tells people to type works."""

import re

import click
import pytest

from deploy.cli import main
from tests.observability.artefacts import ROOT, RUNBOOK, alerts, sections
from tests.services import postgres

PARTS = ("**Means**", "**Customers notice**", "**Look**", "**Mend**", "**Over when**")
TEXT = re.sub(r"\s+", " ", RUNBOOK.read_text())
SQL = sorted({sql for sql in re.findall(r'`sql "(.+?)"', TEXT) if not sql.startswith("\\") and "PID" not in sql})
COMMANDS = sorted(set(re.findall(r"`poindexter ([a-z-]+(?: [a-z-]+)?)", TEXT)))
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


@pytest.mark.parametrize("phrase", LOGGED)
def test_every_line_to_look_for_is_logged_somewhere(phrase: str) -> None:
    sources = [path for package in ("gateway", "metering", "core") for path in (ROOT / package).rglob("*.py")]

    assert any(phrase in path.read_text() for path in sources)
