"""Nexus operations without a workflow: which one an id means, whether there may be another, and what is shown of them."""

from __future__ import annotations

from functools import partial

from temporalio.api.callback.v1 import CallbackInfo
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import NexusOperationWaitStage
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflowservice.v1 import (
    DescribeNexusOperationExecutionRequest,
    DescribeNexusOperationExecutionResponse,
    PollNexusOperationExecutionRequest,
    PollNexusOperationExecutionResponse,
    StartNexusOperationExecutionRequest,
    StartNexusOperationExecutionResponse,
)

from perdure.engine.core import Run
from perdure.engine.core.callbacks import infos
from perdure.engine.core.nexus import find as find_operation
from perdure.engine.core.nexus import pending_info
from perdure.engine.core.others import CALL_BACK
from perdure.engine.core.standalone_operation_views import operation_execution_info, outcome_of, scheduled_attributes
from perdure.engine.core.standalone_operations import SCHEDULED, answer_existing, check_start, start_operation
from perdure.engine.core.standalone_runs import attaches
from perdure.engine.core.state import OPERATION_MARK
from perdure.engine.history_reads import WAIT_SECONDS
from perdure.engine.live_runs import LiveRun, LiveRuns
from perdure.engine.nexus.operations import Operations
from perdure.engine.standalone import Standalone, token_of
from perdure.engine.transactions import Transactions
from perdure.model.clock import Clock
from perdure.model.rpc import invalid_argument

_STARTED = NexusOperationWaitStage.NEXUS_OPERATION_WAIT_STAGE_STARTED
_CLOSED = NexusOperationWaitStage.NEXUS_OPERATION_WAIT_STAGE_CLOSED


class StandaloneOperations:
    """StartNexusOperationExecution and what shows an operation."""

    def __init__(self, runs: LiveRuns, transactions: Transactions, standalone: Standalone, operations: Operations, clock: Clock) -> None:
        self._runs = runs
        self._transactions = transactions
        self._standalone = standalone
        self._operations = operations
        self._clock = clock

    async def find(self, namespace: str, operation_id: str, run_id: str) -> LiveRun:
        """The run of an operation.

        Raises:
            RpcError: NOT_FOUND; INVALID_ARGUMENT without an id.
        """
        if not operation_id:
            raise invalid_argument("operation_id is required")
        return await self._runs.find(namespace + OPERATION_MARK, operation_id, run_id)

    async def start(self, request: StartNexusOperationExecutionRequest) -> StartNexusOperationExecutionResponse:
        """Starts an operation, or finds the one that answers the request; what it returns is durable.

        Raises:
            RpcError: it is refused: ALREADY_EXISTS, INVALID_ARGUMENT, NOT_FOUND for the endpoint.
        """
        environment = self._transactions.environment
        check_start(request, environment.search_attributes(request.namespace), environment.payload_bytes_max)
        namespace = request.namespace + OPERATION_MARK

        def answer(run: Run) -> StartNexusOperationExecutionResponse | None:
            return answer_existing(run, request)

        make = partial(start_operation, namespace, request)
        reply = await self._standalone.begin(namespace, request.operation_id, request, answer, make)
        if not reply.started and attaches(request):
            await self._transactions.run(await self._runs.find(namespace, request.operation_id, reply.run_id), request)
        return reply

    async def describe(self, request: DescribeNexusOperationExecutionRequest) -> DescribeNexusOperationExecutionResponse:
        """An operation as it is durable now; with a token, once it is no longer as it was then, or after a while.

        Raises:
            RpcError: NOT_FOUND; INVALID_ARGUMENT for a token that is none.
        """
        find = partial(self.find, request.namespace, request.operation_id)
        live = await self._standalone.seen(find, request.run_id, request.long_poll_token)
        run, events = live.run, await self._standalone.events(live)
        operation = find_operation(run, SCHEDULED)
        pending = None if operation is None else pending_info(operation)
        if pending is not None:
            self._operations.describe(run, [pending])
        response = DescribeNexusOperationExecutionResponse(run_id=run.run_id)
        response.info.CopyFrom(operation_execution_info(run, events, pending, live.durable_version))
        for known in infos(run, CALL_BACK not in run.unsent):
            shown = response.completion_callbacks.add()
            shown.trigger.operation_completed.SetInParent()
            shown.info.MergeFrom(CallbackInfo(callback=known.callback, registration_time=known.registration_time))
            shown.info.state, shown.info.request_id = known.state, known.request_id
        if not run.closed:
            response.long_poll_token = token_of(live)
        if request.include_input:
            response.input.CopyFrom(scheduled_attributes(events).input)
        if request.include_outcome and run.closed:
            _put_outcome(response, outcome_of(events[-1]))
        return response

    async def poll(self, request: PollNexusOperationExecutionRequest) -> PollNexusOperationExecutionResponse:
        """Waits until an operation has come as far as is asked, by default to its end, or for a while; the reply says how far it has.

        Raises:
            RpcError: NOT_FOUND.
        """
        live = await self.find(request.namespace, request.operation_id, request.run_id)
        if request.wait_stage == _STARTED:
            live = await self._until_started(live)
        response = PollNexusOperationExecutionResponse(run_id=live.run.run_id)
        if request.wait_stage != _STARTED or live.run.closed:
            closed = await self._standalone.close_event(live.run)
            if closed is not None:
                response.wait_stage = _CLOSED
                _put_outcome(response, outcome_of(closed))
        live = await self.find(request.namespace, request.operation_id, live.run.run_id)
        await self._transactions.settled(live)
        operation = find_operation(live.run, SCHEDULED)
        if operation is not None and operation.started and not response.wait_stage:
            response.wait_stage, response.operation_token = _STARTED, operation.operation_token
        return response

    async def _until_started(self, live: LiveRun) -> LiveRun:
        run, deadline = live.run, self._clock.now() + WAIT_SECONDS * 1_000_000_000
        while not run.closed:
            operation = find_operation(run, SCHEDULED)
            if operation is not None and operation.started:
                break
            if not await self._standalone.changed(live, deadline):
                break
            live = await self._runs.find(run.namespace, run.workflow_id, run.run_id)
            run = live.run
        await self._transactions.settled(live)
        return live


def _put_outcome(
    response: DescribeNexusOperationExecutionResponse | PollNexusOperationExecutionResponse, outcome: Payload | Failure
) -> None:
    if isinstance(outcome, Payload):
        response.result.CopyFrom(outcome)
    else:
        response.failure.CopyFrom(outcome)
