"""Queries: a question to a run's code, which records nothing.

A query goes to a worker in one of two ways (2.7): *directly*, as a task of its own, when the run has no workflow task pending;
else *buffered*, on the next workflow task that starts, so that it is answered after what that task will do. It leaves once the
state that it will show is durable.

The rule a newcomer would get wrong: a buffered query that its task did not answer stays for the next one if there is a next
one, and is asked anew otherwise: also when the task has gone with its run, or with a pause. It is lost only with its caller.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

from temporalio.api.enums.v1 import QueryResultType, ResourceExhaustedCause
from temporalio.api.query.v1 import WorkflowQuery, WorkflowQueryResult
from temporalio.api.workflowservice.v1 import (
    PollWorkflowTaskQueueResponse,
    QueryWorkflowRequest,
    QueryWorkflowResponse,
    ResetStickyTaskQueueRequest,
    RespondQueryTaskCompletedRequest,
)

from perdure.engine.core import QueryRoute, TaskKind, query_route
from perdure.engine.live_runs import LiveRun, LiveRuns
from perdure.engine.matching import Matching, QueueKey
from perdure.engine.placing import Placing
from perdure.engine.transactions import Transactions
from perdure.engine.waiting import wait_until
from perdure.model.clock import Clock
from perdure.model.ids import uuid4_text
from perdure.model.patience import wait_seconds
from perdure.model.rpc import RpcError, deadline_exceeded, invalid_argument, not_found, query_failed, resource_exhausted, unavailable

TOKEN_MARK = b"query:"
"""How the token of a query's task begins."""
ANSWER_SECONDS_MAX = 30
"""A query that no worker has answered by then fails; sooner, if its caller waits for less."""
STICKY_SECONDS = 10
"""Of these, how long the worker that knows the run is waited for before any other is asked, unless it says something else itself."""
BUFFERED_MAX = 10
"""Queries that wait for one run's next workflow task; a further one is told to come back."""
_SECOND = 1_000_000_000
_ANSWERED = QueryResultType.QUERY_RESULT_TYPE_ANSWERED
_FAILED = QueryResultType.QUERY_RESULT_TYPE_FAILED
_LATE = WorkflowQueryResult()


class QueryTask(NamedTuple):
    """A query on its way to a worker, as a task of its own."""

    response: PollWorkflowTaskQueueResponse
    """Without history: a worker on the run's sticky queue needs none."""
    run_id: str
    last_event_id: int
    answer: asyncio.Future[WorkflowQueryResult | None]


class _Buffered(NamedTuple):
    query: WorkflowQuery
    answer: asyncio.Future[WorkflowQueryResult | None]
    """None: ask directly."""


