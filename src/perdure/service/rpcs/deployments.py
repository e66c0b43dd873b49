"""Worker deployments and their versions: RPCs of the contract."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

from temporalio.api.workflowservice.v1 import (
    DescribeWorkerDeploymentRequest,
    DescribeWorkerDeploymentResponse,
    DescribeWorkerDeploymentVersionRequest,
    DescribeWorkerDeploymentVersionResponse,
    ListWorkerDeploymentsRequest,
    ListWorkerDeploymentsResponse,
    SetWorkerDeploymentCurrentVersionRequest,
    SetWorkerDeploymentCurrentVersionResponse,
    SetWorkerDeploymentRampingVersionRequest,
    SetWorkerDeploymentRampingVersionResponse,
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
