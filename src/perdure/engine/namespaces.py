"""Namespaces: each a record, all of them in memory, since every request names one.

What is kept of a namespace is Temporal's own description of it; its search attributes are the aliases in its configuration,
each of a field whose name says the type (`Keyword01`), of which a namespace has so many and no more.

The rule a newcomer would get wrong: the copy in memory changes only after the record is durable. A namespace that is being
deleted keeps its record, in the state DELETED, until its last row has gone; nobody finds it meanwhile, and nobody may take its name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from temporalio.api.enums.v1 import ArchivalState, NamespaceState, ReplicationState
from temporalio.api.namespace.v1 import UpdateNamespaceInfo
from temporalio.api.workflowservice.v1 import DescribeNamespaceResponse, RegisterNamespaceRequest, UpdateNamespaceRequest

from perdure.engine.core import limits
from perdure.engine.core.search_attributes import RESERVED, RESERVED_PREFIX, TYPE_NAMES, Types, type_name
from perdure.engine.core.times import SECOND, set_ns, to_ns
from perdure.engine.records import Conflict, Records
from perdure.model.errors import StorageCorrupt
from perdure.model.ids import uuid4_text
from perdure.model.rpc import (
    aborted,
    already_exists,
    failed_precondition,
    invalid_argument,
    namespace_exists,
    namespace_not_found,
    not_found,
)
from perdure.storage.contract import Record, RecordWrite

KIND: Final = "namespace"

RETENTION_MIN: Final = 3600 * SECOND
FOREVER: Final = 0
"""The retention of the namespaces that an engine makes when it opens. Running a workflow id again finds its result instead of doing its
work twice; what forgets a result by itself after a while would charge a card again, so that is for the user to ask for."""

ATTRIBUTES_MAX: Final[Mapping[str, int]] = {name: 10 if name == "Keyword" else 3 for name in TYPE_NAMES}
"""Of each type in a namespace, as Temporal's server has them on SQL."""

ATTEMPTS_MAX: Final = 5
"""How often a change is made anew because somebody else changed the namespace."""

_FIELD: Final = re.compile(r"([A-Za-z]+?)(\d\d)")
_NAME: Final = re.compile(r"[A-Za-z0-9][\w\-]*")


class Namespace(NamedTuple):
    """A namespace as it is durable."""

    described: DescribeNamespaceResponse
    version: int
    """Of its record."""
    attributes: Types
    """Its own search attributes."""

    @property
    def name(self) -> str:
        return self.described.namespace_info.name

    @property
    def state(self) -> int:
        return self.described.namespace_info.state

    @property
    def retention(self) -> int:
        """How long a run is kept after its end, in nanoseconds; 0: for ever."""
        return to_ns(self.described.config.workflow_execution_retention_ttl)


