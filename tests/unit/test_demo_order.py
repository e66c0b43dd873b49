"""The order: each way it can end, what is undone then, and that its code replays."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from perdure import WorkflowClient, WorkflowWorker, activity
from perdure.demo.order import ORDER_ACTIVITIES, Order, OrderResult, OrderWorkflow
from perdure.demo.ordering import run_orders

LAMP = Order("A-1", customer="ada", item="lamp", quantity=2, price=40)


@pytest.fixture
async def client() -> AsyncIterator[WorkflowClient]:
    async with WorkflowClient.connect("memory://") as client:
        yield client


@pytest.mark.parametrize(
    ("order", "result", "steps"),
    [
        (LAMP, OrderResult("A-1", "completed"), ["validate", "reserve", "charge", "ship", "notify"]),
        (Order("A-2", "ada", "lamp", 0, 40), OrderResult("A-2", "validation_failed"), ["validate", "notify"]),
        (Order("A-3", "ada", "unicorn", 1, 40), OrderResult("A-3", "out_of_stock"), ["validate", "reserve", "notify"]),
        (
            Order("A-4", "bob", "chair", 1, 80),
            OrderResult("A-4", "payment_failed", ["reserve"]),
            ["validate", "reserve", "charge", "release", "notify"],
        ),
    ],
)
async def test_an_order_ends_in_one_of_its_ways(client: WorkflowClient, order: Order, result: OrderResult, steps: list[str]) -> None:
    async with WorkflowWorker(client, workflows=[OrderWorkflow], activities=ORDER_ACTIVITIES, replay_after_every_task=True):
        assert await client.execute_workflow(OrderWorkflow, order, id=order.id) == result
    history = await client.history(order.id)
    assert [event.attributes["activity_type"]["name"] for event in history.events if event.type == "ActivityTaskScheduled"] == steps


@activity(name="ship")
async def lose_the_parcel(order: Order) -> str:
    raise RuntimeError("the parcel is lost")


@activity(name="notify")
async def have_no_address(order: Order, status: str) -> None:
    raise RuntimeError("no address")


@pytest.mark.parametrize(
    ("broken", "result"),
    [
        (lose_the_parcel, OrderResult("A-1", "shipment_failed", ["charge", "reserve"])),
        (have_no_address, OrderResult("A-1", "completed")),
    ],
)
async def test_what_was_done_is_undone_in_reverse_and_a_lost_message_undoes_nothing(
    client: WorkflowClient, broken: object, result: OrderResult
) -> None:
    working = [each for each in ORDER_ACTIVITIES if each.name != getattr(broken, "name", "")]
    async with WorkflowWorker(client, workflows=[OrderWorkflow], activities=[*working, broken], replay_after_every_task=True):
        assert await client.execute_workflow(OrderWorkflow, LAMP, id=LAMP.id) == result


async def test_the_history_is_told_event_by_event() -> None:
    ordered = await run_orders("memory://", "x")
    lines = [(line.event_type, line.summary) for line in ordered[1].history]
    assert ("ActivityTaskScheduled", "charge bob x-2 chair 80 1") in lines
    assert ("ActivityTaskFailed", "InsufficientFunds: bob has 20, the order costs 80") in lines
    assert ("ActivityTaskScheduled", "release reservation-x-2") in lines
    assert lines[-1][0] == "WorkflowExecutionCompleted"
    assert [line.event_id for line in ordered[1].history] == list(range(1, len(lines) + 1))
