"""The process that the test of schedules kills: an engine on a file, with schedules that act all the time. `schedule_child.py URL`."""

from __future__ import annotations

import asyncio
import sys

from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import ScheduleOverlapPolicy
from temporalio.api.schedule.v1 import IntervalSpec
from temporalio.api.workflowservice.v1 import CreateScheduleRequest

from perdure.engine import open_engine
from perdure.storage import SQLiteStorage

SCHEDULES = 30


def request(number: int) -> CreateScheduleRequest:
    """A schedule that starts a workflow each second, somewhere within it."""
    made = CreateScheduleRequest(namespace="default", schedule_id=f"s{number}", request_id=f"create {number}")
    made.schedule.spec.interval.append(IntervalSpec(interval=Duration(seconds=1)))
    made.schedule.spec.jitter.CopyFrom(Duration(seconds=1))
    made.schedule.policies.overlap_policy = ScheduleOverlapPolicy.SCHEDULE_OVERLAP_POLICY_ALLOW_ALL
    workflow = made.schedule.action.start_workflow
    workflow.workflow_id, workflow.workflow_type.name, workflow.task_queue.name = f"w{number}", "Job", "queue"
    return made


async def main(path: str) -> None:
    engine = await open_engine(SQLiteStorage(path))
    service = engine.frontend(in_process=True)
    await asyncio.gather(*(service.create_schedule(request(number)) for number in range(SCHEDULES)))
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
