"""Nexus endpoints: names under which operations are reached, and the task queue that serves each. Kept as records, and all in memory.

The rule a newcomer would get wrong: an endpoint belongs to no namespace; what it names may be in any.
"""

from __future__ import annotations

import asyncio
import re

from temporalio.api.nexus.v1 import Endpoint, EndpointSpec

from perdure.engine.core.times import set_ns
from perdure.engine.namespaces import Namespaces
from perdure.engine.records import Conflict, Records
from perdure.model.clock import Clock
from perdure.model.ids import uuid4_text
from perdure.model.rpc import already_exists, failed_precondition, invalid_argument, not_found, unavailable

KIND = "nexus_endpoint"
SYSTEM = "__temporal_system"
"""The name and the id of the engine's own endpoint, which is in no list and which nobody can make (`system`)."""
NAME_BYTES_MAX = 200
DESCRIPTION_BYTES_MAX = 20_000
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9\-]*[a-zA-Z0-9]")


class Endpoints:
    """All endpoints of an engine."""

    def __init__(self, records: Records, namespaces: Namespaces, clock: Clock) -> None:
        self._records = records
        self._namespaces = namespaces
        self._clock = clock
        self._changing = asyncio.Lock()
        """Two changes at once could give two endpoints one name."""
        self.by_id: dict[str, Endpoint] = {}
        self.by_name: dict[str, Endpoint] = {}

    async def load(self) -> None:
        """Reads all of them."""
        for record in await self._records.list(KIND, "", limit=1_000_000):
            self._take(Endpoint.FromString(record.data))

    def get(self, endpoint_id: str) -> Endpoint:
        """An endpoint by its id.

        Raises:
            RpcError: NOT_FOUND; INVALID_ARGUMENT without an id.
        """
        found = self.by_id.get(endpoint_id)
        if found is None:
            raise not_found(f"could not find Nexus endpoint with ID: {endpoint_id}") if endpoint_id else _unset("ID")
        return found

    def id_of(self, name: str) -> str:
        """The id of the endpoint of this name; empty if there is none."""
        found = self.by_name.get(name)
        if found is None:
            return SYSTEM if name == SYSTEM else ""
        return found.id

    async def create(self, spec: EndpointSpec) -> Endpoint:
        """A new endpoint; durable, and usable, when it returns.

        Raises:
            RpcError: INVALID_ARGUMENT, FAILED_PRECONDITION (no such namespace), ALREADY_EXISTS.
        """
        self._check(spec)
        async with self._changing:
            if spec.name in self.by_name:
                raise already_exists(f"error creating Nexus endpoint. Endpoint with name {spec.name} already registered")
            endpoint = Endpoint(version=1, id=uuid4_text(), spec=spec)
            endpoint.url_prefix = f"/nexus/endpoints/{endpoint.id}/services"
            set_ns(endpoint.created_time, self._clock.now())
            return await self._put(endpoint)

    async def update(self, endpoint_id: str, version: int, spec: EndpointSpec) -> Endpoint:
        """Gives an endpoint another specification; raises as `create` does, and FAILED_PRECONDITION if its version is another."""
        self._check(spec)
        async with self._changing:
            known = self._at_version(endpoint_id, version)
            if self.by_name.get(spec.name, known) is not known:
                raise already_exists(f"error updating Nexus endpoint. Endpoint with name {spec.name} already registered")
            endpoint = Endpoint()
            endpoint.CopyFrom(known)
            endpoint.version += 1
            endpoint.spec.CopyFrom(spec)
            set_ns(endpoint.last_modified_time, self._clock.now())
            return await self._put(endpoint)

    async def delete(self, endpoint_id: str, version: int) -> None:
        """Deletes an endpoint; raises as `update` does."""
        async with self._changing:
            known = self._at_version(endpoint_id, version)
            try:
                await self._records.delete(KIND, "", endpoint_id, expected_version=known.version)
            except Conflict:
                raise unavailable("the endpoint was changed by another process; try again") from None
            self._drop(known)

    def _at_version(self, endpoint_id: str, version: int) -> Endpoint:
        known = self.get(endpoint_id)
        if known.version != version:
            raise failed_precondition(f"nexus endpoint version mismatch. received: {version} expected {known.version}")
        return known

    async def _put(self, endpoint: Endpoint) -> Endpoint:
        try:
            await self._records.put(KIND, "", endpoint.id, endpoint.SerializeToString(), expected_version=endpoint.version - 1)
        except Conflict:
            raise unavailable("the endpoint was changed by another process; try again") from None
        self._take(endpoint)
        return endpoint

    def _take(self, endpoint: Endpoint) -> None:
        before = self.by_id.get(endpoint.id)
        if before is not None:
            self._drop(before)
        self.by_id[endpoint.id] = self.by_name[endpoint.spec.name] = endpoint

    def _drop(self, endpoint: Endpoint) -> None:
        del self.by_id[endpoint.id], self.by_name[endpoint.spec.name]

    def _check(self, spec: EndpointSpec) -> None:
        name = spec.name
        if not name:
            raise _unset("name")
        if len(name) > NAME_BYTES_MAX or not _NAME.fullmatch(name):
            raise invalid_argument(
                f"invalid Nexus endpoint name {name!r}: letters, digits and -, beginning with a letter, "
                f"ending with a letter or digit, from 2 to {NAME_BYTES_MAX}"
            )
        if spec.description.ByteSize() > DESCRIPTION_BYTES_MAX:
            raise invalid_argument(f"description size exceeds limit of {DESCRIPTION_BYTES_MAX}")
        if spec.target.HasField("external"):
            raise invalid_argument("this engine serves Nexus endpoints whose target is a worker, not an external URL")
        worker = spec.target.worker
        if not worker.namespace or not worker.task_queue:
            raise _unset("target namespace" if not worker.namespace else "target task queue")
        if worker.namespace not in self._namespaces.by_name:
            raise failed_precondition(f"could not verify namespace referenced by target exists: Namespace {worker.namespace} is not found.")


def _unset(what: str) -> Exception:
    return invalid_argument(f"Nexus endpoint {what} is not set on request.")
