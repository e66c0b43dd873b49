"""Proves that a run whose rows are damaged is told as DATA_LOSS and harms no other: not what is read with it, not the opening."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    PollWorkflowTaskQueueRequest,
    RespondWorkflowTaskCompletedRequest,
    SignalWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
)

from perdure.engine import open_engine
from perdure.engine.engine import Engine
from perdure.model.ids import run_id_bytes
from perdure.model.rpc import RpcError, StatusCode
from perdure.storage import SQLiteStorage
from perdure.storage.contract import StoredRun

DAMAGES = {"no history": [b"\xff\xff"], "an empty one": [b""], "nothing": list[bytes]()}


class Damaged:
    """A file in which some histories are not what was written."""

    def __init__(self, path: Path, damage: list[bytes]) -> None:
        self.inner = SQLiteStorage(path)
        self.damage = damage
        self.damaged: set[bytes] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def load_runs(self, run_ids: Sequence[bytes]) -> list[StoredRun | None]:
        found = self.inner.load_runs(run_ids)
        return [run._replace(history=self.damage) if run is not None and run.row.run_id in self.damaged else run for run in found]

    def load_run(self, run_id: bytes) -> StoredRun | None:
        return self.load_runs([run_id])[0]


async def start(engine: Engine, workflow_id: str, queue: str = "q") -> bytes:
    request = StartWorkflowExecutionRequest(namespace="default", workflow_id=workflow_id, request_id="r")
    request.workflow_type.name, request.task_queue.name = "W", queue
    return run_id_bytes((await engine.frontend(in_process=False).start_workflow_execution(request)).run_id)


async def take(engine: Engine, queue: str = "q", *, in_process: bool = False) -> Any:
    poll = PollWorkflowTaskQueueRequest(namespace="default", identity="me")
    poll.task_queue.name = queue
    return await asyncio.wait_for(engine.frontend(in_process=in_process).poll_workflow_task_queue(poll), 20)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
async def test_what_is_read_with_it_is_read(tmp_path: Path, damage: list[bytes]) -> None:
    engine = await open_engine(SQLiteStorage(tmp_path / "runs.db"))
    run_ids = [await start(engine, f"w{number}") for number in range(5)]
    await engine.close()
    storage = Damaged(tmp_path / "runs.db", damage)
    storage.damaged.add(run_ids[2])
    engine = await open_engine(storage)
    try:

        async def describe(number: int) -> StatusCode | None:
            request = DescribeWorkflowExecutionRequest(namespace="default")
            request.execution.workflow_id = f"w{number}"
            try:
                await engine.frontend(in_process=False).describe_workflow_execution(request)
            except RpcError as error:
                return error.code
            return None

        told = await asyncio.gather(*(describe(number) for number in range(5)))
        assert told == [None, None, StatusCode.DATA_LOSS, None, None]
        signal = SignalWorkflowExecutionRequest(namespace="default", signal_name="s")
        signal.workflow_execution.workflow_id = "w2"
        with pytest.raises(RpcError) as refused:
            await engine.frontend(in_process=False).signal_workflow_execution(signal)
        assert refused.value.code is StatusCode.DATA_LOSS
        tasks = [await take(engine) for _ in range(4)]
        assert sorted(task.workflow_execution.workflow_id for task in tasks) == ["w0", "w1", "w3", "w4"]
    finally:
        await engine.close()


@pytest.mark.parametrize("sticky", [False, True], ids=["a task that a worker in this process had", "a task on a sticky queue"])
async def test_the_engine_opens(tmp_path: Path, sticky: bool) -> None:
    engine = await open_engine(SQLiteStorage(tmp_path / "runs.db"))
    run_ids = [await start(engine, f"w{number}") for number in range(3)]
    for _ in run_ids:
        task = await take(engine, in_process=True)
        if sticky:
            complete = RespondWorkflowTaskCompletedRequest(task_token=task.task_token, force_create_new_workflow_task=True)
            complete.sticky_attributes.worker_task_queue.name = "mine"
            complete.sticky_attributes.schedule_to_start_timeout.seconds = 1_000
            poll = PollWorkflowTaskQueueRequest(namespace="default", identity="me")
            poll.task_queue.name, poll.task_queue.kind, poll.task_queue.normal_name = "mine", 2, "q"  # type: ignore[assignment]
            polling = asyncio.ensure_future(engine.frontend(in_process=False).poll_workflow_task_queue(poll))
            await asyncio.sleep(0)
            polling.cancel()  # it has been there, and has gone
            await engine.frontend(in_process=True).respond_workflow_task_completed(complete)
    await engine.close()
    storage = Damaged(tmp_path / "runs.db", [b"\xff"])
    storage.damaged.add(run_ids[1])
    engine = await open_engine(storage)
    try:
        tasks = [await take(engine) for _ in range(2)]
        assert sorted(task.workflow_execution.workflow_id for task in tasks) == ["w0", "w2"]
    finally:
        await engine.close()
