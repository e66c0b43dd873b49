"""A shell around the core for tests: an environment, a ledger that keeps what a store would keep, and a checker of histories.

The checker knows the rules of a legal history from the reference alone; it shares no code with the core.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.enums.v1 import EventType as E
from temporalio.api.enums.v1 import IndexedValueType, TaskQueueKind, TimeoutType, WorkflowTaskFailedCause
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import History, HistoryEvent
from temporalio.api.workflowservice.v1 import (
    ResetWorkflowExecutionRequest,
    RespondActivityTaskCompletedRequest,
    RespondActivityTaskFailedRequest,
    RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskFailedRequest,
    SignalWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
)

from perdure.engine.core import (
    ActivityStarted,
    FireTimers,
    Outcome,
    Parent,
    Run,
    StartActivityTask,
    StartedActivity,
    StartedWorkflowTask,
    StartWorkflowTask,
    TaskKind,
    WorkflowTaskStarted,
    handle,
    limits,
    load,
    start,
    validate_start,
)
from perdure.engine.core.reset import check_reset, reset
from perdure.engine.core.versions import Version

KEYWORD = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
SECOND = 1_000_000_000
BEGIN = 1_800_000_000 * SECOND


class Poller:
    """A reservation."""

    def __init__(self, identity: str = "worker", in_process: bool = True, request_id: str = "poll") -> None:
        self.identity, self.in_process, self.request_id = identity, in_process, request_id
        self.released = False

    def release(self) -> None:
        self.released = True


class FakeEnv:
    """Time stands still until a test moves it; ids count up; pollers wait on the queues that are named."""

    def __init__(self) -> None:
        self.now = BEGIN
        self.incarnation = 1
        self.suggest_events = 4096
        self.payload_bytes_max = limits.PAYLOAD_BYTES_MAX
        self.polled: set[tuple[TaskKind, str]] = set()
        self.in_process = True
        self.target_version: Version | None = None
        self._ids = 0
        self._random = random.Random(7)

    def new_run_id(self) -> str:
        self._ids += 1
        return f"01890000-0000-7000-8000-{self._ids:012x}"

    def new_uuid(self) -> str:
        self._ids += 1
        return f"00000000-0000-4000-8000-{self._ids:012x}"

    def random(self) -> float:
        return self._random.random()

    def namespace_id(self, namespace: str) -> str:
        return f"id of {namespace}"

    def endpoint_id(self, name: str) -> str:
        return f"id of {name}" if name != "nowhere" else ""

    def search_attributes(self, namespace: str) -> dict[str, int]:
        return dict.fromkeys(("x", "y", "Kind"), KEYWORD)

    def version_outdated(self, run: Run) -> bool:
        return run.versioning is not None and run.versioning.version != self.target_version

    def is_for(self, run: Run, version: Version | None) -> bool:
        return self.target_version == version

    def version_superseded(self, run: Run) -> bool:
        return self.version_outdated(run)

    def reserve(self, kind: TaskKind, run: Run, queue: str, sticky: bool) -> Poller | None:
        return Poller(in_process=self.in_process) if (kind, queue) in self.polled else None


def payloads(text: str) -> Payloads:
    return Payloads(payloads=[payload(text)])


def payload(text: str) -> Payload:
    return Payload(metadata={"encoding": b"json/plain"}, data=f'"{text}"'.encode())


def seconds(amount: float) -> Duration:
    return Duration(seconds=int(amount), nanos=round(amount % 1 * SECOND))


# The ledger: what a store would hold of a run, checked at each commit.


def snapshot(run: Run) -> dict[str, Any]:
    """All of a run's state that must survive, in a form that compares."""
    derived = ("heap", "tail", "tail_first_id", "facts_head", "task_head", "activity_head", "token_names", "start")
    state = {name: _plain(getattr(run, name)) for name in Run.__slots__ if name not in derived}
    state["next_due"] = run.durable_due()
    state["waiting_queue"] = run.waiting_queue
    if run.task is not None and run.task.speculative:
        state["task"] = state["waiting_queue"] = None
    state["updates"] = _durable_updates(run)
    return state


def _durable_updates(run: Run) -> Any:
    """What must survive of its updates: not those that are only admitted."""
    updates = run.updates
    if updates is None:
        return None
    kept = (
        [key for key, each in updates.admitted.items() if each.recorded],
        dict(updates.accepted),
        dict(updates.completed),
        _plain(updates.callbacks),
        _plain(updates.untold),
    )
    return kept if any(kept) else None


