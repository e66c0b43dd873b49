"""The way from a workflow to the handlers of its Nexus operations: starts and cancellations requested, again until they are answered.

What is to be requested says the run (`Run.unsent`); `Deliveries` finds it, after a crash too, and hands it over here, since a handler
may take long and must not keep other deliveries waiting. Each answer is recorded by an ordinary transaction of the caller.

The rule a newcomer would get wrong: how often a request was tried is known in memory only. After a restart the count begins anew; the
request has the same id, by which its handler knows it again.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable, Sequence

from temporalio.api.common.v1 import Link
from temporalio.api.enums.v1 import NexusOperationCancellationState, PendingNexusOperationState
from temporalio.api.failure.v1 import Failure
from temporalio.api.nexus.v1 import Link as NexusLink
from temporalio.api.nexus.v1 import StartOperationResponse
from temporalio.api.workflow.v1 import NexusOperationCancellationInfo, PendingNexusOperationInfo
from temporalio.api.workflowservice.v1 import RespondNexusTaskFailedRequest

from perdure.engine.back_pressure import is_crowded, make_room
from perdure.engine.core import outbound
from perdure.engine.core.nexus import OperationRequest, find
from perdure.engine.core.nexus_answers import CancelAnswered, OperationAnswer, OperationEnded, OperationStarted
from perdure.engine.core.nexus_links import from_nexus
from perdure.engine.core.state import Run
from perdure.engine.core.times import set_ns
from perdure.engine.live_runs import LiveRuns
from perdure.engine.nexus.endpoints import SYSTEM, Endpoints
from perdure.engine.nexus.failures import is_retryable, of_engine, of_handler, of_nexus
from perdure.engine.nexus.system import SignalWithStart, perform
from perdure.engine.nexus.tasks import NexusTasks
from perdure.engine.transactions import StaleRun, Transactions
from perdure.engine.waiting import wait_until
from perdure.model.clock import Clock
from perdure.model.errors import StorageError
from perdure.model.rpc import RpcError, StatusCode

logger = logging.getLogger("perdure.engine")

REQUEST_SECONDS = 10
"""An answer that has not come by then is not waited for; the request is sent again."""
BACKOFF_FIRST_SECONDS = 1.0
"""Before a request is sent again; doubled each time,"""
BACKOFF_MAX_SECONDS = 3600.0
"""up to this, and a fifth more or less at random."""
CALLS_MAX = 20_000
"""Requests under way, or waiting for their next attempt. Those beyond it are found again by the timer queue."""
CANCELLATION_SECONDS = 1
"""How long the end of an operation waits for the answer of the handler that is being asked to cancel it."""
RETRY_SECONDS = 0.5
"""Between two attempts to record an answer."""
_SECOND = 1_000_000_000
_TIMEOUT_HEADER = "operation-timeout"


class _Call:
    """A request that is not answered yet."""

    __slots__ = ("answered", "attempt", "failure", "last_time", "next_time")

    def __init__(self) -> None:
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """The answer is recorded, or nothing waits for it any more; or who waited for that has waited long enough."""
        self.attempt = 0
        self.last_time = 0
        """When the last attempt ended,"""
        self.next_time = 0
        """and when the next one comes; 0: one is under way."""
        self.failure: Failure | None = None


class Operations:
    """Requests to handlers."""

    def __init__(
        self,
        clock: Clock,
        runs: LiveRuns,
        transactions: Transactions,
        endpoints: Endpoints,
        tasks: NexusTasks,
        signal_with_start: SignalWithStart,
    ) -> None:
        """`signal_with_start` is what the engine's own endpoint does."""
        self._clock = clock
        self._runs = runs
        self._transactions = transactions
        self._endpoints = endpoints
        self._nexus_tasks = tasks
        self._signal_with_start = signal_with_start
        self._calls: dict[tuple[str, int], _Call] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def __repr__(self) -> str:
        return f"<Operations: {len(self._calls)} requests>"

    @property
    def in_flight(self) -> bool:
        """Whether any request is under way, or waits for its next attempt."""
        return bool(self._calls)

    def take_up(self, run: Run, message: OperationRequest) -> None:
        """Sees to it that a handler is asked what a run's durable state asks of it. Said twice, it is done once."""
        name = run.run_id, message.key
        if name in self._calls or len(self._calls) >= CALLS_MAX or self._closed:
            return
        call = self._calls[name] = _Call()
        task = asyncio.get_running_loop().create_task(self._pursue(name, call))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("A request to a Nexus handler broke", exc_info=task.exception())

    async def close(self) -> None:
        """Ends what is under way; what was not answered is named by its runs."""
        self._closed = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def cancellation_answered(self, run: Run, scheduled_event_id: int) -> None:
        """Returns when no handler is just being asked to cancel this operation, or after a while: that is to be heard before its end."""
        op = find(run, scheduled_event_id)
        call = None if op is None or not op.started else self._calls.get((run.run_id, op.cancel_event_id))
        if call is not None and not call.next_time and not call.answered.done():
            await wait_until(self._clock, call.answered, self._clock.now() + CANCELLATION_SECONDS * _SECOND, None)

    async def _pursue(self, name: tuple[str, int], call: _Call) -> None:
        """Asks until there is an answer, or nothing to ask for any more."""
        try:
            while (message := await self._wanted(name)) is not None:
                call.attempt += 1
                answer = await self._ask(message, call)
                if answer is not None:
                    await self._record(name[0], answer)
                    return
                call.last_time = self._clock.now()
                seconds = min(BACKOFF_FIRST_SECONDS * 2 ** min(call.attempt - 1, 20), BACKOFF_MAX_SECONDS)
                call.next_time = call.last_time + int(seconds * random.uniform(0.8, 1.2) * _SECOND)
                await self._clock.sleep_until(call.next_time)
                call.next_time = 0
        finally:
            del self._calls[name]
            if not call.answered.done():
                call.answered.set_result(None)

    async def _wanted(self, name: tuple[str, int]) -> OperationRequest | None:
        while True:
            try:
                live = await self._runs.load(name[0])
            except StorageError:
                await self._clock.sleep_until(self._clock.now() + int(RETRY_SECONDS * _SECOND))
                continue
            message = None if live is None else outbound.message(live.run, name[1])
            return message if isinstance(message, OperationRequest) else None

    async def _ask(self, message: OperationRequest, call: _Call) -> OperationAnswer | None:
        """One attempt; None if there has to be another."""
        starts = message.request.HasField("start_operation")
        failure: Failure | None
        endpoint = self._endpoints.by_id.get(message.operation.attributes.endpoint_id)
        if message.operation.attributes.endpoint_id == SYSTEM:
            done = await perform(message, self._signal_with_start)
            if isinstance(done, OperationEnded):
                return done
            failure = done
        elif endpoint is None:
            failure = of_engine("NOT_FOUND", "endpoint not registered")
        else:
            now = self._clock.now()
            deadline = now + REQUEST_SECONDS * _SECOND
            if message.deadline:
                deadline = min(deadline, message.deadline)
                message.request.header[_TIMEOUT_HEADER] = f"{max(1, (message.deadline - now) // 1_000_000)}ms"
            worker = endpoint.spec.target.worker
            answer = await self._nexus_tasks.ask(worker.namespace, worker.task_queue, message.request, deadline)
            if answer is None:
                failure = of_engine("UPSTREAM_TIMEOUT", "upstream timeout")
            elif isinstance(answer, RespondNexusTaskFailedRequest):
                failure = answer.failure if answer.HasField("failure") else of_handler(answer.error)
            elif starts:
                return _outcome(message, answer.response.start_operation)
            else:
                return CancelAnswered(message.key)
        call.failure = failure
        if is_retryable(failure):
            return None
        if starts:
            return OperationEnded(message.key, message.operation.attributes.request_id, failure=failure)
        return CancelAnswered(message.key, failure)

    async def _record(self, run_id: str, answer: OperationAnswer) -> None:
        """Records an answer; again until it is durable, or nothing waits for it any more."""
        while not self._closed:
            try:
                live = await self._runs.load(run_id)
                if live is None:
                    return
                if is_crowded(live):
                    await make_room(live, self._clock)
                    continue
                await self._transactions.run(live, answer)
                return
            except StaleRun:
                continue
            except (RpcError, StorageError) as error:
                if isinstance(error, RpcError) and error.code is StatusCode.NOT_FOUND:
                    return
                logger.debug("The answer to a Nexus request of run %s is recorded later: %s", run_id, error)
            await self._clock.sleep_until(self._clock.now() + int(RETRY_SECONDS * _SECOND))

    def describe(self, run: Run, pending: Iterable[PendingNexusOperationInfo]) -> None:
        """Adds what is known of attempts to what is shown of a run's pending operations."""
        for info in pending:
            call = self._calls.get((run.run_id, info.scheduled_event_id))
            if call is not None and _show_attempts(call, info):
                info.state = PendingNexusOperationState.PENDING_NEXUS_OPERATION_STATE_BACKING_OFF
            op = None if run.operations is None else run.operations.get(info.scheduled_event_id)
            call = None if op is None else self._calls.get((run.run_id, op.cancel_event_id))
            if call is not None and _show_attempts(call, info.cancellation_info):
                info.cancellation_info.state = NexusOperationCancellationState.NEXUS_OPERATION_CANCELLATION_STATE_BACKING_OFF


