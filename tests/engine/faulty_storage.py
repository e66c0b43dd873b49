"""A storage that fails by plan, and a witness who checks that nothing is shown before it is durable."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from temporalio.api.history.v1 import History
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryResponse,
    PollActivityTaskQueueRequest,
    PollActivityTaskQueueResponse,
    PollWorkflowTaskQueueRequest,
    PollWorkflowTaskQueueResponse,
    RespondActivityTaskCompletedRequest,
    RespondActivityTaskCompletedResponse,
    RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskCompletedResponse,
    SignalWorkflowExecutionRequest,
    SignalWorkflowExecutionResponse,
    StartWorkflowExecutionRequest,
    StartWorkflowExecutionResponse,
)

from perdure.engine.core import TaskToken, decode_token
from perdure.engine.core.codes import STARTED
from perdure.engine.core.tokens import ACTIVITY, WORKFLOW
from perdure.engine.loading import fold
from perdure.model.errors import StorageError
from perdure.model.ids import run_id_bytes
from perdure.storage import WorkflowStorage
from perdure.storage.contract import Committed, StoredRun, Transaction, join_history

FAULTS = ("failed", "unknown and written", "unknown and lost", "conflict")
GROUP_FAULTS = ("raises before", "raises after")
READ_FAULTS = ("read",)


class FaultyStorage:
    """Any storage, with faults: of each transaction alone, of whole groups, of reads. Good until `arm` and after `disarm`."""

    def __init__(self, inner: WorkflowStorage, seed: int) -> None:
        self.inner = inner
        self.roll = random.Random(seed)
        self._next: dict[Sequence[str], int] = {}
        self.armed = False
        self.faults: Counter[str] = Counter()
        self.at_once = 0
        """Groups that the engine's loop has written itself."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def arm(self) -> None:
        self.armed = True

    def disarm(self) -> None:
        self.armed = False

    def _fault(self, kinds: Sequence[str], every: int) -> str:
        """A fault, after 1 to `every` calls without one: so that their number follows from that of the calls."""
        if not self.armed:
            return ""
        left = self._next.get(kinds) or self.roll.randint(1, every)
        self._next[kinds] = left - 1
        if left > 1:
            return ""
        kind = self.roll.choice(kinds)
        self.faults[kind] += 1
        return kind

    def commit(self, group: Sequence[Transaction]) -> list[Committed]:
        whole = self._fault(GROUP_FAULTS, 60)
        if whole == "raises before":
            raise StorageError("planned: before anything was written")
        planned = [self._fault(FAULTS, 25) for _ in group]
        written = iter(self.inner.commit([t for t, fault in zip(group, planned, strict=True) if fault in ("", "unknown and written")]))
        answers = [_ANSWERS[fault] or next(written) if fault != "unknown and written" else _unknown(next(written)) for fault in planned]
        if whole:
            raise StorageError("planned: after everything was written")
        return answers

    def commit_at_once(self, group: Sequence[Transaction]) -> list[Committed]:
        self.at_once += 1
        return self.commit(group)

    def load_runs(self, run_ids: Sequence[bytes]) -> list[StoredRun | None]:
        self._fail_read()
        return self.inner.load_runs(run_ids)

    def read_history(self, run_id: bytes, first_event_id: int, limit_bytes: int) -> list[tuple[int, bytes]]:
        self._fail_read()
        return self.inner.read_history(run_id, first_event_id, limit_bytes)

    def waiting(self, queue: str, **rest: Any) -> Any:
        self._fail_read()
        return self.inner.waiting(queue, **rest)

    def _fail_read(self) -> None:
        if self._fault(READ_FAULTS, 30):
            raise StorageError("planned: a read fails")


_ANSWERS = {
    "": None,
    "failed": Committed.FAILED,
    "unknown and lost": Committed.UNKNOWN,
    "conflict": Committed.CONFLICT,
}


def _unknown(answer: Committed) -> Committed:
    return Committed.UNKNOWN if answer is Committed.YES else answer


