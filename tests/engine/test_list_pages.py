"""Proves that turning pages neither loses nor repeats a run, also one whose end is being written while the first page is read."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.workflowservice.v1 import (
    ListWorkflowExecutionsRequest,
    StartWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
)

from perdure.engine import open_engine
from perdure.engine.engine import Engine
from perdure.engine.visibility import listing
from perdure.storage import SQLiteStorage, WorkflowStorage
from perdure.storage.contract import Committed, Transaction


class Held:
    """A storage whose disk takes as long as the test wants."""

    def __init__(self, inner: WorkflowStorage) -> None:
        self.inner = inner
        self.go_on = threading.Event()
        self.go_on.set()
        self.held = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def commit(self, group: Sequence[Transaction]) -> list[Committed]:
        if not self.go_on.is_set():
            self.held.set()
            self.go_on.wait(50)
        return self.inner.commit(group)

    def commit_at_once(self, group: Sequence[Transaction]) -> list[Committed] | None:
        return None


async def test_a_run_that_is_closing_is_shown_once(tmp_path: Path) -> None:
    storage = Held(SQLiteStorage(tmp_path / "runs.db"))
    engine = await open_engine(storage)
    service = engine.frontend(in_process=False)
    try:
        for number in range(6):
            request = StartWorkflowExecutionRequest(namespace="default", workflow_id=f"w{number}", request_id="r")
            request.workflow_type.name, request.task_queue.name = "W", "q"
            await service.start_workflow_execution(request)
        storage.go_on.clear()
        end = TerminateWorkflowExecutionRequest(namespace="default")
        end.workflow_execution.workflow_id = "w5"
        ending = asyncio.create_task(service.terminate_workflow_execution(end))
        await asyncio.to_thread(storage.held.wait, 50)
        turn = ListWorkflowExecutionsRequest(namespace="default", page_size=2)
        first = asyncio.create_task(service.list_workflow_executions(turn))
        await asyncio.wait([first], timeout=0.2)  # as long as a list that does not wait takes, and much longer
        storage.go_on.set()
        await ending
        page = await first
        found = [info.execution.workflow_id for info in page.executions]
        while page.next_page_token:
            turn.next_page_token = page.next_page_token
            page = await service.list_workflow_executions(turn)
            found += [info.execution.workflow_id for info in page.executions]
        assert sorted(found) == [f"w{number}" for number in range(6)]
    finally:
        storage.go_on.set()
        await engine.close()


async def test_a_list_waits_for_no_more_than_what_was_submitted_before_it(tmp_path: Path) -> None:
    """While others submit all the time."""
    engine = await open_engine(SQLiteStorage(tmp_path / "runs.db"))
    service = engine.frontend(in_process=False)
    ended, started = False, 0

    async def starts(worker: int) -> None:
        nonlocal started
        for number in itertools.count():
            if ended:
                return
            request = StartWorkflowExecutionRequest(namespace="default", workflow_id=f"w{worker}-{number}", request_id="r")
            request.workflow_type.name, request.task_queue.name = "W", "q"
            await service.start_workflow_execution(request)
            started += 1

    busy = [asyncio.create_task(starts(worker)) for worker in range(4)]
    try:
        for _ in range(20):
            before = started
            page = await asyncio.wait_for(service.list_workflow_executions(ListWorkflowExecutionsRequest(namespace="default")), 20)
            assert len(page.executions) >= min(before, 1000)
    finally:
        ended = True
        await asyncio.gather(*busy)
        await engine.close()


async def test_a_page_holds_no_more_than_some_megabytes(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """However large the memos of its runs are; and how many are read at a time, nobody sees."""
    monkeypatch.setattr(listing, "FIRST_READ", 3)
    monkeypatch.setattr(listing, "PAGE_BYTES_MAX", 50_000)
    service = engine.frontend(in_process=False)
    for number in range(30):
        request = StartWorkflowExecutionRequest(namespace="default", workflow_id=f"w{number}", request_id="r")
        request.workflow_type.name, request.task_queue.name = "W", "q"
        if number % 2:
            request.memo.fields["note"].data = bytes(20_000)
        await service.start_workflow_execution(request)
        if number % 3 == 0:
            end = TerminateWorkflowExecutionRequest(namespace="default")
            end.workflow_execution.workflow_id = f"w{number}"
            await service.terminate_workflow_execution(end)
    found: list[str] = []
    turn = ListWorkflowExecutionsRequest(namespace="default")
    pages = 0
    while pages == 0 or turn.next_page_token:
        page = await service.list_workflow_executions(turn)
        assert page.executions and page.ByteSize() < 100_000
        found += [info.execution.workflow_id for info in page.executions]
        turn.next_page_token = page.next_page_token
        pages += 1
    assert len(found) == 30 and sorted(found) == sorted(f"w{number}" for number in range(30)) and 4 < pages < 15
    turn.page_size = 7
    monkeypatch.setattr(listing, "PAGE_BYTES_MAX", 10_000_000)
    assert len((await service.list_workflow_executions(turn)).executions) == 7
