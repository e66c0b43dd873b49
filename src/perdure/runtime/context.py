"""`WorkflowContext`: what workflow code can ask of its run."""

from __future__ import annotations

import asyncio
import inspect
import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeVar, TypeVarTuple, Unpack, cast, overload

from perdure.model.definitions import ActivityDefinition, HandlerDefinition, activity_definition, current_workflow
from perdure.model.durations import Duration, to_ns, to_seconds
from perdure.model.errors import UsageError
from perdure.model.messages import QueryDefinition, SignalDefinition, query_name, signal_name, signal_type
from perdure.model.options import ActivityOptions, ActivityOptionsDict, SearchAttributePair, TypedSearchAttributes
from perdure.model.suggestions import missing_attribute
from perdure.runtime.attributes import MemoView, read_search_attributes, write_memo, write_search_attributes
from perdure.runtime.commands import UpsertMemo, UpsertSearchAttributes
from perdure.runtime.continuing import ContinueOptions, next_run
from perdure.runtime.failing import ContinueAsNew
from perdure.runtime.handles import ActivityHandle
from perdure.runtime.replay_logger import WorkflowLogger
from perdure.runtime.run_state import RunState
from perdure.runtime.signals import Handler

T = TypeVar("T")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")

_NO_OPTIONS = ActivityOptions()
# What users of Temporal's SDKs type, and what it is called here.
_FOREIGN: Mapping[str, str] = {
    "info": "ctx.workflow_id, ctx.run_id, ctx.workflow_type, ctx.attempt, …",
    "execute_activity_method": "ctx.execute_activity(…)",
    "start_activity_method": "ctx.start_activity(…)",
    "time": "ctx.now()",
    "utcnow": "ctx.now()",
    "wait_signal": "await ctx.await_signal(…)",
    "receive_signal": "await ctx.await_signal(…)",
    "get_signal_handler": "ctx.set_signal_handler(signal, handler)",
    "get_current_history_length": "ctx.history_length",
    "get_current_history_size": "ctx.history_size",
    "is_continue_as_new_suggested": "ctx.continue_as_new_suggested",
    "set_current_details": "ctx.record_heartbeat(details)",
    "heartbeat": "ctx.record_heartbeat(details)",
    "new_random": "ctx.random()",
    "uuid": "ctx.uuid4()",
    "log": "ctx.logger",
    "wait_until": "await ctx.wait_condition(lambda: …)",
    "execute_local_activity": "ctx.execute_activity(…)",
    "execute_child_workflow": "client.execute_workflow(…) in an activity: WorkflowContext has no child workflows yet",
    "start_child_workflow": "client.start_workflow(…) in an activity: WorkflowContext has no child workflows yet",
    "get_external_workflow_handle": "client.get_workflow_handle(id) in an activity",
    "set_update_handler": "ctx.set_signal_handler(…), and ctx.set_query_handler(…) for the answer: there are no updates yet",
}
_DEFINITION: type = ActivityDefinition


def workflow_context() -> WorkflowContext:
    """The context of the workflow whose code is running, for helpers that were not passed it. UsageError outside of a workflow."""
    run = current_workflow.get()
    if not isinstance(run, RunState):
        raise UsageError("no workflow is running here; workflow_context() works in workflow code and in what it calls")
    return cast("WorkflowContext", run.code_context or WorkflowContext(run))


class _Done:
    """Can be awaited, and need not be."""

    __slots__ = ()

    def __await__(self) -> Any:
        return iter(())


_DONE = _Done()


