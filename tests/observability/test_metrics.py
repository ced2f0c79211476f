"""Dashboards, alerts and code name the same metrics."""

import pytest
from prometheus_client import PROCESS_COLLECTOR

from tests.observability.artefacts import OF_PROMETHEUS, Expression, expressions, metrics, recorded
from tests.observability.promql import names_in

LABELS_OF_ALERTS = {"alertname", "alertstate", "severity"}


def of_the_process() -> set[str]:
    families = PROCESS_COLLECTOR.collect()
    return {sample.name for family in families for sample in family.samples}


@pytest.mark.parametrize("expression", expressions(), ids=lambda expression: expression.place)
def test_an_expression_names_only_metrics_that_exist(expression: Expression) -> None:
    ours = {series for metric in metrics() for series in metric.series}

    unknown = names_in(expression.text).metrics - ours - recorded() - OF_PROMETHEUS - of_the_process()

    assert unknown == set()


@pytest.mark.parametrize("expression", expressions(), ids=lambda expression: expression.place)
def test_an_expression_names_only_labels_that_its_metrics_have(expression: Expression) -> None:
    labels = {series: metric.labels for metric in metrics() for series in metric.series}
    found = names_in(expression.text)
    possible = {label for series in found.metrics for label in labels.get(series, {"job", "instance"})}

    assert {(series, label) for series, label in found.matched if label not in labels.get(series, {label})} == set()
    assert found.grouped <= possible | LABELS_OF_ALERTS


def test_every_metric_is_on_a_dashboard_or_in_an_alert() -> None:
    shown = {series for expression in expressions() for series in names_in(expression.text).metrics}

    assert [metric.family for metric in metrics() if not metric.series & shown] == []


def test_no_metric_has_a_label_without_bounds() -> None:
    unbounded = {"account", "account_id", "key", "key_id", "request_id", "user", "path", "ip"}

    assert [metric.family for metric in metrics() if metric.labels & unbounded] == []


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("up == 0", {"up"}),
        ("sum by (le, model) (rate(a_bucket[5m])) / on () group_left () sum(b_total)", {"a_bucket", "b_total"}),
        ('absent(up{job="c_total"}) or vector(1)', {"up"}),
        ("x:y:rate5m > 14.4 * 0.001 and z >= 1e9", {"x:y:rate5m", "z"}),
        ("time() - max(t_seconds) unless sum(increase(v[$__rate_interval])) > 0", {"t_seconds", "v"}),
    ],
)
def test_names_are_found_in_expressions(expression: str, expected: set[str]) -> None:
    assert names_in(expression).metrics == expected
