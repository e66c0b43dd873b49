"""The order of the demo: validate, reserve, charge, ship, notify; what was done is undone, in reverse order, when a later step fails.

The services are a few lines each. In a real shop an activity calls them over the network: any step may be retried, and is told
`ctx.idempotency_key` so that a retry does not act twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta

from perdure import ActivityContext, ActivityError, ApplicationError, RetryPolicy, WorkflowContext, activity, workflow

STOCK = {"lamp": 100, "chair": 100, "unicorn": 0}
BALANCE = {"ada": 500, "bob": 20}


@dataclass(frozen=True)
class Order:
    id: str
    customer: str
    item: str
    quantity: int
    price: int


@dataclass
class OrderResult:
    order_id: str
    status: str
    compensated: list[str] = field(default_factory=list[str])


class ValidationError(ApplicationError):
    """The order makes no sense."""


class InsufficientStock(ApplicationError):
    """There are not enough of the item."""


class InsufficientFunds(ApplicationError):
    """The customer cannot pay."""


# What a retry cannot change is not retried.
RETRY = RetryPolicy(
    initial_interval=timedelta(milliseconds=200),
    maximum_attempts=3,
    non_retryable_error_types=["ValidationError", "InsufficientStock", "InsufficientFunds"],
)


@activity(start_to_close_timeout=10, retry_policy=RETRY)
async def validate(order: Order) -> None:
    if order.quantity < 1 or order.item not in STOCK:
        raise ValidationError(f"{order.quantity} × {order.item} cannot be ordered")


@activity(start_to_close_timeout=10, retry_policy=RETRY)
async def reserve(order: Order) -> str:
    if STOCK[order.item] < order.quantity:
        raise InsufficientStock(f"{order.quantity} × {order.item} wanted, {STOCK[order.item]} in stock")
    return f"reservation-{order.id}"


@activity(start_to_close_timeout=10, retry_policy=RETRY)
async def charge(ctx: ActivityContext, order: Order) -> str:
    total = order.quantity * order.price
    if BALANCE.get(order.customer, 0) < total:
        raise InsufficientFunds(f"{order.customer} has {BALANCE.get(order.customer, 0)}, the order costs {total}")
    return f"payment-{ctx.idempotency_key}"


@activity(start_to_close_timeout=10, retry_policy=RETRY)
async def ship(order: Order) -> str:
    return f"parcel-{order.id}"


@activity(start_to_close_timeout=10, retry_policy=RETRY)
async def notify(order: Order, status: str) -> None:
    """Sends a message; here there is nobody to read it."""


@activity(start_to_close_timeout=10, retry_policy=RETRY)
async def release(reservation: str) -> None:
    """Puts the goods back."""


@activity(start_to_close_timeout=10, retry_policy=RETRY)
async def refund(payment: str) -> None:
    """Gives the money back."""


@workflow
class OrderWorkflow:
    async def run(self, ctx: WorkflowContext, order: Order) -> OrderResult:
        undo: list[tuple[str, Callable[[], Awaitable[None]]]] = []
        failed_as = "validation_failed"  # what it means if the next step fails
        try:
            await validate(order)
            failed_as = "out_of_stock"
            reservation = await reserve(order)
            undo.append(("reserve", lambda: release(reservation)))
            failed_as = "payment_failed"
            payment = await charge(order)
            undo.append(("charge", lambda: refund(payment)))
            failed_as = "shipment_failed"
            await ship(order)
            result = OrderResult(order.id, "completed")
        except ActivityError:
            result = OrderResult(order.id, failed_as)
            for step, compensate in reversed(undo):
                await compensate()
                result.compensated.append(step)
        try:
            await notify(order, result.status)
        except ActivityError:
            ctx.logger.warning("the customer of %s was not notified", order.id)  # the order stands all the same
        return result


ORDER_ACTIVITIES = (validate, reserve, charge, ship, notify, release, refund)
