"""ExecuteMultiOperation: start a workflow, or find it, and ask it for an update, as one (4.10).

Decides, in this order: an update of this id that is completed answers at once; a run that is open gets the update alone, if it is
the one that this request started, knows the update or may be used; else the policies say whether a run is made, and it begins
with the update admitted: its first workflow task brings it along.

The rule a newcomer would get wrong: each operation has a status of its own. The one that is not at fault is ABORTED with a mark that
says so, and the status of the whole is the other's.
"""

from __future__ import annotations

from typing import Final, NoReturn

from temporalio.api.errordetails.v1 import MultiOperationExecutionFailure
from temporalio.api.failure.v1 import MultiOperationExecutionAborted
from temporalio.api.workflowservice.v1 import (
    ExecuteMultiOperationRequest,
    ExecuteMultiOperationResponse,
    StartWorkflowExecutionRequest,
    StartWorkflowExecutionResponse,
    UpdateWorkflowExecutionRequest,
)

from perdure.engine.core import StartDecision, check_attributes, current_run, decide_start, update_state, validate_start
from perdure.engine.core.codes import STAGE_COMPLETED
from perdure.engine.live_runs import LiveRun, LiveRuns
from perdure.engine.namespaces import Namespaces
from perdure.engine.starts import Starts, reply_of
from perdure.engine.transactions import StaleRun, Transactions
from perdure.engine.updates import Updates, Watch
from perdure.model.rpc import RpcError, StatusCode, aborted, invalid_argument, unavailable

ATTEMPTS_MAX = 10
"""How often it is decided anew because the current run changed."""
_WHAT: Final = "Update-with-Start could not be executed."
_START, _UPDATE = 0, 1


class UpdateWithStart:
    """The one multi-operation that there is."""

    def __init__(self, runs: LiveRuns, transactions: Transactions, starts: Starts, updates: Updates, namespaces: Namespaces) -> None:
        self._runs = runs
        self._transactions = transactions
        self._starts = starts
        self._updates = updates
        self._namespaces = namespaces

    async def execute(self, request: ExecuteMultiOperationRequest) -> ExecuteMultiOperationResponse:
        """The RPC."""
        start, update = self._operations(request)
        chain = ""
        while True:
            reply, watch = await self._admit(start, update, chain)
            try:
                progress = await self._updates.wait(watch)
            except RpcError as error:
                if watch.closed and not chain:
                    chain = watch.live.run.first_run_id  # once more: the next run of the chain may take it
                    continue
                _refuse(_UPDATE, aborted(error.message) if watch.closed else error)
            response = ExecuteMultiOperationResponse()
            response.responses.add().start_workflow.CopyFrom(reply)
            response.responses.add().update_workflow.CopyFrom(self._updates.reply(update, watch, progress))
            return response

    def _operations(self, request: ExecuteMultiOperationRequest) -> tuple[StartWorkflowExecutionRequest, UpdateWorkflowExecutionRequest]:
        operations = request.operations
        if [each.WhichOneof("operation") for each in operations] != ["start_workflow", "update_workflow"]:
            raise invalid_argument("Operations have to be exactly [Start, Update].")
        start, update = operations[0].start_workflow, operations[1].update_workflow
        try:
            _check_start(request.namespace, start, self._transactions.environment.payload_bytes_max)
            if start.HasField("search_attributes"):
                check_attributes(start, self._namespaces.get(start.namespace).attributes)
        except RpcError as error:
            _refuse(_START, error)
        try:
            _check_target(request.namespace, start, update)
            self._updates.prepare(update)
        except RpcError as error:
            _refuse(_UPDATE, error)
        if not start.request_id:
            start.request_id = self._transactions.environment.new_uuid()
        return start, update

    async def _admit(
        self, start: StartWorkflowExecutionRequest, update: UpdateWorkflowExecutionRequest, chain: str
    ) -> tuple[StartWorkflowExecutionResponse, Watch]:
        """The run that has the update, and a watch on it: to be awaited at once; `chain`: of which a run was asked and ended."""
        namespace, workflow_id = start.namespace, start.workflow_id
        attached = not start.HasField("on_conflict_options")
        for _ in range(ATTEMPTS_MAX):
            live = self._runs.get_current(namespace, workflow_id) or await self._runs.load_current(namespace, workflow_id)
            try:
                if live is not None and live.evicted:
                    continue  # it left memory while this was awaited
                if live is not None and live.pending and (live.run.closed or not live.durable_version):
                    await self._transactions.settled(live)
                elif live is not None and not attached and _uses_existing(live, start):
                    await self._transactions.run(live, start)
                    attached = True
                elif live is not None and _takes_update(live, start, update, chain):
                    return await self._ask(live, start, update)
                else:
                    return await self._start(live, start, update)
            except StaleRun:
                continue
        raise unavailable(f"workflow id {workflow_id} keeps changing hands; try again")

    async def _ask(
        self, live: LiveRun, start: StartWorkflowExecutionRequest, update: UpdateWorkflowExecutionRequest
    ) -> tuple[StartWorkflowExecutionResponse, Watch]:
        run = live.run
        reply = StartWorkflowExecutionResponse(
            run_id=run.run_id, first_execution_run_id=run.first_run_id, started=start.request_id == run.start_request_id, status=run.status
        )
        try:
            return reply, await self._updates.ask(live, update)
        except RpcError as error:
            _refuse(_UPDATE, error)

    async def _start(
        self, live: LiveRun | None, start: StartWorkflowExecutionRequest, update: UpdateWorkflowExecutionRequest
    ) -> tuple[StartWorkflowExecutionResponse, Watch]:
        try:
            decision = StartDecision.START if live is None else decide_start(current_run(live.run), start)
        except RpcError as error:
            if live is not None:
                await self._transactions.settled(live)
            _refuse(_START, error)
        if decision not in (StartDecision.START, StartDecision.TERMINATE_EXISTING):
            # A closed run that this very request started: it will not take an update any more.
            return await self._ask_closed(live, start, update)
        try:
            new, outcome, durable = self._starts.launch(start, live, terminate=decision is StartDecision.TERMINATE_EXISTING, update=update)
        except RpcError as error:
            _refuse(_START, error)
        watch = self._updates.watch(new, update.request.meta.update_id, update.wait_policy.lifecycle_stage or STAGE_COMPLETED, asked=True)
        try:
            await durable
        except BaseException:
            self._updates.unwatch(watch)
            raise
        reply = reply_of(outcome)
        return reply if isinstance(reply, StartWorkflowExecutionResponse) else StartWorkflowExecutionResponse(), watch

    async def _ask_closed(
        self, live: LiveRun | None, start: StartWorkflowExecutionRequest, update: UpdateWorkflowExecutionRequest
    ) -> tuple[StartWorkflowExecutionResponse, Watch]:
        if live is None:
            raise StaleRun
        return await self._ask(live, start, update)


