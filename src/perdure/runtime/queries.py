"""Queries of a run: its own handlers, and two that every run answers (`__stack_trace`, `__temporal_workflow_metadata`)."""

from __future__ import annotations

import inspect
import linecache
from collections.abc import Callable, Iterable, Sequence
from types import FrameType
from typing import Any

from temporalio.api.enums.v1.query_pb2 import QueryResultType
from temporalio.api.query.v1.message_pb2 import WorkflowQuery, WorkflowQueryResult
from temporalio.api.sdk.v1.workflow_metadata_pb2 import WorkflowInteractionDefinition, WorkflowMetadata

from perdure.model.conversion import DataConverter
from perdure.model.errors import PerdureError, QueryFailed
from perdure.runtime.loop import WorkflowTask
from perdure.runtime.signals import Handler

STACK_TRACE = "__stack_trace"
METADATA = "__temporal_workflow_metadata"
BUILT_IN = {
    STACK_TRACE: "Where each task of the workflow waits.",
    METADATA: "What the workflow answers to, and its current details.",
}


class QueryRegistry:
    """Query handlers by name."""

    __slots__ = ("_converter", "_handlers")

    def __init__(self, converter: DataConverter) -> None:
        self._converter = converter
        self._handlers: dict[str | None, Handler] = {}

    @property
    def handlers(self) -> Sequence[Handler]:
        return list(self._handlers.values())

    def set_handler(self, handler: Handler) -> None:
        self._handlers[handler.name] = handler

    def answer(self, query: WorkflowQuery, call: Callable[[Callable[[], Any]], Any], built_in: Callable[[str], Any]) -> WorkflowQueryResult:
        """The result message: the handler's value, or why there is none. `call` runs a function as workflow code."""
        result = WorkflowQueryResult()
        try:
            value = self._value(query, call, built_in)
            result.answer.payloads.extend(self._converter.encode_values([value]))
            result.result_type = QueryResultType.QUERY_RESULT_TYPE_ANSWERED
        except Exception as error:
            result.result_type = QueryResultType.QUERY_RESULT_TYPE_FAILED
            result.error_message = str(error) if isinstance(error, PerdureError) else f"{type(error).__name__}: {error}".removesuffix(": ")
            result.failure.CopyFrom(self._converter.to_failure(error))
        return result

    def _value(self, query: WorkflowQuery, call: Callable[[Callable[[], Any]], Any], built_in: Callable[[str], Any]) -> Any:
        name = query.query_type
        if name in BUILT_IN:
            return built_in(name)
        handler = self._handlers.get(name) or self._handlers.get(None)
        if handler is None:
            raise QueryFailed(self._unknown(name))
        arguments = handler.arguments(name, query.query_args.payloads, self._converter)
        return call(lambda: _finish(name, handler.fn(*arguments)))

    def _unknown(self, name: str) -> str:
        known = [repr(each) for each in sorted(each for each in self._handlers if each is not None)]
        if known:
            names = f"it answers {', '.join(known)}"
        else:
            names = "it answers none of its own: set one with ctx.set_query_handler(name, function)"
        return f"the workflow has no query {name!r}; {names}"


def _finish(name: str, value: Any) -> Any:
    """An async handler may answer, but not wait: a query sees one moment."""
    if not inspect.iscoroutine(value):
        return value
    try:
        value.send(None)
    except StopIteration as stop:
        return stop.value
    value.close()
    raise QueryFailed(f"the handler of query {name!r} waits for something; a query answers from what the workflow knows at that moment")


def metadata(workflow_type: str, signals: Iterable[Handler], queries: Iterable[Handler], current_details: str) -> WorkflowMetadata:
    """What `__temporal_workflow_metadata` answers."""
    message = WorkflowMetadata(current_details=current_details)
    message.definition.type = workflow_type
    message.definition.signal_definitions.extend(_interactions(signals))
    message.definition.query_definitions.extend(_interactions(queries))
    message.definition.query_definitions.extend(
        WorkflowInteractionDefinition(name=name, description=description) for name, description in BUILT_IN.items()
    )
    return message


def _interactions(handlers: Iterable[Handler]) -> list[WorkflowInteractionDefinition]:
    definitions = [WorkflowInteractionDefinition(name=handler.name or "", description=handler.description) for handler in handlers]
    return sorted(definitions, key=lambda each: each.name)


def stack_trace(tasks: Iterable[WorkflowTask[Any]]) -> str:
    """Where each task waits, innermost call last, as a traceback shows it."""
    return "\n\n".join(f"{task.get_name()}\n{_frames(task.get_coro())}" for task in tasks)


def _frames(awaited: Any) -> str:
    lines: list[str] = []
    while awaited is not None:
        frame: FrameType | None = _first(awaited, "cr_frame", "gi_frame", "ag_frame")
        if frame is not None:
            code = frame.f_code
            lines.append(f'  File "{code.co_filename}", line {frame.f_lineno}, in {code.co_name}')
            text = linecache.getline(code.co_filename, frame.f_lineno).strip()
            lines.extend([f"    {text}"] if text else [])
        awaited = _first(awaited, "cr_await", "gi_yieldfrom", "ag_await")
    return "\n".join(lines)


def _first(awaited: Any, *names: str) -> Any:
    return next((found for name in names if (found := getattr(awaited, name, None)) is not None), None)
