"""Dashboards are readable by people, loadable by Grafana, and comparable by git."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.observability.artefacts import DASHBOARDS, ROOT, dashboard, panels

PROVISIONING = ROOT / "deploy" / "grafana" / "provisioning"
WIDTH = 24

every_dashboard = pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)


def test_gateway_and_metering_have_their_dashboards() -> None:
    assert [path.stem for path in DASHBOARDS] == ["gateway", "metering"]


@every_dashboard
def test_the_file_is_formatted_so_that_changes_can_be_read(path: Path) -> None:
    assert path.read_text() == json.dumps(dashboard(path), indent=2, ensure_ascii=False) + "\n"


@every_dashboard
def test_a_dashboard_is_found_under_the_same_address_for_ever(path: Path) -> None:
    board = dashboard(path)

    assert board["uid"] == f"poindexter-{path.stem}"
    assert board["id"] is None


@every_dashboard
def test_every_query_goes_to_the_data_source_that_is_chosen(path: Path) -> None:
    first, *_ = dashboard(path)["templating"]["list"]
    sources = [item["datasource"] for panel in panels(path) for item in [panel, *panel["targets"]]]

    assert (first["name"], first["type"]) == ("DS", "datasource")
    assert {json.dumps(source) for source in sources} == {'{"type": "prometheus", "uid": "${DS}"}'}


@every_dashboard
def test_every_panel_says_what_it_shows_and_in_which_unit(path: Path) -> None:
    lacking = [panel["title"] for panel in panels(path) if not panel["description"].endswith((".", "`."))]
    without_unit = [
        panel["title"]
        for panel in panels(path)
        if panel["type"] != "table" and not panel["fieldConfig"]["defaults"].get("unit")
    ]

    assert lacking == []
    assert without_unit == []


@every_dashboard
def test_panels_have_ids_and_places_of_their_own(path: Path) -> None:
    every: list[dict[str, Any]] = dashboard(path)["panels"]
    cells = [cell for panel in every for cell in _cells(panel["gridPos"])]

    assert len({panel["id"] for panel in every}) == len(every)
    assert len(set(cells)) == len(cells)
    assert max(column for column, _ in cells) < WIDTH


@every_dashboard
def test_links_lead_to_a_dashboard_that_exists(path: Path) -> None:
    known = {f"/d/{dashboard(other)['uid']}" for other in DASHBOARDS}

    assert {link["url"] for link in dashboard(path)["links"]} <= known


def test_grafana_finds_the_data_source_by_the_name_that_the_dashboards_use() -> None:
    [source] = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text())["datasources"]
    chosen = {dashboard(path)["templating"]["list"][0]["current"]["value"] for path in DASHBOARDS}

    assert chosen == {source["uid"]}


def test_grafana_finds_the_dashboards_where_compose_puts_them() -> None:
    [provider] = yaml.safe_load((PROVISIONING / "dashboards" / "poindexter.yml").read_text())["providers"]
    grafana = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]["grafana"]

    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in grafana["volumes"]


def _cells(place: dict[str, int]) -> list[tuple[int, int]]:
    columns = range(place["x"], place["x"] + place["w"])
    return [(column, row) for column in columns for row in range(place["y"], place["y"] + place["h"])]
