"""The end of a run, or of an update, brought to the operations that wait for it.

The rule a newcomer would get wrong: who is told twice hears it once, since an operation that has ended is no longer pending; so the
telling and the note that it was done are two transactions.
"""

from __future__ import annotations

from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import History
from temporalio.api.update.v1 import Outcome as UpdateOutcome

from perdure.engine.back_pressure import is_crowded, make_room
from perdure.engine.core import codes, standalone_views
from perdure.engine.core.callbacks import OPERATION_TOKEN_HEADER, TOKEN_HEADER, Attached, CallbackToken, decode_token, link_to
from perdure.engine.core.nexus_answers import OperationEnded
from perdure.engine.core.standalone_operation_views import outcome_of
from perdure.engine.live_runs import LiveRun, LiveRuns
from perdure.engine.nexus.operations import Operations
from perdure.engine.transactions import StaleRun, Transactions
from perdure.model.clock import Clock
from perdure.model.rpc import RpcError, StatusCode, unavailable

ATTEMPTS_MAX = 10
"""How often one is told anew at once because its run changed meanwhile."""


class Callbacks:
    """How those are called back who wait for the end of a run."""

    def __init__(self, clock: Clock, runs: LiveRuns, transactions: Transactions, operations: Operations) -> None:
        self._clock = clock
        self._runs = runs
        self._transactions = transactions
        self._operations = operations

    async def call_back(self, live: LiveRun, attached: Attached, updated: UpdateOutcome | None = None) -> None:
        """Tells one operation how a closed run has ended, or an update of a run.

        Raises:
            RpcError, StorageError: that is not possible now.
        """
        token = decode_token(attached.header(TOKEN_HEADER))
        if token is None:
            return
        answer = _answer(live, attached, token, _end(live) if updated is None else _update_end(updated))
        for _ in range(ATTEMPTS_MAX):
            try:
                caller = await self._caller(token)
                if caller is None:
                    return
                if is_crowded(caller):
                    await make_room(caller, self._clock)
                    continue
                await self._operations.cancellation_answered(caller.run, token.scheduled_event_id)
                if caller.evicted:
                    continue
                await self._transactions.run(caller, answer)
                return
            except StaleRun:
                continue
            except RpcError as error:
                if error.code is StatusCode.NOT_FOUND:
                    return
                raise
        raise unavailable("the workflow that waits for an operation is being changed by others all the time")

    async def _caller(self, token: CallbackToken) -> LiveRun | None:
        """The run that waits: the one that asked, or what that was reset to; None if there is none any more."""
        caller = await self._runs.find(token.namespace, token.workflow_id, token.run_id)
        if not caller.run.closed:
            return caller
        await self._transactions.settled(caller)
        current = await self._runs.find(token.namespace, token.workflow_id, "")
        same = current.run.start.original_execution_run_id == caller.run.start.original_execution_run_id
        return current if same and not current.run.closed else None


def _answer(live: LiveRun, attached: Attached, token: CallbackToken, end: tuple[Payload | None, Failure | None, bool]) -> OperationEnded:
    result, failure, canceled = end
    return OperationEnded(
        token.scheduled_event_id,
        token.request_id,
        result,
        failure,
        canceled,
        attached.header(OPERATION_TOKEN_HEADER),
        [link_to(live.run, attached.request_id, attached.event_type)],
    )


def _update_end(outcome: UpdateOutcome) -> tuple[Payload | None, Failure | None, bool]:
    if outcome.HasField("failure"):
        return None, outcome.failure, False
    payloads = outcome.success.payloads
    return (payloads[0] if payloads else None), None, False


def _end(live: LiveRun) -> tuple[Payload | None, Failure | None, bool]:
    """What a closed run has to say to those who wait for it: a result, or a failure, and whether it was cancelled."""
    event = History.FromString(live.close_event).events[0]
    if live.run.standalone:
        of_activity = standalone_views.outcome_of(event)
        if of_activity.HasField("failure"):
            return None, of_activity.failure, live.run.status == codes.CANCELED
        payloads = of_activity.result.payloads
        return (payloads[0] if payloads else None), None, False
    failure = Failure()
    if event.event_type == codes.WORKFLOW_COMPLETED:
        payloads = event.workflow_execution_completed_event_attributes.result.payloads
        return (payloads[0] if payloads else None), None, False
    if event.event_type == codes.WORKFLOW_FAILED:
        failure.CopyFrom(event.workflow_execution_failed_event_attributes.failure)
    elif event.event_type == codes.WORKFLOW_CANCELED:
        failure.message = "operation canceled"
        failure.canceled_failure_info.details.CopyFrom(event.workflow_execution_canceled_event_attributes.details)
    elif live.run.lone_operation:
        outcome = outcome_of(event)
        canceled = live.run.status == codes.CANCELED
        return (outcome, None, False) if isinstance(outcome, Payload) else (None, outcome, canceled)
    elif event.event_type == codes.WORKFLOW_TERMINATED:
        failure.message = "operation terminated"
        failure.terminated_failure_info.SetInParent()
    else:
        failure.message = "operation exceeded internal timeout"
        failure.timeout_failure_info.timeout_type = codes.START_TO_CLOSE
    return None, failure, live.run.status == codes.CANCELED