def _plain(value: Any) -> Any:
    if isinstance(value, Message):
        return value.SerializeToString(deterministic=True)
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, (set, frozenset)):
        return frozenset(value)
    if hasattr(type(value), "__slots__") and type(value).__module__.startswith("perdure"):
        unsaved = ("queued_due", "attributes", "token", "response_part")
        return {name: _plain(getattr(value, name)) for name in type(value).__slots__ if name not in unsaved}
    return value


@dataclass
class Ledger:
    """What is stored of one run."""

    run: Run
    history: bytes = b""
    facts: bytes = b""
    activities: dict[int, bytes] = field(default_factory=dict)
    buffered: list[bytes] = field(default_factory=list)
    written: list[HistoryEvent] = field(default_factory=list)
    """Events that were handed over to be stored without an id: they must stay as they were."""

    def commit(self, outcome: Outcome) -> None:
        """Takes an outcome over, and checks that what is stored now makes the run that is there."""
        if not outcome.changed:
            assert not outcome.events and not outcome.buffered and not outcome.activities
        batch = History.FromString(outcome.history).events
        assert _plain(list(batch)) == _plain(list(outcome.events))
        if outcome.events:
            assert outcome.events[0].event_id == outcome.first_event_id
        self.history += outcome.history
        assert self.run.history_bytes == len(self.history)
        self.facts = self.run.facts()
        if outcome.buffer_cleared:
            self.buffered = []
        self.buffered += [e.SerializeToString() for e in outcome.buffered]
        self.written += outcome.buffered
        assert not any(e.event_id for e in self.written)
        for key, activity in outcome.activities.items():
            if activity is None:
                self.activities.pop(key, None)
            else:
                self.activities[key] = activity.row()
        if self.run.closed:
            self.activities = {}
        self.check()

    def events(self) -> list[HistoryEvent]:
        return list(History.FromString(self.history).events)

    def load(self) -> Run:
        return load(self.events(), self.facts, self.activities.items(), [HistoryEvent.FromString(b) for b in self.buffered])

    def check(self) -> None:
        again = self.load()
        live, folded = snapshot(self.run), snapshot(again)
        assert live == folded, {name: (live[name], folded[name]) for name in live if live[name] != folded[name]}
        assert set(self.activities) <= set(self.run.activities)
        events = self.events()
        check_history(events)
        check_tail(self.run, events)
        check_awake(self.run, events)


def check_tail(run: Run, events: list[HistoryEvent]) -> None:
    tail = list(History.FromString(b"".join(run.tail)).events)
    assert [e.event_id for e in tail] == list(range(run.tail_first_id, run.next_event_id)) and len(run.tail) == len(tail)
    assert _plain(tail) == _plain(events[run.tail_first_id - 1 :])


def check_awake(run: Run, events: list[HistoryEvent]) -> None:
    """Nothing has happened of which the workflow will never learn."""
    if run.closed or run.task is not None or run.first_task_due or run.paused is not None:
        return
    for event in reversed(events):
        assert event.event_type not in WAKING, f"event {event.event_id} woke nobody"
        if event.event_type == E.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
            return
    raise AssertionError("an open run without a workflow task, a delay or a completed workflow task")


# The checker.

