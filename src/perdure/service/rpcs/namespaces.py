"""Namespaces: RPCs of the contract."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

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


class NamespaceRpcs(Protocol):
    """Namespaces."""

    def register_namespace(self, request: RegisterNamespaceRequest, /) -> Coroutine[Any, Any, RegisterNamespaceResponse]:
        """Makes one, with a retention of an hour at least. ALREADY_EXISTS when there is one of that name."""
        ...

    def describe_namespace(self, request: DescribeNamespaceRequest, /) -> Coroutine[Any, Any, DescribeNamespaceResponse]:
        """A namespace's settings, by name or id; NOT_FOUND when there is none."""
        ...

    def update_namespace(self, request: UpdateNamespaceRequest, /) -> Coroutine[Any, Any, UpdateNamespaceResponse]:
        """Changes what the request names: description, owner, data, state, retention, aliases of search attributes."""
        ...

    def list_namespaces(self, request: ListNamespacesRequest, /) -> Coroutine[Any, Any, ListNamespacesResponse]:
        """All of them, in pages."""
        ...

    def deprecate_namespace(self, request: DeprecateNamespaceRequest, /) -> Coroutine[Any, Any, DeprecateNamespaceResponse]:
        """From now on no workflow starts in it."""
        ...

    def delete_namespace(self, request: DeleteNamespaceRequest, /) -> Coroutine[Any, Any, DeleteNamespaceResponse]:
        """Nobody finds it any more; everything in it is deleted in the background. (Of the operator's service.)"""
        ...
