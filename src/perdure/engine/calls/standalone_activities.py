"""What clients do with activities that have no workflow: RPCs on the engine."""

from __future__ import annotations

from typing import Final

from temporalio.api.activity.v1 import ActivityExecutionListInfo
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    CountActivityExecutionsRequest,
    CountActivityExecutionsResponse,
    DeleteActivityExecutionRequest,
    DeleteActivityExecutionResponse,
    DescribeActivityExecutionRequest,
    DescribeActivityExecutionResponse,
    ListActivityExecutionsRequest,
    ListActivityExecutionsResponse,
    PollActivityExecutionRequest,
    PollActivityExecutionResponse,
    RequestCancelActivityExecutionRequest,
    RequestCancelActivityExecutionResponse,
    StartActivityExecutionRequest,
    StartActivityExecutionResponse,
    TerminateActivityExecutionRequest,
    TerminateActivityExecutionResponse,
)

from perdure.engine.calls.base import Calls, rpc
from perdure.engine.core.standalone_views import STATUS
from perdure.engine.core.state import STANDALONE_MARK
from perdure.engine.visibility.listing import count, list_page
from perdure.engine.visibility.query import Wanted, read_query

_ALIASES: Final = {"ActivityId": "WorkflowId", "ActivityType": "WorkflowType", "ActivityRunId": "RunId"}


class StandaloneActivityCalls(Calls):
    """What clients do with activities that have no workflow."""

    @rpc
    async def start_activity_execution(self, request: StartActivityExecutionRequest) -> StartActivityExecutionResponse:
        """Starts an activity; durable when it returns."""
        self._namespace_for_starts(request.namespace)
        return await self.engine.standalone_activities.start(request)

    @rpc
    async def describe_activity_execution(self, request: DescribeActivityExecutionRequest) -> DescribeActivityExecutionResponse:
        """An activity's state."""
        self._namespace(request.namespace)
        return await self.engine.standalone_activities.describe(request)

    @rpc
    async def poll_activity_execution(self, request: PollActivityExecutionRequest) -> PollActivityExecutionResponse:
        """Waits for what comes of an activity."""
        self._namespace(request.namespace)
        return await self.engine.standalone_activities.poll(request)

    @rpc
    async def request_cancel_activity_execution(
        self, request: RequestCancelActivityExecutionRequest
    ) -> RequestCancelActivityExecutionResponse:
        """Asks an activity to stop."""
        self._namespace(request.namespace)
        live = await self.engine.standalone_activities.find(request.namespace, request.activity_id, request.run_id)
        await self.engine.transactions.run(live, request)
        return RequestCancelActivityExecutionResponse()

    @rpc
    async def terminate_activity_execution(self, request: TerminateActivityExecutionRequest) -> TerminateActivityExecutionResponse:
        """Ends an activity at once."""
        self._namespace(request.namespace)
        live = await self.engine.standalone_activities.find(request.namespace, request.activity_id, request.run_id)
        await self.engine.transactions.run(live, request)
        return TerminateActivityExecutionResponse()

    @rpc
    async def delete_activity_execution(self, request: DeleteActivityExecutionRequest) -> DeleteActivityExecutionResponse:
        """Deletes an activity, ending it first if it is open."""
        self._namespace(request.namespace)
        live = await self.engine.standalone_activities.find(request.namespace, request.activity_id, request.run_id)
        await self.engine.deletions.delete(live)
        return DeleteActivityExecutionResponse()

    @rpc
    async def list_activity_executions(self, request: ListActivityExecutionsRequest) -> ListActivityExecutionsResponse:
        """A page of those that a query finds."""
        wanted = self._wanted(request.namespace, request.query, grouping=False)
        reader, present = self.engine.reader, self.engine.present
        page = await list_page(
            reader, present, request.namespace + STANDALONE_MARK, wanted.condition, request.page_size, request.next_page_token
        )
        return ListActivityExecutionsResponse(executions=[_list_info(info) for info in page.executions], next_page_token=page.token)

    @rpc
    async def count_activity_executions(self, request: CountActivityExecutionsRequest) -> CountActivityExecutionsResponse:
        """How many a query finds."""
        wanted = self._wanted(request.namespace, request.query, grouping=True)
        counted = await count(self.engine.reader, request.namespace + STANDALONE_MARK, wanted)
        response = CountActivityExecutionsResponse(count=counted.count)
        for group in counted.groups:
            response.groups.add(count=group.count, group_values=group.group_values)
        return response

    def _wanted(self, namespace: str, query: str, *, grouping: bool) -> Wanted:
        self._namespace(namespace)
        return read_query(query, self.engine.namespaces.get(namespace).attributes, grouping=grouping, aliases=_ALIASES)


def _list_info(info: WorkflowExecutionInfo) -> ActivityExecutionListInfo:
    shown = ActivityExecutionListInfo(activity_id=info.execution.workflow_id, run_id=info.execution.run_id, status=STATUS[info.status])
    shown.activity_type.name, shown.task_queue = info.type.name, info.task_queue
    shown.schedule_time.CopyFrom(info.start_time)
    shown.execution_time.CopyFrom(info.execution_time)
    shown.search_attributes.CopyFrom(info.search_attributes)
    if info.HasField("close_time"):
        shown.close_time.CopyFrom(info.close_time)
        shown.execution_duration.CopyFrom(info.execution_duration)
        shown.state_transition_count, shown.state_size_bytes = info.state_transition_count, info.history_size_bytes
    return shown
