"""What deploy/ says about watching, as values: rules, dashboards, the runbook's headings."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml
from prometheus_client.metrics import MetricWrapperBase

import gateway.records.metrics
import metering.metrics

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
RUNBOOK = ROOT / "deploy" / "RUNBOOK.md"
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
OWN_LABELS: dict[str, frozenset[str]] = {"histogram": frozenset({"le"})}
TARGET_LABELS = frozenset({"job", "instance"})
OF_PROMETHEUS = {
    "up",
    "ALERTS",
    "prometheus_rule_evaluation_failures_total",
    "prometheus_notifications_dropped_total",
}
"""test_prometheus.py sees each of them in a real one."""


@dataclass(frozen=True, slots=True)
class Metric:
    family: str
    series: frozenset[str]
    labels: frozenset[str]


@dataclass(frozen=True, slots=True)
class Expression:
    place: str
    text: str


def rules() -> list[dict[str, Any]]:
    """Every rule of every group."""
    files = [PROMETHEUS / "recording.yml", *sorted((PROMETHEUS / "alerts").glob("*.yml"))]
    return [rule for file in files for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def recorded() -> set[str]:
    """The names that recording rules give."""
    return {rule["record"] for rule in rules() if "record" in rule}


def dashboard(path: Path) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(path.read_text())
    return parsed


def panels(path: Path) -> list[dict[str, Any]]:
    """Those that show something, without the headings of rows."""
    return [panel for panel in dashboard(path)["panels"] if panel["type"] != "row"]


def expressions() -> list[Expression]:
    """Every expression that somebody relies on."""
    return [*_of_rules(), *_of_dashboards()]


def _of_rules() -> Iterator[Expression]:
    for rule in rules():
        yield Expression(rule.get("alert") or rule["record"], rule["expr"])


def _of_dashboards() -> Iterator[Expression]:
    for path in DASHBOARDS:
        for panel in panels(path):
            for target in panel["targets"]:
                yield Expression(f"{path.stem}: {panel['title']} {target['refId']}", target["expr"])
        for annotation in dashboard(path)["annotations"]["list"]:
            yield Expression(f"{path.stem}: {annotation['name']}", annotation["expr"])


def metrics() -> list[Metric]:
    """Every metric of our processes."""
    return [*_of_module(gateway.records.metrics), *_of_module(metering.metrics)]


def _of_module(module: ModuleType) -> Iterator[Metric]:
    for item in vars(module).values():
        if isinstance(item, MetricWrapperBase):
            [family] = item.describe()
            series = frozenset(family.name + suffix for suffix in SUFFIXES[family.type])
            labels = frozenset(item._labelnames) | OWN_LABELS.get(family.type, frozenset()) | TARGET_LABELS
            yield Metric(family.name, series, labels)


def sections() -> dict[str, str]:
    """The runbook's text below each heading of an alert."""
    parts = re.split(r"^### (.+)$", RUNBOOK.read_text(), flags=re.MULTILINE)
    return {name: text.split("\n## ")[0] for name, text in zip(parts[1::2], parts[2::2], strict=True)}
