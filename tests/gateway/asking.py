"""Requests at one or several gateways."""

import asyncio
from collections import Counter
from typing import Any

from tests.gateway.wire import Head, chat, wire
from tests.harness.installation import Customer
from tests.harness.running_gateway import RunningGateway


async def ask(gateway: RunningGateway, customer: Customer, text: str = "Hello", **more: Any) -> tuple[Head, Any]:
    async with wire(gateway.port) as client:
        await client.send(chat(customer, text, **more))
        return await client.answer()


async def ask_all(gateways: list[RunningGateway], customer: Customer, count: int, text: str = "Hello") -> Counter[int]:
    answers = await asyncio.gather(*(ask(gateways[n % len(gateways)], customer, text) for n in range(count)))
    return Counter(head.status for head, _ in answers)
