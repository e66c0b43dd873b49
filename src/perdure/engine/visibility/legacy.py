"""The two lists from before the query language: a range of start times, and one filter."""

from __future__ import annotations

from temporalio.api.filter.v1 import StartTimeFilter
from temporalio.api.workflowservice.v1 import ListClosedWorkflowExecutionsRequest, ListOpenWorkflowExecutionsRequest

from perdure.engine.core.times import to_ns
from perdure.engine.visibility.fields import DIVISION, known
from perdure.model.ids import run_id_bytes
from perdure.model.rpc import invalid_argument
from perdure.storage.run_queries import All, Check, Column, Condition, Operator

_CLOSE_TIME = Column("close_time")


def open_condition(request: ListOpenWorkflowExecutionsRequest) -> Condition:
    """What the request asks for; raises RpcError."""
    return All((Check(_CLOSE_TIME, Operator.ABSENT), *_tests(request)))


def closed_condition(request: ListClosedWorkflowExecutionsRequest) -> Condition:
    """What the request asks for; raises RpcError."""
    tests = [Check(_CLOSE_TIME, Operator.PRESENT), *_tests(request)]
    if request.HasField("status_filter"):
        if not request.status_filter.status:
            raise invalid_argument("StatusFilter has no status.")
        tests.append(Check(Column("status"), Operator.AMONG, (int(request.status_filter.status),)))
    return All(tuple(tests))


def _tests(request: ListOpenWorkflowExecutionsRequest | ListClosedWorkflowExecutionsRequest) -> list[Check]:
    tests = [Check(known(DIVISION, {}).field, Operator.ABSENT), *_started(request.start_time_filter)]
    if request.HasField("execution_filter"):
        tests.append(Check(Column("workflow_id"), Operator.AMONG, (request.execution_filter.workflow_id,)))
        if request.execution_filter.run_id:
            tests.append(Check(Column("run_id"), Operator.AMONG, (_run_id(request.execution_filter.run_id),)))
    if request.HasField("type_filter"):
        tests.append(Check(Column("workflow_type"), Operator.AMONG, (request.type_filter.name,)))
    return tests


def _started(wanted: StartTimeFilter) -> list[Check]:
    started = Column("start_time")
    tests: list[Check] = []
    if wanted.HasField("earliest_time"):
        tests.append(Check(started, Operator.AT_LEAST, (to_ns(wanted.earliest_time),)))
    if wanted.HasField("latest_time"):
        tests.append(Check(started, Operator.AT_MOST, (to_ns(wanted.latest_time),)))
    return tests


def _run_id(text: str) -> bytes:
    try:
        return run_id_bytes(text)
    except ValueError:
        raise invalid_argument("Invalid RunId.") from None
