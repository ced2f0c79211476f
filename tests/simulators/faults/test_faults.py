"""Queued faults, counted directives and the control API."""

from typing import Any

import httpx
import openai as sdk
import pytest
from openai import OpenAI

from simulators.faults.directives import directive_settings, write_script
from simulators.faults.faults import FaultQueue
from simulators.faults.refusals import Refused
from tests.harness.simulated_upstream import SimulatedUpstream

CALL = {"provider": "openai", "model": "gpt-4o", "api_key": "sk-a", "client_request_id": "r1"}


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


def test_a_queued_fault_hits_as_often_as_it_says() -> None:
    faults = FaultQueue()
    faults.add({"times": 2, "fault": {"status": 503}})

    statuses = [faults.script({}, CALL).status for _ in range(3)]

    assert statuses == [503, 503, None]
    assert faults.waiting() == []


@pytest.mark.parametrize(
    ("match", "hits"),
    [
        ({}, True),
        ({"model": "gpt-4o"}, True),
        ({"model": "gpt-4"}, False),
        ({"provider": "anthropic"}, False),
        ({"api_key": "sk-a", "client_request_id": "r1"}, True),
        ({"api_key": "sk-b"}, False),
    ],
)
def test_a_queued_fault_hits_only_what_it_matches(match: dict[str, str], hits: bool) -> None:
    faults = FaultQueue()
    faults.add({"match": match, "fault": {"status": 500}})

    assert (faults.script({}, CALL).status == 500) == hits


def test_a_directive_with_times_fails_first_and_keeps_its_answer() -> None:
    faults = FaultQueue()
    settings = directive_settings("[[sim words=7 status=500 times=2]]")

    scripts = [faults.script(settings, CALL) for _ in range(3)]

    assert [(script.status, script.words) for script in scripts] == [(500, 7), (500, 7), (None, 7)]


@pytest.mark.parametrize(("model", "status"), [("gpt-4o", 500), ("openai", 500), ("anthropic", None)])
def test_a_directive_can_be_meant_for_one_upstream(model: str, status: int | None) -> None:
    settings = directive_settings(f"[[sim status=500 model={model}]]")

    assert FaultQueue().script(settings, CALL).status == status


def test_a_fault_overlays_the_directive() -> None:
    faults = FaultQueue()
    faults.add({"fault": {"pause_ms": 9}})

    script = faults.script(directive_settings("[[sim words=3 pause_ms=1]]"), CALL)

    assert (script.words, script.pause_ms) == (3, 9)


def test_directives_are_read_anywhere_in_the_text() -> None:
    settings = directive_settings('hi [[sim words=3 glue text="a b"]] and [[sim words=4]]')

    script = write_script(settings)

    assert (script.words, script.glue, script.text) == (4, True, "a b")


@pytest.mark.parametrize("text", ["[[sim wrds=3]]", "[[sim words=x]]", "[[sim cut=maybe]]", "[[sim glue=2]]"])
def test_a_directive_with_a_mistake_is_refused(text: str) -> None:
    with pytest.raises(Refused) as raised:
        write_script(directive_settings(text))

    assert raised.value.code == "bad_directive"


@pytest.mark.parametrize(
    "rule", [{}, {"fault": {"x": 1}}, {"fault": {}, "times": 0}, {"fault": {}, "match": {"user": "x"}}, [], None]
)
def test_a_rule_that_could_never_work_is_refused(rule: Any) -> None:
    with pytest.raises(Refused):
        FaultQueue().add(rule)


def test_faults_are_queued_over_http(openai: OpenAI, upstream: SimulatedUpstream) -> None:
    upstream.fault(status=429, retry_after=1, code="insufficient_quota", match={"model": "gpt-4o-mini"})

    openai.chat.completions.create(model="gpt-4o", messages=user("x"))
    with pytest.raises(sdk.RateLimitError) as raised:
        openai.chat.completions.create(model="gpt-4o-mini", messages=user("x"))
    openai.chat.completions.create(model="gpt-4o-mini", messages=user("x"))

    assert raised.value.code == "insufficient_quota"
    assert raised.value.response.headers["retry-after"] == "1"


def test_the_control_api_says_what_is_wrong(upstream: SimulatedUpstream) -> None:
    control = f"{upstream.url}/_control"

    assert httpx.post(f"{control}/faults", content=b"{").status_code == 400
    assert "no setting 'x'" in httpx.post(f"{control}/faults", json={"fault": {"x": 1}}).json()["error"]
    assert httpx.get(f"{control}/nothing").status_code == 404
    assert httpx.get(f"{control}/healthz").json() == {"status": "ok"}


@pytest.mark.parametrize("path", ["/openai/v1/nothing", "/anthropic/v1/nothing", "/v1/chat/completions"])
def test_unknown_routes_are_unexpected(lenient_upstream: SimulatedUpstream, path: str) -> None:
    headers = {"authorization": "Bearer sk-sim-test", "anthropic-version": "2023-06-01"}

    answer = httpx.post(lenient_upstream.url + path, headers=headers, json={})

    assert answer.status_code == 404
    assert answer.json()["error"]["message"]
    assert [call["path"] for call in lenient_upstream.unexpected()] == [path]


@pytest.mark.parametrize(
    ("content", "content_type"),
    [(b"{", "application/json"), (b"\xff", "application/json"), (b"{}", "text/plain"), (b"[]", "application/json")],
)
@pytest.mark.parametrize("path", ["/openai/v1/chat/completions", "/anthropic/v1/messages"])
def test_a_body_that_is_not_json_is_refused(
    lenient_upstream: SimulatedUpstream, path: str, content: bytes, content_type: str
) -> None:
    headers = {
        "authorization": "Bearer sk-sim-test",
        "anthropic-version": "2023-06-01",
        "content-type": content_type,
    }

    answer = httpx.post(lenient_upstream.url + path, headers=headers, content=content)

    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
