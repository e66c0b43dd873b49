"""Proves that who reads the events of a run while it is deleted is told so, and that no worker is kept waiting for them."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import QueryWorkflowRequest

sys.path.insert(0, str(Path(__file__).parent))

from by_hand import ByHand, execution

from perdure.engine.engine import Engine
from perdure.model.rpc import RpcError, StatusCode


@pytest.fixture
async def hand(engine: Engine, caplog: pytest.LogCaptureFixture) -> ByHand:
    """With one workflow that has done its first workflow task: what a worker needs of it now is read from the storage."""
    caplog.set_level("ERROR", "perdure.engine")
    hand = ByHand(engine)
    await hand.start("wf")
    await hand.step("wf")
    return hand


def delete_before_the_next_read(hand: ByHand) -> None:
    history = hand.engine.history
    read_events = history.events

    async def events(run_id: str, first_event_id: int, last_event_id: int) -> list[HistoryEvent]:
        history.events = read_events  # type: ignore[method-assign]
        await hand.delete("wf")
        return await read_events(run_id, first_event_id, last_event_id)

    history.events = events  # type: ignore[method-assign]


async def test_a_poll_that_was_to_get_its_task_waits_for_another(hand: ByHand, caplog: pytest.LogCaptureFixture) -> None:
    await hand.signal("wf")
    delete_before_the_next_read(hand)
    poll = asyncio.ensure_future(hand.poll("wf"))
    while hand.engine.runs.get_current("default", "wf") is not None:
        await asyncio.sleep(0)
    again = await hand.start("wf")
    assert (await poll).workflow_execution.run_id == again
    assert not caplog.records


async def test_a_query_that_was_to_be_asked_is_refused(hand: ByHand, caplog: pytest.LogCaptureFixture) -> None:
    delete_before_the_next_read(hand)
    poll = asyncio.ensure_future(hand.poll("wf"))
    request = QueryWorkflowRequest(namespace="default", execution=execution("wf"))
    request.query.query_type = "anything"
    with pytest.raises(RpcError) as refused:
        await asyncio.wait_for(hand.service.query_workflow(request), 20)
    assert refused.value.code is StatusCode.NOT_FOUND
    again = await hand.start("wf")
    assert (await poll).workflow_execution.run_id == again
    assert not caplog.records


async def test_a_page_of_its_history_is_not_found(hand: ByHand) -> None:
    delete_before_the_next_read(hand)
    with pytest.raises(RpcError) as refused:
        await hand.events("wf")
    assert refused.value.code is StatusCode.NOT_FOUND
