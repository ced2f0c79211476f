"""The main job, end to end, as a stranger does it: one command, one key, one request, one line in the ledger."""

import contextlib
import json
import subprocess
from pathlib import Path

import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam

from deploy.local.env_file import read_env_file
from tests.deploy.launched import POINDEXTER, Launched, launched_for_real
from tests.harness.waiting import eventually

READY = "Ctrl-C stops everything"


def demo_settings(run: Launched) -> dict[str, str]:
    run.wait_for(READY)
    return read_env_file((run.state / "demo.env").read_text())


def ask(settings: dict[str, str], model: str) -> str:
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Say hello."}]
    with OpenAI(base_url=settings["OPENAI_BASE_URL"], api_key=settings["OPENAI_API_KEY"], max_retries=0) as client:
        answer = client.chat.completions.create(model=model, messages=messages)
        stream = client.chat.completions.create(model=model, messages=messages, stream=True)
        chunks = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert answer.choices[0].message.content == "".join(chunks)
    return "".join(chunks)


def requests_in_the_ledger(run: Launched, expected: int) -> int:
    command = [str(POINDEXTER), "usage", "1", "--json", "--state-directory", str(run.state)]

    def found() -> int:
        shown = subprocess.run(command, capture_output=True, text=True, check=True)
        return sum(day["requests"] for day in json.loads(shown.stdout))

    with contextlib.suppress(AssertionError):
        eventually(lambda: found() >= expected, f"{expected} requests in the ledger")
    return found()


@pytest.mark.timeout(180)
def test_a_request_to_either_provider_is_answered_and_found_once_in_the_ledger(server_directory: Path) -> None:
    with launched_for_real(server_directory) as run:
        settings = demo_settings(run)

        answers = [ask(settings, model) for model in ("gpt-4o-mini", "claude-haiku-4-5")]
        booked = requests_in_the_ledger(run, expected=4)

    with launched_for_real(server_directory) as second:
        key_of_second_start = demo_settings(second)["OPENAI_API_KEY"]
        booked_after_restart = requests_in_the_ledger(second, expected=4)

    assert all(answers)
    assert (booked, booked_after_restart) == (4, 4)
    assert key_of_second_start == settings["OPENAI_API_KEY"]
