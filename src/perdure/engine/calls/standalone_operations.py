"""Nexus operations without a workflow: RPCs on the engine."""

from __future__ import annotations

from typing import Final

from temporalio.api.nexus.v1 import NexusOperationExecutionListInfo
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    CountNexusOperationExecutionsRequest,
    CountNexusOperationExecutionsResponse,
    DeleteNexusOperationExecutionRequest,
    DeleteNexusOperationExecutionResponse,
    DescribeNexusOperationExecutionRequest,
    DescribeNexusOperationExecutionResponse,
    ListNexusOperationExecutionsRequest,
    ListNexusOperationExecutionsResponse,
    PollNexusOperationExecutionRequest,
    PollNexusOperationExecutionResponse,
    RequestCancelNexusOperationExecutionRequest,
    RequestCancelNexusOperationExecutionResponse,
    StartNexusOperationExecutionRequest,
    StartNexusOperationExecutionResponse,
    TerminateNexusOperationExecutionRequest,
    TerminateNexusOperationExecutionResponse,
)

from perdure.engine.calls.base import Calls, rpc
from perdure.engine.core.search_attributes import KEYWORD
from perdure.engine.core.standalone_operation_views import STATUS, service_of
from perdure.engine.core.standalone_operations import SERVICE
from perdure.engine.core.state import OPERATION_MARK
from perdure.engine.visibility.listing import count, list_page
from perdure.engine.visibility.query import Wanted, read_query

_ALIASES: Final = {"OperationId": "WorkflowId", "Operation": "WorkflowType", "Endpoint": "TaskQueue", "Service": SERVICE}


class StandaloneOperationCalls(Calls):
    """What clients do with Nexus operations that have no workflow."""

    @rpc
    async def start_nexus_operation_execution(self, request: StartNexusOperationExecutionRequest) -> StartNexusOperationExecutionResponse:
        """Starts an operation; durable when it returns."""
        self._namespace_for_starts(request.namespace)
        return await self.engine.standalone_operations.start(request)

    @rpc
    async def describe_nexus_operation_execution(
        self, request: DescribeNexusOperationExecutionRequest
    ) -> DescribeNexusOperationExecutionResponse:
        """An operation's state."""
        self._namespace(request.namespace)
        return await self.engine.standalone_operations.describe(request)

    @rpc
    async def poll_nexus_operation_execution(self, request: PollNexusOperationExecutionRequest) -> PollNexusOperationExecutionResponse:
        """Waits for what comes of an operation."""
        self._namespace(request.namespace)
        return await self.engine.standalone_operations.poll(request)

    @rpc
    async def request_cancel_nexus_operation_execution(
        self, request: RequestCancelNexusOperationExecutionRequest
    ) -> RequestCancelNexusOperationExecutionResponse:
        """Asks an operation's handler to stop it."""
        self._namespace(request.namespace)
        live = await self.engine.standalone_operations.find(request.namespace, request.operation_id, request.run_id)
        await self.engine.transactions.run(live, request)
        return RequestCancelNexusOperationExecutionResponse()

    @rpc
    async def terminate_nexus_operation_execution(
        self, request: TerminateNexusOperationExecutionRequest
    ) -> TerminateNexusOperationExecutionResponse:
        """Ends an operation at once."""
        self._namespace(request.namespace)
        live = await self.engine.standalone_operations.find(request.namespace, request.operation_id, request.run_id)
        await self.engine.transactions.run(live, request)
        return TerminateNexusOperationExecutionResponse()

    @rpc
    async def delete_nexus_operation_execution(
        self, request: DeleteNexusOperationExecutionRequest
    ) -> DeleteNexusOperationExecutionResponse:
        """Deletes an operation, ending it first if it is open."""
        self._namespace(request.namespace)
        live = await self.engine.standalone_operations.find(request.namespace, request.operation_id, request.run_id)
        await self.engine.deletions.delete(live)
        return DeleteNexusOperationExecutionResponse()

    @rpc
    async def list_nexus_operation_executions(self, request: ListNexusOperationExecutionsRequest) -> ListNexusOperationExecutionsResponse:
        """A page of those that a query finds."""
        wanted = self._wanted_operations(request.namespace, request.query, grouping=False)
        reader, present, kept_in = self.engine.reader, self.engine.present, request.namespace + OPERATION_MARK
        page = await list_page(reader, present, kept_in, wanted.condition, request.page_size, request.next_page_token)
        return ListNexusOperationExecutionsResponse(operations=[_list_info(info) for info in page.executions], next_page_token=page.token)

    @rpc
    async def count_nexus_operation_executions(
        self, request: CountNexusOperationExecutionsRequest
    ) -> CountNexusOperationExecutionsResponse:
        """How many a query finds."""
        wanted = self._wanted_operations(request.namespace, request.query, grouping=True)
        counted = await count(self.engine.reader, request.namespace + OPERATION_MARK, wanted)
        response = CountNexusOperationExecutionsResponse(count=counted.count)
        for group in counted.groups:
            response.groups.add(count=group.count, group_values=group.group_values)
        return response

    def _wanted_operations(self, namespace: str, query: str, *, grouping: bool) -> Wanted:
        self._namespace(namespace)
        custom = {**self.engine.namespaces.get(namespace).attributes, SERVICE: KEYWORD}
        return read_query(query, custom, grouping=grouping, aliases=_ALIASES)


def _list_info(info: WorkflowExecutionInfo) -> NexusOperationExecutionListInfo:
    attributes = info.search_attributes.indexed_fields
    shown = NexusOperationExecutionListInfo(
        operation_id=info.execution.workflow_id,
        run_id=info.execution.run_id,
        endpoint=info.task_queue,
        service=service_of(attributes.pop(SERVICE)),
        operation=info.type.name,
        status=STATUS[info.status],
    )
    shown.schedule_time.CopyFrom(info.start_time)
    shown.search_attributes.CopyFrom(info.search_attributes)
    if info.HasField("close_time"):
        shown.close_time.CopyFrom(info.close_time)
        shown.execution_duration.CopyFrom(info.execution_duration)
        shown.state_transition_count, shown.state_size_bytes = info.state_transition_count, info.history_size_bytes
    return shown
