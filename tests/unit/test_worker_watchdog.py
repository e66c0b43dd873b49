"""The watchdog: a loop that stands still is reported with the user's line, and nothing else is."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator

import pytest

from perdure.worker.watchdog import Stall, Watchdog, logger


@pytest.fixture
async def watchdog() -> Iterator[Watchdog]:  # type: ignore[misc]
    made = Watchdog.acquire(0.1)
    await asyncio.sleep(0)  # it looks at what runs the loop
    yield made
    made.release()


class Reports(logging.Handler):
    """The first stall that is reported, and all that is said; set off by the watchdog's thread, so a loop may block until then."""

    def __init__(self, watchdog: Watchdog) -> None:
        super().__init__()
        self.watchdog = watchdog
        self.text = ""
        self.stall: Stall | None = None
        self.came, self.ended = threading.Event(), threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.text += record.getMessage()
        if self.came.is_set():
            self.ended.set()
        self.stall = self.stall or self.watchdog.last_stall
        self.came.set()


@pytest.fixture
def reports(watchdog: Watchdog) -> Iterator[Reports]:
    made = Reports(watchdog)
    logger.addHandler(made)
    yield made
    logger.removeHandler(made)


async def test_the_blocking_line_is_named_with_a_remedy(reports: Reports) -> None:
    async def blocks() -> None:
        reports.came.wait(30)  # the line to be named

    await asyncio.get_running_loop().create_task(blocks())
    assert await asyncio.to_thread(reports.ended.wait, 30)
    stall = reports.stall
    assert stall is not None
    assert stall.filename.endswith("test_worker_watchdog.py") and stall.function == "blocks"
    assert stall.text == "reports.came.wait(30)  # the line to be named"
    assert stall.seconds >= 0.1
    assert "cpu_bound=True" in reports.text and "plain `def`" in reports.text and "reports.came.wait(30)" in reports.text
    assert "runs again" in reports.text


async def test_who_started_the_loop_is_not_blamed(reports: Reports) -> None:
    asyncio.get_running_loop().call_soon(reports.came.wait, 30)  # nobody's line: a library's callback
    assert await asyncio.to_thread(reports.ended.wait, 30)
    assert reports.stall is not None and not reports.stall.is_users


async def test_a_busy_loop_that_goes_on_is_not_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    watchdog = Watchdog.acquire(1)  # a turn takes a hundredth of that; two questions must be answered
    asked = []
    monkeypatch.setattr(watchdog._alive, "clear", lambda clear=watchdog._alive.clear: (asked.append(1), clear()))
    while len(asked) < 3:
        time.sleep(0.01)
        await asyncio.sleep(0)
    watchdog.release()
    assert watchdog.stalls == 0


async def test_workers_of_one_loop_share_it(watchdog: Watchdog) -> None:
    other = Watchdog.acquire(5)
    assert other is watchdog
    other.release()
    assert Watchdog.acquire(5) is watchdog
    watchdog.release()
