"""Search attributes: RPCs on the engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    AddSearchAttributesResponse,
    ListSearchAttributesRequest,
    ListSearchAttributesResponse,
    RemoveSearchAttributesRequest,
    RemoveSearchAttributesResponse,
)
from temporalio.api.workflowservice.v1 import GetSearchAttributesRequest, GetSearchAttributesResponse

from perdure.engine.calls.base import Calls, rpc
from perdure.engine.core.search_attributes import PREDEFINED, SERVER_ONLY, SYSTEM, Types
from perdure.model.rpc import invalid_argument

_EVERYWHERE: Types = {**SYSTEM, **PREDEFINED, **SERVER_ONLY}


class SearchAttributeCalls(Calls):
    """Search attributes."""

    @rpc
    async def add_search_attributes(self, request: AddSearchAttributesRequest) -> AddSearchAttributesResponse:
        """Adds them; usable when it returns."""
        if not request.search_attributes:
            raise invalid_argument("SearchAttributes are not set on request.")
        await self.engine.namespaces.add_attributes(request.namespace, request.search_attributes)
        return AddSearchAttributesResponse()

    @rpc
    async def remove_search_attributes(self, request: RemoveSearchAttributesRequest) -> RemoveSearchAttributesResponse:
        """Removes them."""
        if not request.search_attributes:
            raise invalid_argument("SearchAttributes are not set on request.")
        await self.engine.namespaces.remove_attributes(request.namespace, request.search_attributes)
        return RemoveSearchAttributesResponse()

    @rpc
    async def list_search_attributes(self, request: ListSearchAttributesRequest) -> ListSearchAttributesResponse:
        """A namespace's own, and those of every namespace."""
        own = self.engine.namespaces.get(request.namespace).attributes
        return ListSearchAttributesResponse(custom_attributes=_typed(own), system_attributes=_typed(_EVERYWHERE))

    @rpc
    async def get_search_attributes(self, request: GetSearchAttributesRequest) -> GetSearchAttributesResponse:
        """Those of every namespace, and those that any has."""
        own = {name: kind for namespace in self.engine.namespaces.by_name.values() for name, kind in namespace.attributes.items()}
        return GetSearchAttributesResponse(keys=_typed({**own, **_EVERYWHERE}))


def _typed(attributes: Types) -> Mapping[str, IndexedValueType.ValueType]:
    return cast(Mapping[str, IndexedValueType.ValueType], attributes)
