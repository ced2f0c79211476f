"""Requests at one or several gateways, and waiting for what comes of them."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.gateway.wire import Head, chat, wire
from tests.installation import Customer, eventually
from tests.running_gateway import RunningGateway


async def ask(gateway: RunningGateway, customer: Customer, text: str = "Hello", **more: Any) -> tuple[Head, Any]:
    async with wire(gateway.port) as client:
        await client.send(chat(customer, text, **more))
        return await client.answer()


async def ask_all(gateways: list[RunningGateway], customer: Customer, count: int, text: str = "Hello") -> Counter[int]:
    answers = await asyncio.gather(*(ask(gateways[n % len(gateways)], customer, text) for n in range(count)))
    return Counter(head.status for head, _ in answers)


async def until(condition: Callable[[], bool], what: str) -> None:
    await asyncio.to_thread(eventually, condition, what)
