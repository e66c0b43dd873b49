"""Namespaces: RPCs on the engine."""

from __future__ import annotations

from typing import Final

from temporalio.api.operatorservice.v1 import DeleteNamespaceRequest, DeleteNamespaceResponse
from temporalio.api.workflowservice.v1 import (
    DeprecateNamespaceRequest,
    DeprecateNamespaceResponse,
    DescribeNamespaceRequest,
    DescribeNamespaceResponse,
    ListNamespacesRequest,
    ListNamespacesResponse,
    RegisterNamespaceRequest,
    RegisterNamespaceResponse,
    UpdateNamespaceRequest,
    UpdateNamespaceResponse,
)

from perdure.engine.calls.base import Calls, rpc
from perdure.engine.calls.system import describe_abilities
from perdure.engine.namespaces import Namespace
from perdure.engine.settings import EngineSettings
from perdure.model.rpc import invalid_argument

PAGE_MAX: Final = 100
"""Namespaces in a page, and as many as there are when nobody says."""


class NamespaceCalls(Calls):
    """Namespaces."""

    @rpc
    async def register_namespace(self, request: RegisterNamespaceRequest) -> RegisterNamespaceResponse:
        """Makes one; durable when it returns."""
        await self.engine.namespaces.register(request)
        return RegisterNamespaceResponse()

    @rpc
    async def describe_namespace(self, request: DescribeNamespaceRequest) -> DescribeNamespaceResponse:
        """A namespace's settings, by name or id."""
        return shown(self.engine.namespaces.find(request.namespace, request.id), self.engine.settings)

    @rpc
    async def update_namespace(self, request: UpdateNamespaceRequest) -> UpdateNamespaceResponse:
        """Changes what the request names; durable when it returns."""
        described = shown(await self.engine.namespaces.update(request), self.engine.settings)
        response = UpdateNamespaceResponse()
        response.namespace_info.CopyFrom(described.namespace_info)
        response.config.CopyFrom(described.config)
        response.replication_config.CopyFrom(described.replication_config)
        return response

    @rpc
    async def list_namespaces(self, request: ListNamespacesRequest) -> ListNamespacesResponse:
        """A page of them, by name."""
        try:
            after = request.next_page_token.decode()
        except UnicodeDecodeError:
            raise invalid_argument("Invalid NextPageToken.") from None
        limit = min(request.page_size, PAGE_MAX) if request.page_size > 0 else PAGE_MAX
        found = self.engine.namespaces.page(after, limit, deleted=request.namespace_filter.include_deleted)
        token = found[-1].name.encode() if len(found) == limit else b""
        return ListNamespacesResponse(namespaces=(shown(each, self.engine.settings) for each in found), next_page_token=token)

    @rpc
    async def deprecate_namespace(self, request: DeprecateNamespaceRequest) -> DeprecateNamespaceResponse:
        """From now on nothing starts in it."""
        await self.engine.namespaces.deprecate(request.namespace)
        return DeprecateNamespaceResponse()

    @rpc
    async def delete_namespace(self, request: DeleteNamespaceRequest) -> DeleteNamespaceResponse:
        """Hides it, and lets everything in it be deleted."""
        deleted = await self.engine.namespaces.delete(request.namespace, request.namespace_id)
        return DeleteNamespaceResponse(deleted_namespace=f"{deleted.name}-deleted-{deleted.described.namespace_info.id[:5]}")


def shown(namespace: Namespace, settings: EngineSettings) -> DescribeNamespaceResponse:
    """A namespace as callers see it: what is kept, and what the engine can do."""
    described = DescribeNamespaceResponse()
    described.CopyFrom(namespace.described)
    describe_abilities(described.namespace_info, settings)
    return described