CLOSES = {
    E.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED,
    E.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED,
    E.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT,
    E.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED,
    E.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED,
    E.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW,
}
ACTIVITY_CLOSES = {
    E.EVENT_TYPE_ACTIVITY_TASK_COMPLETED: "activity_task_completed_event_attributes",
    E.EVENT_TYPE_ACTIVITY_TASK_FAILED: "activity_task_failed_event_attributes",
    E.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT: "activity_task_timed_out_event_attributes",
    E.EVENT_TYPE_ACTIVITY_TASK_CANCELED: "activity_task_canceled_event_attributes",
}
CHILD_CLOSES = {
    E.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_COMPLETED: "child_workflow_execution_completed_event_attributes",
    E.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_FAILED: "child_workflow_execution_failed_event_attributes",
    E.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_CANCELED: "child_workflow_execution_canceled_event_attributes",
    E.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TIMED_OUT: "child_workflow_execution_timed_out_event_attributes",
    E.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TERMINATED: "child_workflow_execution_terminated_event_attributes",
}
EXTERNAL_ANSWERS = {
    E.EVENT_TYPE_EXTERNAL_WORKFLOW_EXECUTION_SIGNALED: "external_workflow_execution_signaled_event_attributes",
    E.EVENT_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED: "signal_external_workflow_execution_failed_event_attributes",
    E.EVENT_TYPE_EXTERNAL_WORKFLOW_EXECUTION_CANCEL_REQUESTED: "external_workflow_execution_cancel_requested_event_attributes",
    E.EVENT_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_FAILED: "request_cancel_external_workflow_execution_failed_event_attributes",
}
WAKING = {
    E.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED,
    E.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_FAILED,
    *CHILD_CLOSES,
    *EXTERNAL_ANSWERS,
    E.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED,
    E.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED,
    E.EVENT_TYPE_TIMER_FIRED,
    *ACTIVITY_CLOSES,
}
OPERATION_CLOSES = {
    E.EVENT_TYPE_NEXUS_OPERATION_COMPLETED: "nexus_operation_completed_event_attributes",
    E.EVENT_TYPE_NEXUS_OPERATION_FAILED: "nexus_operation_failed_event_attributes",
    E.EVENT_TYPE_NEXUS_OPERATION_CANCELED: "nexus_operation_canceled_event_attributes",
    E.EVENT_TYPE_NEXUS_OPERATION_TIMED_OUT: "nexus_operation_timed_out_event_attributes",
}
OPERATION_CANCEL_ANSWERS = {
    E.EVENT_TYPE_NEXUS_OPERATION_CANCEL_REQUEST_COMPLETED: "nexus_operation_cancel_request_completed_event_attributes",
    E.EVENT_TYPE_NEXUS_OPERATION_CANCEL_REQUEST_FAILED: "nexus_operation_cancel_request_failed_event_attributes",
}
COMMANDS = {
    E.EVENT_TYPE_NEXUS_OPERATION_SCHEDULED: "nexus_operation_scheduled_event_attributes",
    E.EVENT_TYPE_NEXUS_OPERATION_CANCEL_REQUESTED: "nexus_operation_cancel_requested_event_attributes",
    E.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED: "start_child_workflow_execution_initiated_event_attributes",
    E.EVENT_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED: "signal_external_workflow_execution_initiated_event_attributes",
    E.EVENT_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED: (
        "request_cancel_external_workflow_execution_initiated_event_attributes"
    ),
    E.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED: "activity_task_scheduled_event_attributes",
    E.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED: "activity_task_cancel_requested_event_attributes",
    E.EVENT_TYPE_TIMER_STARTED: "timer_started_event_attributes",
    E.EVENT_TYPE_TIMER_CANCELED: "timer_canceled_event_attributes",
    E.EVENT_TYPE_MARKER_RECORDED: "marker_recorded_event_attributes",
    E.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES: "upsert_workflow_search_attributes_event_attributes",
    E.EVENT_TYPE_WORKFLOW_PROPERTIES_MODIFIED: "workflow_properties_modified_event_attributes",
    E.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED: "workflow_execution_completed_event_attributes",
    E.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED: "workflow_execution_failed_event_attributes",
    E.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED: "workflow_execution_canceled_event_attributes",
    E.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW: "workflow_execution_continued_as_new_event_attributes",
}
UPDATES = {E.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED, E.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_COMPLETED}
PAUSE_REQUESTED = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_PAUSE_REQUESTED_BEFORE_TASK_STARTED
TASK_ENDS = {
    E.EVENT_TYPE_WORKFLOW_TASK_COMPLETED: "workflow_task_completed_event_attributes",
    E.EVENT_TYPE_WORKFLOW_TASK_FAILED: "workflow_task_failed_event_attributes",
    E.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT: "workflow_task_timed_out_event_attributes",
}


