"""Runs one run's code against its history: from a workflow task to its completion. No I/O, no clock; one call per task.

History is cut into activations, one for each workflow task that was completed, and one for the task in hand. An activation applies
the events since the last one, runs the code until it waits, and collects its commands. Those of a completed task are compared with
the events that recorded them; those of the task in hand are the answer. A task that failed or timed out leaves nothing behind: its
events belong to the next.

The rule a newcomer would get wrong: a runner whose last answer was not accepted has code that is ahead of history. It says so
(`CacheMiss`) when it is given the next part, and starts over when it is given the whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from temporalio.api.enums.v1.event_type_pb2 import EventType as E
from temporalio.api.enums.v1.failed_cause_pb2 import WorkflowTaskFailedCause as Cause
from temporalio.api.enums.v1.query_pb2 import QueryResultType
from temporalio.api.history.v1.message_pb2 import HistoryEvent
from temporalio.api.query.v1.message_pb2 import WorkflowQuery, WorkflowQueryResult
from temporalio.api.workflowservice.v1.request_response_pb2 import (
    PollWorkflowTaskQueueResponse,
    RespondQueryTaskCompletedRequest,
    RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskFailedRequest,
)

from perdure.model.conversion import DataConverter
from perdure.model.definitions import WorkflowDefinition
from perdure.model.errors import NondeterminismError, PerdureError, UsageError
from perdure.model.framing import framed, tag
from perdure.runtime import guard
from perdure.runtime.applying import APPLY, SIGNALED, Apply, apply_signal
from perdure.runtime.commands import COMMAND_EVENTS, Command
from perdure.runtime.context import WorkflowContext
from perdure.runtime.matching import Mismatch, code_line, match_commands, nondeterminism
from perdure.runtime.options import RunnerOptions
from perdure.runtime.queries import METADATA, metadata, stack_trace
from perdure.runtime.run_state import RunState

Completion = RespondWorkflowTaskCompletedRequest | RespondWorkflowTaskFailedRequest | RespondQueryTaskCompletedRequest

_TASK_TOKEN = tag(RespondWorkflowTaskCompletedRequest, "task_token")
_COMMAND = tag(RespondWorkflowTaskCompletedRequest, "commands")
_STARTED = E.EVENT_TYPE_WORKFLOW_TASK_STARTED
_COMPLETED = E.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
_BEGUN = E.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED
_MARKER = E.EVENT_TYPE_MARKER_RECORDED
# The runner has no use for these: tasks that came to nothing, and what only the engine needs to know.
_IGNORED = frozenset(
    {
        E.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED,
        E.EVENT_TYPE_WORKFLOW_TASK_FAILED,
        E.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT,
        E.EVENT_TYPE_ACTIVITY_TASK_STARTED,
    }
)


class CacheMiss(PerdureError, code="cache_miss"):
    """This part of the history does not continue what the runner has seen; activate it with the whole history."""


class WorkflowRunner:
    """One run in the sticky cache."""

    def __init__(
        self,
        definition: WorkflowDefinition[..., Any],
        workflow_id: str,
        run_id: str,
        converter: DataConverter = DataConverter.default,
        options: RunnerOptions | None = None,
    ) -> None:
        self.definition = definition
        self.workflow_id = workflow_id
        self.run_id = run_id
        self.options = options or RunnerOptions()
        self._converter = converter
        self._traced: dict[int, str] | None = None
        self.error: BaseException | None = None
        """Why the last task failed, with its traceback; the worker logs it."""
        if self.options.guard:
            guard.install()
        self._forget()

    def _forget(self) -> None:
        self._state: RunState | None = None
        self._last_event_id = 0
        self._activated_id = 0  # the WorkflowTaskStarted event of the last activation
        self._awaits_match = False
        # What the next activation is to apply.
        self._signals: list[HistoryEvent] = []
        self._window: list[tuple[Apply, HistoryEvent]] = []

    # --- what the worker calls ------------------------------------------------------------------------------------------------

    def activate(self, task: PollWorkflowTaskQueueResponse) -> Completion:
        """The answer to a workflow task or a query task. What else it is to say is in `RunnerOptions`, or left to the worker.

        Never raises for what workflow code does. CacheMiss: this is a later part of the history than the runner can take.
        """
        self.error = None
        events = list(task.history.events)
        self._check_continues(events, task)
        try:
            self.replay(events, task.started_event_id)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except SystemExit as error:
            text = f"workflow code called sys.exit({error.code}), which would end the worker; raise ApplicationError to fail the workflow"
            return self._failed(task, UsageError(text))
        except BaseException as error:
            return self._failed(task, error)
        if task.HasField("query"):
            return self._answer_query(task)
        return self._completed(task)

    def evict(self) -> None:
        """Ends the run's code in this process; the runner can be given a whole history again."""
        if self._state is not None:
            self._state.evict()
            self._forget()

    def __del__(self) -> None:
        # A runner that was dropped rather than evicted: its code must not run on when its coroutines are collected.
        if getattr(self, "_state", None) is not None:
            self.evict()

    @property
    def run(self) -> RunState:
        """The state of the run's code. CacheMiss before the first event."""
        if self._state is None:
            raise CacheMiss
        return self._state

    @property
    def closed(self) -> bool:
        """Whether the workflow has ended, as far as its code is concerned."""
        return self._state is not None and self._state.closed

    def replay(self, events: Sequence[HistoryEvent], live_started_id: int = 0) -> None:
        """Takes the next part of the history. A WorkflowTaskStarted event `live_started_id` at its end is the task in hand.

        Raises NondeterminismError, or what the workflow's code raised by mistake.
        """
        try:
            return self._replay(events, live_started_id)
        except NondeterminismError as error:
            if self._traced is not None or error.line or not events or events[0].event_id != 1:
                raise
            parted = error
        self._trace(events, live_started_id)  # raises the same with the line, and not "during handling of" the first
        raise parted

    def _replay(self, events: Sequence[HistoryEvent], live_started_id: int) -> None:
        position, end = 0, len(events)
        while position < end:
            event = events[position]
            position += 1
            kind = event.event_type
            if kind in _IGNORED:
                continue
            if kind == _STARTED:
                follows = events[position].event_type if position < end else 0
                if follows == _COMPLETED or (not follows and event.event_id == live_started_id):
                    self._activate(event, events, position)
            elif kind == _COMPLETED:
                if self._awaits_match:
                    self._awaits_match = False
                    after = match_commands(self.run.commands, events, position, event.event_id, self.options.strict)
                    if isinstance(after, Mismatch):
                        raise self._parted(after)
                    position = after
            elif kind == SIGNALED:
                self._signals.append(event)
            elif kind == _BEGUN:
                self._begin(event)
            elif (apply := APPLY.get(kind)) is not None:
                self._window.append((apply, event))
        if end:
            self._last_event_id = events[-1].event_id

    def __repr__(self) -> str:
        return f"<WorkflowRunner {self.definition.name} {self.workflow_id}: at event {self._last_event_id}>"

    # --- history to activations -----------------------------------------------------------------------------------------------

    def _check_continues(self, events: Sequence[HistoryEvent], task: PollWorkflowTaskQueueResponse) -> None:
        if not events:
            if self._last_event_id == 0:
                raise CacheMiss
            return
        first_id = events[0].event_id
        if first_id == 1:
            if self._last_event_id:
                self.evict()
        elif first_id != self._last_event_id + 1 or task.previous_started_event_id != self._activated_id:
            raise CacheMiss

    def _begin(self, event: HistoryEvent) -> None:
        about = self.definition, self.workflow_id, self.run_id, self._converter, self.options
        run = self._state = RunState(*about) if self._traced is None else _TracedRun(self._traced, *about)
        time = event.event_time
        start_ns = time.seconds * 1_000_000_000 + time.nanos
        run.begin(event.workflow_execution_started_event_attributes, start_ns, WorkflowContext(run))

    def _activate(self, started: HistoryEvent, events: Sequence[HistoryEvent], position: int) -> None:
        run = self._state
        if run is None:
            raise CacheMiss
        replaying = run.replaying = position < len(events)
        time = started.event_time
        now_ns = time.seconds * 1_000_000_000 + time.nanos
        if now_ns > run.now_ns:
            run.now_ns = now_ns
        run.history_length = self._activated_id = started.event_id
        attributes = started.workflow_task_started_event_attributes
        run.history_size = attributes.history_size_bytes
        run.continue_as_new_suggested = attributes.suggest_continue_as_new
        run.activation += 1
        run.commands = []
        if replaying:
            self._show_markers(run, events, position + 1)
        token = guard.enter() if self.options.guard else None
        outer = run.loop.enter()
        try:
            if run.activation == 1:
                run.prepare_code()
            for event in self._signals:
                apply_signal(run, event)
            if run.activation == 1:
                run.start_code()
            for apply, event in self._window:
                apply(run, event)
            if run.code_error is None:
                run.loop.drain()
                if run.conditions:
                    run.wake_conditions()
        finally:
            self._signals.clear()
            self._window.clear()
            run.loop.leave(outer)
            guard.leave(token)
        if run.code_error is not None:
            raise run.code_error
        self._awaits_match = True

    def _show_markers(self, run: RunState, events: Sequence[HistoryEvent], position: int) -> None:
        while position < len(events) and (kind := events[position].event_type) in COMMAND_EVENTS:
            if kind == _MARKER:
                run.markers.upcoming(events[position])
            position += 1

    def _parted(self, mismatch: Mismatch) -> NondeterminismError:
        line = self._traced.get(id(mismatch.command), "") if self._traced and mismatch.command is not None else ""
        return nondeterminism(mismatch, line, self.workflow_id, self.run_id, self.definition.name)

    def _trace(self, events: Sequence[HistoryEvent], live_started_id: int) -> None:
        """Goes through the history again and notes where each command is issued: too dear to do before it is needed."""
        self.evict()
        self._traced = {}
        try:
            self.replay(events, live_started_id)
        finally:
            self._traced = None

    # --- answers ----------------------------------------------------------------------------------------------------------------

    def _completed(self, task: PollWorkflowTaskQueueResponse) -> RespondWorkflowTaskCompletedRequest:
        run = self.run
        parts = [self.options.last_completion if run.closed else self.options.completion, framed(_TASK_TOKEN, task.task_token)]
        parts += [framed(_COMMAND, command.encoded()) for command in run.commands if not command.dropped]
        request = RespondWorkflowTaskCompletedRequest.FromString(b"".join(parts))
        if task.queries:
            self._answer_queries(task.queries, request.query_results)
        return request

    def _failed(self, task: PollWorkflowTaskQueueResponse, error: BaseException) -> Completion:
        self.error = error
        failure = self._converter.to_failure(error)
        self.evict()
        if task.HasField("query"):
            answer = RespondQueryTaskCompletedRequest(task_token=task.task_token, error_message=failure.message)
            answer.completed_type = QueryResultType.QUERY_RESULT_TYPE_FAILED
            answer.failure.CopyFrom(failure)
            return answer
        request = RespondWorkflowTaskFailedRequest(task_token=task.task_token)
        request.cause = (
            Cause.WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR
            if isinstance(error, NondeterminismError)
            else Cause.WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_WORKER_UNHANDLED_FAILURE
        )
        request.failure.CopyFrom(failure)
        return request

    def _answer_query(self, task: PollWorkflowTaskQueueResponse) -> RespondQueryTaskCompletedRequest:
        result = self.query(task.query)
        request = RespondQueryTaskCompletedRequest(task_token=task.task_token, completed_type=result.result_type)
        request.query_result.CopyFrom(result.answer)
        request.error_message = result.error_message
        if result.HasField("failure"):
            request.failure.CopyFrom(result.failure)
        return request

    def _answer_queries(self, queries: Mapping[str, WorkflowQuery], results: Any) -> None:
        for query_id, query in queries.items():
            results[query_id].CopyFrom(self.query(query))

    def query(self, query: WorkflowQuery) -> WorkflowQueryResult:
        """The answer of the run as it stands."""
        run = self.run
        token = guard.enter() if self.options.guard else None
        try:
            with run.loop.running():
                return run.queries.answer(query, lambda call: run.read_only("a query", lambda: run.context.run(call)), self._built_in)
        finally:
            guard.leave(token)

    def _built_in(self, name: str) -> Any:
        run = self.run
        if name == METADATA:
            return metadata(self.definition.name, run.signals.handlers, run.queries.handlers, run.current_details)
        return stack_trace(run.loop.pending_tasks())


class _TracedRun(RunState):
    """Notes where each command is issued."""

    __slots__ = ("_traced",)

    def __init__(self, traced: dict[int, str], *about: Any) -> None:
        super().__init__(*about)
        self._traced = traced

    def add(self, command: Command) -> None:
        self._traced[id(command)] = code_line()
        super().add(command)
