"""One run after another: continue-as-new, workflow retry, cron, and the end of a run whose time is up (4.4, 4.5).

Writes WorkflowExecutionContinuedAsNew, WorkflowExecutionFailed, WorkflowExecutionTimedOut and, of a cron run,
WorkflowExecutionCompleted, and in the same transaction the WorkflowExecutionStarted of the next run. Decides whether a retry or
the next run of a schedule follows, and when.

Easily got wrong: both carry memo and search attributes as the run was started with, not as it changed them, and a retry after a
failure no last result; a continue-as-new carries only what its command says. And the closing status of such a run is COMPLETED,
FAILED or TIMED_OUT, not CONTINUED_AS_NEW. A retry comes before the schedule, and its runs count their attempts; the schedule's begin at 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from temporalio.api.command.v1 import Command, ContinueAsNewWorkflowExecutionCommandAttributes
from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import RetryState
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import WorkflowExecutionStartedEventAttributes

from perdure.engine.core import codes, cron, limits, retry
from perdure.engine.core.closing import clear_the_way, void
from perdure.engine.core.outcome import Outcome
from perdure.engine.core.settling import settle
from perdure.engine.core.start import bounded, drop_nulls, task_timeout
from perdure.engine.core.state import Run
from perdure.engine.core.times import earliest, set_ns, to_ns
from perdure.engine.core.transaction import Transaction, annotate
from perdure.engine.core.versions import inherit
from perdure.engine.core.workflow_tasks import schedule

_Fill: TypeAlias = Callable[[WorkflowExecutionStartedEventAttributes], None]


def next_run(tx: Transaction, run_id: str, backoff: int, fill: _Fill, *, initial_versioning: int = 0) -> Outcome:
    """Makes the run that follows; `fill` puts in what differs between the reasons for it."""
    run = tx.run
    new = Transaction(Run(run.namespace, run_id, tx.env.new_uuid()), tx.env)
    old = run.start
    event = new.event(codes.WORKFLOW_STARTED)
    a = event.workflow_execution_started_event_attributes
    a.workflow_id = run.workflow_id
    a.continued_execution_run_id = run.run_id
    a.original_execution_run_id = run_id
    a.first_execution_run_id = run.first_run_id
    a.attempt = 1
    a.identity = old.identity
    a.workflow_execution_timeout.CopyFrom(old.workflow_execution_timeout)
    if run.execution_expiration:
        set_ns(a.workflow_execution_expiration_time, run.execution_expiration)
    set_ns(a.first_workflow_task_backoff, backoff)
    if old.HasField("priority"):
        a.priority.CopyFrom(old.priority)
    if run.reset_points:
        a.prev_auto_reset_points.points.extend(run.reset_points)
    if run.versioning is not None:
        inherit(run.versioning, initial_versioning, a)
    if run.start_event.HasField("user_metadata"):
        event.user_metadata.CopyFrom(run.start_event.user_metadata)
    if old.HasField("parent_workflow_execution"):
        _keep_parent(a, old)
    if run.callbacks:
        a.completion_callbacks.extend(each.callback for each in run.callbacks)
    fill(a)
    new.append(event)
    if not new.run.first_task_due:
        schedule(new)
    new.outcome.visibility_changed = True
    return settle(new)


def _keep_parent(a: WorkflowExecutionStartedEventAttributes, old: WorkflowExecutionStartedEventAttributes) -> None:
    a.parent_workflow_namespace = old.parent_workflow_namespace
    a.parent_workflow_namespace_id = old.parent_workflow_namespace_id
    a.parent_workflow_execution.CopyFrom(old.parent_workflow_execution)
    a.parent_initiated_event_id = old.parent_initiated_event_id
    a.parent_initiated_event_version = old.parent_initiated_event_version
    a.root_workflow_execution.CopyFrom(old.root_workflow_execution)


def spaced(tx: Transaction, backoff: int) -> int:
    """The backoff, or what is missing to the least time between two runs of a chain."""
    lived = max(0, tx.now - tx.run.execution_time)
    return max(backoff, limits.CONTINUE_SPACING - lived)


# Continue as new.


def continue_as_new(tx: Transaction, command: Command, completed_event_id: int) -> None:
    """Closes the run and starts the next one as the command says."""
    run = tx.run
    c = command.continue_as_new_workflow_execution_command_attributes
    run_id = tx.env.new_run_id()
    wanted = bounded(c.backoff_start_interval)
    event = tx.event(codes.WORKFLOW_CONTINUED)
    a = event.workflow_execution_continued_as_new_event_attributes
    a.new_execution_run_id = run_id
    a.workflow_type.name = c.workflow_type.name or run.workflow_type
    a.task_queue.name = c.task_queue.name or run.task_queue
    a.task_queue.kind = codes.NORMAL_QUEUE
    run_timeout = earliest(bounded(c.workflow_run_timeout) or run.run_timeout, to_ns(run.start.workflow_execution_timeout))
    set_ns(a.workflow_run_timeout, run_timeout)
    set_ns(a.workflow_task_timeout, task_timeout(bounded(c.workflow_task_timeout) or run.task_timeout, run_timeout))
    a.workflow_task_completed_event_id = completed_event_id
    set_ns(a.backoff_start_interval, wanted)  # as it was asked for; the run that follows says how long it waits in truth
    a.initiator = c.initiator or codes.BY_WORKFLOW
    a.inherit_build_id = c.inherit_build_id
    a.initial_versioning_behavior = c.initial_versioning_behavior
    if c.HasField("input"):
        a.input.CopyFrom(c.input)
    if c.HasField("header"):
        a.header.CopyFrom(c.header)
    if c.HasField("failure"):
        a.failure.CopyFrom(c.failure)
    if c.HasField("last_completion_result"):
        a.last_completion_result.CopyFrom(c.last_completion_result)
    if c.HasField("memo"):
        a.memo.CopyFrom(c.memo)
    if c.HasField("search_attributes"):
        a.search_attributes.CopyFrom(c.search_attributes)
    annotate(event, command)
    tx.append(event)
    void(tx)

    def fill(s: WorkflowExecutionStartedEventAttributes) -> None:
        s.workflow_type.CopyFrom(a.workflow_type)
        s.task_queue.CopyFrom(a.task_queue)
        s.workflow_run_timeout.CopyFrom(a.workflow_run_timeout)
        s.workflow_task_timeout.CopyFrom(a.workflow_task_timeout)
        s.initiator = a.initiator
        if a.initiator == codes.BY_RETRY:
            s.attempt = run.start.attempt + 1
        _fill_continued(s, c)

    tx.outcome.new_run = next_run(tx, run_id, spaced(tx, wanted), fill, initial_versioning=c.initial_versioning_behavior)


def _fill_continued(s: WorkflowExecutionStartedEventAttributes, c: ContinueAsNewWorkflowExecutionCommandAttributes) -> None:
    s.cron_schedule = c.cron_schedule
    if c.HasField("input"):
        s.input.CopyFrom(c.input)
    if c.HasField("header"):
        s.header.CopyFrom(c.header)
    if c.HasField("failure"):
        s.continued_failure.CopyFrom(c.failure)
    if c.HasField("last_completion_result"):
        s.last_completion_result.CopyFrom(c.last_completion_result)
    if c.HasField("retry_policy"):
        s.retry_policy.CopyFrom(c.retry_policy)
        retry.fill(s.retry_policy)
    if c.HasField("memo"):
        s.memo.CopyFrom(c.memo)
        drop_nulls(s.memo.fields)
    if c.HasField("search_attributes"):
        s.search_attributes.CopyFrom(c.search_attributes)
        drop_nulls(s.search_attributes.indexed_fields)


# Retry and cron.


class _Successor(NamedTuple):
    """What follows a run that was not told to continue."""

    run_id: str
    """Empty: nothing does."""
    state: RetryState.ValueType
    delay: int = 0
    by_cron: bool = False


def complete_cron(tx: Transaction, command: Command, completed_event_id: int) -> None:
    """Closes a run of a cron schedule as completed, and starts the next one."""
    c = command.complete_workflow_execution_command_attributes
    next_one = _by_cron(tx, codes.RETRY_NO_POLICY)
    event = tx.event(codes.WORKFLOW_COMPLETED)
    a = event.workflow_execution_completed_event_attributes
    if c.HasField("result"):
        a.result.CopyFrom(c.result)
    a.workflow_task_completed_event_id = completed_event_id
    a.new_execution_run_id = next_one.run_id
    annotate(event, command)
    tx.append(event)
    void(tx)
    _follow(tx, next_one, None, c.result if c.HasField("result") else None)


def fail_run(tx: Transaction, command: Command, completed_event_id: int) -> None:
    """Closes the run as failed, and starts the next attempt if its policy allows one, else the next run of its schedule."""
    run = tx.run
    failure = command.fail_workflow_execution_command_attributes.failure
    next_one = _after(tx, failure)
    event = tx.event(codes.WORKFLOW_FAILED)
    a = event.workflow_execution_failed_event_attributes
    a.failure.CopyFrom(failure)
    a.retry_state = next_one.state
    a.workflow_task_completed_event_id = completed_event_id
    a.new_execution_run_id = next_one.run_id
    annotate(event, command)
    tx.append(event)
    void(tx)
    _follow(tx, next_one, failure, _last_result(run) if next_one.by_cron else None)


def time_out_run(tx: Transaction) -> None:
    """Closes a run whose time is up, and starts the next one, as after a failure, if only the run's time was."""
    run = tx.run
    over = bool(run.execution_expiration) and tx.now >= run.execution_expiration
    failure = Failure()
    failure.message = "workflow timeout"
    failure.source = "Server"
    failure.timeout_failure_info.timeout_type = codes.START_TO_CLOSE
    clear_the_way(tx)
    next_one = _Successor("", codes.RETRY_TIMEOUT) if over else _after(tx, failure)
    event = tx.event(codes.WORKFLOW_TIMED_OUT)
    a = event.workflow_execution_timed_out_event_attributes
    a.retry_state = next_one.state
    a.new_execution_run_id = next_one.run_id
    tx.append(event)
    void(tx)
    _follow(tx, next_one, failure, _last_result(run))


