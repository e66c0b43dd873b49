"""How a refusal reads on the command line: what was asked for by its kind and name, and a remedy that can be typed here.

The client's own sentences speak of workflows and of Python; here the request may be about a schedule, a batch or a namespace.
"""

from __future__ import annotations

import shlex
from typing import Any, NamedTuple

from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest

from perdure.model.errors import ClientError, EngineUnavailable, RequestRefused, WorkflowAlreadyStarted, WorkflowClosed, WorkflowNotFound
from perdure.model.rpc import RpcError, StatusCode

__all__ = ["Subject", "in_words_of_the_command"]


class Subject(NamedTuple):
    """What a request is about."""

    kind: str
    """workflow, schedule, batch or namespace."""
    name: str
    run_id: str = ""

    @classmethod
    def of(cls, request: Any) -> Subject:
        if isinstance(request, RegisterNamespaceRequest):
            return cls("namespace", request.namespace)
        for field, kind in (("schedule_id", "schedule"), ("job_id", "batch"), ("workflow_id", "workflow")):
            if name := getattr(request, field, ""):
                return cls(kind, name)
        execution = getattr(request, "workflow_execution", None) or getattr(request, "execution", None)
        return cls("workflow", getattr(execution, "workflow_id", ""), getattr(execution, "run_id", ""))


def in_words_of_the_command(error: ClientError, subject: Subject) -> ClientError:
    """The error to show for one of the client's: the same one, where its words fit here too."""
    cause = error.__cause__
    if not isinstance(cause, RpcError):
        return error
    if isinstance(cause.detail, NamespaceNotFoundFailure):
        name = cause.detail.namespace
        return RequestRefused(f"there is no namespace {name!r}; `perdure namespace list` names those that there are", rpc_status=cause.code)
    if isinstance(error, WorkflowNotFound) and not isinstance(error, WorkflowClosed):
        return WorkflowNotFound(_not_found(cause, subject))
    if cause.code is StatusCode.ALREADY_EXISTS and subject.name:
        return WorkflowAlreadyStarted(_exists(subject))
    if cause.code is StatusCode.DEADLINE_EXCEEDED and isinstance(error, EngineUnavailable):
        # The engine is there; nobody has answered through it.
        return RequestRefused(f"no answer in time: {cause.message}", rpc_status=cause.code)
    if isinstance(error, RequestRefused):
        return RequestRefused(_refused(cause.message, str(error), subject), rpc_status=cause.code)
    return error


def _not_found(cause: RpcError, subject: Subject) -> str:
    if subject.kind != "workflow":
        if "ended" in cause.message:
            return f"{subject.kind} {subject.name!r} has already ended; `perdure {subject.kind} describe --job-id {subject.name}` shows how"
        return f"no {subject.kind} has the id {subject.name!r}; `perdure {subject.kind} list` names those that there are"
    if "workflow" not in cause.message.lower() or "update" in cause.message.lower():
        return cause.message
    if subject.run_id:
        return f"workflow {subject.name!r} has no run {subject.run_id!r}; {_current_run(subject)}"
    return f"no workflow has the id {subject.name!r}; `perdure workflow list` names those that there are"


def _exists(subject: Subject) -> str:
    what = f"{subject.kind} {subject.name!r} exists already"
    if subject.kind == "workflow":
        return f"{what}; take another id, or say what is to happen with --id-conflict-policy (it runs) or --id-reuse-policy (it has ended)"
    return f"{what}; take another name, or change it with `perdure {subject.kind} update`"


def _refused(message: str, sentence: str, subject: Subject) -> str:
    if message == "Invalid RunId.":
        return f"{subject.run_id!r} is not the id of a run; {_current_run(subject)}"
    if message.startswith("invalid query"):
        return f"{sentence}; write it like \"WorkflowType = 'order' AND ExecutionStatus = 'Running'\""
    return sentence


def _current_run(subject: Subject) -> str:
    return f"`perdure workflow describe -w {shlex.quote(subject.name)}` shows the current one"
