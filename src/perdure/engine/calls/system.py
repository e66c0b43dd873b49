"""What a caller asks first: RPCs on the engine."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from temporalio.api.namespace.v1 import NamespaceInfo
from temporalio.api.operatorservice.v1 import ListClustersRequest, ListClustersResponse
from temporalio.api.workflowservice.v1 import (
    GetClusterInfoRequest,
    GetClusterInfoResponse,
    GetSystemInfoRequest,
    GetSystemInfoResponse,
)

from perdure.engine.calls.base import Calls, rpc
from perdure.engine.core import limits
from perdure.engine.records import Conflict, Records
from perdure.engine.settings import EngineSettings
from perdure.model.ids import uuid4_text

SERVER_VERSION: Final = "1.32.0"
"""Of Temporal's server, whose behaviour this engine follows."""

CLUSTER: Final = "active"
INITIAL_FAILOVER_VERSION: Final = 1
SHARDS: Final = 1
_SDKS: Final = ("cli", "dotnet", "go", "java", "php", "python", "ruby", "server", "typescript")
SUPPORTED_CLIENTS: Final = {"temporal-ui": "<3.0.0", **{f"temporal-{name}": "<2.0.0" for name in _SDKS}}


def describe_abilities(info: NamespaceInfo, settings: EngineSettings) -> None:
    """What this engine can do in a namespace: flags say only what is true."""
    able = info.capabilities
    able.reported_problems_search_attribute = True
    able.eager_workflow_start = True
    able.sync_update = True
    able.async_update = True
    able.standalone_activities = True
    able.standalone_nexus_operation = True
    able.workflow_update_callbacks = True
    able.worker_heartbeats = True
    able.workflow_pause = True
    info.supports_schedules = True
    info.limits.blob_size_limit_error = settings.payload_bytes_max
    info.limits.memo_size_limit_error = limits.MEMO_BYTES_MAX


async def _cluster_id(records: Records) -> str:
    """Of what the storage holds: made when somebody asks for the first time."""
    while True:
        known = await records.get("cluster", "", "id")
        if known is not None:
            return known.data.decode()
        with suppress(Conflict):
            await records.put("cluster", "", "id", uuid4_text().encode(), expected_version=0)


class SystemCalls(Calls):
    """What a caller asks first."""

    @rpc
    async def get_system_info(self, request: GetSystemInfoRequest) -> GetSystemInfoResponse:
        """What this engine can do: flags say only what is true."""
        response = GetSystemInfoResponse(server_version=SERVER_VERSION)
        able = response.capabilities
        able.signal_and_query_header = True
        able.internal_error_differentiation = True
        able.activity_failure_include_heartbeat = True
        able.encoded_failure_attributes = True
        able.upsert_memo = True
        able.sdk_metadata = True
        able.count_group_by_execution_status = True
        able.supports_schedules = True
        able.eager_workflow_start = True
        able.nexus = True
        able.build_id_based_versioning = True
        return response

    @rpc
    async def get_cluster_info(self, request: GetClusterInfoRequest) -> GetClusterInfoResponse:
        """Which server this is, and what it keeps things in."""
        store = self.engine.storage.url.partition(":")[0]
        response = GetClusterInfoResponse(
            server_version=SERVER_VERSION, cluster_id=await _cluster_id(self.engine.records), cluster_name=CLUSTER
        )
        response.supported_clients.update(SUPPORTED_CLIENTS)
        response.version_info.current.version = SERVER_VERSION
        response.history_shard_count = SHARDS
        response.persistence_store = response.visibility_store = store
        response.initial_failover_version = INITIAL_FAILOVER_VERSION
        response.failover_version_increment = 10
        return response

    @rpc
    async def list_clusters(self, request: ListClustersRequest) -> ListClustersResponse:
        """This one: there is no replication between clusters."""
        response = ListClustersResponse()
        cluster_id = await _cluster_id(self.engine.records)
        response.clusters.add(
            cluster_name=CLUSTER,
            cluster_id=cluster_id,
            initial_failover_version=INITIAL_FAILOVER_VERSION,
            history_shard_count=SHARDS,
            is_connection_enabled=True,
            is_replication_enabled=False,
        )
        return response