class _Checker:
    def __init__(self) -> None:
        self.scheduled = 0  # of the pending workflow task
        self.sticky = False
        self.started = 0
        self.commands_of = 0  # the completed event whose commands may follow
        self.activities: dict[int, int] = {}  # scheduled id: started id
        self.cancels: dict[int, int] = {}
        self.timers: dict[int, str] = {}
        self.children: dict[int, int] = {}  # initiated id: started id
        self.externals: dict[int, int] = {}  # initiated id: its type
        self.operations: dict[int, str] = {}  # scheduled id: its request id
        self.operations_started: set[int] = set()
        self.operation_cancels: dict[int, int] = {}  # requested id: scheduled id
        self.accepted: dict[int, str] = {}
        self.updates: set[str] = set()
        self.admitted: set[str] = set()

    def see(self, e: HistoryEvent) -> None:
        kind = e.event_type
        assert not (self.started and kind not in TASK_ENDS), f"{e.event_id} between the start and the end of a workflow task"
        if kind in UPDATES:
            assert self.commands_of, f"update event {e.event_id} is not among a completion's"
            self._update(e)
        elif kind in COMMANDS:
            told = getattr(e, COMMANDS[kind]).workflow_task_completed_event_id
            assert self.commands_of and told == self.commands_of, f"command event {e.event_id} is not among its completion's"
        else:
            self.commands_of = 0
        if kind in TASK_ENDS:
            self._task_end(e)
        elif kind == E.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED:
            assert not self.scheduled, "two workflow tasks"
            self.scheduled = e.event_id
            a = e.workflow_task_scheduled_event_attributes
            self.sticky = a.task_queue.kind == TaskQueueKind.TASK_QUEUE_KIND_STICKY
            assert a.attempt >= 1 and a.task_queue.name
        elif kind == E.EVENT_TYPE_WORKFLOW_TASK_STARTED:
            assert self.scheduled and e.workflow_task_started_event_attributes.scheduled_event_id == self.scheduled
            self.started = e.event_id
        else:
            self._pending(e)

    def _task_end(self, e: HistoryEvent) -> None:
        a = getattr(e, TASK_ENDS[e.event_type])
        assert (a.scheduled_event_id, a.started_event_id) == (self.scheduled, self.started)
        expired = e.event_type == E.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT and a.timeout_type == TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_START
        paused = e.event_type == E.EVENT_TYPE_WORKFLOW_TASK_FAILED and a.cause == PAUSE_REQUESTED
        assert bool(self.started) is not (expired or paused)
        self.scheduled = self.started = 0
        if e.event_type == E.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
            self.commands_of = e.event_id

    def _pending(self, e: HistoryEvent) -> None:
        kind = e.event_type
        if kind == E.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ADMITTED:
            self.admitted.add(e.workflow_execution_update_admitted_event_attributes.request.meta.update_id)
        elif kind == E.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            a = e.activity_task_scheduled_event_attributes
            assert a.start_to_close_timeout.ToNanoseconds() > 0 and a.HasField("retry_policy")
            self.activities[e.event_id] = 0
        elif kind == E.EVENT_TYPE_ACTIVITY_TASK_STARTED:
            scheduled = e.activity_task_started_event_attributes.scheduled_event_id
            assert self.activities[scheduled] == 0
            self.activities[scheduled] = e.event_id
        elif kind == E.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED:
            scheduled = e.activity_task_cancel_requested_event_attributes.scheduled_event_id
            assert scheduled in self.activities and scheduled not in self.cancels
            self.cancels[scheduled] = e.event_id
        elif kind in ACTIVITY_CLOSES:
            self._activity_close(e)
        elif kind == E.EVENT_TYPE_TIMER_STARTED:
            self.timers[e.event_id] = e.timer_started_event_attributes.timer_id
        elif kind == E.EVENT_TYPE_TIMER_FIRED:
            fired = e.timer_fired_event_attributes
            assert self.timers.pop(fired.started_event_id) == fired.timer_id
        elif kind == E.EVENT_TYPE_TIMER_CANCELED:
            canceled = e.timer_canceled_event_attributes
            assert self.timers.pop(canceled.started_event_id) == canceled.timer_id
        else:
            self._of_others(e)

    def _of_others(self, e: HistoryEvent) -> None:
        kind = e.event_type
        if kind == E.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED:
            self.children[e.event_id] = 0
        elif kind == E.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED:
            initiated = e.child_workflow_execution_started_event_attributes.initiated_event_id
            assert self.children[initiated] == 0
            self.children[initiated] = e.event_id
        elif kind == E.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_FAILED:
            assert self.children.pop(e.start_child_workflow_execution_failed_event_attributes.initiated_event_id) == 0
        elif kind in CHILD_CLOSES:
            a = getattr(e, CHILD_CLOSES[kind])
            assert a.started_event_id and self.children.pop(a.initiated_event_id) == a.started_event_id
        elif kind in (
            E.EVENT_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED,
            E.EVENT_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED,
        ):
            self.externals[e.event_id] = kind
        elif kind in EXTERNAL_ANSWERS:
            asked = self.externals.pop(getattr(e, EXTERNAL_ANSWERS[kind]).initiated_event_id)
            assert ("SIGNAL" in E.Name(asked)) == ("SIGNAL" in E.Name(kind))
        elif "NEXUS" in E.Name(kind):
            self._operation(e)

    def _operation(self, e: HistoryEvent) -> None:
        kind = e.event_type
        if kind == E.EVENT_TYPE_NEXUS_OPERATION_SCHEDULED:
            self.operations[e.event_id] = e.nexus_operation_scheduled_event_attributes.request_id
        elif kind == E.EVENT_TYPE_NEXUS_OPERATION_STARTED:
            started = e.nexus_operation_started_event_attributes
            assert self.operations[started.scheduled_event_id] == started.request_id and started.operation_token
            assert started.scheduled_event_id not in self.operations_started
            self.operations_started.add(started.scheduled_event_id)
        elif kind == E.EVENT_TYPE_NEXUS_OPERATION_CANCEL_REQUESTED:
            asked = e.nexus_operation_cancel_requested_event_attributes.scheduled_event_id
            assert asked in self.operations and asked not in self.operation_cancels.values()
            self.operation_cancels[e.event_id] = asked
        elif kind in OPERATION_CANCEL_ANSWERS:
            a = getattr(e, OPERATION_CANCEL_ANSWERS[kind])
            assert self.operation_cancels.pop(a.requested_event_id) == a.scheduled_event_id
            assert a.workflow_task_completed_event_id < a.requested_event_id
        else:
            a = getattr(e, OPERATION_CLOSES[kind])
            assert self.operations.pop(a.scheduled_event_id) == a.request_id

    def _update(self, e: HistoryEvent) -> None:
        if e.event_type == E.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED:
            accepted = e.workflow_execution_update_accepted_event_attributes
            assert accepted.protocol_instance_id not in self.updates
            # One that was admitted, rejected (of which nothing tells) and asked again brings its request once more.
            assert accepted.HasField("accepted_request") or accepted.protocol_instance_id in self.admitted
            assert accepted.accepted_request_sequencing_event_id < e.event_id
            self.updates.add(accepted.protocol_instance_id)
            self.accepted[e.event_id] = accepted.protocol_instance_id
        else:
            completed = e.workflow_execution_update_completed_event_attributes
            assert self.accepted.pop(completed.accepted_event_id) == completed.meta.update_id
            assert completed.outcome.WhichOneof("value")

    def _activity_close(self, e: HistoryEvent) -> None:
        a = getattr(e, ACTIVITY_CLOSES[e.event_type])
        assert self.activities.pop(a.scheduled_event_id) == a.started_event_id
        if e.event_type == E.EVENT_TYPE_ACTIVITY_TASK_CANCELED:
            assert a.latest_cancel_requested_event_id == self.cancels[a.scheduled_event_id]
        elif e.event_type != E.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT:
            assert a.started_event_id


