"""Each alert can be read, understood and acted upon at night."""

import re
import subprocess
from collections import Counter
from typing import Any

import pytest
import yaml

from tests.observability.artefacts import PROMETHEUS, alerts
from tests.observability.tools import tool

RULE_TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))


def promtool(*arguments: object) -> None:
    done = subprocess.run([tool("promtool"), *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_accepts_its_configuration_and_every_rule() -> None:
    promtool("check", "config", PROMETHEUS / "prometheus.yml")


@pytest.mark.parametrize("file", RULE_TESTS, ids=lambda file: file.stem)
def test_alerts_fire_when_they_should_and_are_silent_when_they_should(file: object) -> None:
    promtool("test", "rules", file)


def test_every_alert_has_a_case_in_which_it_fires() -> None:
    fired = {
        name for file in RULE_TESTS for case in yaml.safe_load(file.read_text())["tests"] for name in _firing(case)
    }

    assert {alert["alert"] for alert in alerts()} - fired == set()


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_says_how_grave_it_is_what_happened_and_where_to_read_on(alert: dict[str, Any]) -> None:
    annotations = alert["annotations"]

    assert alert["labels"]["severity"] in {"critical", "warning", "none"}
    assert set(annotations) == {"summary", "description", "runbook_url"}
    assert len(annotations["summary"]) < 80
    assert annotations["description"].endswith(".")
    assert annotations["runbook_url"] == f"deploy/RUNBOOK.md#{alert['alert'].lower()}"


def test_no_two_alerts_share_a_name() -> None:
    names = Counter(alert["alert"] for alert in alerts())

    assert [name for name, count in names.items() if count > 1] == []


def test_alertmanager_knows_the_alerts_it_names_and_the_receivers_it_sends_to() -> None:
    text = (PROMETHEUS.parent / "compose" / "alertmanager.example.yml").read_text()
    configuration = yaml.safe_load(text)
    route = configuration["route"]
    named = set(re.findall(r"alertname =~? ([\w|]+)", text))

    assert {name for names in named for name in names.split("|")} <= {alert["alert"] for alert in alerts()}
    assert {step["receiver"] for step in [route, *route["routes"]]} == {
        receiver["name"] for receiver in configuration["receivers"]
    }


def _firing(case: dict[str, Any]) -> set[str]:
    expected = [item for check in case.get("promql_expr_test", []) for item in check["exp_samples"]]
    named = {match for item in expected for match in re.findall(r'alertname="(\w+)"', item["labels"])}
    return named | {check["alertname"] for check in case.get("alert_rule_test", []) if check["exp_alerts"]}
