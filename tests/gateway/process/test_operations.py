"""What an operator sees and does: admin port, a log line for each request, metrics of all workers, models file."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway.wire import CONTENT, chat, wire
from tests.harness.installation import Customer, Installation
from tests.harness.models_text import FreshModels
from tests.harness.running_gateway import GatewayDidNotStart, RunningGateway
from tests.harness.simulated_upstream import SimulatedUpstream
from tests.harness.waiting import eventually, until_elsewhere


@pytest.fixture(scope="module")
def pair(shared: Installation) -> Iterator[RunningGateway]:
    """A gateway of two workers."""
    gateway = shared.start_gateway(workers=2)
    yield gateway
    assert gateway.stop() == 0


async def ask(gateway: RunningGateway, customer: Customer, text: str = "Hello", **more: Any) -> tuple[int, Any]:
    async with wire(gateway.port) as client:
        await client.send(chat(customer, text, **more))
        head, body = await client.answer()
    return head.status, body


def line_of(gateway: RunningGateway, customer: Customer) -> dict[str, Any]:
    """The one request of a customer in the log."""
    wanted = {"logger": "gateway.request", "account": customer.account_id}
    eventually(lambda: bool(gateway.log_lines(**wanted)), "log line")
    [line] = gateway.log_lines(**wanted)
    return line


async def test_a_request_leaves_one_line_with_what_it_used(
    gateway: RunningGateway, shared: Installation, customer: Customer
) -> None:
    await ask(gateway, customer, "[[sim words=7]] a secret prompt")

    line = line_of(gateway, customer)
    [booked] = shared.wait_events(customer, 1)
    assert line["request_id"] == str(booked.event.event_id)
    assert (line["status"], line["outcome"], line["code"], line["attempts"]) == (200, "ok", None, 1)
    assert (line["model"], line["target"], line["key"]) == ("gpt-4o-mini", "openai/gpt-4o-mini", customer.key_id)
    assert line["tokens"] == list(booked.event.usage.as_tuple())
    assert line["cost_nano_usd"] == booked.event.cost
    assert line["duration_ms"] >= line["first_byte_ms"] >= line["upstream_ms"] > 0
    assert "secret prompt" not in gateway.log.read_text()


async def test_a_refused_request_leaves_a_line_with_the_reason(gateway: RunningGateway, shared: Installation) -> None:
    customer = shared.customer(cap=1)

    await ask(gateway, customer)

    line = line_of(gateway, customer)
    assert (line["status"], line["outcome"], line["code"]) == (402, "error", "spend_cap_exceeded")
    assert (line["tokens"], line["target"], line["attempts"]) == (None, None, 0)


async def test_a_hang_up_leaves_a_line_that_says_so(gateway: RunningGateway, customer: Customer) -> None:
    async with wire(gateway.port) as client:
        await client.send(chat(customer, "[[sim words=300 pause_ms=10]]", stream=True))
        await client.read_past(CONTENT)
        await client.leave()

    line = await asyncio.to_thread(line_of, gateway, customer)
    assert line["outcome"] == "client_gone"
    assert line["estimated"] == "client_gone"


async def test_a_failover_is_counted_in_the_line_and_in_the_metrics(
    gateway: RunningGateway, customer: Customer, fresh_models: FreshModels
) -> None:
    failed = gateway.metric("poindexter_upstream_attempts_total", provider="openai", outcome="failed")

    await ask(gateway, customer, "[[sim status=500 model=openai]]", model=fresh_models.take("both"))

    line = line_of(gateway, customer)
    assert (line["status"], line["attempts"], line["target"]) == (200, 3, "anthropic/claude-haiku-4-5")
    assert gateway.metric("poindexter_upstream_attempts_total", provider="openai", outcome="failed") == failed + 2


async def test_the_workers_metrics_add_up(pair: RunningGateway, customer: Customer) -> None:
    before = pair.metric("poindexter_requests_total", code="200")

    answers = await asyncio.gather(*(ask(pair, customer, "[[sim first_byte_ms=50]]") for _ in range(60)))

    assert [status for status, _ in answers] == [200] * 60
    await until_elsewhere(
        lambda: pair.metric("poindexter_requests_total", code="200") == before + 60, "60 counted requests"
    )
    await until_elsewhere(lambda: pair.metric("poindexter_open_requests") == 0, "no open request")


async def test_every_worker_serves(pair: RunningGateway, customer: Customer) -> None:
    """The kernel spreads connections; a request that occupies one worker does not keep the other from answering."""
    first, second = pair.worker_pids[:2]
    os.kill(first, signal.SIGSTOP)
    try:
        async with asyncio.timeout(20):
            answers = [asyncio.create_task(ask(pair, customer)) for _ in range(10)]
            done, _ = await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
            assert {task.result()[0] for task in done} == {200}
    finally:
        os.kill(first, signal.SIGCONT)
    assert {status for status, _ in await asyncio.gather(*answers)} == {200}
    assert first != second


def test_readiness_names_its_checks(gateway: RunningGateway) -> None:
    ready = gateway.ready()

    assert ready == {
        "status": 200,
        "ready": True,
        "checks": {"redis": "ok", "postgres": "ok", "spool": "ok", "connections": "ok", "draining": False},
        "open_requests": 0,
        "connections": 0,
    }
    assert gateway.healthy()


async def test_a_changed_models_file_is_taken_up_by_every_worker(
    installation: Installation, upstream: SimulatedUpstream
) -> None:
    gateway = installation.start_gateway(workers=2)
    customer = installation.customer()
    before = installation.models_file.read_text()

    installation.models_file.write_text(before.replace('[models."gpt-5-mini"]', '[models."brand-new"]'))
    gateway.signal(signal.SIGHUP)
    await until_elsewhere(lambda: loads(gateway) == 2, "reload of both workers")
    statuses = {(await ask(gateway, customer, model=name))[0] for name in ["brand-new"] * 6}
    gone, _ = await ask(gateway, customer, model="gpt-5-mini")

    assert (statuses, gone) == ({200}, 404)


async def test_a_bad_models_file_is_reported_and_the_one_before_serves_on(installation: Installation) -> None:
    gateway = installation.start_gateway()
    customer = installation.customer()
    good = installation.models_file.read_text()

    installation.models_file.write_text(good.replace('tokenizer = "openai-mini"', 'tokenizer = "none"', 1))
    gateway.signal(signal.SIGHUP)
    await until_elsewhere(lambda: gateway.metric("poindexter_models_file_valid") == 0, "refusal")
    served, _ = await ask(gateway, customer)
    installation.models_file.write_text(good)
    await until_elsewhere(lambda: gateway.metric("poindexter_models_file_valid") == 1, "recovery")

    [complaint] = gateway.log_lines(level="error")
    assert served == 200
    assert "tokenizer must be one of" in complaint["problems"]


def loads(gateway: RunningGateway) -> int:
    return len(gateway.log_lines(message="models file loaded"))


def test_a_gateway_does_not_start_with_a_bad_models_file(installation: Installation) -> None:
    installation.models_file.write_text("[models.x]\ncolour = 1")

    with pytest.raises(
        GatewayDidNotStart, match=r"(?s)models\.toml is refused:.*context_tokens is missing.*colour is not known"
    ):
        installation.start_gateway()


def test_wrong_settings_are_reported_all_at_once(installation: Installation) -> None:
    with pytest.raises(GatewayDidNotStart) as raised:
        installation.start_gateway({"GATEWAY_BODY_SECONDS": "soon", "API_KEY_PEPPER": "salt", "REDIS_SHARDS": "0"})

    message = str(raised.value)
    assert "GATEWAY_BODY_SECONDS is not valid" in message
    assert "REDIS_SHARDS is not valid" in message
    assert "Traceback" not in message


def test_the_public_port_has_no_admin_routes(gateway: RunningGateway) -> None:
    assert httpx.get(f"{gateway.url}/metrics", trust_env=False).status_code == 404


@pytest.mark.parametrize("workers", [1, 2])
def test_a_spool_directory_that_cannot_be_written_ends_the_start_with_one_line(
    shared: Installation, tmp_path: Path, workers: int
) -> None:
    """S17: a file stands where the directory should be. No supervisor tries that again."""
    (tmp_path / "spool").write_text("")

    settings = {
        **os.environ,  # noqa: TID251  The child inherits ours.
        **shared.settings,
        "GATEWAY_SPOOL_DIRECTORY": str(tmp_path / "spool"),
        "GATEWAY_WORKERS": str(workers),
        "GATEWAY_PORT": "0",
        "GATEWAY_ADMIN_PORT": "0",
    }
    ended = subprocess.run([sys.executable, "-m", "gateway"], env=settings, capture_output=True, text=True, timeout=60)

    said = [line.strip() for line in ended.stderr.splitlines() if not line.startswith("{")]
    problem = f"GATEWAY_SPOOL_DIRECTORY can't be written to: File exists: {tmp_path / 'spool'}"
    assert ended.returncode == os.EX_CONFIG
    assert set(said) == {"The gateway can't start:", problem}
