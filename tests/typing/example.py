"""What users write, as type checkers see it. `test_typing.py` runs mypy and pyright, both strict, over this file.

Lines ending in `# rejected` must be rejected by both, all others accepted; `assert_type` says what is inferred.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, assert_type

from perdure import (
    ActivityContext,
    Query,
    RetryPolicy,
    Signal,
    WorkflowClient,
    WorkflowContext,
    WorkflowHandle,
    activity,
    query,
    signal,
    workflow,
    workflow_context,
)


@dataclass
class Order:
    id: str
    amount: int


@dataclass
class Receipt:
    number: str


@activity
async def charge(order: Order) -> Receipt:
    return Receipt(order.id)


@activity(retry_policy=RetryPolicy(maximum_attempts=3), start_to_close_timeout=timedelta(seconds=30))
def reserve(ctx: ActivityContext, order: Order, count: int = 1) -> bool:
    return True


class Mailer:
    @activity
    async def send(self, order: Order) -> None: ...

    @activity(heartbeat_timeout=5)
    def count(self, ctx: ActivityContext, order: Order) -> int:
        return 1


@signal
class Approval:
    by: str


@query
class Progress:
    done: int


LEVEL = Signal("level", int)
SPEED = Query("speed", float)


async def helper() -> str:
    return workflow_context().workflow_id


@workflow
async def fulfil(ctx: WorkflowContext, order: Order) -> Receipt:
    assert_type(await charge(order), Receipt)
    assert_type(await reserve(order), bool)
    assert_type(await reserve(order, 2), bool)
    assert_type(await charge.options(task_queue="fast")(order), Receipt)
    assert_type(await Mailer.send(order), None)
    assert_type(await Mailer.count(order), int)
    assert_type(await asyncio.gather(charge(order), reserve(order)), tuple[Receipt, bool])
    receipt, reserved = await asyncio.gather(ctx.execute_activity(charge, order), ctx.execute_activity(Mailer.count, order))
    assert_type(receipt, Receipt)
    assert_type(reserved, int)
    assert_type(await asyncio.gather(*(charge(each) for each in [order])), list[Receipt])
    async with asyncio.TaskGroup() as group:
        task = group.create_task(charge(order))
    assert_type(task.result(), Receipt)
    assert_type(await asyncio.wait_for(ctx.start_activity(charge, order), 3), Receipt)
    assert_type(await helper(), str)
    await charge("A-17")  # rejected
    await charge.options(retries=3)(order)  # rejected
    return await charge(order)


@workflow
async def pair(ctx: WorkflowContext, number: int, text: str = "x") -> str:
    return text * number


@workflow(name="entity")
class Entity:
    async def run(self, ctx: WorkflowContext, order: Order) -> int:
        return 0

    @workflow.signal
    def approve(self, approval: Approval) -> None: ...

    @workflow.signal(Approval)
    async def approve_later(self, approval: Approval) -> None: ...

    @workflow.query
    def progress(self) -> Progress:
        return Progress(done=1)

    @workflow.query(Progress)
    def how_far(self) -> Progress:
        return Progress(done=1)


@activity(retries=3)  # rejected
async def wrong_option() -> None: ...


async def main() -> None:
    order = Order("A-17", 3)
    async with WorkflowClient.connect("memory://") as client:
        assert_type(await client.execute_workflow(fulfil, order, id=order.id), Receipt)
        assert_type(await client.execute_workflow(fulfil, order, id=order.id, execution_timeout=30, task_queue="q"), Receipt)
        assert_type(await client.execute_workflow(Entity, order, id=order.id), int)
        assert_type(await client.execute_workflow(pair, 1, "a", id="p"), str)
        assert_type(await client.execute_workflow(pair, 1, id="p"), str)
        assert_type(await client.execute_workflow("fulfil", order, id="p", result_type=Receipt), Receipt)
        assert_type(await client.execute_workflow("fulfil", order, id="p"), Any)
        handle = await client.start_workflow(fulfil, order, id=order.id)
        assert_type(handle, WorkflowHandle[Receipt])
        assert_type(await handle.result(), Receipt)
        assert_type(await handle.query(SPEED), float)
        assert_type(await handle.query(Progress), Progress)
        assert_type(await handle.query(Entity.progress), Progress)
        await handle.signal(Approval(by="ann"))
        await handle.signal(LEVEL, 3)
        await handle.signal(Entity.approve, Approval(by="ann"))
        await client.signal_workflow(order.id, Approval(by="ann"))
        await client.signal_with_start(fulfil, order, id=order.id, signal=Approval(by="ann"))
        assert_type(client.get_workflow_handle("x", result_type=Receipt), WorkflowHandle[Receipt])

        await client.execute_workflow(fulfil, "A-17", id="x")  # rejected
        await client.execute_workflow(fulfil, id="x")  # rejected
        await client.execute_workflow(fulfil, order)  # rejected
        await client.execute_workflow(fulfil, order, id="x", timeout=3)  # rejected
        await client.execute_workflow(Entity, 3, id="x")  # rejected
        await client.execute_workflow(pair, 1, 2, id="x")  # rejected
        await client.execute_workflow(charge, order, id="x")  # rejected
        await handle.signal(LEVEL, "high")  # rejected
        await handle.signal(Approval(who="ann"))  # rejected
        await handle.signal(Entity.approve, "ann")  # rejected
    waiting = await WorkflowClient.connect("memory://")
    assert_type(waiting, WorkflowClient)