def check_history(events: list[HistoryEvent]) -> None:
    """Asserts that this is a legal history, or the beginning of one."""
    assert [e.event_id for e in events] == list(range(1, len(events) + 1))
    assert events[0].event_type == E.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED
    checker = _Checker()
    for e in events:
        assert e.event_time.seconds and e.WhichOneof("attributes")
        assert e.event_type != E.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED or e.event_id == 1
        checker.see(e)
        if e.event_type in CLOSES:
            assert e.event_id == len(events), "an event after the close event"


# Driving a run.


def start_request(**fields: Any) -> StartWorkflowExecutionRequest:
    request = StartWorkflowExecutionRequest(namespace="ns", workflow_id="wf", request_id="start-1", identity="client")
    request.workflow_type.name = "Flow"
    request.task_queue.name = "queue"
    request.MergeFrom(StartWorkflowExecutionRequest(**fields))
    return request


class Driver:
    """Runs of one workflow id, each with its ledger; `events` are those of the current run."""

    def __init__(self, request: Any = None, env: FakeEnv | None = None, parent: Parent | None = None) -> None:
        self.env = env or FakeEnv()
        request = request if request is not None else start_request()
        validate_start(request)
        self.run, outcome = start(request, self.env, parent=parent)
        self.ledgers = [Ledger(self.run)]
        self.outcome = self._commit(outcome)

    @property
    def ledger(self) -> Ledger:
        return self.ledgers[-1]

    @property
    def events(self) -> list[HistoryEvent]:
        return self.ledger.events()

    @property
    def kinds(self) -> list[str]:
        """The history's event types, short: `WorkflowTaskStarted`."""
        return kinds(self.events)

    def _commit(self, outcome: Outcome) -> Outcome:
        self.ledger.commit(outcome)
        self.outcome = outcome
        if outcome.new_run is not None:
            self.run = outcome.new_run.run
            self.ledgers.append(Ledger(self.run))
            self._commit_new(outcome.new_run)
        return outcome

    def _commit_new(self, outcome: Outcome) -> None:
        self.ledger.commit(outcome)

    def reset(self, point: int, **fields: Any) -> Outcome:
        """Resets the current run; the driver goes on with the new one."""
        request = ResetWorkflowExecutionRequest(workflow_task_finish_event_id=point, reason="again", **fields)
        request.workflow_execution.run_id = self.run.run_id
        check_reset(request)
        events = self.events
        outcome = reset(self.run, events[: point - 1], events[point - 1 :], continues=True, request=request, env=self.env)
        if outcome.terminated is not None:
            self.ledger.commit(outcome.terminated)
        self.run = outcome.run
        self.ledgers.append(Ledger(self.run))
        return self._commit(outcome)

    def do(self, request: Any) -> Outcome:
        return self._commit(handle(self.run, request, self.env))

    def reload(self) -> None:
        """The run leaves memory and comes back."""
        self.run = self.ledger.run = self.ledger.load()

    def later(self, amount: float) -> Outcome:
        """Time passes, and what is due happens."""
        self.env.now += round(amount * SECOND)
        return self.do(FireTimers())

    # Workflow tasks.

    def take(self, sticky: bool = False) -> StartedWorkflowTask:
        """A poller takes the workflow task, unless it has been handed over already."""
        if self.run.waiting_queue is not None:
            self.do(StartWorkflowTask(Poller(in_process=self.env.in_process), sticky))
        return self.handed_task()

    def handed_task(self) -> StartedWorkflowTask:
        for effect in reversed(self.outcome.effects):
            if isinstance(effect, WorkflowTaskStarted):
                return effect.task
        raise AssertionError("no workflow task was handed over")

    def complete(self, *commands: Command, task: StartedWorkflowTask | None = None, sticky: str = "", **fields: Any) -> Outcome:
        task = task or self.take(self._sticky())
        request = RespondWorkflowTaskCompletedRequest(task_token=task.token, identity="worker", commands=commands, **fields)
        if sticky:
            request.sticky_attributes.worker_task_queue.name = sticky
            request.sticky_attributes.schedule_to_start_timeout.seconds = 10
        return self.do(request)

    def _sticky(self) -> bool:
        waiting = self.run.waiting_queue
        return waiting is not None and waiting[1]

    def fail_task(self, cause: Any = 24, task: StartedWorkflowTask | None = None) -> Outcome:
        task = task or self.take(self._sticky())
        return self.do(RespondWorkflowTaskFailedRequest(task_token=task.token, cause=cause, identity="worker"))

    # Activities.

    def take_activity(self, activity_id: str = "a") -> StartedActivity:
        scheduled = self.run.activity_ids[activity_id]
        self.do(StartActivityTask(scheduled, Poller(in_process=self.env.in_process)))
        return self.handed_activity()

    def handed_activity(self) -> StartedActivity:
        for effect in reversed(self.outcome.effects):
            if isinstance(effect, ActivityStarted):
                return effect.task
        raise AssertionError("no activity was handed over")

    def complete_activity(self, task: StartedActivity, result: str = "done") -> Outcome:
        return self.do(RespondActivityTaskCompletedRequest(task_token=task.response.task_token, identity="worker", result=payloads(result)))

    def fail_activity(self, task: StartedActivity, message: str = "boom", **info: Any) -> Outcome:
        failure = Failure(message=message)
        failure.application_failure_info.type = info.pop("type", "Boom")
        for name, value in info.items():
            if isinstance(value, Message):
                getattr(failure.application_failure_info, name).CopyFrom(value)
            else:
                setattr(failure.application_failure_info, name, value)
        return self.do(RespondActivityTaskFailedRequest(task_token=task.response.task_token, identity="worker", failure=failure))

    def signal(self, name: str = "go", request_id: str = "") -> Outcome:
        return self.do(SignalWorkflowExecutionRequest(namespace="ns", signal_name=name, request_id=request_id, identity="client"))


def kinds(events: Any) -> list[str]:
    return [E.Name(e.event_type).removeprefix("EVENT_TYPE_").title().replace("_", "") for e in events]


def effects(outcome: Outcome) -> list[str]:
    return [type(effect).__name__ for effect in outcome.effects]
