"""
A user who chats, for Locust: two plain answers for every streamed one, with the time to the first token as a metric of
its own. Start `make run`, then:

    set -a; . .poindexter/demo.env; set +a
    .venv/bin/locust -f loadtests/locustfile.py --headless --users 20 --spawn-rate 10 --run-time 30s

It ends with status 1 when a threshold is missed (`--most-failed`, `--p95-ms`, `--first-token-p95-ms`), and says which.
"""

import json
import logging
import sys
import time
from collections.abc import Iterator
from typing import Any

from locust import HttpUser, between, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

from loadtests.thresholds import Seen, Thresholds

log = logging.getLogger(__name__)

PLAIN, STREAMED, FIRST_TOKEN = "chat", "chat, streamed", "first token"
FIRST_TOKEN_TYPE = "TTFT"  # noqa: S105  # No password.
PROMPT = "Tell me in two sentences how a lighthouse works."
DONE = "[DONE]"
STATUS_MISSED = 1
STATUS_NOT_SET_UP = 2


@events.init_command_line_parser.add_listener
def add_options(parser: LocustArgumentParser) -> None:
    parser.add_argument("--base-url", env_var="OPENAI_BASE_URL", default="", help="such as http://127.0.0.1:8080/v1")
    parser.add_argument("--key", env_var="OPENAI_API_KEY", default="", is_secret=True, help="an API key")
    parser.add_argument("--model", env_var="LOADTEST_MODEL", default="gpt-5-mini", help="what the user asks")
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between two questions (default: 1)")
    parser.add_argument("--most-failed", type=float, default=0.001, help="share of failed requests (default: 0.001)")
    parser.add_argument("--p95-ms", type=float, default=5_000.0, help="of whole answers (default: 5000)")
    parser.add_argument("--first-token-p95-ms", type=float, default=1_000.0, help="of streams (default: 1000)")


@events.init.add_listener
def require_settings(environment: Environment, **_: Any) -> None:
    options = environment.parsed_options
    if options is not None and not (options.base_url and options.key):
        log.error("OPENAI_BASE_URL and OPENAI_API_KEY are not set; `. .poindexter/demo.env` sets them for `make run`")
        sys.exit(STATUS_NOT_SET_UP)


@events.quitting.add_listener
def judge(environment: Environment, **_: Any) -> None:
    options = environment.parsed_options
    thresholds = Thresholds(options.most_failed, options.p95_ms, options.first_token_p95_ms)
    problems = thresholds.problems(_seen(environment))
    for problem in problems:
        log.error("threshold missed: %s", problem)
    if problems:
        environment.process_exit_code = STATUS_MISSED


class ChatUser(HttpUser):
    host = "http://127.0.0.1"  # Locust wants one; requests name the whole URL.

    def wait_time(self) -> float:
        pause = self.environment.parsed_options.pause
        return between(pause / 2, pause * 3 / 2)(self)

    @task(2)
    def ask(self) -> None:
        with self._post(PLAIN, stream=False) as response:
            if response.status_code == 200 and not response.json()["choices"][0]["message"]["content"]:
                response.failure("an empty answer")

    @task(1)
    def ask_for_a_stream(self) -> None:
        begun = time.perf_counter()
        with self._post(STREAMED, stream=True) as response:
            if response.status_code != 200:
                return
            first, last = None, ""
            for data in _data(response.iter_lines()):
                last = data
                if first is None and _has_text(data):
                    first = time.perf_counter() - begun
            if last != DONE:
                response.failure("the stream broke off")
            elif first is not None:
                self._fire_first_token(first)

    def _post(self, name: str, *, stream: bool) -> Any:
        options = self.environment.parsed_options
        body = {"model": options.model, "messages": [{"role": "user", "content": PROMPT}], "stream": stream}
        return self.client.post(
            f"{options.base_url}/chat/completions",
            json=body,
            headers={"authorization": f"Bearer {options.key}"},
            name=name,
            stream=stream,
            catch_response=True,
            timeout=60,
        )

    def _fire_first_token(self, seconds: float) -> None:
        self.environment.events.request.fire(
            request_type=FIRST_TOKEN_TYPE,
            name=FIRST_TOKEN,
            response_time=seconds * 1000,
            response_length=0,
            exception=None,
            context={},
        )


def _data(lines: Iterator[bytes]) -> Iterator[str]:
    for line in lines:
        if line.startswith(b"data: "):
            yield line[6:].decode()


def _has_text(data: str) -> bool:
    if data == DONE:
        return False
    choices = json.loads(data).get("choices") or [{}]
    return bool(choices[0].get("delta", {}).get("content"))


def _seen(environment: Environment) -> Seen:
    answers = [environment.stats.get(name, "POST") for name in (PLAIN, STREAMED)]
    first = environment.stats.get(FIRST_TOKEN, FIRST_TOKEN_TYPE)
    measured = [entry.get_response_time_percentile(0.95) for entry in answers if entry.num_requests]
    return Seen(
        requests=sum(entry.num_requests for entry in answers),
        failures=sum(entry.num_failures for entry in answers),
        p95_ms=max(measured, default=None),
        first_token_p95_ms=first.get_response_time_percentile(0.95) if first.num_requests else None,
    )
