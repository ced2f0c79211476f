import asyncio
import logging

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from core.process.worker_loop import WorkerLoop
from tests.harness.virtual_time import in_virtual_time


class Work:
    """Does what it is told, round by round, and stops the loop after the last."""

    def __init__(self, *rounds: bool | Exception) -> None:
        self.stop = asyncio.Event()
        self.first_round = asyncio.Event()
        self.began: list[float] = []
        self._rounds = list(rounds)

    async def __call__(self) -> bool:
        self.began.append(asyncio.get_running_loop().time())
        self.first_round.set()
        outcome = self._rounds.pop(0)
        if not self._rounds:
            self.stop.set()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    @property
    def pauses(self) -> list[float]:
        return [later - earlier for earlier, later in zip(self.began, self.began[1:], strict=False)]


def test_rounds_follow_at_once_while_there_is_more_to_do() -> None:
    work = Work(True, True, True, False)

    in_virtual_time(WorkerLoop("test", work, interval=60).run(work.stop))

    assert len(work.began) == 4
    assert work.pauses == [0, 0, 0]


def test_an_idle_loop_waits_its_interval() -> None:
    work = Work(False, False, False)

    in_virtual_time(WorkerLoop("test", work, interval=0.05).run(work.stop))

    assert work.pauses == pytest.approx([0.05, 0.05])


async def test_stopping_ends_the_wait_at_once() -> None:
    work = Work(False, False)
    loop = asyncio.create_task(WorkerLoop("test", work, interval=60).run(work.stop))
    await work.first_round.wait()

    work.stop.set()

    async with asyncio.timeout(5):
        await loop
    assert len(work.began) == 1


def test_a_loop_that_was_stopped_before_does_nothing() -> None:
    work = Work(True)
    work.stop.set()

    in_virtual_time(WorkerLoop("test", work, interval=1).run(work.stop))

    assert work.began == []


def test_failures_are_counted_logged_and_answered_with_growing_pauses(caplog: pytest.LogCaptureFixture) -> None:
    work = Work(*[ConnectionError("no answer")] * 4, False)
    failures: list[None] = []
    loop = WorkerLoop("ledger", work, interval=0.02, max_pause=0.2, on_failure=lambda: failures.append(None))

    with caplog.at_level(logging.WARNING, "core.process.worker_loop"):
        in_virtual_time(loop.run(work.stop))

    assert len(failures) == 4
    assert work.pauses == pytest.approx([0.1, 0.2, 0.2, 0.2])
    assert {vars(record)["worker"] for record in caplog.records} == {"ledger"}
    assert "ConnectionError" in vars(caplog.records[0])["error"]


def test_success_ends_the_growing_of_the_pauses() -> None:
    work = Work(OSError(), OSError(), True, OSError(), True)

    in_virtual_time(WorkerLoop("test", work, interval=0.01, max_pause=5).run(work.stop))

    assert work.pauses == pytest.approx([0.1, 0.2, 0, 0.1])


async def test_a_cancelled_loop_ends() -> None:
    work = Work(False, False)
    loop = asyncio.create_task(WorkerLoop("test", work, interval=60).run(work.stop))
    await work.first_round.wait()

    loop.cancel()

    with pytest.raises(asyncio.CancelledError):
        await loop


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (RedisConnectionError("Error 111 connecting to h:1."), "redis.ConnectionError: Error 111 connecting to h:1."),
        (ConnectionError("refused"), "ConnectionError: refused"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_the_log_says_whose_error_it_is_and_what_it_says(
    caplog: pytest.LogCaptureFixture, error: Exception, text: str
) -> None:
    """S23: a Redis that is away was `network:ConnectionError`."""
    work = Work(error, False)

    in_virtual_time(WorkerLoop("test", work, interval=0.01).run(work.stop))

    assert vars(caplog.records[0])["error"] == text