def _takes_update(live: LiveRun, start: StartWorkflowExecutionRequest, update: UpdateWorkflowExecutionRequest, chain: str) -> bool:
    """Whether the run that the workflow id means is to get the update, and no other is started."""
    run = live.run
    state = update_state(run, update.request.meta.update_id)
    if run.closed:
        return state is not None and state.completed_event_id > 0
    current = current_run(run)
    if state is not None or start.request_id == current.start_request_id or run.first_run_id == chain:
        return True
    try:
        return decide_start(current, start) in (StartDecision.USE_EXISTING, StartDecision.ATTACHED)
    except RpcError:
        return False


def _uses_existing(live: LiveRun, start: StartWorkflowExecutionRequest) -> bool:
    """Whether the start alone would find the run and attach to it what its `on_conflict_options` say."""
    try:
        return not live.run.closed and decide_start(current_run(live.run), start) is StartDecision.USE_EXISTING
    except RpcError:
        return False


def _check_start(namespace: str, start: StartWorkflowExecutionRequest, payload_bytes_max: int) -> None:
    if start.namespace and start.namespace != namespace:
        raise invalid_argument("Namespace of the operation is not that of the request.")
    start.namespace = namespace
    if start.cron_schedule:
        raise invalid_argument("CronSchedule is not allowed.")
    if start.request_eager_execution:
        raise invalid_argument("RequestEagerExecution is not supported.")
    if start.HasField("workflow_start_delay"):
        raise invalid_argument("WorkflowStartDelay is not supported.")
    validate_start(start, payload_bytes_max)


def _check_target(namespace: str, start: StartWorkflowExecutionRequest, update: UpdateWorkflowExecutionRequest) -> None:
    if update.namespace and update.namespace != namespace:
        raise invalid_argument("Namespace of the operation is not that of the request.")
    update.namespace = namespace
    if update.workflow_execution.workflow_id != start.workflow_id:
        raise invalid_argument("WorkflowId is not consistent with previous operation(s)")
    if update.workflow_execution.run_id:
        raise invalid_argument("RunId is not allowed.")
    if update.first_execution_run_id:
        raise invalid_argument("FirstExecutionRunId is not allowed.")


def _refuse(at_fault: int, error: RpcError) -> NoReturn:
    """Answers that one of the two operations could not be done."""
    failure = MultiOperationExecutionFailure()
    for operation in (_START, _UPDATE):
        status = failure.statuses.add()
        if operation == at_fault:
            status.code, status.message = error.code, error.message
            if error.detail is not None:
                status.details.add().Pack(error.detail)
        else:
            status.code, status.message = StatusCode.ABORTED, "Operation was aborted."
            status.details.add().Pack(MultiOperationExecutionAborted())
    raise RpcError(error.code, _WHAT, failure) from error
