"""The timer queue fires each due run once, holds only what is near, and judges nothing right after a stall."""

from perdure.engine import timer_queue
from perdure.engine.timer_queue import TimerQueue
from perdure.model.ids import new_run_id, run_id_bytes
from perdure.storage.contract import Due
from perdure.testing import ManualClock

SECOND = 1_000_000_000


class Fixture:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.fired: list[str] = []
        self.stored: list[Due] = []
        self.reads: list[tuple[int, int]] = []
        self.queue = TimerQueue(self.clock, self.fire, self.read)

    def fire(self, run_id: str) -> None:
        """As the engine does: what has fired is no longer due in the storage."""
        self.fired.append(run_id)
        self.stored = [due for due in self.stored if due.run_id != run_id_bytes(run_id)] if len(run_id) > 1 else self.stored

    async def read(self, until: int, limit: int) -> list[Due]:
        self.reads.append((until, limit))
        return sorted(due for due in self.stored if due.due <= until)[:limit]

    def at(self, seconds: float) -> int:
        return self.clock.now() + int(seconds * SECOND)


async def test_fires_when_due_and_once() -> None:
    f = Fixture()
    await f.queue.open()
    f.queue.set("a", f.at(5))
    await f.clock.advance(4.9)
    assert f.fired == []
    await f.clock.advance(0.2)
    await f.clock.advance(100)
    assert f.fired == ["a"]
    await f.queue.close()


async def test_the_last_due_time_counts_however_often_it_moved() -> None:
    f = Fixture()
    await f.queue.open()
    for seconds in (5, 9, 3, 7):
        f.queue.set("a", f.at(seconds))
    f.queue.set("b", f.at(4))
    f.queue.set("b", None)
    await f.clock.advance(6.9)
    assert f.fired == []
    await f.clock.advance(0.2)
    assert f.fired == ["a"]
    await f.queue.close()


async def test_a_far_timer_costs_no_memory_and_is_read_when_it_comes_near() -> None:
    f = Fixture()
    run_id = new_run_id()
    await f.queue.open()
    f.stored.append(Due(f.at(timer_queue.HORIZON_SECONDS * 2), run_id_bytes(run_id)))
    f.queue.set(run_id, f.stored[0].due)
    assert len(f.queue) == 0
    await f.clock.advance(timer_queue.HORIZON_SECONDS * 2 - 1)
    assert f.fired == []
    assert len(f.queue) == 1
    await f.clock.advance(2)
    assert f.fired == [run_id]
    await f.queue.close()


async def test_more_due_runs_than_the_bound_bring_the_horizon_nearer() -> None:
    f = Fixture()
    ids = [new_run_id() for _ in range(30)]
    f.stored = [Due(f.at(i + 1), run_id_bytes(run_id)) for i, run_id in enumerate(ids)]
    before, timer_queue.ENTRIES_MAX = timer_queue.ENTRIES_MAX, 10
    try:
        await f.queue.open()
        assert len(f.queue) == 10
        for _ in range(100):
            await f.clock.advance(0.5)
            assert len(f.queue) <= 20
        assert f.fired == ids
    finally:
        timer_queue.ENTRIES_MAX = before
        await f.queue.close()


async def test_after_a_stall_nothing_is_judged_until_the_loop_has_run_freely() -> None:
    f = Fixture()
    await f.queue.open()
    f.queue.set("a", f.at(1))
    f.clock.jump(5)  # the loop was blocked, or the machine slept
    await f.clock.advance(0.1)
    assert f.fired == [], "the result that arrived during the stall has to be heard first"
    f.queue.set("a", f.at(60))  # it was heard: the timeout has moved
    await f.clock.advance(10)
    assert f.fired == []
    await f.clock.advance(60)
    assert f.fired == ["a"]
    await f.queue.close()


async def test_what_becomes_due_after_a_stall_does_not_cut_its_grace_short() -> None:
    f = Fixture()
    await f.queue.open()
    f.queue.set("a", f.at(1))
    f.clock.jump(5)
    await f.clock.advance(0.1)
    f.queue.set("b", f.at(0.01))
    await f.clock.advance(0.3)
    assert f.fired == []
    await f.clock.advance(1)
    assert f.fired == ["a", "b"]
    await f.queue.close()


async def test_a_clock_that_is_set_back_does_not_lengthen_the_grace() -> None:
    f = Fixture()
    await f.queue.open()
    f.queue.set("a", f.at(1))
    f.clock.jump(5)
    await f.clock.advance(0.1)
    f.clock.jump(-3600)
    f.queue.set("b", f.at(1))
    await f.clock.advance(2)
    assert f.fired == ["b"]
    await f.queue.close()


async def test_a_loop_that_stalls_for_ever_is_judged_in_the_end() -> None:
    f = Fixture()
    await f.queue.open()
    f.queue.set("a", f.at(1))
    for _ in range(200):
        f.clock.jump(1)
        await f.clock.advance(0)
    assert f.fired == ["a"]
    await f.queue.close()


async def test_nothing_fires_after_close() -> None:
    f = Fixture()
    await f.queue.open()
    f.queue.set("a", f.at(1))
    await f.queue.close()
    await f.clock.advance(1000)
    assert f.fired == []
