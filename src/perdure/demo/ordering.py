"""The orders of the demo, placed in this process, and their histories as lines to print."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from perdure import HistoryEvent, WorkflowClient, WorkflowHistory, WorkflowWorker
from perdure.demo.order import ORDER_ACTIVITIES, Order, OrderResult, OrderWorkflow


@dataclass(frozen=True)
class HistoryLine:
    event_id: int
    milliseconds: float
    """Since the first event."""
    event_type: str
    summary: str


@dataclass(frozen=True)
class Ordered:
    result: OrderResult
    history: list[HistoryLine]


def orders(name: str) -> list[Order]:
    """One that goes well, one that cannot be paid, one that cannot be had."""
    return [
        Order(f"{name}-1", customer="ada", item="lamp", quantity=2, price=40),
        Order(f"{name}-2", customer="bob", item="chair", quantity=1, price=80),
        Order(f"{name}-3", customer="ada", item="unicorn", quantity=1, price=10),
    ]


async def run_orders(engine: str, name: str) -> list[Ordered]:
    """Place the orders, one after the other."""
    async with (
        WorkflowClient.connect(engine) as client,
        WorkflowWorker(client, f"orders-{name}", workflows=[OrderWorkflow], activities=ORDER_ACTIVITIES),
    ):
        return [await _place(client, order, f"orders-{name}") for order in orders(name)]


async def _place(client: WorkflowClient, order: Order, task_queue: str) -> Ordered:
    result = await client.execute_workflow(OrderWorkflow, order, id=f"order-{order.id}", task_queue=task_queue)
    return Ordered(result, _lines(await client.history(f"order-{order.id}")))


def _lines(history: WorkflowHistory) -> list[HistoryLine]:
    began = history.events[0].time
    return [HistoryLine(event.id, (event.time - began).total_seconds() * 1e3, event.type, _summary(event)) for event in history.events]


def _summary(event: HistoryEvent) -> str:
    """What went in, what came out, what went wrong."""
    facts = event.attributes
    name = facts.get("activity_type", facts.get("workflow_type", {})).get("name", "")
    if "failure" in facts:
        return f"{_values(facts)} {_reason(facts['failure'])}".strip()
    return f"{name} {_values(facts)}".strip()


def _values(facts: Mapping[str, Any]) -> str:
    if "result" in facts:
        return "" if facts["result"] == [None] else f"→ {_text(facts['result'])}"
    return _text(facts["input"]) if "input" in facts else ""


def _text(values: list[Any]) -> str:
    return ", ".join(map(_value, values))


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(str(part) for part in cast(dict[str, Any], value).values())
    return str(value)


def _reason(failure: Mapping[str, Any]) -> str:
    kind = failure.get("application_failure_info", {}).get("type", "")
    return f"{kind}: {failure.get('message', '')}".removeprefix(": ")
