"""Starting runs: which run a workflow id means, and whether there may be another.

A start is optimistic: where memory knows no run of that id, it is written as if there were none, and the storage says whether
that was so. A new id, the usual case, costs no read.

The rule a newcomer would get wrong: two starts of one id at the same moment meet in memory, since the first is entered as the
current run before it is durable. The second one's answer shows the first, and waits until it is durable. Nor may a run follow
another whose end is not durable yet: if that failed, two would be open.
"""

from __future__ import annotations

import asyncio
from typing import TypeAlias

from google.protobuf.message import Message
from temporalio.api.workflowservice.v1 import (
    SignalWithStartWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
    UpdateWorkflowExecutionRequest,
)

from perdure.engine.back_pressure import make_room, make_way
from perdure.engine.core import (
    Outcome,
    StartDecision,
    add_eager_task,
    check_attributes,
    current_run,
    decide_start,
    existing_reply,
    start,
    validate_start,
)
from perdure.engine.live_runs import LiveRun, LiveRuns
from perdure.engine.matching import Matching
from perdure.engine.namespaces import Namespaces
from perdure.engine.transactions import StaleRun, Transactions, current_row
from perdure.model.clock import Clock
from perdure.model.rpc import RpcError, unavailable

StartRequest: TypeAlias = StartWorkflowExecutionRequest | SignalWithStartWorkflowExecutionRequest

ATTEMPTS_MAX = 10
"""How often a start decides anew because the current run changed under it."""


class Starts:
    """StartWorkflowExecution and SignalWithStartWorkflowExecution."""

    def __init__(self, runs: LiveRuns, transactions: Transactions, matching: Matching, clock: Clock, namespaces: Namespaces) -> None:
        self._runs = runs
        self._matching = matching
        self._clock = clock
        self._namespaces = namespaces
        self._transactions = transactions

    async def start(self, request: StartRequest) -> Message:
        """Starts a run, or finds the one that answers the request; what it returns is durable.

        Raises:
            RpcError: it is refused: ALREADY_EXISTS, INVALID_ARGUMENT.
        """
        validate_start(request, self._transactions.environment.payload_bytes_max)
        if request.HasField("search_attributes"):
            check_attributes(request, self._namespaces.get(request.namespace).attributes)
        queue = self._matching.find_workflows(request.namespace, request.task_queue.name)
        if queue is not None and queue.is_crowded():
            await make_way(queue, self._clock)
        for _ in range(ATTEMPTS_MAX):
            existing = self._runs.get_current(request.namespace, request.workflow_id)
            try:
                if existing is not None and existing.pending and (existing.run.closed or not existing.durable_version):
                    await self._transactions.settled(existing)
                    continue
                if existing is None:
                    return await self._start(request, None, terminate=False)
                return await self._decide(request, existing)
            except StaleRun:
                if self._runs.get_current(request.namespace, request.workflow_id) is None:
                    await self._runs.load_current(request.namespace, request.workflow_id)
        raise unavailable(f"workflow id {request.workflow_id} keeps changing hands; try again")

    async def _decide(self, request: StartRequest, existing: LiveRun) -> Message:
        current = current_run(existing.run)
        decision = decide_start(current, request)
        if decision in (StartDecision.DEDUP, StartDecision.ATTACHED):
            await self._transactions.settled(existing)
            reply = existing_reply(current, request, decision)
            if isinstance(request, StartWorkflowExecutionRequest) and request.request_eager_execution and decision is StartDecision.DEDUP:
                add_eager_task(existing.run, reply)
            return reply
        if decision is StartDecision.USE_EXISTING:
            return await self._use(existing, request)
        return await self._start(request, existing, terminate=decision is StartDecision.TERMINATE_EXISTING)

    async def _use(self, existing: LiveRun, request: StartRequest) -> Message:
        if isinstance(request, SignalWithStartWorkflowExecutionRequest):
            await make_room(existing, self._clock)
            if existing.evicted or existing.run.closed:
                raise StaleRun
        outcome = await self._transactions.run(existing, request)
        return reply_of(outcome)

    async def _start(self, request: StartRequest, existing: LiveRun | None, *, terminate: bool) -> Message:
        _, outcome, durable = self.launch(request, existing, terminate=terminate)
        await durable
        return reply_of(outcome)

    def launch(
        self,
        request: StartRequest,
        existing: LiveRun | None,
        *,
        terminate: bool,
        update: UpdateWorkflowExecutionRequest | None = None,
    ) -> tuple[LiveRun, Outcome, asyncio.Future[None]]:
        """Makes a run that may be made, asks it for an update if there is one, and sends it on its way: durable when the future is done."""
        environment = self._transactions.environment
        environment.begin()
        replaced = None if existing is None else existing.run
        try:
            run, outcome = start(request, environment, replaced if terminate else None, update=update)
        except RpcError:
            environment.release_reserved()
            raise
        except Exception as error:
            environment.release_reserved()
            raise self._transactions.broken(request, existing if terminate else None, error) from error
        live = LiveRun(run, 0)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transactions.submit(live, outcome, future, current_row(run, replaced))
        self._runs.add(live, current=True)  # after that: what cannot be written is not there
        return live, outcome, future


def reply_of(outcome: Outcome) -> Message:
    """What the core answered."""
    if outcome.reply is None:
        raise AssertionError("the core left a request without an answer")
    return outcome.reply
