"""Finding workflows: RPCs on the engine."""

from __future__ import annotations

from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    CountWorkflowExecutionsResponse,
    ListClosedWorkflowExecutionsRequest,
    ListClosedWorkflowExecutionsResponse,
    ListOpenWorkflowExecutionsRequest,
    ListOpenWorkflowExecutionsResponse,
    ListWorkflowExecutionsRequest,
    ListWorkflowExecutionsResponse,
    ScanWorkflowExecutionsRequest,
    ScanWorkflowExecutionsResponse,
)

from perdure.engine.calls.base import Calls, rpc
from perdure.engine.visibility.legacy import closed_condition, open_condition
from perdure.engine.visibility.listing import Page, count, list_page
from perdure.engine.visibility.query import read_query
from perdure.storage.run_queries import Condition


class VisibilityCalls(Calls):
    """Finding workflows."""

    @rpc
    async def list_workflow_executions(self, request: ListWorkflowExecutionsRequest) -> ListWorkflowExecutionsResponse:
        """A page of those that a query finds."""
        page = await self._of_query(request.namespace, request.query, request.page_size, request.next_page_token)
        return ListWorkflowExecutionsResponse(executions=page.executions, next_page_token=page.token)

    @rpc
    async def scan_workflow_executions(self, request: ScanWorkflowExecutionsRequest) -> ScanWorkflowExecutionsResponse:
        """The same."""
        page = await self._of_query(request.namespace, request.query, request.page_size, request.next_page_token)
        return ScanWorkflowExecutionsResponse(executions=page.executions, next_page_token=page.token)

    @rpc
    async def count_workflow_executions(self, request: CountWorkflowExecutionsRequest) -> CountWorkflowExecutionsResponse:
        """How many a query finds."""
        wanted = read_query(request.query, self.engine.namespaces.get(request.namespace).attributes, grouping=True)
        return await count(self.engine.reader, request.namespace, wanted)

    @rpc
    async def list_open_workflow_executions(self, request: ListOpenWorkflowExecutionsRequest) -> ListOpenWorkflowExecutionsResponse:
        """A page of open ones."""
        page = await self._page(request.namespace, open_condition(request), request.maximum_page_size, request.next_page_token)
        return ListOpenWorkflowExecutionsResponse(executions=page.executions, next_page_token=page.token)

    @rpc
    async def list_closed_workflow_executions(self, request: ListClosedWorkflowExecutionsRequest) -> ListClosedWorkflowExecutionsResponse:
        """A page of closed ones."""
        page = await self._page(request.namespace, closed_condition(request), request.maximum_page_size, request.next_page_token)
        return ListClosedWorkflowExecutionsResponse(executions=page.executions, next_page_token=page.token)

    async def _of_query(self, namespace: str, query: str, page_size: int, token: bytes) -> Page:
        wanted = read_query(query, self.engine.namespaces.get(namespace).attributes)
        return await self._page(namespace, wanted.condition, page_size, token)

    async def _page(self, namespace: str, condition: Condition, page_size: int, token: bytes) -> Page:
        self._namespace(namespace)
        return await list_page(self.engine.reader, self.engine.present, namespace, condition, page_size, token)
