"""Places three orders; one cannot be paid and is undone. The workflow and its activities are perdure/demo/order.py."""

import asyncio

from perdure import WorkflowClient, WorkflowWorker
from perdure.demo.order import ORDER_ACTIVITIES, Order, OrderWorkflow

ORDERS = [
    Order("A-1", customer="ada", item="lamp", quantity=2, price=40),
    Order("A-2", customer="bob", item="chair", quantity=1, price=80),
    Order("A-3", customer="ada", item="unicorn", quantity=1, price=10),
]


async def main() -> None:
    async with (
        WorkflowClient.connect("sqlite:///perdure.db") as client,
        WorkflowWorker(client, workflows=[OrderWorkflow], activities=ORDER_ACTIVITIES),
    ):
        for order in ORDERS:
            print(await client.execute_workflow(OrderWorkflow, order, id=order.id))


if __name__ == "__main__":
    asyncio.run(main())
