"""Search attributes: RPCs of the contract."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    AddSearchAttributesResponse,
    ListSearchAttributesRequest,
    ListSearchAttributesResponse,
    RemoveSearchAttributesRequest,
    RemoveSearchAttributesResponse,
)
from temporalio.api.workflowservice.v1 import GetSearchAttributesRequest, GetSearchAttributesResponse


class SearchAttributeRpcs(Protocol):
    """Search attributes; all but the last are of the operator's service."""

    def add_search_attributes(self, request: AddSearchAttributesRequest, /) -> Coroutine[Any, Any, AddSearchAttributesResponse]:
        """Adds attributes to a namespace, usable at once. ALREADY_EXISTS when one of that name has another type."""
        ...

    def remove_search_attributes(self, request: RemoveSearchAttributesRequest, /) -> Coroutine[Any, Any, RemoveSearchAttributesResponse]:
        """Removes attributes of a namespace: nobody may set them or ask for them any more."""
        ...

    def list_search_attributes(self, request: ListSearchAttributesRequest, /) -> Coroutine[Any, Any, ListSearchAttributesResponse]:
        """Those of a namespace, and those that every namespace has, with their types."""
        ...

    def get_search_attributes(self, request: GetSearchAttributesRequest, /) -> Coroutine[Any, Any, GetSearchAttributesResponse]:
        """All names and types."""
        ...
