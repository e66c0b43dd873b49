"""The state of one run's code in this process: its loop, what it waits for, and the commands of the activation that runs.

It knows no history and no RPC: `applying` tells it what happened, `runner` takes its commands. Workflow code reaches it through
`WorkflowContext`.

The rule a newcomer would get wrong: a command that is withdrawn in the activation that issued it was never issued (`dropped`); one
that was sent is withdrawn by another command.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import random
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from temporalio.api.common.v1.message_pb2 import Payload
from temporalio.api.history.v1.message_pb2 import WorkflowExecutionStartedEventAttributes

from perdure.model.conversion import DataConverter
from perdure.model.definitions import ActivityDefinition, WorkflowDefinition, current_workflow
from perdure.model.errors import DeterminismViolation, InvalidInput, UsageError
from perdure.runtime.activity_commands import template_for
from perdure.runtime.commands import Cancel, CancelTimer, Command, Complete, ContinueAsNewCommand, Fail, ScheduleActivity, StartTimer
from perdure.runtime.failing import continue_as_new_in, fails_workflow, failure_of_error
from perdure.runtime.handles import ActivityHandle, TimerFuture
from perdure.runtime.loop import ENDS_HERE, Evicted, WorkflowLoop
from perdure.runtime.markers import Markers
from perdure.runtime.options import RunnerOptions
from perdure.runtime.queries import QueryRegistry
from perdure.runtime.replay_logger import LOGGER, WorkflowLogger
from perdure.runtime.signals import Handler, SignalRegistry, bound_handler
from perdure.runtime.started_event import encoded_for_keeping

if TYPE_CHECKING:
    from perdure.model.call_shape import CallShape
    from perdure.model.options import ActivityOptions


class RunState:
    """One run's code, from its first event to its close or its eviction."""

    __slots__ = (
        *("definition", "workflow_id", "run_id", "converter", "options", "context", "loop", "code_context", "task_queue"),
        *("start_ns", "now_ns", "history_length", "history_size", "continue_as_new_suggested", "replaying", "evicted", "closed"),
        *("cancel_requested", "cancel_reason", "current_details", "activation", "commands", "refusal", "code_error", "activities"),
        *("timers", "conditions", "handlers_running", "instance", "_arguments", "_activity_ids", "_timer_ids", "_main"),
        *("_random", "_logger", "_signals", "_queries", "_markers", "_memo", "_search_attributes", "_started", "_started_encoded"),
    )

    def __init__(
        self, definition: WorkflowDefinition[..., Any], workflow_id: str, run_id: str, converter: DataConverter, options: RunnerOptions
    ) -> None:
        self.definition = definition
        self.workflow_id = workflow_id
        self.run_id = run_id
        self.converter = converter
        self.options = options
        self.context = contextvars.Context()
        self.loop: WorkflowLoop
        self.code_context: Any = None
        self.task_queue = ""
        self.start_ns = self.now_ns = self.activation = self.history_length = self.history_size = 0
        self.continue_as_new_suggested = self.replaying = self.evicted = self.closed = self.cancel_requested = False
        self.cancel_reason = self.current_details = ""
        self.commands: list[Command] = []
        self.refusal: str | None = None
        self.code_error: BaseException | None = None
        self.activities: dict[int, ActivityHandle[Any]] = {}
        self.timers: dict[str, Any] = {}
        self.conditions: list[tuple[Callable[[], Any], asyncio.Future[None]]] = []
        self.instance: Any = None
        self._arguments: list[Any] = []
        self._activity_ids = self._timer_ids = self.handlers_running = 0
        self._main: asyncio.Task[None] | None = None
        self._random: random.Random | None = None  # this and what follows is made when it is touched: most runs never do
        self._logger: WorkflowLogger | None = None
        self._signals: SignalRegistry | None = None
        self._queries: QueryRegistry | None = None
        self._markers: Markers | None = None
        self._memo: dict[str, Payload] | None = None
        self._search_attributes: dict[str, Payload] | None = None
        self._started: WorkflowExecutionStartedEventAttributes | None = None
        self._started_encoded = b""

    # --- the run's life -----------------------------------------------------------------------------------------------------

    def begin(self, started: WorkflowExecutionStartedEventAttributes, start_ns: int, context: Any) -> None:
        """The run's first event. `context` is what its code gets as ctx."""
        self.code_context = context
        self._started = started
        self.start_ns = start_ns
        self.task_queue = started.task_queue.name
        self.loop = WorkflowLoop(self, zlib.crc32((started.original_execution_run_id or self.run_id).encode()))
        self.context.run(current_workflow.set, self)

    def prepare_code(self) -> None:
        """Creates the workflow object and its handlers, before the first signals. An input that does not decode fails the workflow."""
        started, definition = self.started, self.definition
        self._started, self._started_encoded = None, encoded_for_keeping(started)
        try:
            payloads, shape = started.input.payloads, definition.shape
            try:
                shape.check_count(len(payloads))
            except UsageError as error:
                raise InvalidInput(str(error)) from error
            self._arguments = self.converter.decode_args(payloads, shape.arg_types, shape.arg_names, shape.where)
            if definition.cls is not None:
                self.instance = self.context.run(definition.create)
                self._register_methods()
        except Exception as error:
            self.failed(error)

    def start_code(self) -> None:
        """Creates the workflow's first task."""
        if self.closed or self.code_error is not None:
            return
        definition = self.definition
        run = definition.run if self.instance is None else definition.run.__get__(self.instance)
        arguments = [self.code_context, *self._arguments] if definition.takes_ctx else self._arguments
        self._arguments = []
        self._main = self.loop.start_task(self._run_main(run, arguments), self.context)

    async def _run_main(self, run: Callable[..., Any], arguments: Sequence[Any]) -> None:
        try:
            self.finish(Complete(self._encode_result(await run(*arguments))))
        except ENDS_HERE:
            raise
        except BaseException as error:
            self.ended_with(error)

    def _encode_result(self, result: Any) -> bytes:
        try:
            return self.converter.encode_result(result)
        except InvalidInput as error:
            refused = InvalidInput(f"the result of workflow {self.definition.name} cannot be stored: {error}")
            raise refused from error.__cause__

    def ended_with(self, error: BaseException) -> None:
        """The workflow's own code has raised `error`."""
        if (continues := continue_as_new_in(error)) is not None:
            self.finish(ContinueAsNewCommand(continues.attributes))
        elif isinstance(error, asyncio.CancelledError) and self.cancel_requested:
            self.finish(Cancel())
        else:
            self.failed(error)

    def failed(self, error: BaseException) -> None:
        """The outcome is a failure, or a mistake in the code: see `failing`."""
        more = self.options.failure_exception_types + tuple(getattr(self.definition, "failure_exception_types", ()))
        if fails_workflow(error, more):
            self.finish(Fail(failure_of_error(error, self.converter)))
        else:
            self.code_failed(error)

    def finish(self, command: Command) -> None:
        """The last command of the run. What its other tasks still ask for is not sent."""
        if self.closed:
            return
        if self.handlers_running:
            self.logger.warning(
                "workflow %s ends while %d of its signal handlers still run: what they do is lost; "
                "wait for them with `await ctx.wait_condition(ctx.all_handlers_finished)`",
                self.workflow_id,
                self.handlers_running,
            )
        self.add(command)
        self.closed = True

    def cancel(self, reason: str) -> None:
        """Somebody has asked for the run to be cancelled: its code gets CancelledError where it waits."""
        self.cancel_requested, self.cancel_reason = True, reason
        if self._main is None:
            return
        if self.activation == 1:
            # Its first step has not run: cancelled now it would never begin. It begins, and is cancelled where it waits first.
            self.loop.call_soon(self._main.cancel, context=self.context.copy())
        else:
            self._main.cancel()

    def evict(self) -> None:
        """Ends its code here. Nothing that its clean-up does reaches the engine."""
        if self.evicted:
            return
        self.evicted, self.refusal = True, ""
        if hasattr(self, "loop"):
            self.loop.close()
        self.activities, self.timers, self.conditions, self.commands = {}, {}, [], []
        self._main = self._signals = self._markers = self.code_context = self.instance = None
        self.context = contextvars.Context()  # no circle is left: its memory is free at once, and no collection has to find it

    # --- an activation ------------------------------------------------------------------------------------------------------

    def wake_conditions(self) -> None:
        """Runs the code on where it waits for a condition that has become true, until none is."""
        while self.code_error is None and self._wake_conditions():
            self.loop.drain()

    def _wake_conditions(self) -> bool:
        woken = False
        for entry in list(self.conditions):
            predicate, future = entry
            if future.done():
                self.conditions.remove(entry)
                continue
            try:
                true = self.read_only("a wait_condition", functools.partial(self.context.run, predicate))
            except Exception as error:
                future.set_exception(error)
            else:
                if not true:
                    continue
                future.set_result(None)
            self.conditions.remove(entry)
            woken = True
        return woken

    def read_only(self, what: str, call: Callable[[], Any]) -> Any:
        """Calls user code that may look, and not act."""
        before, self.refusal = self.refusal, what if self.refusal is None else self.refusal
        try:
            return call()
        finally:
            self.refusal = before

    # --- commands -------------------------------------------------------------------------------------------------------------

    def add(self, command: Command) -> None:
        """Issues a command."""
        if self.refusal is not None:
            self.refuse()
        if not self.closed:
            self.commands.append(command)

    def refuse(self) -> None:
        if self.evicted:
            raise Evicted
        if self.refusal is not None:
            raise DeterminismViolation(f"{self.refusal} may look at the workflow's state, and not act: it runs outside the history")

    def start_activity(
        self,
        name: str,
        arguments: Sequence[Any],
        defaults: ActivityOptions,
        overrides: Mapping[str, Any],
        result_type: Any,
        shape: CallShape | None,
    ) -> ActivityHandle[Any]:
        """`shape` is what is known of the activity; None when only its name is."""
        template = template_for(name, defaults, overrides, self.task_queue, self.options.default_start_to_close_timeout, self.converter)
        if shape is not None:
            shape.check_count(len(arguments))  # after the names of the options: who writes args=[…] has given none
            result_type = result_type or shape.result_type
        # In replay the input is not looked at again, unless it is to be compared.
        if not arguments or (self.replaying and not self.options.strict):
            encoded = b""
        else:
            names, where = ((), f"activity {name}") if shape is None else (shape.arg_names, shape.where)
            encoded = self.converter.encode_arguments(arguments, names, where)
        self._activity_ids += 1
        handle: ActivityHandle[Any] = ActivityHandle(self, result_type, template.cancellation_type)
        activity_id = template.activity_id or str(self._activity_ids)
        handle.command = command = ScheduleActivity(activity_id, name, encoded, template.message, handle)
        self.add(command)
        return handle

    async def execute_activity(self, definition: ActivityDefinition[Any, Any], args: Sequence[Any], options: ActivityOptions) -> Any:
        """`await charge(order)` in workflow code."""
        return await self.start_activity(definition.name, args, options, {}, None, definition.shape)

    def sleep(self, delay_ns: int) -> asyncio.Future[None]:
        timer = TimerFuture(self)
        if delay_ns <= 0:
            timer.set_result(None)
        else:
            self.start_timer(delay_ns, timer)
        return timer

    def start_timer(self, delay_ns: int, timer: Any) -> None:
        self._timer_ids += 1
        command = StartTimer(str(self._timer_ids), delay_ns, timer)
        command.activation = self.activation
        self.add(command)
        timer.command = command
        self.timers[command.timer_id] = timer

    def cancel_timer(self, timer: Any) -> None:
        command: StartTimer = timer.command
        if self.timers.pop(command.timer_id, None) is None:
            return
        if command.activation == self.activation:
            command.dropped = True
        elif not self.evicted:
            self.add(CancelTimer(command.timer_id))

    # --- signals --------------------------------------------------------------------------------------------------------------

    def _register_methods(self) -> None:
        for kind, registry in ((self.definition.queries, self.queries), (self.definition.signals, self.signals)):
            for name, handler in kind.items():
                registry.set_handler(bound_handler(name, handler, self.instance))

    def _dispatch_signal(self, handler: Handler, arguments: list[Any]) -> None:
        self.handlers_running += 1  # from here on, and not from its first step: who asks in between must hear of it
        if handler.is_async:
            self.loop.start_task(self._run_handler(handler, arguments), self.context.copy())
        else:
            self.loop.call_soon(self._call_handler, handler, arguments, context=self.context.copy())

    async def _run_handler(self, handler: Handler, arguments: list[Any]) -> None:
        try:
            await handler.fn(*arguments)
        except ENDS_HERE:
            raise
        except BaseException as error:
            return self._handler_ended(error)
        self._handler_ended()

    def _call_handler(self, handler: Handler, arguments: list[Any]) -> None:
        try:
            handler.fn(*arguments)
        except ENDS_HERE:
            raise
        except BaseException as error:
            return self._handler_ended(error)
        self._handler_ended()

    def _handler_ended(self, error: BaseException | None = None) -> None:
        self.handlers_running -= 1
        if error is not None:
            self.ended_with(error)

    def _drop_signal(self, name: str, error: Exception) -> None:
        self.logger.error("workflow %s: signal %r was dropped: %s", self.workflow_id, name, error)

    # --- what the loop asks for -------------------------------------------------------------------------------------------------

    def elapsed_ns(self) -> int:
        return self.now_ns - self.start_ns

    def code_failed(self, error: BaseException) -> None:
        """A mistake in the workflow's code: the activation ends here, and none of its commands are sent."""
        if self.code_error is None:
            self.code_error = error
        self.loop.ready.clear()

    def report(self, message: str, error: BaseException | None) -> None:
        self.logger.error("workflow %s: %s", self.workflow_id, message, exc_info=error)

    # --- facts ------------------------------------------------------------------------------------------------------------------

    @property
    def signals(self) -> SignalRegistry:
        if self._signals is None:
            self._signals = SignalRegistry(self.converter, self._dispatch_signal, self._drop_signal)
        return self._signals

    @property
    def started(self) -> WorkflowExecutionStartedEventAttributes:
        """The run's first event. It is kept encoded: the message itself keeps the whole history in memory that it came in."""
        if self._started is None:
            self._started = WorkflowExecutionStartedEventAttributes.FromString(self._started_encoded)
        return self._started

    @property
    def queries(self) -> QueryRegistry:
        if self._queries is None:
            self._queries = QueryRegistry(self.converter)
        return self._queries

    @property
    def memo(self) -> dict[str, Payload]:
        if self._memo is None:
            self._memo = dict(self.started.memo.fields)
        return self._memo

    @property
    def search_attributes(self) -> dict[str, Payload]:
        if self._search_attributes is None:
            self._search_attributes = dict(self.started.search_attributes.indexed_fields)
        return self._search_attributes

    @property
    def markers(self) -> Markers:
        if self._markers is None:
            self._markers = Markers(self)
        return self._markers

    @property
    def random(self) -> random.Random:
        if self._random is None:
            self._random = random.Random(self.started.original_execution_run_id or self.run_id)
        return self._random

    @property
    def logger(self) -> WorkflowLogger:
        if self._logger is None:
            facts = {"workflow_id": self.workflow_id, "run_id": self.run_id, "workflow_type": self.definition.name}
            self._logger = WorkflowLogger(self, facts, self.options.log_in_replay, LOGGER)
        return self._logger
