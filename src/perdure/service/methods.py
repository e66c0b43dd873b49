"""The contract's RPCs by name, with the messages that they take and give: for transports, which know no RPC of their own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any, NamedTuple, cast, get_args, get_type_hints

from google.protobuf.message import Message

from perdure.service.contract import WorkflowService

__all__ = ["Method", "is_repeatable", "is_wait", "method_named", "method_names", "service_of"]

READS = ("poll_", "get_", "list_", "describe_", "count_", "query_", "scan_")
"""What these begin the name of changes nothing (a poll that nobody hears has its task taken back)."""


class Method(NamedTuple):
    """One RPC."""

    name: str
    request: type[Message]
    response: type[Message]


@cache
def method_names() -> frozenset[str]:
    """Every RPC of the contract."""
    return frozenset(name for name in dir(WorkflowService) if not name.startswith("_"))


@cache
def method_named(name: str) -> Method | None:
    """The RPC of this name; None if the contract has none."""
    if name not in method_names():
        return None
    rpc: object = getattr(cast(object, WorkflowService), name)
    hints = get_type_hints(rpc)
    return Method(name, hints["request"], get_args(hints["return"])[2])


def is_repeatable(name: str, request: Any) -> bool:
    """Whether a call whose answer was lost may simply be made again: it reads, or carries the id by which it is known again."""
    if name.startswith(READS):
        return True
    if "request_id" in request.DESCRIPTOR.fields_by_name:
        return bool(request.request_id)
    return name == "update_workflow_execution" and bool(request.request.meta.update_id)


def is_wait(name: str, request: Any) -> bool:
    """Whether a call lasts until there is something to say, or its time is over."""
    return name.startswith("poll_") or (name == "get_workflow_execution_history" and request.wait_new_event)


def service_of(call: Callable[[str, Any], Awaitable[Any]], *, in_process: bool, shown: str) -> WorkflowService:
    """A `WorkflowService` whose every RPC is `call(name, request)`."""

    def method(name: str) -> Callable[[Any, Any], Awaitable[Any]]:
        async def forward(self: Any, request: Any) -> Any:
            return await call(name, request)

        forward.__name__ = name
        return forward

    def representation(self: Any) -> str:
        return f"<WorkflowService {shown}>"

    rest = {"in_process": in_process, "__repr__": representation}
    return cast(WorkflowService, type("ForwardingService", (), {**{name: method(name) for name in method_names()}, **rest})())
