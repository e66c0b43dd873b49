"""perdure: durable execution for Python. Temporal's model and protocol, with the engine inside your process on one SQLite file.

The public names, and nothing else. Each is imported when it is first used, so that `import perdure` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from temporalio.common import Priority, SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
    from temporalio.converter import PayloadCodec, PayloadConverter

    from perdure.client.client import WorkflowClient
    from perdure.client.descriptions import PendingActivity, WorkflowDescription, WorkflowStatus
    from perdure.client.handle import WorkflowHandle
    from perdure.client.history import HistoryEvent, WorkflowHistory
    from perdure.model.clock import Clock, SystemClock
    from perdure.model.conversion import DataConverter
    from perdure.model.decorators import activity, workflow
    from perdure.model.definitions import ActivityDefinition, WorkflowDefinition
    from perdure.model.errors import (
        ActivityCancelled,
        ActivityError,
        ActivityTimedOut,
        ApplicationError,
        ChildWorkflowFailed,
        ClientError,
        ConfigError,
        DefinitionError,
        DeterminismViolation,
        EngineUnavailable,
        ExecutionFailed,
        InvalidInput,
        NondeterminismError,
        PerdureError,
        PollError,
        ProcessError,
        QueryFailed,
        QueryRejected,
        RequestRefused,
        RetryState,
        SchemaTooNew,
        ServerFailure,
        ServerStartFailed,
        ShutdownFailed,
        StartFailed,
        StorageCorrupt,
        StorageError,
        StorageLocked,
        TimeoutType,
        UnknownEngine,
        UnknownName,
        UsageError,
        WorkerError,
        WorkflowAlreadyStarted,
        WorkflowCancelled,
        WorkflowClosed,
        WorkflowError,
        WorkflowFailed,
        WorkflowNotFound,
        WorkflowTerminated,
        WorkflowTimedOut,
    )
    from perdure.model.messages import Query, Signal, query, signal
    from perdure.model.options import (
        ActivityOptions,
        ActivityOptionsDict,
        CancellationType,
        ChildWorkflowOptions,
        QueryRejectCondition,
        RetryPolicy,
        StartWorkflowOptions,
        StartWorkflowOptionsDict,
        WorkflowIdConflictPolicy,
        WorkflowIdReusePolicy,
    )
    from perdure.runtime.context import WorkflowContext, workflow_context
    from perdure.runtime.processor import EventProcessor
    from perdure.worker.activity_context import ActivityContext, ActivityInfo, activity_context
    from perdure.worker.config import WorkerConfig
    from perdure.worker.health import HealthStatus
    from perdure.worker.poller import TaskPoller
    from perdure.worker.worker import WorkflowWorker

_HOMES = {
    "client.client": "WorkflowClient",
    "client.descriptions": "PendingActivity WorkflowDescription WorkflowStatus",
    "client.handle": "WorkflowHandle",
    "client.history": "HistoryEvent WorkflowHistory",
    "model.clock": "Clock SystemClock",
    "model.conversion": "DataConverter PayloadCodec PayloadConverter",
    "model.decorators": "activity workflow",
    "model.definitions": "ActivityDefinition WorkflowDefinition",
    "model.errors": (
        "ActivityCancelled ActivityError ActivityTimedOut ApplicationError ChildWorkflowFailed ClientError ConfigError "
        "DefinitionError DeterminismViolation EngineUnavailable ExecutionFailed InvalidInput NondeterminismError "
        "PerdureError PollError ProcessError QueryFailed QueryRejected RequestRefused RetryState SchemaTooNew "
        "ServerFailure ServerStartFailed ShutdownFailed StartFailed StorageCorrupt StorageError StorageLocked TimeoutType UnknownEngine "
        "UnknownName UsageError WorkerError WorkflowAlreadyStarted WorkflowCancelled WorkflowClosed WorkflowError "
        "WorkflowFailed WorkflowNotFound WorkflowTerminated WorkflowTimedOut"
    ),
    "model.messages": "Query Signal query signal",
    "model.options": (
        "ActivityOptions ActivityOptionsDict CancellationType ChildWorkflowOptions Priority QueryRejectCondition "
        "RetryPolicy SearchAttributeKey SearchAttributePair StartWorkflowOptions StartWorkflowOptionsDict TypedSearchAttributes "
        "WorkflowIdConflictPolicy WorkflowIdReusePolicy"
    ),
    "runtime.context": "WorkflowContext workflow_context",
    "runtime.processor": "EventProcessor",
    "worker.activity_context": "ActivityContext ActivityInfo activity_context",
    "worker.config": "WorkerConfig",
    "worker.health": "HealthStatus",
    "worker.poller": "TaskPoller",
    "worker.worker": "WorkflowWorker",
}
_MODULE_OF = {name: f"perdure.{module}" for module, names in _HOMES.items() for name in names.split()}

__version__ = "0.1.0"

__all__ = [
    "ActivityCancelled",
    "ActivityContext",
    "ActivityDefinition",
    "ActivityError",
    "ActivityInfo",
    "ActivityOptions",
    "ActivityOptionsDict",
    "ActivityTimedOut",
    "ApplicationError",
    "CancellationType",
    "ChildWorkflowFailed",
    "ChildWorkflowOptions",
    "ClientError",
    "Clock",
    "ConfigError",
    "DataConverter",
    "DefinitionError",
    "DeterminismViolation",
    "EngineUnavailable",
    "EventProcessor",
    "ExecutionFailed",
    "HealthStatus",
    "HistoryEvent",
    "InvalidInput",
    "NondeterminismError",
    "PayloadCodec",
    "PayloadConverter",
    "PendingActivity",
    "PerdureError",
    "PollError",
    "Priority",
    "ProcessError",
    "Query",
    "QueryFailed",
    "QueryRejectCondition",
    "QueryRejected",
    "RequestRefused",
    "RetryPolicy",
    "RetryState",
    "SchemaTooNew",
    "SearchAttributeKey",
    "SearchAttributePair",
    "ServerFailure",
    "ServerStartFailed",
    "ShutdownFailed",
    "Signal",
    "StartFailed",
    "StartWorkflowOptions",
    "StartWorkflowOptionsDict",
    "StorageCorrupt",
    "StorageError",
    "StorageLocked",
    "SystemClock",
    "TaskPoller",
    "TimeoutType",
    "TypedSearchAttributes",
    "UnknownEngine",
    "UnknownName",
    "UsageError",
    "WorkerConfig",
    "WorkerError",
    "WorkflowAlreadyStarted",
    "WorkflowCancelled",
    "WorkflowClient",
    "WorkflowClosed",
    "WorkflowContext",
    "WorkflowDefinition",
    "WorkflowDescription",
    "WorkflowError",
    "WorkflowFailed",
    "WorkflowHandle",
    "WorkflowHistory",
    "WorkflowIdConflictPolicy",
    "WorkflowIdReusePolicy",
    "WorkflowNotFound",
    "WorkflowStatus",
    "WorkflowTerminated",
    "WorkflowTimedOut",
    "WorkflowWorker",
    "activity",
    "activity_context",
    "query",
    "signal",
    "workflow",
    "workflow_context",
]

_FOREIGN = {
    "Client": "WorkflowClient",
    "Worker": "WorkflowWorker",
    "defn": "workflow or activity, used as decorators without .defn",
    "execute_activity": "ctx.execute_activity(…) on the WorkflowContext",
    "sleep": "ctx.sleep(…) on the WorkflowContext",
    "TimeoutError": "ActivityTimedOut or WorkflowTimedOut",
    "CancelledError": "asyncio.CancelledError, WorkflowCancelled or ActivityCancelled",
    "step": "activity",
    "task": "activity",
    "flow": "workflow",
}


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is not None:
        value = getattr(import_module(module), name)
        globals()[name] = value
        return value
    if name.startswith("__"):
        raise AttributeError(name)
    from perdure.model.suggestions import missing_attribute

    raise missing_attribute("perdure", name, __all__, _FOREIGN)


def __dir__() -> list[str]:
    return sorted(__all__)