class WorkflowContext:
    """The run, as its code sees it. Everything here is the same on replay."""

    __perdure_context__: ClassVar[str] = "workflow"

    def __init__(self, run: RunState) -> None:
        self._run = run

    # --- facts ------------------------------------------------------------------------------------------------------------------

    @property
    def workflow_id(self) -> str:
        return self._run.workflow_id

    @property
    def run_id(self) -> str:
        return self._run.run_id

    @property
    def workflow_type(self) -> str:
        return self._run.definition.name

    @property
    def task_queue(self) -> str:
        return self._run.task_queue

    @property
    def attempt(self) -> int:
        """1 for the first; more when the workflow has a retry policy and failed."""
        return max(1, self._run.started.attempt)

    @property
    def history_length(self) -> int:
        """Events of the history, as of the current workflow task."""
        return self._run.history_length

    @property
    def history_size(self) -> int:
        """Bytes of the history, as of the current workflow task."""
        return self._run.history_size

    @property
    def continue_as_new_suggested(self) -> bool:
        """Whether the history has grown so long that the engine would rather see a new run."""
        return self._run.continue_as_new_suggested

    @property
    def is_replaying(self) -> bool:
        """Whether this code repeats what it did before. Do not decide anything by it."""
        return self._run.replaying

    @property
    def cancel_requested(self) -> bool:
        return self._run.cancel_requested

    @property
    def cancel_reason(self) -> str:
        return self._run.cancel_reason

    @property
    def memo(self) -> Mapping[str, Any]:
        """The memo's values; `ctx.memo_value(key, type)` decodes one as a type."""
        return MemoView(self._run)

    def memo_value(self, key: str, type: type[T], default: T | None = None) -> T | None:
        payload = self._run.memo.get(key)
        return default if payload is None else self._run.converter.from_payload(payload, type)

    @property
    def search_attributes(self) -> TypedSearchAttributes:
        return read_search_attributes(self._run)

    @property
    def logger(self) -> WorkflowLogger:
        """Standard logging (logger "perdure.workflow") that says nothing twice."""
        return self._run.logger

    # --- time and chance --------------------------------------------------------------------------------------------------------

    def now(self) -> datetime:
        """The time of the current workflow task, UTC. It stands still until the workflow waits."""
        seconds, ns = divmod(self._run.now_ns, 1_000_000_000)
        return datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=ns // 1000)

    async def sleep(self, duration: Duration) -> None:
        """Waits that long, by a durable timer: the process may end meanwhile."""
        await self._run.sleep(to_ns(duration, "the time to sleep"))

    def random(self) -> Random:
        """A generator of random numbers with a seed of the run's own. Not for secrets."""
        self._run.refuse()
        return self._run.random

    def uuid4(self) -> uuid.UUID:
        """A random UUID. Not for secrets."""
        return uuid.UUID(int=self.random().getrandbits(128), version=4)

    # --- activities -------------------------------------------------------------------------------------------------------------

    @overload
    def execute_activity(
        self, activity: Callable[[*Ts], Coroutine[Any, Any, R]], *args: *Ts, **options: Unpack[ActivityOptionsDict]
    ) -> Coroutine[None, None, R]: ...
    @overload
    def execute_activity(
        self, activity: str, *args: Any, result_type: type[R], **options: Unpack[ActivityOptionsDict]
    ) -> Coroutine[None, None, R]: ...
    @overload
    def execute_activity(self, activity: str, *args: Any, **options: Unpack[ActivityOptionsDict]) -> Coroutine[None, None, Any]: ...
    async def execute_activity(self, activity: Any, *args: Any, result_type: Any = None, **options: Any) -> Any:  # type: ignore[misc]
        """Runs an activity and gives its result. Raises ExecutionFailed, ActivityTimedOut or ActivityCancelled (all ActivityError).

        `options` are those of ActivityOptions, over the activity's own. By name: `result_type` says what to decode.
        """
        return await self._start(activity, args, result_type, options)

    @overload
    def start_activity(
        self, activity: Callable[[*Ts], Coroutine[Any, Any, R]], *args: *Ts, **options: Unpack[ActivityOptionsDict]
    ) -> ActivityHandle[R]: ...
    @overload
    def start_activity(
        self, activity: str, *args: Any, result_type: type[R], **options: Unpack[ActivityOptionsDict]
    ) -> ActivityHandle[R]: ...
    @overload
    def start_activity(self, activity: str, *args: Any, **options: Unpack[ActivityOptionsDict]) -> ActivityHandle[Any]: ...
    def start_activity(  # type: ignore[misc]
        self, activity: Any, *args: Any, result_type: Any = None, **options: Any
    ) -> ActivityHandle[Any]:
        """Starts an activity and goes on; `await` the handle for its result, `handle.cancel()` asks it to stop."""
        return self._start(activity, args, result_type, options)

    def _start(self, activity: Any, args: Sequence[Any], result_type: Any, options: dict[str, Any]) -> ActivityHandle[Any]:
        if isinstance(activity, str):
            return self._run.start_activity(activity, args, _NO_OPTIONS, options, result_type, None)
        definition: Any = activity if type(activity) is _DEFINITION else activity_definition(activity)
        return self._run.start_activity(definition.name, args, definition.default_options, options, result_type, definition.shape)

    # --- signals and queries ----------------------------------------------------------------------------------------------------

    @overload
    async def await_signal(self, signal: type[T], *, timeout: Duration | None = None) -> T: ...
    @overload
    async def await_signal(self, signal: SignalDefinition[T], *, timeout: Duration | None = None) -> T: ...
    @overload
    async def await_signal(self, signal: str, *, timeout: Duration | None = None) -> Any: ...
    async def await_signal(self, signal: Any, *, timeout: Duration | None = None) -> Any:
        """The next signal of this kind, in order of arrival; those that came earlier wait. TimeoutError after `timeout`."""
        name, hint = signal_name(signal), None if isinstance(signal, str) else signal_type(signal)
        if timeout is None:
            return await self._run.signals.take(name, hint)
        return await _within(timeout, f"signal {name!r} did not come", lambda: self._run.signals.take(name, hint))

    def pending_signals(self, signal: Any) -> int:
        """How many signals of this kind have come and nobody has taken."""
        return self._run.signals.pending(signal_name(signal))

    def set_signal_handler(self, signal: Any, handler: Callable[..., Any]) -> None:
        """From now on `handler(payload)`, sync or async, gets the signals of this kind; None for those without a handler of their
        own: it gets `(name, values)`, or `(name, *values)` where it takes `*args`. Signals that came earlier are handed over first.
        """
        self._run.refuse()
        name = None if signal is None else signal_name(signal)
        self._run.signals.set_handler(_handler(name, handler, None if signal is None or isinstance(signal, str) else signal_type(signal)))

    def on_signal(self, signal: Any) -> Callable[[Callable[..., T]], Callable[..., T]]:
        """`@ctx.on_signal(Approval)`: set_signal_handler as a decorator."""

        def decorate(handler: Callable[..., T]) -> Callable[..., T]:
            self.set_signal_handler(signal, handler)
            return handler

        return decorate

    def set_query_handler(self, query: QueryDefinition[T] | type[T] | str | None, handler: Callable[..., T]) -> None:
        """`handler(*arguments)` answers this query. It looks at the workflow's state, and must not change it."""
        self._run.refuse()
        name = None if query is None else query_name(query)
        self._run.queries.set_handler(_handler(name, handler, None))

    def on_query(self, query: QueryDefinition[Any] | type | str | None) -> Callable[[Callable[..., T]], Callable[..., T]]:
        """`@ctx.on_query("progress")`: set_query_handler as a decorator."""

        def decorate(handler: Callable[..., T]) -> Callable[..., T]:
            self.set_query_handler(query, handler)
            return handler

        return decorate

    def all_handlers_finished(self) -> bool:
        """Whether no signal handler is at work: `await ctx.wait_condition(ctx.all_handlers_finished)`."""
        return self._run.handlers_running == 0

    def record_heartbeat(self, details: Any) -> _Done:
        """Progress that anybody can read (client, command line, dashboard) and that adds nothing to the history."""
        self._run.refuse()
        run = self._run
        run.current_details = details if isinstance(details, str) else run.converter.to_payload(details).data.decode(errors="replace")
        return _DONE

    # --- waiting, and ending ----------------------------------------------------------------------------------------------------

    async def wait_condition(self, predicate: Callable[[], Any], *, timeout: Duration | None = None) -> None:
        """Waits until `predicate()` is true; it is asked after everything that happens. TimeoutError after `timeout`."""
        if timeout is None:
            return await self._condition(predicate)
        await _within(timeout, "the condition did not become true", lambda: self._condition(predicate))

    async def _condition(self, predicate: Callable[[], Any]) -> None:
        run = self._run
        run.refuse()
        now = run.read_only("a wait_condition", predicate)
        if inspect.iscoroutine(now):
            now.close()
            raise UsageError("wait_condition was given an async function; give a plain one, such as lambda: self.done")
        if now:
            return
        future: asyncio.Future[None] = run.loop.create_future()
        run.conditions.append((predicate, future))
        await future

    def continue_as_new(
        self, *args: Any, workflow: Any = None, task_queue: str | None = None, **options: Unpack[ContinueOptions]
    ) -> NoReturn:
        """Ends this run and starts the next, of the same workflow id, with `args` and an empty history. Does not return.

        What is not given stays: workflow, task queue, time-outs, retry policy, memo, search attributes.
        """
        self._run.refuse()
        raise ContinueAsNew(next_run(self._run, args, workflow, task_queue, options))

    # --- what the history remembers ---------------------------------------------------------------------------------------------

    @overload
    def side_effect(self, call: Callable[[], Any], *, type: type[T]) -> T: ...
    @overload
    def side_effect(self, call: Callable[[], T]) -> T: ...
    def side_effect(self, call: Callable[[], Any], *, type: Any = None) -> Any:
        """The value of `call()`, which is called once and recorded: for small things that are not deterministic.

        What fails or takes time belongs into an activity. The value comes back as it is written down; `type` says what to decode.
        """
        return self._run.markers.side_effect(call, type)

    def patched(self, patch_id: str) -> bool:
        """`if ctx.patched("free-shipping"): … else: …` changes the code under running workflows: those that passed here before
        the change stay with the old branch.
        """
        return self._run.markers.patched(patch_id)

    def deprecate_patch(self, patch_id: str) -> None:
        """In place of `patched` when no workflow follows the old branch any more; it can go when none was started with it."""
        self._run.markers.patched(patch_id, deprecated=True)

    def upsert_memo(self, updates: Mapping[str, Any]) -> None:
        """Changes some of the memo; None removes a key."""
        self._run.add(UpsertMemo(write_memo(self._run, updates)))

    def upsert_search_attributes(self, updates: TypedSearchAttributes | Sequence[SearchAttributePair[Any]] | Sequence[Any]) -> None:
        """Changes some of the search attributes: pairs, or updates (`key.value_set(…)`, `key.value_unset()`)."""
        self._run.add(UpsertSearchAttributes(write_search_attributes(self._run, updates)))

    if not TYPE_CHECKING:  # type checkers shall complain of a wrong name themselves

        def __getattr__(self, name: str) -> Any:
            known = [each for each in dir(type(self)) if not each.startswith("_")]
            raise missing_attribute("WorkflowContext", name, known, _FOREIGN)

    def __repr__(self) -> str:
        return f"<WorkflowContext {self.workflow_type} {self.workflow_id}>"


async def _within(timeout: Duration, missed: str, wait: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What `wait` gives; TimeoutError, which says what was missed, when it takes longer."""
    seconds = to_seconds(timeout, "timeout")
    scope = asyncio.timeout(seconds)
    try:
        async with scope:
            return await wait()
    except TimeoutError:
        if not scope.expired():
            raise  # its own
        raise TimeoutError(f"{missed} within {seconds:g} s") from None


def _handler(name: str | None, fn: Callable[..., Any], payload_type: Any) -> Handler:
    if not callable(fn):
        raise UsageError(f"the handler of {name!r} is {fn!r}; give a function")
    definition = HandlerDefinition(name, fn)
    types = definition.arg_types
    if payload_type is not None and types:
        types = [payload_type if types[0] is None else types[0], *types[1:]]
    return Handler(name, fn, definition.shape, types, definition.is_async, (fn.__doc__ or "").partition("\n")[0])
