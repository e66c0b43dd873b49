"""What schedules do to workflows: start them, cancel or terminate those in the way.

The rule a newcomer would get wrong: a start may have been made before, by a step that was cut off. Its request id says so; and
where the workflow has gone on as another run since, the first run of the chain that is in the way says so.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.errordetails.v1 import WorkflowExecutionAlreadyStartedFailure
from temporalio.api.workflowservice.v1 import (
    RequestCancelWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
    StartWorkflowExecutionResponse,
    TerminateWorkflowExecutionRequest,
)

from perdure.engine.core.schedules import policies
from perdure.engine.core.schedules.requests import start_request
from perdure.engine.core.schedules.state import Action, ScheduleState
from perdure.engine.live_runs import LiveRuns
from perdure.engine.starts import Starts
from perdure.engine.transactions import Transactions
from perdure.model.clock import Clock
from perdure.model.rpc import RpcError, StatusCode

logger = logging.getLogger("perdure.engine")

STARTED_TOGETHER_MAX: Final = 50
"""Starts of one schedule under way at a time."""
_TRY_AGAIN: Final = frozenset((StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED, StatusCode.ABORTED, StatusCode.INTERNAL))


class Actions:
    """Carries out what a schedule has decided, durably, before."""

    def __init__(self, starts: Starts, runs: LiveRuns, transactions: Transactions, clock: Clock) -> None:
        self._starts = starts
        self._runs = runs
        self._transactions = transactions
        self._clock = clock

    async def start(self, state: ScheduleState) -> None:
        """Starts what is in `starting`, and puts down in the state what came of it; what is to be tried again stays."""
        actions = list(state.starting)
        for first in range(0, len(actions), STARTED_TOGETHER_MAX):
            some = actions[first : first + STARTED_TOGETHER_MAX]
            requests = [start_request(state, action) for action in some]
            run_ids = await asyncio.gather(*(self._start(state, action, request) for action, request in zip(some, requests, strict=True)))
            for action, request, run_id in zip(some, requests, run_ids, strict=True):
                if run_id:
                    policies.started(state, action, request.workflow_id, run_id, self._clock.now())
                elif run_id is None:
                    policies.not_started(state, action)

    async def _start(self, state: ScheduleState, action: Action, request: StartWorkflowExecutionRequest) -> str | None:
        """The run's id; None: it cannot be started; empty: try again."""
        try:
            reply = await self._starts.start(request)
            return reply.run_id if isinstance(reply, StartWorkflowExecutionResponse) else None
        except RpcError as error:
            refusal = error
        if refusal.code in _TRY_AGAIN and self._clock.now() < policies.retries_until(state, action):
            return ""
        run_id = await self._started_before(refusal, request)
        if run_id is None:
            logger.warning("Schedule %s could not start workflow %s: %s", state.schedule_id, request.workflow_id, refusal)
        return run_id

    async def _started_before(self, refusal: RpcError, request: StartWorkflowExecutionRequest) -> str | None:
        if not isinstance(refusal.detail, WorkflowExecutionAlreadyStartedFailure) or not refusal.detail.first_execution_run_id:
            return None
        live = await self._runs.load(refusal.detail.first_execution_run_id)
        return live.run.run_id if live is not None and live.run.start_request_id == request.request_id else None

    async def stop_running(self, state: ScheduleState) -> None:
        """Cancels or terminates the workflows that an action waits for. Repeating it changes nothing."""
        identity = f"temporal-scheduler-{state.namespace}-{state.schedule_id}"
        for execution in list(state.info.running_workflows):
            named = WorkflowExecution(workflow_id=execution.workflow_id)
            request: TerminateWorkflowExecutionRequest | RequestCancelWorkflowExecutionRequest
            if state.terminating:
                request = TerminateWorkflowExecutionRequest(reason="terminated by schedule overlap policy")
            else:
                request = RequestCancelWorkflowExecutionRequest(
                    reason="cancelled by schedule overlap policy", request_id=f"{state.uid}-cancel-{execution.run_id}"
                )
            request.namespace, request.identity, request.first_execution_run_id = state.namespace, identity, execution.run_id
            request.workflow_execution.CopyFrom(named)
            await self._stop(execution, request)

    async def _stop(
        self, execution: WorkflowExecution, request: TerminateWorkflowExecutionRequest | RequestCancelWorkflowExecutionRequest
    ) -> None:
        try:
            live = await self._runs.find(request.namespace, execution.workflow_id, "")
            if live.run.first_run_id == execution.run_id:
                await self._transactions.run(live, request)
        except RpcError as refusal:
            if refusal.code is not StatusCode.NOT_FOUND:  # it has closed, or was deleted: that is heard
                raise
