"""A real Prometheus scrapes real processes: every expression evaluates, and every panel has something to show."""

from collections.abc import Iterator
from functools import partial

import httpx
import pytest

from deploy.local.servers.valkey import ValkeyServer
from tests.harness.installation import Customer, Installation
from tests.harness.models_text import models_text
from tests.harness.running_gateway import RunningGateway
from tests.harness.servers import Databases, emptied
from tests.harness.simulated_upstream import SimulatedUpstream
from tests.harness.waiting import eventually
from tests.observability.artefacts import OF_PROMETHEUS, Expression, expressions, metrics, recorded
from tests.observability.promql import resolved
from tests.observability.tools import tool
from tests.observability.watched import Prometheus, metering, prometheus

REQUESTS = (
    ("gpt-4o-mini", "Hello", False),
    ("claude-haiku-4-5", "Hello", True),
    ("dead-0", "Hello", False),  # Nobody listens at its first target.
    ("gpt-4o-mini", "[[sim words=20 cut=fin after=5]]", True),  # The provider dies in the middle.
    ("no-such-model", "Hello", False),
)
ROUNDS = 2
"""The first of a kind makes a series, the second makes it grow."""
COMPLETE, BROKEN = 3 * ROUNDS, ROUNDS

EMPTY_WHILE_ALL_IS_WELL = {
    "gateway: Alerts A",
    "gateway: Critical alerts",
    "gateway: Open circuits A",
    "metering: Critical alerts",
}
"""Of the dashboards' expressions; all others must show something."""


@pytest.fixture(scope="module")
def installation(
    databases: Databases, valkey_server: ValkeyServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    tool("prometheus")
    upstream = SimulatedUpstream.start()
    database = databases.take()
    installation = Installation(
        tmp_path_factory.mktemp("watched"),
        database_url=database,
        redis_url=emptied(valkey_server),
        models=models_text(upstream.openai_url, upstream.anthropic_url),
    )
    yield installation
    installation.close()
    upstream.stop()
    databases.give_back(database)


@pytest.fixture(scope="module")
def watch(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Prometheus, having seen requests of every kind on their way into the ledger."""
    gateway = installation.start_gateway(workers=2)
    with (
        metering(installation) as metering_port,
        prometheus(
            tool("prometheus"),
            tmp_path_factory.mktemp("prometheus"),
            {"gateway": gateway.admin_port, "metering": metering_port},
        ) as server,
    ):
        eventually(lambda: server.value("sum(up)") == 3, "three targets that are up")
        customer = installation.customer()
        for number in range(1, ROUNDS + 1):
            before = booked(server)
            use(gateway, customer)
            eventually(partial(_has_booked, server, before + (COMPLETE + BROKEN) / ROUNDS), "usage in the ledger")
            # Seen before the next round begins: a series that appears with its last value never grows.
            eventually(partial(_has_refused, server, number), "refusals on the gateway's own page")
        eventually(lambda: server.value("sum(rate(poindexter_refusals_total[5m]))") > 0, "growing series")
        eventually(lambda: all(server.query(name) for name in recorded()), "results of recording rules")
        yield server
    gateway.stop()


def use(gateway: RunningGateway, customer: Customer) -> None:
    for model, prompt, stream in REQUESTS:
        body = {"model": model, "messages": [{"role": "user", "content": prompt}], "stream": stream}
        address = f"{gateway.openai_url}/chat/completions"
        httpx.post(address, json=body, headers=customer.headers, timeout=20, trust_env=False)


def booked(server: Prometheus) -> float:
    return server.value('sum(poindexter_metering_events_total{result="inserted"})')


def _has_booked(server: Prometheus, events: float) -> bool:
    return booked(server) == events


def _has_refused(server: Prometheus, requests: int) -> bool:
    return server.value('sum(poindexter_refusals_total{code="model_not_found"})') == requests


@pytest.mark.parametrize("expression", expressions(), ids=lambda expression: expression.place)
def test_prometheus_evaluates_every_expression(watch: Prometheus, expression: Expression) -> None:
    samples = watch.query(resolved(expression.text))

    on_a_dashboard = expression.place.startswith(("gateway:", "metering:"))
    assert samples or not on_a_dashboard or expression.place in EMPTY_WHILE_ALL_IS_WELL


def test_every_metric_of_the_code_arrives(watch: Prometheus) -> None:
    [*samples] = watch.query('group by (__name__) ({job=~"gateway|metering"})')
    seen = {sample["metric"]["__name__"] for sample in samples}

    assert [metric.family for metric in metrics() if not metric.series & seen] == []


@pytest.mark.parametrize("name", sorted(OF_PROMETHEUS))
def test_what_we_expect_of_prometheus_itself_is_there(watch: Prometheus, name: str) -> None:
    assert watch.query(name)


def test_no_rule_fails_and_nothing_fires_but_the_watchdog(watch: Prometheus) -> None:
    rules = watch.rules()

    assert [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"] == []
    assert [rule["name"] for rule in rules if rule.get("state") == "firing"] == ["Watchdog"]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('sum(poindexter_requests_total{code="200"})', COMPLETE + BROKEN),
        ('sum(poindexter_refusals_total{code="model_not_found"})', ROUNDS),
        ('sum(poindexter_settlements_total{outcome="complete"})', COMPLETE),
        ('sum(poindexter_settlements_total{outcome="upstream_failed"})', BROKEN),
        ('sum(poindexter_upstream_attempts_total{outcome="ok"})', COMPLETE),
        ("sum(poindexter_metering_estimated_events_total)", BROKEN),
        ("sum(poindexter_open_requests)", 0),
        ("sum(poindexter_open_requests_limit)", 2 * 12_000),
        ("min(poindexter_redis_connected)", 1),
        ("min(poindexter_models_file_valid)", 1),
        ("max(poindexter_metering_partitions_ahead)", 2),
        ("count(count by (worker) (poindexter_worker_start_time_seconds))", 1),
        ("poindexter:errors:ratio_rate5m", 0),
    ],
)
def test_the_figures_are_those_of_the_requests(watch: Prometheus, expression: str, expected: float) -> None:
    assert watch.value(expression) == expected
