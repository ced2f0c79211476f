"""Look-ups of what Redis does not know: one for all who ask, bounded in number and time."""

import asyncio
import time

import pytest

from gateway.errors import Unavailable
from gateway.store import look_ups as module
from gateway.store.look_ups import LookUps


class Postgres:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.cancelled = 0
        self.goes_on = asyncio.Event()

    async def answer(self) -> str:
        self.asked += 1
        try:
            await self.goes_on.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return "found"

    async def fail(self) -> str:
        raise ConnectionRefusedError("no route")


async def test_everybody_who_asks_the_same_gets_one_answer() -> None:
    """B15"""
    postgres, look_ups = Postgres(), LookUps(seconds=5)

    waiting = [asyncio.create_task(look_ups.ask("key", postgres.answer)) for _ in range(100)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    postgres.goes_on.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)

    assert isinstance(answers[0], asyncio.CancelledError)
    assert answers[1:] == ["found"] * 99
    assert (postgres.asked, postgres.cancelled) == (1, 0)


async def test_nobody_waits_longer_than_the_deadline_and_the_next_not_at_all() -> None:
    """S10"""
    postgres, look_ups = Postgres(), LookUps(seconds=0.2)
    began = time.monotonic()

    results = await asyncio.gather(
        *(look_ups.ask(number, postgres.answer) for number in range(50)), return_exceptions=True
    )
    waited = time.monotonic() - began
    with pytest.raises(Unavailable) as refused:
        await look_ups.ask("another", postgres.answer)

    assert {type(result) for result in results} == {Unavailable}
    assert 0.2 <= waited < 1.0
    assert time.monotonic() - began < 1.1
    assert (refused.value.status, refused.value.retry_after) == (503, 1.0)
    assert postgres.asked == 50


async def test_more_questions_than_fit_are_told_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_OPEN", 3)
    postgres, look_ups = Postgres(), LookUps(seconds=5)
    waiting = [asyncio.create_task(look_ups.ask(number, postgres.answer)) for number in range(3)]
    await asyncio.sleep(0)

    with pytest.raises(Unavailable):
        await look_ups.ask(3, postgres.answer)
    postgres.goes_on.set()

    assert await asyncio.gather(*waiting) == ["found"] * 3
    assert await look_ups.ask(3, postgres.answer) == "found"


async def test_a_postgres_that_is_away_is_an_answer_of_503() -> None:
    postgres, look_ups = Postgres(), LookUps(seconds=5)

    with pytest.raises(Unavailable):
        await look_ups.ask("key", postgres.fail)

    postgres.goes_on.set()
    assert await look_ups.ask("key", postgres.answer) == "found"
