"""Schedules by chance: whatever happens to one, no action is lost or doubled, one runs at a time, and its record says all of it."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import ScheduleOverlapPolicy as Overlap
from temporalio.api.enums.v1 import WorkflowExecutionStatus as Status
from temporalio.api.schedule.v1 import BackfillRequest, IntervalSpec, Schedule, SchedulePatch, TriggerImmediatelyRequest

from perdure.engine.core.schedules import policies
from perdure.engine.core.schedules.requests import start_request
from perdure.engine.core.schedules.state import ScheduleState, decode
from perdure.engine.core.times import timestamp

SECOND = 1_000_000_000
BEGIN = 1_767_225_600 * SECOND
OVERLAPS = st.sampled_from(sorted(set(Overlap.values())))
CLOSED = st.sampled_from([int(status) for status in Status.values() if status > 1] + [0])


class ScheduleMachine(RuleBasedStateMachine):
    """Drives the core as the shell does, with a model that counts what came in and what went out."""

    def __init__(self) -> None:
        super().__init__()
        made = Schedule()
        made.spec.interval.append(IntervalSpec(interval=Duration(seconds=60)))
        self.now = BEGIN
        self.state = ScheduleState("default", "s", "uid", "r", made, processed=BEGIN)
        self.dropped = 0
        self.request_ids: set[str] = set()
        self.tracked: set[str] = set()

    def advance(self) -> None:
        while policies.advance(self.state, self.now):
            pass

    @rule(seconds=st.integers(0, 400))
    def time_goes_on(self, seconds: int) -> None:
        self.now += seconds * SECOND
        self.advance()

    @rule(overlap=OVERLAPS)
    def policy_changes(self, overlap: int) -> None:
        self.advance()
        changed = Schedule()
        changed.CopyFrom(self.state.schedule)
        changed.policies.overlap_policy = overlap  # type: ignore[assignment]
        policies.update(self.state, changed, self.now)
        self.advance()

    @rule(overlap=OVERLAPS)
    def somebody_triggers(self, overlap: int) -> None:
        self.advance()
        patch = SchedulePatch(trigger_immediately=TriggerImmediatelyRequest(overlap_policy=overlap))  # type: ignore[arg-type]
        policies.patch(self.state, patch, self.now)
        self.advance()

    @rule(overlap=OVERLAPS, minutes=st.integers(0, 30))
    def somebody_backfills(self, overlap: int, minutes: int) -> None:
        self.advance()
        start, end = timestamp(BEGIN - 3600 * SECOND), timestamp(BEGIN - 3600 * SECOND + minutes * 60 * SECOND)
        backfill = BackfillRequest(start_time=start, end_time=end, overlap_policy=overlap)  # type: ignore[arg-type]
        policies.patch(self.state, SchedulePatch(backfill_request=[backfill]), self.now)
        self.advance()

    @rule(succeeds=st.booleans())
    def shell_starts(self, succeeds: bool) -> None:
        for action in list(self.state.starting):
            request = start_request(self.state, action)
            if not succeeds:
                policies.not_started(self.state, action)
                self.dropped += 1
                continue
            assert request.request_id not in self.request_ids
            self.request_ids.add(request.request_id)
            policies.started(self.state, action, request.workflow_id, request.request_id, self.now)
            if action.tracked:
                self.tracked.add(request.request_id)
        self.advance()

    @rule(status=CLOSED)
    def what_runs_closes(self, status: int) -> None:
        for execution in list(self.state.info.running_workflows):
            policies.closed(self.state, WorkflowExecution.FromString(execution.SerializeToString()), status)  # type: ignore[arg-type]
            self.tracked.discard(execution.run_id)
        self.advance()

    @invariant()
    def nothing_is_lost(self) -> None:
        state, info = self.state, self.state.info
        assert state.number == info.action_count + len(state.starting) + len(state.buffer) + info.overlap_skipped + self.dropped

    @invariant()
    def one_runs_at_a_time(self) -> None:
        running = [each.run_id for each in self.state.info.running_workflows]
        assert set(running) == self.tracked
        assert len(running) + sum(action.tracked for action in self.state.starting) <= 1
        assert not policies.may_go_on(self.state)

    @invariant()
    def the_record_says_all(self) -> None:
        data = self.state.encode()
        again = decode("default", "s", data)
        assert again == self.state
        assert again.encode() == data

    @invariant()
    def it_looks_again_in_time(self) -> None:
        due = policies.next_due(self.state, self.now)
        assert due is not None
        assert self.now <= due <= self.now + 60 * SECOND


ScheduleMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
TestSchedules = ScheduleMachine.TestCase
