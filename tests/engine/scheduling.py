"""An engine under a clock that tests move, and what the tests of schedules do with it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import Payload, WorkflowExecution
from temporalio.api.enums.v1 import CommandType
from temporalio.api.enums.v1 import ScheduleOverlapPolicy as Overlap
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.schedule.v1 import BackfillRequest, IntervalSpec, Schedule, SchedulePatch, TriggerImmediatelyRequest
from temporalio.api.workflowservice.v1 import (
    CreateScheduleRequest,
    DescribeScheduleRequest,
    DescribeScheduleResponse,
    DescribeWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryRequest,
    PatchScheduleRequest,
    PollWorkflowTaskQueueRequest,
    PollWorkflowTaskQueueResponse,
    RespondWorkflowTaskCompletedRequest,
    UpdateScheduleRequest,
)

from perdure.engine import Engine, open_engine
from perdure.storage import MemoryStorage
from perdure.storage.contract import WorkflowStorage
from perdure.testing import ManualClock

MINUTE = 60
HOUR = 3600
DAY = 86_400
SKIP = Overlap.SCHEDULE_OVERLAP_POLICY_SKIP
BUFFER_ONE = Overlap.SCHEDULE_OVERLAP_POLICY_BUFFER_ONE
BUFFER_ALL = Overlap.SCHEDULE_OVERLAP_POLICY_BUFFER_ALL
CANCEL_OTHER = Overlap.SCHEDULE_OVERLAP_POLICY_CANCEL_OTHER
TERMINATE_OTHER = Overlap.SCHEDULE_OVERLAP_POLICY_TERMINATE_OTHER
ALLOW_ALL = Overlap.SCHEDULE_OVERLAP_POLICY_ALLOW_ALL


def payload(text: str) -> Payload:
    return Payload(metadata={"encoding": b"json/plain"}, data=f'"{text}"'.encode())


def schedule(every: float = MINUTE, overlap: int = 0, workflow_id: str = "job") -> Schedule:
    """One that starts a workflow each `every` seconds."""
    made = Schedule()
    if every:
        made.spec.interval.append(IntervalSpec(interval=Duration(seconds=int(every))))
    made.policies.overlap_policy = overlap  # type: ignore[assignment]
    workflow = made.action.start_workflow
    workflow.workflow_id = workflow_id
    workflow.workflow_type.name = "Job"
    workflow.task_queue.name = "queue"
    return made


class Bench:
    """An engine, its clock, and short ways to its RPCs."""

    def __init__(self, engine: Engine, clock: ManualClock) -> None:
        self.engine = engine
        self.clock = clock
        self.service = engine.frontend(in_process=True)

    async def create(self, made: Schedule, schedule_id: str = "s", **more: Any) -> bytes:
        request = CreateScheduleRequest(
            namespace="default", schedule_id=schedule_id, schedule=made, request_id=f"create-{schedule_id}", **more
        )
        return (await self.service.create_schedule(request)).conflict_token

    async def describe(self, schedule_id: str = "s") -> DescribeScheduleResponse:
        return await self.service.describe_schedule(DescribeScheduleRequest(namespace="default", schedule_id=schedule_id))

    async def update(self, made: Schedule, **more: Any) -> None:
        await self.service.update_schedule(UpdateScheduleRequest(namespace="default", schedule_id="s", schedule=made, **more))

    async def patch(self, **fields: Any) -> None:
        patch = SchedulePatch(**fields)
        await self.service.patch_schedule(PatchScheduleRequest(namespace="default", schedule_id="s", patch=patch))

    async def trigger(self, overlap: int = 0) -> None:
        await self.patch(trigger_immediately=TriggerImmediatelyRequest(overlap_policy=overlap))  # type: ignore[arg-type]

    async def backfill(self, start: str, end: str, overlap: int = 0) -> None:
        await self.patch(backfill_request=[BackfillRequest(start_time=stamp(start), end_time=stamp(end), overlap_policy=overlap)])  # type: ignore[arg-type]

    async def running(self) -> list[str]:
        """The ids of the workflows that the schedule waits for."""
        return [each.workflow_id for each in (await self.describe()).info.running_workflows]

    async def recent(self) -> list[str]:
        """The nominal times in the ids of its recent actions."""
        found = (await self.describe()).info.recent_actions
        return [each.start_workflow_result.workflow_id.partition("-")[2] for each in found]

    async def status(self, execution: WorkflowExecution) -> int:
        request = DescribeWorkflowExecutionRequest(namespace="default", execution=execution)
        return (await self.service.describe_workflow_execution(request)).workflow_execution_info.status

    async def events(self, workflow_id: str, run_id: str = "") -> Sequence[HistoryEvent]:
        request = GetWorkflowExecutionHistoryRequest(namespace="default")
        request.execution.workflow_id, request.execution.run_id = workflow_id, run_id
        return (await self.service.get_workflow_execution_history(request)).history.events

    async def task(self) -> PollWorkflowTaskQueueResponse:
        request = PollWorkflowTaskQueueRequest(namespace="default")
        request.task_queue.name = "queue"
        return await self.service.poll_workflow_task_queue(request)

    async def finish(self, result: str = "done") -> str:
        """The next workflow task completes its workflow; its id."""
        command = Command(command_type=CommandType.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION)
        command.complete_workflow_execution_command_attributes.result.payloads.append(payload(result))
        return await self.answer(command)

    async def fail(self, message: str = "broken") -> str:
        command = Command(command_type=CommandType.COMMAND_TYPE_FAIL_WORKFLOW_EXECUTION)
        command.fail_workflow_execution_command_attributes.failure.CopyFrom(Failure(message=message))
        return await self.answer(command)

    async def answer(self, *commands: Command) -> str:
        task = await self.task()
        await self.service.respond_workflow_task_completed(
            RespondWorkflowTaskCompletedRequest(namespace="default", task_token=task.task_token, commands=commands)
        )
        await self.clock.advance(0)
        return task.workflow_execution.workflow_id


@asynccontextmanager
async def bench(storage: WorkflowStorage | None = None, clock: ManualClock | None = None) -> AsyncGenerator[Bench]:
    """An engine on a storage (a fresh one in memory), at 2026-01-01T00:00:00Z unless the clock says otherwise."""
    clock = clock or ManualClock()
    engine = await open_engine(storage or MemoryStorage(), clock=clock)
    try:
        yield Bench(engine, clock)
    finally:
        await engine.close()


def stamp(text: str) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(datetime.fromisoformat(text).replace(tzinfo=UTC))
    return made
