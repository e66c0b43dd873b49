"""Activities without a workflow: which one an id means, whether there may be another, and what is shown of them."""

from __future__ import annotations

from functools import partial

from temporalio.api.activity.v1 import ActivityExecutionOutcome
from temporalio.api.callback.v1 import CallbackInfo
from temporalio.api.workflowservice.v1 import (
    DescribeActivityExecutionRequest,
    DescribeActivityExecutionResponse,
    PollActivityExecutionRequest,
    PollActivityExecutionResponse,
    StartActivityExecutionRequest,
    StartActivityExecutionResponse,
)

from perdure.engine.core import Run
from perdure.engine.core.callbacks import infos
from perdure.engine.core.others import CALL_BACK
from perdure.engine.core.standalone import answer_existing, check_start, start_standalone
from perdure.engine.core.standalone_runs import attaches
from perdure.engine.core.standalone_views import activity_execution_info, outcome_of, scheduled_attributes
from perdure.engine.core.state import STANDALONE_MARK
from perdure.engine.live_runs import LiveRun, LiveRuns
from perdure.engine.standalone import Standalone, token_of
from perdure.engine.transactions import Transactions
from perdure.model.rpc import invalid_argument


class StandaloneActivities:
    """StartActivityExecution and what shows an activity."""

    def __init__(self, runs: LiveRuns, transactions: Transactions, standalone: Standalone) -> None:
        self._runs = runs
        self._transactions = transactions
        self._standalone = standalone

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
        environment = self._transactions.environment
        check_start(request, environment.search_attributes(request.namespace), environment.payload_bytes_max)
        namespace = request.namespace + STANDALONE_MARK

        def answer(run: Run) -> StartActivityExecutionResponse | None:
            return answer_existing(run, request)

        make = partial(start_standalone, namespace, request)
        reply = await self._standalone.begin(namespace, request.activity_id, request, answer, make)
        if not reply.started and attaches(request):
            await self._transactions.run(await self._runs.find(namespace, request.activity_id, reply.run_id), request)
        return reply

    async def describe(self, request: DescribeActivityExecutionRequest) -> DescribeActivityExecutionResponse:
        """An activity as it is durable now; with a token, once it is no longer as it was then, or after a while.

        Raises:
            RpcError: NOT_FOUND; INVALID_ARGUMENT for a token that is none.
        """
        find = partial(self.find, request.namespace, request.activity_id)
        live = await self._standalone.seen(find, request.run_id, request.long_poll_token)
        events = await self._standalone.events(live)
        response = DescribeActivityExecutionResponse(run_id=live.run.run_id)
        response.info.CopyFrom(activity_execution_info(live.run, events, live.durable_version))
        for known in infos(live.run, CALL_BACK not in live.run.unsent):
            shown = response.callbacks.add()
            shown.trigger.activity_closed.SetInParent()
            shown.info.MergeFrom(CallbackInfo(callback=known.callback, registration_time=known.registration_time))
            shown.info.state, shown.info.request_id = known.state, known.request_id
        if not live.run.closed:
            response.long_poll_token = token_of(live)
        if request.include_input:
            response.input.CopyFrom(scheduled_attributes(events).input)
        if request.include_outcome and live.run.closed:
            response.outcome.CopyFrom(outcome_of(events[-1]))
        return response

    async def poll(self, request: PollActivityExecutionRequest) -> PollActivityExecutionResponse:
        """What came of an activity; without an outcome when it is still open after a while.

        Raises:
            RpcError: NOT_FOUND.
        """
        live = await self.find(request.namespace, request.activity_id, request.run_id)
        response = PollActivityExecutionResponse(run_id=live.run.run_id)
        closed = await self._standalone.close_event(live.run)
        if closed is not None:
            outcome: ActivityExecutionOutcome = outcome_of(closed)
            response.outcome.CopyFrom(outcome)
        return response