def _after(tx: Transaction, failure: Failure) -> _Successor:
    """What follows a failure: another attempt, else the next run of the schedule."""
    run = tx.run
    verdict = retry.Verdict(codes.RETRY_NO_POLICY, 0)
    if run.start.HasField("retry_policy"):
        policy, attempt = run.start.retry_policy, run.start.attempt
        verdict = retry.decide(policy, attempt, failure, tx.now, run.execution_expiration, delay_unbounded=False)
    if verdict.state == codes.RETRY_IN_PROGRESS:
        return _Successor(tx.env.new_run_id(), verdict.state, verdict.delay)
    return _by_cron(tx, verdict.state)


def _by_cron(tx: Transaction, state: RetryState.ValueType) -> _Successor:
    run = tx.run
    schedule = run.start.cron_schedule
    delay = cron.backoff(schedule, run.execution_time, tx.now) if schedule else None
    if delay is None:
        return _Successor("", state)
    return _Successor(tx.env.new_run_id(), state, delay, by_cron=True)


def _follow(tx: Transaction, next_one: _Successor, failure: Failure | None, result: Payloads | None) -> None:
    """Starts the run that follows, if one does."""
    old = tx.run.start

    def fill(s: WorkflowExecutionStartedEventAttributes) -> None:
        s.attempt = 1 if next_one.by_cron else old.attempt + 1
        s.initiator = codes.BY_CRON if next_one.by_cron else codes.BY_RETRY
        if failure is not None:
            s.continued_failure.CopyFrom(failure)
        if result is not None:
            s.last_completion_result.CopyFrom(result)
        _fill_again(s, old)

    if next_one.run_id:
        tx.outcome.new_run = next_run(tx, next_one.run_id, spaced(tx, next_one.delay), fill)


def _last_result(run: Run) -> Payloads | None:
    return run.start.last_completion_result if run.start.HasField("last_completion_result") else None


def _fill_again(s: WorkflowExecutionStartedEventAttributes, old: WorkflowExecutionStartedEventAttributes) -> None:
    """What a run has in common with the one that it repeats: all of it as that was started."""
    s.workflow_type.CopyFrom(old.workflow_type)
    s.task_queue.CopyFrom(old.task_queue)
    s.workflow_run_timeout.CopyFrom(old.workflow_run_timeout)
    s.workflow_task_timeout.CopyFrom(old.workflow_task_timeout)
    s.cron_schedule = old.cron_schedule
    if old.HasField("retry_policy"):
        s.retry_policy.CopyFrom(old.retry_policy)
    if old.HasField("input"):
        s.input.CopyFrom(old.input)
    if old.HasField("header"):
        s.header.CopyFrom(old.header)
    if old.HasField("memo"):
        s.memo.CopyFrom(old.memo)
    if old.HasField("search_attributes"):
        s.search_attributes.CopyFrom(old.search_attributes)
