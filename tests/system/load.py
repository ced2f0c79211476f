"""Customers who stream, ask, hang up at any moment and meet failing providers. Every choice comes from a seed."""

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson

from tests.harness.installation import Customer
from tests.system.world import World

CLIENTS = 24
MODELS = ("gpt-4o-mini", "gpt-5-mini", "claude-haiku-4-5", "both-0")
TIMEOUT_SECONDS = 20.0
TROUBLES = (
    *("" for _ in range(10)),
    "status=500 times=1",
    "status=429 retry_after=0.2 times=1",
    "status=529 times=1",
    "cut=reset after=3",
    "cut=eof after=2",
    "usage=none",
)


@dataclass(slots=True)
class Seen:
    """What the clients saw: complete answers by request id, with their usage."""

    complete: dict[str, tuple[int, int]] = field(default_factory=dict)
    refused: int = 0
    broken: int = 0
    hung_up: int = 0


class Load:
    def __init__(self, world: World, customers: list[Customer], seed: int) -> None:
        self.seen = Seen()
        self._world = world
        self._customers = customers
        self._seed = seed
        self._number = 0
        self._wanted = 0
        self._reached = asyncio.Event()

    async def answered(self, count: int) -> None:
        """Returns when so many clients' requests have been answered whole."""
        self._wanted = count
        self._reached.clear()
        if len(self.seen.complete) < count:
            await self._reached.wait()

    async def run(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as clients:
            for number in range(CLIENTS):
                clients.create_task(self._client(random.Random(f"{self._seed}-{number}"), stop))

    async def _client(self, dice: random.Random, stop: asyncio.Event) -> None:
        async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False) as http:
            while not stop.is_set():
                try:
                    async with asyncio.timeout(dice.choice((0.05, 0.2, 30, 30, 30, 30))):
                        await self._request(http, dice)
                except TimeoutError:
                    self.seen.hung_up += 1
                except httpx.HTTPError:
                    self.seen.broken += 1
                    await asyncio.sleep(0.05)

    async def _request(self, http: httpx.AsyncClient, dice: random.Random) -> None:
        self._number += 1
        gateway = self._world.gateways[dice.randrange(len(self._world.gateways))]
        customer = dice.choice(self._customers)
        stream = dice.random() < 0.6
        body = {
            "model": dice.choice(MODELS),
            "messages": [{"role": "user", "content": self._prompt(dice)}],
            "max_completion_tokens": dice.randint(20, 400),
            "stream": stream,
        }
        if stream:
            body["stream_options"] = {"include_usage": True}
        url = f"{gateway.openai_url}/chat/completions"
        async with http.stream("POST", url, json=body, headers=customer.headers) as answer:
            if answer.status_code != 200:
                self.seen.refused += 1
                await answer.aread()
                await asyncio.sleep(0.02)
                return
            usage = await (_read_stream(answer, dice) if stream else _read_whole(answer))
        if usage is None:
            self.seen.broken += 1
        else:
            counts = (usage["prompt_tokens"], usage["completion_tokens"])
            self.seen.complete[answer.headers["x-request-id"]] = counts
            if len(self.seen.complete) >= self._wanted:
                self._reached.set()

    def _prompt(self, dice: random.Random) -> str:
        trouble = dice.choice(TROUBLES)
        pause = dice.choice((0, 0, 5, 20, 80))
        words = dice.randint(1, 60)
        return f"{'hello ' * dice.randint(1, 40)}[[sim words={words} pause_ms={pause} id=c{self._number} {trouble}]]"


async def _read_whole(answer: httpx.Response) -> dict[str, int] | None:
    usage: dict[str, int] | None = orjson.loads(await answer.aread()).get("usage")
    return usage


async def _read_stream(answer: httpx.Response, dice: random.Random) -> dict[str, int] | None:
    """The usage of a stream that ended properly; None for one that broke off or whose client had enough."""
    patience = dice.choice((0, 1, 5, 1_000, 1_000, 1_000))
    usage, lines = None, 0
    async for line in answer.aiter_lines():
        if line == "data: [DONE]":
            return usage
        if line.startswith("data: "):
            event: dict[str, Any] = orjson.loads(line[6:])
            usage = event.get("usage") or usage
            lines += 1
        if lines > patience:
            return None  # Hangs up: the connection is closed with the rest unread.
    return None
