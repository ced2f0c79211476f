"""The chat user as a process of its own: Locust patches the standard library, so it may not run inside pytest."""

import os
import subprocess
import sys
from pathlib import Path

from tests.harness.installation import Installation
from tests.harness.running_gateway import RunningGateway

LOCUSTFILE = Path(__file__).parents[2] / "loadtests" / "locustfile.py"


def locust(base_url: str, key: str, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": key}  # noqa: TID251
    load = ("--users", "4", "--spawn-rate", "20", "--run-time", "3s", "--pause", "0.1", "--stop-timeout", "5")
    return subprocess.run(
        [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", *load, *options],
        env=environment,
        cwd=LOCUSTFILE.parents[1],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_users_chat_with_a_running_gateway_and_their_first_tokens_are_measured(
    gateway: RunningGateway, shared: Installation
) -> None:
    customer = shared.customer()

    result = locust(gateway.openai_url, customer.key, "--p95-ms", "10000", "--first-token-p95-ms", "10000")

    assert result.returncode == 0, result.stderr
    assert "TTFT" in result.stderr
    assert customer.key not in result.stderr + result.stdout


def test_a_missed_threshold_is_named_and_fails_the_run(gateway: RunningGateway, shared: Installation) -> None:
    result = locust(gateway.openai_url, shared.customer().key, "--p95-ms", "0.01")

    assert result.returncode == 1
    assert "threshold missed: the p95 of answers" in result.stderr


def test_requests_that_fail_are_failures(gateway: RunningGateway) -> None:
    result = locust(gateway.openai_url, "pk_live_wrong")

    assert result.returncode == 1
    assert "100.0% of the requests failed" in result.stderr


def test_without_settings_it_says_where_they_come_from() -> None:
    result = locust("", "")

    assert result.returncode == 2
    assert "demo.env" in result.stderr
