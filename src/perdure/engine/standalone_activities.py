"""Activities without a workflow: which one an id means, whether there may be another, and what is shown of them.

A start is optimistic as that of a workflow is (`starts`): where memory knows no activity of the id, it is written as if there were
none. What a description waits for is the run's next transaction; what a result waits for, its close event.
"""

from __future__ import annotations

import asyncio

from temporalio.api.activity.v1 import ActivityExecutionOutcome
from temporalio.api.enums.v1 import HistoryEventFilterType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import (
    DescribeActivityExecutionRequest,
    DescribeActivityExecutionResponse,
    GetWorkflowExecutionHistoryRequest,
    PollActivityExecutionRequest,
    PollActivityExecutionResponse,
    StartActivityExecutionRequest,
    StartActivityExecutionResponse,
)

from perdure.engine.core.standalone import answer_existing, check_start, start_standalone
from perdure.engine.core.standalone_views import activity_execution_info, outcome_of, scheduled_attributes
from perdure.engine.core.state import STANDALONE_MARK
from perdure.engine.history_reads import WAIT_SECONDS, HistoryReads
from perdure.engine.live_runs import LiveRun, LiveRuns
from perdure.engine.transactions import StaleRun, Transactions, current_row, settle
from perdure.model.clock import Clock
from perdure.model.rpc import RpcError, invalid_argument, unavailable

ATTEMPTS_MAX = 10
"""How often a start decides anew because the activity of that id changed under it."""
_SECOND = 1_000_000_000


class StandaloneActivities:
    """StartActivityExecution and what shows an activity."""

    def __init__(self, runs: LiveRuns, transactions: Transactions, history: HistoryReads, clock: Clock) -> None:
        self._runs = runs
        self._transactions = transactions
        self._history = history
        self._clock = clock

    async def find(self, namespace: str, activity_id: str, run_id: str) -> LiveRun:
        """The run of an activity.

        Raises:
            RpcError: NOT_FOUND; INVALID_ARGUMENT without an id.
        """
        if not activity_id:
            raise invalid_argument("ActivityId is not set on request.")
        return await self._runs.find(namespace + STANDALONE_MARK, activity_id, run_id)

    async def start(self, request: StartActivityExecutionRequest) -> StartActivityExecutionResponse:
        """Starts an activity, or finds the one that answers the request; what it returns is durable.

        Raises:
            RpcError: it is refused: ALREADY_EXISTS, INVALID_ARGUMENT.
        """
        check_start(request, self._transactions.environment.search_attributes(request.namespace))
        namespace = request.namespace + STANDALONE_MARK
        for _ in range(ATTEMPTS_MAX):
            existing = self._runs.get_current(namespace, request.activity_id)
            try:
                if existing is not None:
                    await self._transactions.settled(existing)
                    answer = answer_existing(existing.run, request)
                    if answer is not None:
                        return answer
                return await self._start(namespace, request, existing)
            except StaleRun:
                if self._runs.get_current(namespace, request.activity_id) is None:
                    await self._runs.load_current(namespace, request.activity_id)
        raise unavailable(f"activity id {request.activity_id} keeps changing hands; try again")

    async def _start(
        self, namespace: str, request: StartActivityExecutionRequest, existing: LiveRun | None
    ) -> StartActivityExecutionResponse:
        environment = self._transactions.environment
        environment.begin()
        try:
            outcome = start_standalone(namespace, request, environment)
        except RpcError:
            environment.release_reserved()
            raise
        except Exception as error:
            environment.release_reserved()
            raise self._transactions.broken(request, None, error) from error
        live = LiveRun(outcome.run, 0)
        self._runs.add(live, current=True)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transactions.submit(live, outcome, future, current_row(outcome.run, None if existing is None else existing.run))
        await future
        return StartActivityExecutionResponse(run_id=outcome.run.run_id, started=True)

    async def describe(self, request: DescribeActivityExecutionRequest) -> DescribeActivityExecutionResponse:
        """An activity as it is durable now; with a token, once it is no longer as it was then, or after a while.

        Raises:
            RpcError: NOT_FOUND; INVALID_ARGUMENT for a token that is none.
        """
        live = await self.find(request.namespace, request.activity_id, request.run_id)
        await self._transactions.settled(live)
        if request.long_poll_token:
            run_id, seen = _read_token(request.long_poll_token)
            if run_id == live.run.run_id and live.version == seen and not live.run.closed:
                await self._wait(live)
                live = await self.find(request.namespace, request.activity_id, run_id)
                await self._transactions.settled(live)
        events = await self._events(live)
        response = DescribeActivityExecutionResponse(run_id=live.run.run_id)
        response.info.CopyFrom(activity_execution_info(live.run, events, live.durable_version))
        if not live.run.closed:
            response.long_poll_token = f"{live.run.run_id}:{live.durable_version}".encode()
        if request.include_input:
            response.input.CopyFrom(scheduled_attributes(events).input)
        if request.include_outcome and live.run.closed:
            response.outcome.CopyFrom(outcome_of(events[-1]))
        return response

    async def _events(self, live: LiveRun) -> list[HistoryEvent]:
        return await self._history.events(live.run.run_id, 1, live.durable_next_event_id - 1)

    async def _wait(self, live: LiveRun) -> None:
        changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        live.waiting.append((live.version + 1, changed))
        ending = self._clock.call_at(self._clock.now() + WAIT_SECONDS * _SECOND, lambda: settle(changed, None))
        try:
            await changed
        finally:
            ending.cancel()

    async def poll(self, request: PollActivityExecutionRequest) -> PollActivityExecutionResponse:
        """What came of an activity; without an outcome when it is still open after a while.

        Raises:
            RpcError: NOT_FOUND.
        """
        live = await self.find(request.namespace, request.activity_id, request.run_id)
        run = live.run
        response = PollActivityExecutionResponse(run_id=run.run_id)
        wait = GetWorkflowExecutionHistoryRequest(namespace=run.namespace, wait_new_event=True)
        wait.execution.workflow_id, wait.execution.run_id = run.workflow_id, run.run_id
        wait.history_event_filter_type = HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT
        found = (await self._history.get(wait)).history.events
        if found:
            outcome: ActivityExecutionOutcome = outcome_of(found[0])
            response.outcome.CopyFrom(outcome)
        return response


def _read_token(token: bytes) -> tuple[str, int]:
    run_id, _, version = token.decode(errors="replace").partition(":")
    if not version.isdecimal():
        raise invalid_argument("Invalid LongPollToken.")
    return run_id, int(version)