class Namespaces:
    """Every namespace of the engine."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self.by_name: dict[str, Namespace] = {}
        """Those that requests may name."""
        self.deprecated: set[str] = set()
        """Those of them in which nothing may start."""
        self.deleted: dict[str, Namespace] = {}
        """Those whose rows are on their way out."""
        self.on_changed: Callable[[], None] = lambda: None
        """Called after a change is durable."""

    def __repr__(self) -> str:
        return f"<Namespaces: {', '.join(sorted(self.by_name))}>"

    def __contains__(self, name: object) -> bool:
        return name in self.by_name

    async def open(self, names: Iterable[str]) -> None:
        """Reads all of them, and makes those of `names` that are missing."""
        after = ""
        while page := await self._records.list(KIND, "", after_key=after):
            for record in page:
                self._take(record.key, _read(record))
            after = page[-1].key
        new = [_new(name, FOREVER) for name in dict.fromkeys(names) if name not in self.by_name and name not in self.deleted]
        if new:
            await self._records.write(*(RecordWrite(KIND, "", d.namespace_info.name, 0, d.SerializeToString()) for d in new))
            for described in new:
                self._take(described.namespace_info.name, _namespace(described, 1))

    def get(self, name: str) -> Namespace:
        """A namespace by name.

        Raises:
            RpcError: NOT_FOUND; INVALID_ARGUMENT without a name.
        """
        found = self.by_name.get(name)
        if found is None:
            raise namespace_not_found(name) if name else invalid_argument("Namespace not set on request.")
        return found

    def find(self, name: str, namespace_id: str) -> Namespace:
        """A namespace by name, or where there is none by id; raises as `get` does."""
        if name or not namespace_id:
            return self.get(name)
        for found in self.by_name.values():
            if found.described.namespace_info.id == namespace_id:
                return found
        raise namespace_not_found(namespace_id)

    def page(self, after: str, limit: int, *, deleted: bool) -> list[Namespace]:
        """Namespaces in the order of their names, after a name."""
        known = {**self.by_name, **self.deleted} if deleted else self.by_name
        return [known[name] for name in sorted(name for name in known if name > after)[:limit]]

    # --- changes

    async def register(self, request: RegisterNamespaceRequest) -> None:
        """A new one; durable when it returns."""
        name = request.namespace
        if not name:
            raise invalid_argument("Namespace not set on request.")
        if limits.too_long(name):
            raise invalid_argument("Namespace length exceeds limit.")
        if request.is_global_namespace:
            raise invalid_argument("Cannot register a global namespace: this engine does not replicate to other clusters.")
        described = _new(name, _checked_retention(to_ns(request.workflow_execution_retention_period)))
        info = described.namespace_info
        info.description, info.owner_email = request.description, request.owner_email
        info.data.update(request.data)
        try:
            version = await self._records.put(KIND, "", name, described.SerializeToString(), expected_version=0)
        except Conflict:
            raise namespace_exists(name) from None
        self._take(name, _namespace(described, version))

    async def update(self, request: UpdateNamespaceRequest) -> Namespace:
        """Changes what the request names of it; durable when it returns."""
        if request.promote_namespace:
            raise invalid_argument("Cannot make a namespace global: this engine does not replicate to other clusters.")

        def change(described: DescribeNamespaceResponse) -> None:
            if request.HasField("update_info"):
                _update_info(described, request.update_info)
            config = request.config
            if config.HasField("workflow_execution_retention_ttl"):
                set_ns(
                    described.config.workflow_execution_retention_ttl, _checked_retention(to_ns(config.workflow_execution_retention_ttl))
                )
            for field, alias in config.custom_search_attribute_aliases.items():
                _set_alias(described, field, alias)

        return await self._change(request.namespace, change)

    async def deprecate(self, name: str) -> None:
        """From now on nothing starts in it."""

        def change(described: DescribeNamespaceResponse) -> None:
            described.namespace_info.state = NamespaceState.NAMESPACE_STATE_DEPRECATED

        await self._change(name, change)

    async def delete(self, name: str, namespace_id: str) -> Namespace:
        """Nobody finds it any more; its rows are for `Deletions`."""

        def change(described: DescribeNamespaceResponse) -> None:
            described.namespace_info.state = NamespaceState.NAMESPACE_STATE_DELETED

        return await self._change(self.find(name, namespace_id).name, change)

    async def forget(self, name: str) -> None:
        """The last row of a deleted one has gone."""
        found = self.deleted.get(name)
        if found is not None:
            await self._records.delete(KIND, "", name, expected_version=found.version)
            self.deleted.pop(name, None)

    async def add_attributes(self, name: str, attributes: Mapping[str, int]) -> None:
        """New search attributes of a namespace, usable when it returns."""

        def change(described: DescribeNamespaceResponse) -> None:
            known = _attributes(described)
            for attribute, kind in attributes.items():
                if known.get(attribute, kind) != kind:
                    raise already_exists(
                        f"Search attribute {attribute} already exists and has different type {type_name(known[attribute])}."
                    )
                if attribute not in known:
                    _add_attribute(described, attribute, kind)

        for attribute, kind in attributes.items():
            _check_attribute(attribute, kind)
        await self._change(name, change)

    async def remove_attributes(self, name: str, attributes: Sequence[str]) -> None:
        """Search attributes of a namespace that may no longer be used; their fields are free again."""

        def change(described: DescribeNamespaceResponse) -> None:
            aliases = described.config.custom_search_attribute_aliases
            fields = {alias: field for field, alias in aliases.items()}
            for attribute in attributes:
                if attribute not in fields:
                    if attribute in RESERVED:
                        raise invalid_argument(f"Unable to remove non-custom search attributes: {attribute}.")
                    raise not_found(f"Search attribute {attribute} doesn't exist.")
                del aliases[fields.pop(attribute)]

        await self._change(name, change)

    async def _change(self, name: str, change: Callable[[DescribeNamespaceResponse], None]) -> Namespace:
        for _ in range(ATTEMPTS_MAX):
            standing = self.get(name)
            described = DescribeNamespaceResponse()
            described.CopyFrom(standing.described)
            change(described)
            if described == standing.described:
                return standing
            try:
                version = await self._records.put(KIND, "", name, described.SerializeToString(), expected_version=standing.version)
            except Conflict:
                record = await self._records.get(KIND, "", name)
                self._take(name, None if record is None else _read(record))
                continue
            changed = _namespace(described, version)
            self._take(name, changed)
            return changed
        raise aborted(f"namespace {name} is being changed by others all the time; try again")

    def _take(self, name: str, namespace: Namespace | None) -> None:
        """What is durable now."""
        self.by_name.pop(name, None)
        self.deleted.pop(name, None)
        self.deprecated.discard(name)
        if namespace is not None and namespace.state == NamespaceState.NAMESPACE_STATE_DELETED:
            self.deleted[name] = namespace
        elif namespace is not None:
            self.by_name[name] = namespace
            if namespace.state == NamespaceState.NAMESPACE_STATE_DEPRECATED:
                self.deprecated.add(name)
        self.on_changed()


def _read(record: Record) -> Namespace:
    try:
        return _namespace(DescribeNamespaceResponse.FromString(record.data), record.version)
    except Exception as error:
        raise StorageCorrupt(f"The record of namespace {record.key} cannot be read: {error}") from error


def _namespace(described: DescribeNamespaceResponse, version: int) -> Namespace:
    return Namespace(described, version, _attributes(described))


def _new(name: str, retention: int) -> DescribeNamespaceResponse:
    described = DescribeNamespaceResponse()
    described.namespace_info.name = name
    described.namespace_info.id = uuid4_text()
    described.namespace_info.state = NamespaceState.NAMESPACE_STATE_REGISTERED
    set_ns(described.config.workflow_execution_retention_ttl, retention)
    described.config.history_archival_state = ArchivalState.ARCHIVAL_STATE_DISABLED
    described.config.visibility_archival_state = ArchivalState.ARCHIVAL_STATE_DISABLED
    described.replication_config.active_cluster_name = "active"
    described.replication_config.clusters.add(cluster_name="active")
    described.replication_config.state = ReplicationState.REPLICATION_STATE_NORMAL
    return described


def _checked_retention(retention: int) -> int:
    if retention < RETENTION_MIN:
        raise invalid_argument("A valid retention period is not set on request: it is at least 1h.")
    return retention


def _update_info(described: DescribeNamespaceResponse, wanted: UpdateNamespaceInfo) -> None:
    info = described.namespace_info
    if wanted.description:
        info.description = wanted.description
    if wanted.owner_email:
        info.owner_email = wanted.owner_email
    info.data.update(wanted.data)
    if wanted.state:
        if wanted.state not in (NamespaceState.NAMESPACE_STATE_REGISTERED, NamespaceState.NAMESPACE_STATE_DEPRECATED):
            named = NamespaceState.Name(wanted.state) if wanted.state in NamespaceState.values() else wanted.state
            raise invalid_argument(f"A namespace cannot be brought into the state {named} by an update.")
        info.state = wanted.state


# --- search attributes


def _attributes(described: DescribeNamespaceResponse) -> Types:
    return {alias: _field_type(field) for field, alias in described.config.custom_search_attribute_aliases.items()}


def _field_type(field: str) -> int:
    """The type of a field such as `Keyword01`; 0 if there is no such field."""
    found = _FIELD.fullmatch(field)
    if found is None or not 1 <= int(found[2]) <= ATTRIBUTES_MAX.get(found[1], 0):
        return 0
    return TYPE_NAMES[found[1]]


def _set_alias(described: DescribeNamespaceResponse, field: str, alias: str) -> None:
    aliases = described.config.custom_search_attribute_aliases
    kind = _field_type(field)
    if not kind:
        raise invalid_argument(f"{field} is no field of a search attribute.")
    if not alias:
        aliases.pop(field, None)
        return
    _check_attribute(alias, kind)
    if any(other == alias and at != field for at, other in aliases.items()):
        raise invalid_argument(f"Search attribute {alias} stands for another field already.")
    aliases[field] = alias


def _add_attribute(described: DescribeNamespaceResponse, attribute: str, kind: int) -> None:
    aliases = described.config.custom_search_attribute_aliases
    kind_name = type_name(kind)
    for number in range(1, ATTRIBUTES_MAX[kind_name] + 1):
        field = f"{kind_name}{number:02}"
        if field not in aliases:
            aliases[field] = attribute
            return
    raise failed_precondition(
        f"Unable to create search attributes: cannot have more than {ATTRIBUTES_MAX[kind_name]} search attribute of type {kind_name}."
    )


def _check_attribute(attribute: str, kind: int) -> None:
    wrong = _attribute_complaint(attribute, kind)
    if wrong:
        raise invalid_argument(wrong)


def _attribute_complaint(attribute: str, kind: int) -> str:
    if attribute in RESERVED or attribute.startswith(RESERVED_PREFIX):
        return f"Search attribute {attribute} is reserved by system."
    if not _NAME.fullmatch(attribute) or limits.too_long(attribute):
        return f"Search attribute {attribute!r} has no valid name: letters, digits, _ and -, beginning with a letter or digit."
    if kind not in TYPE_NAMES.values():
        return f"Unknown search attribute type: {kind}."
    return ""
