"""Worker deployments and their versions: RPCs of the contract."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

from temporalio.api.workflowservice.v1 import (
    CreateWorkerDeploymentRequest,
    CreateWorkerDeploymentResponse,
    CreateWorkerDeploymentVersionRequest,
    CreateWorkerDeploymentVersionResponse,
    DeleteWorkerDeploymentRequest,
    DeleteWorkerDeploymentResponse,
    DeleteWorkerDeploymentVersionRequest,
    DeleteWorkerDeploymentVersionResponse,
    DescribeWorkerDeploymentRequest,
    DescribeWorkerDeploymentResponse,
    DescribeWorkerDeploymentVersionRequest,
    DescribeWorkerDeploymentVersionResponse,
    ListWorkerDeploymentsRequest,
    ListWorkerDeploymentsResponse,
    SetWorkerDeploymentCurrentVersionRequest,
    SetWorkerDeploymentCurrentVersionResponse,
    SetWorkerDeploymentManagerRequest,
    SetWorkerDeploymentManagerResponse,
    SetWorkerDeploymentRampingVersionRequest,
    SetWorkerDeploymentRampingVersionResponse,
    UpdateWorkerDeploymentVersionMetadataRequest,
    UpdateWorkerDeploymentVersionMetadataResponse,
)


class DeploymentRpcs(Protocol):
    """Worker deployments and their versions. A version comes into being with the first poll of one of its workers."""

    def describe_worker_deployment(
        self, request: DescribeWorkerDeploymentRequest, /
    ) -> Coroutine[Any, Any, DescribeWorkerDeploymentResponse]:
        """A deployment, its versions and its routing."""
        ...

    def describe_worker_deployment_version(
        self, request: DescribeWorkerDeploymentVersionRequest, /
    ) -> Coroutine[Any, Any, DescribeWorkerDeploymentVersionResponse]:
        """A version, and the queues that its workers poll."""
        ...

    def list_worker_deployments(self, request: ListWorkerDeploymentsRequest, /) -> Coroutine[Any, Any, ListWorkerDeploymentsResponse]:
        """The deployments of a namespace."""
        ...

    def set_worker_deployment_current_version(
        self, request: SetWorkerDeploymentCurrentVersionRequest, /
    ) -> Coroutine[Any, Any, SetWorkerDeploymentCurrentVersionResponse]:
        """Sends what is not pinned to the workers of a version; FAILED_PRECONDITION when the conflict token is old."""
        ...

    def set_worker_deployment_ramping_version(
        self, request: SetWorkerDeploymentRampingVersionRequest, /
    ) -> Coroutine[Any, Any, SetWorkerDeploymentRampingVersionResponse]:
        """Sends a part of what is not pinned to the workers of a version."""
        ...

    def create_worker_deployment(self, request: CreateWorkerDeploymentRequest, /) -> Coroutine[Any, Any, CreateWorkerDeploymentResponse]:
        """Makes a deployment before its workers poll; ALREADY_EXISTS for one that is there."""
        ...

    def create_worker_deployment_version(
        self, request: CreateWorkerDeploymentVersionRequest, /
    ) -> Coroutine[Any, Any, CreateWorkerDeploymentVersionResponse]:
        """Makes a version before its workers poll; NOT_FOUND where there is no such deployment."""
        ...

    def delete_worker_deployment(self, request: DeleteWorkerDeploymentRequest, /) -> Coroutine[Any, Any, DeleteWorkerDeploymentResponse]:
        """Forgets a deployment; FAILED_PRECONDITION as long as it has versions."""
        ...

    def delete_worker_deployment_version(
        self, request: DeleteWorkerDeploymentVersionRequest, /
    ) -> Coroutine[Any, Any, DeleteWorkerDeploymentVersionResponse]:
        """Forgets a version; FAILED_PRECONDITION while it is current, ramping or polled, or drains and that is not to be skipped."""
        ...

    def update_worker_deployment_version_metadata(
        self, request: UpdateWorkerDeploymentVersionMetadataRequest, /
    ) -> Coroutine[Any, Any, UpdateWorkerDeploymentVersionMetadataResponse]:
        """Adds and removes what users note of a version."""
        ...

    def set_worker_deployment_manager(
        self, request: SetWorkerDeploymentManagerRequest, /
    ) -> Coroutine[Any, Any, SetWorkerDeploymentManagerResponse]:
        """Says who alone may change a deployment."""
        ...
