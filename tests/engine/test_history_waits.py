"""Proves that reads of a history end: page by page, and those that wait for news with the close event, or after 20 seconds with a token
and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from temporalio.api.enums.v1 import HistoryEventFilterType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import (
    DeleteWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryResponse,
    GetWorkflowExecutionHistoryReverseRequest,
    StartWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
)

from perdure.engine import open_engine
from perdure.engine.engine import Engine
from perdure.storage import MemoryStorage
from perdure.testing import ManualClock


class Reader:
    """An engine with one running workflow, and a client that waits for its end."""

    def __init__(self, engine: Engine, clock: ManualClock) -> None:
        self.engine, self.clock = engine, clock
        self.service = engine.frontend(in_process=True)

    def read(self) -> asyncio.Task[GetWorkflowExecutionHistoryResponse]:
        request = GetWorkflowExecutionHistoryRequest(namespace="default", wait_new_event=True)
        request.history_event_filter_type = HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT
        request.execution.workflow_id = "w"
        return asyncio.ensure_future(self.service.get_workflow_execution_history(request))


@pytest.fixture
async def reader() -> AsyncIterator[Reader]:
    clock = ManualClock()
    engine = await open_engine(MemoryStorage(), clock=clock)
    reader = Reader(engine, clock)
    start = StartWorkflowExecutionRequest(namespace="default", workflow_id="w", request_id="r")
    start.workflow_type.name, start.task_queue.name = "t", "q"
    await reader.service.start_workflow_execution(start)
    yield reader
    await engine.close()


async def test_waits_end_after_twenty_seconds_with_a_token(reader: Reader) -> None:
    first = reader.read()
    await reader.clock.advance(0.4)
    second = reader.read()
    await reader.clock.advance(10)
    third = reader.read()
    await reader.clock.advance(9)
    assert not first.done() and not second.done()
    await reader.clock.advance(1)
    for read in (first, second):
        response = await read
        assert response.next_page_token and not response.history.events
    assert not third.done()
    await reader.clock.advance(10)
    assert (await third).next_page_token


async def test_a_clock_set_back_does_not_prolong_later_waits(reader: Reader) -> None:
    before = reader.read()
    await reader.clock.advance(1)
    reader.clock.jump(-3600)
    after = reader.read()
    await reader.clock.advance(20)
    assert (await after).next_page_token and not before.done()


async def test_the_close_event_ends_a_wait_at_once(reader: Reader) -> None:
    reads = [reader.read(), reader.read()]
    await reader.clock.advance(1)
    terminate = TerminateWorkflowExecutionRequest(namespace="default", reason="enough")
    terminate.workflow_execution.workflow_id = "w"
    await reader.service.terminate_workflow_execution(terminate)
    for response in await asyncio.gather(*reads, reader.read()):
        (event,) = response.history.events
        assert event.workflow_execution_terminated_event_attributes.reason == "enough" and not response.next_page_token


async def test_closing_the_engine_ends_every_wait(reader: Reader) -> None:
    read = reader.read()
    await reader.clock.advance(1)
    await reader.engine.close()
    assert not (await read).history.events


async def test_a_run_that_ends_while_its_events_are_read_does_not_end_the_following(reader: Reader) -> None:
    """A reader follows from the beginning; the run ends between the look at its state and the reading of its events."""
    history, read_events = reader.engine.history, reader.engine.history.events
    terminate = TerminateWorkflowExecutionRequest(namespace="default", reason="enough")
    terminate.workflow_execution.workflow_id = "w"

    async def events(run_id: str, first: int, last: int) -> list[HistoryEvent]:
        history.events = read_events  # type: ignore[method-assign]
        await reader.service.terminate_workflow_execution(terminate)
        return await read_events(run_id, first, last)

    history.events = events  # type: ignore[method-assign]
    request = GetWorkflowExecutionHistoryRequest(namespace="default", wait_new_event=True)
    request.execution.workflow_id = "w"
    seen: list[int] = []
    while True:
        response = await reader.service.get_workflow_execution_history(request)
        seen += [event.event_id for event in response.history.events]
        request.next_page_token = response.next_page_token
        if not request.next_page_token:
            break
    assert seen == list(range(1, len(seen) + 1))
    assert response.history.events[-1].HasField("workflow_execution_terminated_event_attributes")


async def test_who_waits_for_the_end_of_a_run_that_is_deleted_hears_of_it(reader: Reader) -> None:
    reads = [reader.read(), reader.read()]
    await reader.clock.advance(1)
    delete = DeleteWorkflowExecutionRequest(namespace="default")
    delete.workflow_execution.workflow_id = "w"
    await reader.service.delete_workflow_execution(delete)
    for response in await asyncio.gather(*reads):
        (event,) = response.history.events
        assert event.workflow_execution_terminated_event_attributes.reason == "Delete workflow execution"


@pytest.mark.parametrize("size", [-1, 0, 1, 2, 10_000])
async def test_pages_of_any_size_lead_through_the_whole_history(reader: Reader, size: int) -> None:
    terminate = TerminateWorkflowExecutionRequest(namespace="default", reason="enough")
    terminate.workflow_execution.workflow_id = "w"
    await reader.service.terminate_workflow_execution(terminate)
    ways = (
        (GetWorkflowExecutionHistoryRequest, reader.service.get_workflow_execution_history, [1, 2, 3]),
        (GetWorkflowExecutionHistoryReverseRequest, reader.service.get_workflow_execution_history_reverse, [3, 2, 1]),
    )
    for kind, read, wanted in ways:
        request = kind(namespace="default", maximum_page_size=size)
        request.execution.workflow_id = "w"
        seen: list[int] = []
        for _ in range(len(wanted)):
            response = await read(request)  # type: ignore[arg-type]
            seen += [event.event_id for event in response.history.events]
            request.next_page_token = response.next_page_token
            if not request.next_page_token:
                break
        assert seen == wanted and not request.next_page_token