class Witness:
    """A service that looks into the storage at each answer: what it says must be there already."""

    def __init__(self, service: Any, storage: WorkflowStorage, *, in_process: bool = True) -> None:
        self.service = service
        self.storage = storage
        self.in_process = in_process
        """As `service` is: what a worker may rely on follows from it."""
        self.seen: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.service, name)

    def _stored(self, run_id: str) -> StoredRun:
        stored = self.storage.load_run(run_id_bytes(run_id))
        assert stored is not None, f"run {run_id} was shown and is not stored"
        return stored

    def _activity(self, token: TaskToken) -> Any:
        return next((a for a in self._stored(token.run_id).activities if a.scheduled_event_id == token.scheduled_event_id), None)

    async def start_workflow_execution(self, request: StartWorkflowExecutionRequest) -> StartWorkflowExecutionResponse:
        response: StartWorkflowExecutionResponse = await self.service.start_workflow_execution(request)
        self._stored(response.run_id)
        self.seen["start"] += 1
        return response

    async def signal_workflow_execution(self, request: SignalWorkflowExecutionRequest) -> SignalWorkflowExecutionResponse:
        request_id, execution = request.request_id, request.workflow_execution
        response: SignalWorkflowExecutionResponse = await self.service.signal_workflow_execution(request)
        current = self.storage.current_run(request.namespace, execution.workflow_id)
        assert current is not None
        stored = self.storage.load_run(current.run_id)
        assert stored is not None
        assert request_id in fold(stored).run.signal_request_ids, "a signal was acknowledged and is not stored"
        self.seen["signal"] += 1
        return response

    async def get_workflow_execution_history(self, request: GetWorkflowExecutionHistoryRequest) -> GetWorkflowExecutionHistoryResponse:
        response: GetWorkflowExecutionHistoryResponse = await self.service.get_workflow_execution_history(request)
        events = response.history.events
        if events:
            shown = self.storage.list_runs(request.namespace, None, 10_000)
            runs = [self.storage.load_run(each.run_id) for each in shown if each.workflow_id == request.execution.workflow_id]
            stored = {event.SerializeToString() for run in runs if run for event in History.FromString(join_history(run.history)).events}
            assert all(event.SerializeToString() in stored for event in events), "an event was shown that is not stored"
            self.seen["event"] += len(events)
        return response

    async def poll_workflow_task_queue(self, request: PollWorkflowTaskQueueRequest) -> PollWorkflowTaskQueueResponse:
        response: PollWorkflowTaskQueueResponse = await self.service.poll_workflow_task_queue(request)
        self._check_workflow_task(response)
        return response

    async def respond_workflow_task_completed(self, request: RespondWorkflowTaskCompletedRequest) -> RespondWorkflowTaskCompletedResponse:
        token = decode_token(request.task_token, WORKFLOW)
        response: RespondWorkflowTaskCompletedResponse = await self.service.respond_workflow_task_completed(request)
        assert fold(self._stored(token.run_id)).run.previous_started_event_id >= token.started_event_id
        self._check_workflow_task(response.workflow_task)
        self.seen["workflow task completed"] += 1
        return response

    def _check_workflow_task(self, response: PollWorkflowTaskQueueResponse) -> None:
        if not response.task_token or response.HasField("query"):
            return
        stored = self._stored(response.workflow_execution.run_id)
        for event in response.history.events:
            assert response.attempt > 1 or event.event_id < stored.row.next_event_id, "a worker got an event that is not stored"
        token = decode_token(response.task_token, WORKFLOW)
        task = fold(stored).run.task
        if task is not None and task.scheduled_event_id == token.scheduled_event_id and task.attempt == token.attempt:
            assert task.started_event_id == token.started_event_id, "a workflow task was given away before its start was stored"
        self.seen["workflow task"] += 1

    async def poll_activity_task_queue(self, request: PollActivityTaskQueueRequest) -> PollActivityTaskQueueResponse:
        response: PollActivityTaskQueueResponse = await self.service.poll_activity_task_queue(request)
        if response.task_token:
            token = decode_token(response.task_token, ACTIVITY)
            stored = self._stored(token.run_id)
            if stored.row.status == 1:
                activity = fold(stored).run.activities.get(token.scheduled_event_id)
                started = activity is not None and (activity.state, activity.attempt) == (STARTED, token.attempt)
                assert started, "an activity was given away before its start was stored"
            self.seen["activity task"] += 1
        return response

    async def respond_activity_task_completed(self, request: RespondActivityTaskCompletedRequest) -> RespondActivityTaskCompletedResponse:
        token = decode_token(request.task_token, ACTIVITY)
        response: RespondActivityTaskCompletedResponse = await self.service.respond_activity_task_completed(request)
        assert self._activity(token) is None, "a result was acknowledged and is not stored"
        self.seen["result"] += 1
        return response
