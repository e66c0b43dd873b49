"""Workers as they say of themselves: the last heartbeat of each, for as long as it goes on sending them.

Memory alone: a worker says all of it again within a minute. The rule a newcomer would get wrong: no heartbeat is no proof that a
worker is gone, and many never send one; nothing is decided by what stands here.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import eq, ge, gt, le, lt, ne

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.enums.v1 import WorkerStatus
from temporalio.api.worker.v1 import WorkerHeartbeat

from perdure.engine.core.times import to_ns
from perdure.engine.visibility.fields import parse_datetime
from perdure.engine.visibility.syntax import And, BadQuery, Comparison, Not, Syntax, parse
from perdure.model.clock import Clock
from perdure.model.rpc import invalid_argument

SILENCE_SECONDS = 300
"""A worker that has sent nothing for so long is forgotten."""
WORKERS_MAX = 10_000
"""Workers remembered; beyond, the one that has been silent longest is forgotten."""
_FIELDS: dict[str, Callable[[WorkerHeartbeat], str]] = {
    "WorkerInstanceKey": lambda w: w.worker_instance_key,
    "WorkerIdentity": lambda w: w.worker_identity,
    "HostName": lambda w: w.host_info.host_name,
    "TaskQueue": lambda w: w.task_queue,
    "DeploymentName": lambda w: w.deployment_version.deployment_name,
    "BuildId": lambda w: w.deployment_version.build_id,
    "SdkName": lambda w: w.sdk_name,
    "SdkVersion": lambda w: w.sdk_version,
    "Status": lambda w: status_name(w.status),
    "WorkerStatus": lambda w: status_name(w.status),
}
_TIMES: dict[str, Callable[[WorkerHeartbeat], Timestamp]] = {
    "StartTime": lambda w: w.start_time,
    "HeartbeatTime": lambda w: w.heartbeat_time,
}
"""With the texts above: what can be asked of them."""
_ORDERS: dict[str, Callable[[int, int], bool]] = {"=": eq, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge}


class Workers:
    """The workers that have sent a heartbeat lately."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._all: dict[tuple[str, str], tuple[int, WorkerHeartbeat]] = {}

    def record(self, namespace: str, heartbeat: WorkerHeartbeat) -> None:
        """A worker says how it is; one that shuts down is kept until it would have been forgotten."""
        key = namespace, heartbeat.worker_instance_key
        self._all.pop(key, None)  # so that the order is that of the last heartbeats
        self._all[key] = self._clock.now(), heartbeat
        self._forget()

    def _forget(self) -> None:
        oldest = self._clock.now() - SILENCE_SECONDS * 1_000_000_000
        for key, (time, _) in list(self._all.items()):
            if time >= oldest and len(self._all) <= WORKERS_MAX:
                return
            del self._all[key]

    def get(self, namespace: str, instance_key: str) -> WorkerHeartbeat | None:
        """One worker."""
        self._forget()
        found = self._all.get((namespace, instance_key))
        return None if found is None else found[1]

    def list(self, namespace: str, query: str) -> list[WorkerHeartbeat]:
        """Those that a query means, by their keys.

        Raises:
            RpcError: INVALID_ARGUMENT.
        """
        self._forget()
        try:
            parsed = parse(query)
            if parsed.group_by or parsed.order_by:
                raise BadQuery("operation is not supported: 'GROUP BY' and 'ORDER BY' clauses")
            where = parsed.where
            if where is not None:
                _check(where)
            found = [w for (name, _), (_, w) in self._all.items() if name == namespace and (where is None or _holds(where, w))]
        except BadQuery as error:
            raise invalid_argument(f"invalid query: {error}") from None
        return sorted(found, key=lambda worker: worker.worker_instance_key)


def status_name(status: WorkerStatus.ValueType) -> str:
    """As queries spell it: `ShuttingDown`."""
    if status not in WorkerStatus.values():
        return str(status)  # of a newer worker
    return "".join(word.capitalize() for word in WorkerStatus.Name(status).removeprefix("WORKER_STATUS_").split("_"))


def _check(syntax: Syntax) -> None:
    """Refuses a query that is none, also where there is no worker to ask it of."""
    if isinstance(syntax, Comparison):
        _compare(syntax, WorkerHeartbeat())
    else:
        for part in (syntax.part,) if isinstance(syntax, Not) else syntax.parts:
            _check(part)


def _holds(syntax: Syntax, worker: WorkerHeartbeat) -> bool:
    if isinstance(syntax, Comparison):
        return _compare(syntax, worker)
    if isinstance(syntax, Not):
        return not _holds(syntax.part, worker)
    parts = (_holds(part, worker) for part in syntax.parts)
    return all(parts) if isinstance(syntax, And) else any(parts)


def _compare(comparison: Comparison, worker: WorkerHeartbeat) -> bool:
    time = _TIMES.get(comparison.name)
    if time is not None:
        return _compare_time(comparison, to_ns(time(worker)))
    field = _FIELDS.get(comparison.name)
    if field is None:
        raise BadQuery(f"invalid search attribute: {comparison.name}")
    value, values = field(worker), [str(each) for each in comparison.values]
    if comparison.operator in ("=", "IN"):
        return value in values
    if comparison.operator in ("!=", "NOT IN"):
        return value not in values
    if comparison.operator in ("STARTS_WITH", "NOT STARTS_WITH"):
        return value.startswith(values[0]) is (comparison.operator == "STARTS_WITH")
    raise _unsupported(comparison)


def _compare_time(comparison: Comparison, time: int) -> bool:
    if comparison.operator in ("IS NULL", "IS NOT NULL"):
        return (time == 0) is (comparison.operator == "IS NULL")
    given = [parse_datetime(str(each)) for each in comparison.values]
    if comparison.operator in ("BETWEEN", "NOT BETWEEN"):
        return (given[0] <= time <= given[1]) is (comparison.operator == "BETWEEN")
    order = _ORDERS.get(comparison.operator)
    if order is None:
        raise _unsupported(comparison)
    return order(time, given[0])


def _unsupported(comparison: Comparison) -> BadQuery:
    return BadQuery(f"operation is not supported: operator '{comparison.operator.lower()}' for {comparison.name}")