class Queries:
    """Questions under way."""

    def __init__(self, clock: Clock, runs: LiveRuns, transactions: Transactions, matching: Matching, placing: Placing) -> None:
        self._clock = clock
        self._runs = runs
        self._transactions = transactions
        self._matching = matching
        self._placing = placing
        self._asked: dict[bytes, asyncio.Future[WorkflowQueryResult | None]] = {}
        self._buffered: dict[str, dict[str, _Buffered]] = {}
        self._closed = False

    async def ask(self, request: QueryWorkflowRequest) -> QueryWorkflowResponse:
        """The RPC."""
        execution = request.execution
        deadline = self._clock.now() + int(wait_seconds(ANSWER_SECONDS_MAX) * _SECOND)
        while True:
            live = await self._runs.find(request.namespace, execution.workflow_id, execution.run_id)
            await self._transactions.settled(live)
            if self._closed:
                raise unavailable("the engine is closing")
            route = query_route(live.run, request.query_reject_condition, deadline)
            if route is QueryRoute.REJECTED:
                if live.pending:
                    continue  # it has closed while we waited: that has to be durable too
                return _rejected(live)
            result = await (self._direct if route is QueryRoute.DIRECT else self._buffer)(live, request.query, deadline)
            if result is not None:
                break
        if result.result_type == _ANSWERED:
            response = QueryWorkflowResponse()
            response.query_result.CopyFrom(result.answer)
            return response
        raise query_failed(result.error_message, result.failure if result.HasField("failure") else None)

    async def _direct(self, live: LiveRun, query: WorkflowQuery, deadline: int) -> WorkflowQueryResult:
        run = live.run
        response = PollWorkflowTaskQueueResponse(previous_started_event_id=run.previous_started_event_id, attempt=1)
        response.workflow_execution.workflow_id = run.workflow_id
        response.workflow_execution.run_id = run.run_id
        response.workflow_type.name = run.workflow_type
        response.workflow_execution_task_queue.name = run.task_queue
        response.query.CopyFrom(query)
        response.history.SetInParent()  # empty, but there: SDKs take a task without it for broken
        if run.sticky_queue:
            key = QueueKey(TaskKind.WORKFLOW, run.namespace, run.sticky_queue)
            if self._matching.sticky_gone(key):
                self._forget_sticky(live, key.name)
            else:
                until = self._clock.now() + (run.sticky_timeout or STICKY_SECONDS * _SECOND)
                result = await self._send(live, response, key, min(deadline, until))
                if result is not None:
                    return result
                if until < deadline:
                    self._forget_sticky(live, key.name)
        result = await self._send(live, response, self._placing.key(run, TaskKind.WORKFLOW, run.task_queue), deadline)
        if result is None:
            raise deadline_exceeded(f'no worker answered the query in time; is one running on the task queue "{run.task_queue}"?')
        return result

    def _forget_sticky(self, live: LiveRun, queue: str) -> None:
        """The worker of this queue does not answer: the run's next workflow task need not wait for it either."""
        if not live.evicted and live.run.sticky_queue == queue:
            with suppress(RpcError):
                self._transactions.run_in_background(live, ResetStickyTaskQueueRequest())

    async def _send(
        self, live: LiveRun, response: PollWorkflowTaskQueueResponse, key: QueueKey, deadline: int
    ) -> WorkflowQueryResult | None:
        token = TOKEN_MARK + uuid4_text().encode()
        answer: asyncio.Future[WorkflowQueryResult | None] = asyncio.get_running_loop().create_future()
        task = QueryTask(PollWorkflowTaskQueueResponse(), live.run.run_id, live.durable_next_event_id - 1, answer)
        task.response.CopyFrom(response)
        task.response.task_token = token
        self._asked[token] = answer
        self._matching.adopt(task, key)
        try:
            return await wait_until(self._clock, answer, deadline, None)
        finally:
            del self._asked[token]
            answer.cancel()
            self._withdraw(task, key)

    def _withdraw(self, task: QueryTask, key: QueueKey) -> None:
        """Where nobody polls, nobody would throw it away. (One that has moved to another queue meanwhile is passed over there.)"""
        queue = self._matching.find(key)
        if queue is not None and queue.orphans:
            queue.orphans = deque(each for each in queue.orphans if each is not task)

    async def _buffer(self, live: LiveRun, query: WorkflowQuery, deadline: int) -> WorkflowQueryResult | None:
        run_id = live.run.run_id
        waiting = self._buffered.setdefault(run_id, {})
        if len(waiting) >= BUFFERED_MAX:
            cause = ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_BUSY_WORKFLOW
            raise resource_exhausted(f"{BUFFERED_MAX} queries already wait for workflow {live.run.workflow_id}; try again", cause)
        answer: asyncio.Future[WorkflowQueryResult | None] = asyncio.get_running_loop().create_future()
        query_id = uuid4_text()
        waiting[query_id] = _Buffered(query, answer)
        try:
            result = await wait_until(self._clock, answer, deadline, _LATE)
        finally:
            waiting.pop(query_id, None)
            if not waiting and self._buffered.get(run_id) is waiting:
                del self._buffered[run_id]
        if result is _LATE:
            raise deadline_exceeded(
                f"the workflow task of workflow {live.run.workflow_id} has not been done in time; "
                f'is a worker running on the task queue "{live.run.task_queue}"?'
            )
        return result

    def answer(self, request: RespondQueryTaskCompletedRequest) -> None:
        """A worker answers a query that was a task of its own."""
        if not request.task_token.startswith(TOKEN_MARK):
            raise invalid_argument("Error deserializing task token." if request.task_token else "Task token not set on request.")
        answer = self._asked.get(request.task_token)
        if answer is None or answer.done():
            raise not_found("query task not found, or already expired")
        result = WorkflowQueryResult(result_type=request.completed_type, error_message=request.error_message)
        if request.HasField("query_result"):
            result.answer.CopyFrom(request.query_result)
        if request.HasField("failure"):
            result.failure.CopyFrom(request.failure)
        answer.set_result(self._bounded(result))

    def _bounded(self, result: WorkflowQueryResult) -> WorkflowQueryResult:
        if result.ByteSize() <= self._transactions.environment.payload_bytes_max:
            return result
        return WorkflowQueryResult(result_type=_FAILED, error_message="query result exceeds size limit")

    def attach(self, run_id: str, response: PollWorkflowTaskQueueResponse) -> None:
        """Puts the queries that wait for a run on its workflow task."""
        waiting = self._buffered.get(run_id)
        if waiting:
            for query_id, buffered in waiting.items():
                response.queries[query_id].CopyFrom(buffered.query)

    def completed(self, live: LiveRun, results: Mapping[str, WorkflowQueryResult]) -> None:
        """A workflow task is complete, durably: its answers go out, and what it left open goes on its way."""
        waiting = self._buffered.get(live.run.run_id)
        if not waiting:
            return
        another_task = live.run.task is not None
        for query_id, buffered in list(waiting.items()):
            if buffered.answer.done():
                continue
            if query_id in results:
                result = WorkflowQueryResult()
                result.CopyFrom(results[query_id])
                buffered.answer.set_result(self._bounded(result))
            elif not another_task:
                buffered.answer.set_result(None)

    def task_gone(self, live: LiveRun) -> None:
        """A run has no workflow task any more, and did not complete one: what waited for it is asked anew."""
        if live.run.run_id in self._buffered:
            self.completed(live, {})

    def forget(self, run_id: str) -> None:
        """A run's state in memory was lost: its queries fail, and are asked again."""
        for buffered in self._buffered.pop(run_id, {}).values():
            if not buffered.answer.done():
                buffered.answer.set_exception(unavailable("the workflow was reloaded while the query waited; try again"))

    def close(self) -> None:
        """Every caller is told that the engine closes, and so is who comes later."""
        self._closed = True
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(unavailable("the engine is closing"))
        for run_id in list(self._buffered):
            self.forget(run_id)


def _rejected(live: LiveRun) -> QueryWorkflowResponse:
    response = QueryWorkflowResponse()
    response.query_rejected.status = live.run.status
    return response
