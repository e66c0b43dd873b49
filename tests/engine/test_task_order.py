"""Proves that tasks which memory did not hold come in the order of their priority all the same."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from temporalio.api.common.v1 import Priority
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    PollActivityTaskQueueRequest,
    PollWorkflowTaskQueueRequest,
    RespondWorkflowTaskCompletedRequest,
    SetWorkerDeploymentCurrentVersionRequest,
    StartWorkflowExecutionRequest,
)

sys.path.insert(0, str(Path(__file__).parent.parent / "unit"))

import core_commands as commands

from perdure.engine import matching, open_engine, overflow
from perdure.engine.engine import Engine
from perdure.storage.sqlite import SQLiteStorage


def start(workflow_id: str, key: int = 0, queue: str = "q") -> StartWorkflowExecutionRequest:
    request = StartWorkflowExecutionRequest(namespace="default", workflow_id=workflow_id, request_id=workflow_id)
    request.workflow_type.name, request.task_queue.name = "W", queue
    if key:
        request.priority.priority_key = key
    return request


async def workflow_tasks(engine: Engine, count: int) -> list[str]:
    request = PollWorkflowTaskQueueRequest(namespace="default", identity="w")
    request.task_queue.name = "q"
    service = engine.frontend(in_process=False)
    return [(await service.poll_workflow_task_queue(request)).workflow_execution.workflow_id for _ in range(count)]


KEYS = [("a", 0), ("b", 5), ("c", 1), ("d", 3), ("e", 2), ("f", 1), ("g", 4), ("h", 0)]
ORDER = ["c", "f", "e", "a", "d", "h", "g", "b"]


async def test_after_a_restart(tmp_path: Path) -> None:
    engine = await open_engine(SQLiteStorage(tmp_path / "order.db"))
    for workflow_id, key in KEYS:
        await engine.frontend(in_process=False).start_workflow_execution(start(workflow_id, key))
    await engine.close()
    engine = await open_engine(SQLiteStorage(tmp_path / "order.db"))
    try:
        describe = DescribeTaskQueueRequest(namespace="default", report_stats=True)
        describe.task_queue.name = "q"
        shown = await engine.frontend(in_process=False).describe_task_queue(describe)
        assert shown.stats.approximate_backlog_count == len(KEYS)
        assert await workflow_tasks(engine, len(KEYS)) == ORDER
    finally:
        await engine.close()


@pytest.mark.parametrize("read_max", [1, 3, 1000])
async def test_when_memory_is_full(engine: Engine, monkeypatch: pytest.MonkeyPatch, read_max: int) -> None:
    monkeypatch.setattr(matching, "READY_TASKS_MAX", 1)
    monkeypatch.setattr(overflow, "READ_MAX", read_max)
    for workflow_id, key in KEYS:
        await engine.frontend(in_process=False).start_workflow_execution(start(workflow_id, key))
    assert await workflow_tasks(engine, len(KEYS)) == ["a", *(each for each in ORDER if each != "a")]


async def test_what_is_urgent_overtakes_what_is_read(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that comes while a backlog is worked off does not wait for its end."""
    monkeypatch.setattr(matching, "READY_TASKS_MAX", 2)
    monkeypatch.setattr(overflow, "READ_MAX", 2)
    service = engine.frontend(in_process=False)
    for number in range(8):
        await service.start_workflow_execution(start(f"w{number}"))
    assert await workflow_tasks(engine, 3) == ["w0", "w1", "w2"]
    await service.start_workflow_execution(start("urgent", 1))
    await service.start_workflow_execution(start("last", 5))
    rest = await workflow_tasks(engine, 7)
    assert rest.index("urgent") <= 1 and rest[-1] == "last"
    assert sorted(rest) == ["last", "urgent", "w3", "w4", "w5", "w6", "w7"]


async def test_activities_have_priorities_of_their_own(tmp_path: Path) -> None:
    engine = await open_engine(SQLiteStorage(tmp_path / "order.db"))
    service = engine.frontend(in_process=False)
    await service.start_workflow_execution(start("w", 4))
    poll = PollWorkflowTaskQueueRequest(namespace="default", identity="w")
    poll.task_queue.name = "q"
    task = await service.poll_workflow_task_queue(poll)
    scheduled = [commands.activity(name, queue="q", priority=Priority(priority_key=key)) for name, key in (("a", 0), ("b", 5), ("c", 2))]
    await service.respond_workflow_task_completed(RespondWorkflowTaskCompletedRequest(task_token=task.task_token, commands=scheduled))
    await engine.close()
    engine = await open_engine(SQLiteStorage(tmp_path / "order.db"))
    try:
        request = PollActivityTaskQueueRequest(namespace="default", identity="w")
        request.task_queue.name = "q"
        service = engine.frontend(in_process=False)
        assert [(await service.poll_activity_task_queue(request)).activity_id for _ in range(3)] == ["c", "a", "b"]
    finally:
        await engine.close()


async def test_a_backlog_of_a_versions_workers(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What did not fit into memory stands in the storage under the queue's own name, and is for this version."""
    monkeypatch.setattr(matching, "READY_TASKS_MAX", 2)
    service = engine.frontend(in_process=False)
    poll = PollWorkflowTaskQueueRequest(namespace="default", identity="w")
    poll.task_queue.name = "q"
    poll.deployment_options.deployment_name, poll.deployment_options.build_id = "d", "1"
    poll.deployment_options.worker_versioning_mode = 2  # type: ignore[assignment]
    await service.start_workflow_execution(start("first"))
    current = SetWorkerDeploymentCurrentVersionRequest(namespace="default", deployment_name="d", build_id="1", allow_no_pollers=True)
    waiting = service.poll_workflow_task_queue(poll)
    polling = asyncio.ensure_future(waiting)
    while "d" not in engine.deployments.names("default"):
        await asyncio.sleep(0)
    await service.set_worker_deployment_current_version(current)
    assert (await polling).workflow_execution.workflow_id == "first"
    for number in range(6):
        await service.start_workflow_execution(start(f"w{number}", 1 if number == 5 else 0))
    found = [(await service.poll_workflow_task_queue(poll)).workflow_execution.workflow_id for _ in range(6)]
    assert sorted(found) == [f"w{number}" for number in range(6)]