def _show_attempts(call: _Call, shown: PendingNexusOperationInfo | NexusOperationCancellationInfo) -> bool:
    """Adds the attempts of a request; whether it waits for its next one."""
    shown.attempt = call.attempt
    if call.next_time:
        set_ns(shown.next_attempt_schedule_time, call.next_time)
    if call.last_time:
        set_ns(shown.last_attempt_complete_time, call.last_time)
    if call.failure is not None:
        shown.last_attempt_failure.CopyFrom(call.failure)
    return bool(call.next_time)


def _outcome(message: OperationRequest, response: StartOperationResponse) -> OperationAnswer:
    """What a handler's answer to a start means for the caller."""
    request_id = message.operation.attributes.request_id
    variant = response.WhichOneof("variant")
    if variant == "sync_success":
        sync = response.sync_success
        return OperationEnded(
            message.key, request_id, sync.payload if sync.HasField("payload") else None, links=_links(response.sync_success.links)
        )
    if variant == "async_success":
        started = response.async_success
        return OperationStarted(message.key, started.operation_token or started.operation_id, _links(started.links))
    if variant == "failure":
        failure = response.failure
        return OperationEnded(message.key, request_id, failure=failure, canceled=failure.HasField("canceled_failure_info"))
    if variant == "operation_error":
        told = response.operation_error
        return OperationEnded(message.key, request_id, failure=of_nexus(told.failure), canceled=told.operation_state == "canceled")
    return OperationEnded(message.key, request_id, failure=of_engine("INTERNAL", "the handler's answer is empty"))


def _links(links: Sequence[NexusLink]) -> list[Link]:
    return [link for link in map(from_nexus, links) if link is not None]
