"""The proxy in front of the gateways, as a real Caddy with deploy/compose/Caddyfile."""

from pathlib import Path

import pytest

from tests.deploy.proxied import proxied
from tests.harness.waiting import until
from tests.observability.tools import tool


@pytest.fixture(scope="module")
def caddy() -> str:
    return tool("caddy", "caddy")


async def test_a_chunk_of_a_stream_goes_on_before_the_next_is_there(caddy: str, tmp_path: Path) -> None:
    async with proxied(caddy, tmp_path) as (client, gateways):
        for gateway in gateways:
            gateway.go_on.clear()

        async with client.stream("POST", "/v1/chat/completions", json={}) as answer:
            chunks = answer.aiter_text()
            first = await anext(chunks)
            for gateway in gateways:
                gateway.go_on.set()
            rest = "".join([chunk async for chunk in chunks])

    assert first in {gateway.address for gateway in gateways}
    assert rest == " done"


async def test_only_the_api_is_reachable(caddy: str, tmp_path: Path) -> None:
    paths = ("/", "/v1", "/metrics", "/readyz", "/v2/models")
    async with proxied(caddy, tmp_path) as (client, gateways):
        answers = [await client.get(path) for path in paths]

    assert [answer.status_code for answer in answers] == [404] * len(paths)
    assert {answer.json()["error"]["code"] for answer in answers} == {"not_found"}
    assert not set(paths) & {path for gateway in gateways for path in gateway.served}


async def test_a_gateway_that_drains_gets_nothing_new_and_without_any_the_client_is_told_to_wait(
    caddy: str, tmp_path: Path
) -> None:
    async with proxied(caddy, tmp_path) as (client, [draining, other]):

        async def only_the_other_is_asked() -> bool:
            before = len(draining.served)
            statuses = {(await client.get("/v1/models")).status_code for _ in range(6)}
            assert statuses == {200}
            return len(draining.served) == before

        draining.ready = False
        await until(only_the_other_is_asked, "end of requests to the draining one")

        other.ready = False
        while (refused := await client.get("/v1/models")).status_code == 200:
            pass

    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "service_unavailable"
    assert refused.headers["retry-after"] == "2"
    assert "server" not in refused.headers
