"""Run by test_runtime_determinism: each asyncio primitive, driven through several tasks; prints the commands and the result of each."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from conftest import Script
from perdure.model.decorators import activity, workflow
from perdure.runtime.context import WorkflowContext

N = 12


@activity
async def work(name: str) -> str:
    return name


@workflow
async def gather(ctx: WorkflowContext) -> Any:
    return await asyncio.gather(*(work(f"g{n}") for n in range(N)))


@workflow
async def wait(ctx: WorkflowContext) -> Any:
    tasks = {asyncio.create_task(work(f"w{n}")) for n in range(N)}
    order: list[str] = []
    while tasks:
        done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        order += [task.result() for task in done]
        if len(order) >= 3:
            break
    for task in tasks:
        task.cancel()
    return order


@workflow
async def as_completed(ctx: WorkflowContext) -> Any:
    return [await each for each in asyncio.as_completed([work(f"c{n}") for n in range(N)])]


@workflow
async def task_group(ctx: WorkflowContext) -> Any:
    async def one(n: int) -> str:
        try:
            return await work(f"t{n}")
        except asyncio.CancelledError:
            ctx.start_activity(work, f"undo {n}")
            raise

    try:
        async with asyncio.TaskGroup() as group:
            for n in range(N):
                group.create_task(one(n))
            await ctx.sleep(5)
            raise LookupError
    except* LookupError:
        pass
    return "undone"


@workflow
async def wait_for(ctx: WorkflowContext) -> Any:
    results: list[str] = []
    for n in range(3):
        try:
            results.append(await asyncio.wait_for(work(f"f{n}"), timeout=n + 1))
        except TimeoutError:
            results.append("late")
    return results


@workflow
async def timeout(ctx: WorkflowContext) -> Any:
    try:
        async with asyncio.timeout(3):
            async with asyncio.timeout(9):
                await asyncio.gather(*(work(f"o{n}") for n in range(N)))
    except TimeoutError:
        return "late"


@workflow
async def queue(ctx: WorkflowContext) -> Any:
    items: asyncio.Queue[int] = asyncio.Queue(maxsize=2)
    seen: list[str] = []

    async def consume(name: str) -> None:
        while True:
            item = await items.get()
            seen.append(f"{name}{item}")
            await work(f"{name}{item}")
            items.task_done()

    consumers = [asyncio.create_task(consume(name)) for name in "abc"]
    for n in range(6):
        await items.put(n)
    await items.join()
    for consumer in consumers:
        consumer.cancel()
    return seen


@workflow
async def event(ctx: WorkflowContext) -> Any:
    go = asyncio.Event()
    seen: list[int] = []

    async def waits(n: int) -> None:
        await go.wait()
        seen.append(n)
        await work(f"e{n}")

    tasks = [asyncio.create_task(waits(n)) for n in range(N)]
    await ctx.sleep(1)
    go.set()
    await asyncio.gather(*tasks)
    return seen


@workflow
async def lock(ctx: WorkflowContext) -> Any:
    mutex = asyncio.Lock()
    seen: list[int] = []

    async def inside(n: int) -> None:
        async with mutex:
            seen.append(n)
            await work(f"l{n}")

    await asyncio.gather(*(inside(n) for n in range(4)))
    return seen


@workflow
async def condition(ctx: WorkflowContext) -> Any:
    changed = asyncio.Condition()
    value = 0
    seen: list[int] = []

    async def waits(n: int) -> None:
        async with changed:
            await changed.wait_for(lambda: value > 0)
            seen.append(n)
            await work(f"n{n}")

    tasks = [asyncio.create_task(waits(n)) for n in range(4)]
    await ctx.sleep(1)
    async with changed:
        value = 1
        changed.notify_all()
    await asyncio.gather(*tasks)
    return seen


@workflow
async def semaphore(ctx: WorkflowContext) -> Any:
    slots = asyncio.Semaphore(2)
    seen: list[int] = []

    async def inside(n: int) -> None:
        async with slots:
            seen.append(n)
            await work(f"s{n}")

    await asyncio.gather(*(inside(n) for n in range(6)))
    return seen


@workflow
async def shield(ctx: WorkflowContext) -> Any:
    task = asyncio.create_task(work("shielded"))
    try:
        async with asyncio.timeout(1):
            await asyncio.shield(task)
    except TimeoutError:
        return await task


@workflow
async def barrier(ctx: WorkflowContext) -> Any:
    together = asyncio.Barrier(3)
    seen: list[int] = []

    async def comes(n: int) -> None:
        await work(f"b{n}")
        seen.append(await together.wait())

    await asyncio.gather(*(comes(n) for n in range(6)))
    return seen


@workflow
async def sets_of_everything(ctx: WorkflowContext) -> Any:
    handles = {ctx.start_activity(work, f"x{n}") for n in range(N)}
    groups = {asyncio.gather(asyncio.sleep(n + 1), asyncio.sleep(n + 2)) for n in range(N)}
    futures = {asyncio.get_running_loop().create_future() for n in range(N)}
    await ctx.sleep(1)
    for index, group in enumerate(groups):
        group.add_done_callback(lambda done, index=index: ctx.logger.debug("%d %s", index, done.cancelled() or done.exception()))
    for each in handles:
        each.cancel()
    for each in groups:
        each.cancel()
    for each in futures:
        each.cancel()
    done, _ = await asyncio.wait(groups | futures)
    return len(done), str(ctx.uuid4()), ctx.random().random()


@workflow
async def tasks_by_name(ctx: WorkflowContext) -> Any:
    async def name() -> str:
        task = asyncio.current_task()
        assert task is not None
        return task.get_name()

    return sorted(await asyncio.gather(*(name() for _ in range(3)))), [t.get_name() for t in asyncio.all_tasks()]


def drive(workflow_: Any) -> str:
    """Tasks with one or two things happening each, chosen by a generator of fixed seed, until the workflow ends."""
    s = Script(workflow_)
    chance = random.Random(workflow_.name)
    lines: list[str] = []
    open_activities: list[str] = []
    open_timers: list[str] = []
    for _ in range(60):
        for command in s.run():
            attributes = getattr(command, command.WhichOneof("attributes"))
            lines.append(f"{command.command_type} {attributes}".replace("\n", " "))
            if command.command_type == 1:
                open_activities.append(attributes.activity_id)
            elif command.command_type == 3:
                open_timers.append(attributes.timer_id)
            elif command.command_type == 6:
                open_timers.remove(attributes.timer_id)
            elif command.command_type == 2:
                open_activities = [a for a in open_activities if s.scheduled(a) != attributes.scheduled_event_id]
        assert s.runner.error is None, s.runner.error
        if s.runner.closed:
            break
        if open_timers and (not open_activities or chance.random() < 0.3):
            s.fire(open_timers.pop(0))
        for _ in range(min(2, len(open_activities))):
            activity_id = open_activities.pop(chance.randrange(len(open_activities)))
            s.complete(activity_id, f"r{activity_id}")
    assert s.runner.closed, lines
    replayed = s.replay()
    assert replayed.matched, replayed.error
    s.runner.evict()
    return f"{workflow_.name} {len(s.events)} {hashlib.sha256('|'.join(lines).encode()).hexdigest()}"


def main() -> None:
    """Addresses differ from process to process: junk of varying sizes is allocated between the workflows."""
    chance = random.Random(int(os.environ.get("JUNK", "0")))
    junk: list[Any] = []
    for workflow_ in (
        gather, wait, as_completed, task_group, wait_for, timeout, queue, event, lock, condition, semaphore, shield, barrier,
        sets_of_everything, tasks_by_name,
    ):  # fmt: skip
        junk += [object() for _ in range(chance.randrange(5000))]
        junk += [[None] * chance.randrange(200) for _ in range(500)]
        del junk[:: chance.randrange(2, 5)]
        print(drive(workflow_))


if __name__ == "__main__":
    main()
