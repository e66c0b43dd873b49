"""Proves that tasks which memory did not hold come in the order of their priority all the same, and fairness keys take their turns."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
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

from perdure.engine import matching, open_engine, overflow, remainder
from perdure.engine.engine import Engine
from perdure.storage.sqlite import SQLiteStorage


def start(workflow_id: str, key: int = 0, queue: str = "q", fairness_key: str = "", weight: float = 0) -> StartWorkflowExecutionRequest:
    request = StartWorkflowExecutionRequest(namespace="default", workflow_id=workflow_id, request_id=workflow_id)
    request.workflow_type.name, request.task_queue.name = "W", queue
    if key or fairness_key or weight:
        request.priority.priority_key, request.priority.fairness_key, request.priority.fairness_weight = key, fairness_key, weight
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
        assert shown.stats.approximate_backlog_count == len(KEYS) and shown.stats.approximate_backlog_age.ToNanoseconds() > 0
        by_priority = {level: stats.approximate_backlog_count for level, stats in shown.stats_by_priority_key.items()}
        assert by_priority == {1: 2, 2: 1, 3: 3, 4: 1, 5: 1}
        assert await workflow_tasks(engine, len(KEYS)) == ORDER
    finally:
        await engine.close()


@pytest.mark.parametrize("read_max", [1, 3, 1000])
async def test_when_memory_is_full(engine: Engine, monkeypatch: pytest.MonkeyPatch, read_max: int) -> None:
    monkeypatch.setattr(matching, "READY_TASKS_MAX", 1)
    monkeypatch.setattr(overflow, "READ_MAX", read_max)
    for workflow_id, key in KEYS:
        await engine.frontend(in_process=False).start_workflow_execution(start(workflow_id, key))
    first = ["c", "a"]  # there was room for one, and for one more urgent
    assert await workflow_tasks(engine, len(KEYS)) == [*first, *(each for each in ORDER if each not in first)]


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


async def test_fairness_keys_take_turns_after_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when what is read at a time is a part of what waits; weights count; a key may hold any character."""
    monkeypatch.setattr(overflow, "READ_MAX", 10)
    engine = await open_engine(SQLiteStorage(tmp_path / "order.db"))
    service = engine.frontend(in_process=False)
    for tenant, weight, count in (("many", 1, 24), ("a\x1c/\x1d\x1f", 0, 6), ("heavy", 2, 12), ("", 0, 6)):
        for number in range(count):
            await service.start_workflow_execution(start(f"{tenant} {number}", fairness_key=tenant, weight=weight))
    await engine.close()
    engine = await open_engine(SQLiteStorage(tmp_path / "order.db"))
    try:
        first = Counter(each.split(" ")[0] for each in await workflow_tasks(engine, 25))
        assert first == {"many": 5, "a\x1c/\x1d\x1f": 5, "heavy": 10, "": 5}
        await workflow_tasks(engine, 23)
    finally:
        await engine.close()


async def test_who_has_little_to_do_does_not_wait_for_who_has_much(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither when memory is full of the other's tasks, nor when the storage is."""
    monkeypatch.setattr(matching, "READY_TASKS_MAX", 10)
    monkeypatch.setattr(overflow, "READ_MAX", 4)
    service = engine.frontend(in_process=False)
    for number in range(10):
        await service.start_workflow_execution(start(f"much {number}", fairness_key="much"))
    await service.start_workflow_execution(start("little 0", fairness_key="little"))
    assert "little 0" in await workflow_tasks(engine, 2)
    for number in range(10, 40):
        await service.start_workflow_execution(start(f"much {number}", fairness_key="much"))
    await workflow_tasks(engine, 3)
    await service.start_workflow_execution(start("little 1", fairness_key="little"))
    assert "little 1" in await workflow_tasks(engine, 2)
    rest = await workflow_tasks(engine, 35)
    assert len(set(rest)) == 35


async def test_more_fairness_keys_than_are_remembered(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "READY_TASKS_MAX", 2)
    monkeypatch.setattr(remainder, "LANES_MAX", 3)
    service = engine.frontend(in_process=False)
    for number in range(24):
        await service.start_workflow_execution(start(f"w{number}", fairness_key=str(number % 12)))
    describe = DescribeTaskQueueRequest(namespace="default", report_stats=True)
    describe.task_queue.name = "q"
    assert (await service.describe_task_queue(describe)).stats.approximate_backlog_count == 24
    assert sorted(await workflow_tasks(engine, 24)) == sorted(f"w{number}" for number in range(24))
    assert engine.matching.find_workflows("default", "q").remainder is None
