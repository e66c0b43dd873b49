"""The watchdog: a loop that stands still is reported with the user's line, and nothing else is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from perdure.worker.watchdog import Watchdog


@pytest.fixture
async def watchdog() -> Iterator[Watchdog]:  # type: ignore[misc]
    made = Watchdog.acquire(0.1)
    yield made
    made.release()


async def until_quiet(watchdog: Watchdog, caplog: pytest.LogCaptureFixture) -> None:
    end = time.monotonic() + 1.5
    while "runs again" not in caplog.text and time.monotonic() < end:
        await asyncio.sleep(0.01)


async def test_the_blocking_line_is_named_with_a_remedy(watchdog: Watchdog, caplog: pytest.LogCaptureFixture) -> None:
    async def blocks() -> None:
        time.sleep(0.6)  # the line to be named

    await asyncio.sleep(0.05)
    await asyncio.get_running_loop().create_task(blocks())
    await until_quiet(watchdog, caplog)
    stall = watchdog.last_stall
    assert stall is not None and watchdog.stalls == 1
    assert stall.filename.endswith("test_worker_watchdog.py") and stall.function == "blocks"
    assert stall.text == "time.sleep(0.6)  # the line to be named"
    assert stall.seconds >= 0.1
    assert "cpu_bound=True" in caplog.text and "plain `def`" in caplog.text and "time.sleep(0.6)" in caplog.text


async def test_who_started_the_loop_is_not_blamed(watchdog: Watchdog, caplog: pytest.LogCaptureFixture) -> None:
    await asyncio.sleep(0.05)
    asyncio.get_running_loop().call_soon(time.sleep, 0.6)  # nobody's line: a library's callback
    await until_quiet(watchdog, caplog)
    assert watchdog.last_stall is None or not watchdog.last_stall.is_users


async def test_a_busy_loop_that_goes_on_is_not_reported(watchdog: Watchdog) -> None:
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        time.sleep(0.01)
        await asyncio.sleep(0)
    assert watchdog.stalls == 0


async def test_workers_of_one_loop_share_it(watchdog: Watchdog) -> None:
    other = Watchdog.acquire(5)
    assert other is watchdog
    other.release()
    assert Watchdog.acquire(5) is watchdog
    watchdog.release()
