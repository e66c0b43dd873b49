"""The README's program: run it, end it with Ctrl-C or kill -9 while it waits, and run it again.

It does not charge twice, it waits for the rest of the 20 seconds, and ships. Run it once more: it prints the result.
"""

import asyncio
import sys
from dataclasses import dataclass
from datetime import timedelta

from perdure import WorkflowClient, WorkflowContext, WorkflowWorker, activity, workflow


@dataclass
class Order:
    id: str
    euros: int


@activity
async def charge(order: Order) -> str:
    print(f"charging {order.euros} € for {order.id}", flush=True)
    return f"receipt-{order.id}"


@activity
async def ship(order: Order) -> str:
    print(f"shipping {order.id}", flush=True)
    return f"parcel-{order.id}"


@workflow
async def fulfil(ctx: WorkflowContext, order: Order) -> str:
    receipt = await charge(order)  # runs once its result is on disk, and never again
    print("waiting for the warehouse", flush=True)
    await ctx.sleep(timedelta(seconds=20))  # seconds or months: a sleeping workflow is a row in a file
    return f"{receipt}, {await ship(order)}"


async def main(engine: str) -> None:
    async with (
        WorkflowClient.connect(engine) as client,
        WorkflowWorker(client, workflows=[fulfil], activities=[charge, ship]),
    ):
        # Starts it; joins it when it is running; returns its result when it is done.
        print(await client.execute_workflow(fulfil, Order("A-17", 42), id="A-17"))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "sqlite:///orders.db"))
