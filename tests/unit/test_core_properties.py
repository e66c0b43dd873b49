"""Proves the laws of the core for any sequence of requests, legal and illegal.

After each transaction the fold of what is stored equals the live state, and the history is legal by an independent
checker; a refused request changes nothing. Examples are derandomized: a failure names its sequence of steps.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from temporalio.api.common.v1 import Link
from temporalio.api.update.v1 import Rejection
from temporalio.api.workflowservice.v1 import (
    PauseActivityRequest,
    PauseWorkflowExecutionRequest,
    RecordActivityTaskHeartbeatByIdRequest,
    RecordActivityTaskHeartbeatRequest,
    RequestCancelWorkflowExecutionRequest,
    ResetActivityRequest,
    ResetStickyTaskQueueRequest,
    RespondActivityTaskCanceledByIdRequest,
    RespondActivityTaskCanceledRequest,
    RespondActivityTaskCompletedByIdRequest,
    RespondActivityTaskCompletedRequest,
    RespondActivityTaskFailedByIdRequest,
    RespondActivityTaskFailedRequest,
    RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskFailedRequest,
    SignalWithStartWorkflowExecutionRequest,
    SignalWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
    UnpauseActivityRequest,
    UnpauseWorkflowExecutionRequest,
    UpdateActivityOptionsRequest,
)

sys.path.insert(0, str(Path(__file__).parent))

import core_commands as commands
import core_others
from core_support import Driver, FakeEnv, Poller, payloads, seconds, snapshot, start_request
from core_updates import acceptance, rejection, response, update_request, waiting_request

from perdure.engine.core import (
    AbandonInProcess,
    ActivityStarted,
    FireTimers,
    StartActivityTask,
    StartWorkflowTask,
    StickyUnavailable,
    TaskKind,
    UnstartActivity,
    WorkflowTaskStarted,
    describe,
    poll_response,
)
from perdure.engine.core.outbound import Discharged
from perdure.model.rpc import RpcError

IDS = ("a", "b", "c", "d", "e", "f")
SEEDS = 80
"""Long sequences in the default suite: the parameter is the seed."""


class Machine:
    """Interprets numbers as requests: `pick(n)` takes the next number modulo n."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self.numbers = iter(numbers)
        self.committed = 0
        """Transactions that changed something."""
        self.told = 0
        """News of updates."""
        self.begin(FakeEnv())

    def begin(self, env: FakeEnv) -> None:
        request = start_request()
        if self.pick(2):
            request.retry_policy.maximum_attempts = 3
        if self.pick(3) == 0:
            request.workflow_run_timeout.CopyFrom(seconds(100 + self.pick(50)))
        if self.pick(6) == 0:
            request.workflow_execution_timeout.CopyFrom(seconds(200))
        if self.pick(4) == 0:
            request.workflow_start_delay.CopyFrom(seconds(5))
        elif self.pick(4) == 0:
            request.cron_schedule = ("* * * * *", "@every 7s", "@every 20s")[self.pick(3)]
        self.set_pollers(env, self.pick(8))
        self.driver = Driver(request, env, core_others.PARENT if self.pick(3) == 0 else None)
        self.committed += 1
        self.tasks: list[Any] = []
        self.activities: list[Any] = []
        self.collect(self.driver.outcome)

    def pick(self, n: int) -> int:
        return next(self.numbers, 0) % n

    @staticmethod
    def set_pollers(env: FakeEnv, mask: int) -> None:
        env.polled = set()
        if mask & 1:
            env.polled.add((TaskKind.WORKFLOW, "queue"))
        if mask & 2:
            env.polled.add((TaskKind.ACTIVITY, "queue"))
        if mask & 4:
            env.polled.add((TaskKind.WORKFLOW, "sticky"))

    def collect(self, outcome: Any) -> None:
        for each in (outcome, outcome.new_run):
            if each is None:
                continue
            for effect in each.effects:
                if isinstance(effect, WorkflowTaskStarted):
                    self.tasks.append(effect.task)
                    self.check_task(effect.task)
                elif isinstance(effect, ActivityStarted):
                    self.activities.append(effect.task)

    def check_task(self, task: Any) -> None:
        if task.events is None:
            events = [e for e in self.driver.events if task.first_event_id <= e.event_id <= task.last_event_id]
            response = poll_response(task, events)
        else:
            response = poll_response(task)
        ids = [e.event_id for e in response.history.events]
        assert ids == list(range(task.first_event_id, task.started_event_id + 1))

    def token(self, tasks: list[Any]) -> Any:
        """Mostly the newest, at times an old one."""
        if not tasks:
            return None
        return tasks[-1] if self.pick(6) else tasks[self.pick(len(tasks))]

    def command(self) -> Any:
        ident = IDS[self.pick(len(IDS))]
        kind = self.pick(20)
        if kind >= 16:
            return core_others.command(self.pick, ident)
        run = self.driver.run
        if kind < 4:
            fields: dict[str, Any] = {}
            if self.pick(3) == 0:
                fields["heartbeat_timeout"] = seconds(3)
            if self.pick(4) == 0:
                fields["schedule_to_start_timeout"] = seconds(4)
            return commands.activity(ident, close=self.pick(3) * 20, start_to_close=(5, 10, 15, 5, 10, 15, 0)[self.pick(7)], **fields)
        if kind < 6:
            scheduled = list(run.activities)
            if not scheduled and self.pick(4):
                return commands.marker("nothing to cancel")
            return commands.cancel_activity(scheduled[self.pick(len(scheduled))] if scheduled and self.pick(8) else self.pick(30))
        if kind < 9:
            return commands.timer(ident, self.pick(5) * 3)
        if kind < 11:
            known = [*run.timer_ids, *(e.timer_fired_event_attributes.timer_id for e in run.buffered if e.event_type == 18)]
            return commands.cancel_timer(known[self.pick(len(known))] if known and self.pick(6) else ident)
        return (
            commands.marker("m"),
            commands.upsert(key=ident),
            commands.memo(**{ident: None if self.pick(2) else "v"}),
            commands.marker("") if self.pick(5) == 0 else commands.marker("n"),
            commands.activity("", start_to_close=1) if self.pick(5) == 0 else commands.upsert(other=ident),
        )[kind - 11]

    def closing(self) -> list[Any]:
        kind = self.pick(48)
        if kind == 0:
            return [commands.complete()]
        if kind == 1:
            return [commands.fail()]
        if kind == 2:
            return [commands.continue_as_new()]
        if kind == 3:
            return [commands.cancel()]
        if kind == 4:
            return [commands.complete(), commands.timer("late")]
        return []

    def request(self) -> Any:
        run = self.driver.run
        if run.waiting_queue is not None and self.pick(2):
            return StartWorkflowTask(Poller(in_process=bool(self.pick(2))), run.waiting_queue[1])
        ready = [key for key, a in run.activities.items() if a.state == 0]
        if ready and self.pick(3) == 0:
            return StartActivityTask(ready[self.pick(len(ready))], Poller(in_process=bool(self.pick(2))))
        kind = self.pick(29)
        if kind >= 24:
            return core_others.request(self.pick, run)
        if kind < 7:
            return self.complete_task()
        if kind < 9:
            return StartWorkflowTask(Poller(in_process=bool(self.pick(2))), bool(self.pick(2)))
        if kind < 11:
            return self.report_activity()
        if kind == 11:
            keys = list(run.activities)
            return StartActivityTask(keys[self.pick(len(keys))] if keys else 5, Poller())
        if kind < 14:
            request_id = ("", "s1", "s2")[self.pick(3)]
            links = [] if self.pick(4) else [Link()]
            return SignalWorkflowExecutionRequest(
                namespace="ns", signal_name="go" if self.pick(9) else "", request_id=request_id, links=links
            )
        if kind < 17:
            self.driver.env.now += (0, 1, 1, 2, 2, 3, 4, 8, 12, 700)[self.pick(10)] * 10**9
            return FireTimers()
        if kind == 17:
            return self.rare() if self.pick(3) else self.operate()
        if kind == 18:
            task = self.token(self.tasks)
            return RespondWorkflowTaskFailedRequest(task_token=task.token if task else b"garbage", cause=24)
        if kind == 19:
            self.set_pollers(self.driver.env, self.pick(8))
            return FireTimers()
        if kind == 20:
            return self.operate()
        if kind < 22:
            return self.report_activity()
        return self.update() if self.pick(4) else self.complete_task()

    def update(self) -> Any:
        updates = self.driver.run.updates
        if updates is not None and updates.untold and self.pick(2):
            return Discharged(next(iter(updates.untold)))
        if self.pick(3):
            return update_request(f"u{self.pick(14)}")
        return waiting_request(f"u{self.pick(14)}", ("", "r1", "r2")[self.pick(3)])

    def words(self) -> tuple[list[Any], list[Any]]:
        """Messages about updates, and commands that give some of them their place."""
        updates = self.driver.run.updates
        if updates is None:
            return [], []
        messages: list[Any] = []
        for update_id in updates.admitted:
            kind = self.pick(6)
            if kind == 0:
                messages.append(rejection(update_id))
            elif kind < 4:
                messages.append(acceptance(update_id, self.driver.run.next_event_id - 1))
                if self.pick(2):
                    messages.append(response(update_id))
        messages += [response(update_id) for update_id in updates.accepted if self.pick(3) == 0]
        if self.pick(20) == 0:
            messages.append(response("nobody"))
        placed = [m for m in messages if not m.body.Is(Rejection.DESCRIPTOR)] if self.pick(3) else []
        return messages, [commands.protocol_message(m.id) for m in placed]

    def complete_task(self) -> Any:
        task = self.token(self.tasks)
        pending = self.driver.run.task
        if pending is not None and pending.speculative and self.pick(2) and self.driver.run.updates is not None:
            # Nothing but rejections: it may leave no trace.
            messages, todo = [rejection(update_id) for update_id in self.driver.run.updates.admitted if self.pick(3)], []
        else:
            messages, placed = self.words()
            todo = placed + [self.command() for _ in range(self.pick(4))] + self.closing()
        request = RespondWorkflowTaskCompletedRequest(task_token=task.token if task else b"", commands=todo, messages=messages)
        request.capabilities.discard_speculative_workflow_task_with_events = bool(self.pick(2))
        request.force_create_new_workflow_task = self.pick(6) == 0
        request.return_new_workflow_task = bool(self.pick(2))
        if self.pick(2):
            request.sticky_attributes.worker_task_queue.name = "sticky"
            request.sticky_attributes.schedule_to_start_timeout.seconds = 5
        return request

    def held(self, task: Any) -> bool:
        a = self.driver.run.activities.get(task.scheduled_event_id)
        return a is not None and a.attempt == task.attempt and a.state == 2

    def report_activity(self) -> Any:
        held = [t for t in self.activities if self.held(t)]
        task = self.token(held if held and self.pick(6) else self.activities)
        token = task.response.task_token if task else b"\x01\x02rubbish"
        kind = self.pick(6)
        if kind < 2:
            return RespondActivityTaskCompletedRequest(task_token=token, result=payloads("r"))
        if kind == 2:
            request = RespondActivityTaskFailedRequest(task_token=token)
            request.failure.message = "boom"
            if self.pick(5):
                request.failure.application_failure_info.non_retryable = self.pick(3) == 0
            if self.pick(3) == 0:
                request.last_heartbeat_details.CopyFrom(payloads("last"))
            return request
        if kind == 3:
            return RespondActivityTaskCanceledRequest(task_token=token, details=payloads("c"))
        if kind == 4 and task:
            return UnstartActivity(task.scheduled_event_id, task.attempt)
        return RecordActivityTaskHeartbeatRequest(task_token=token, details=payloads("h"))

    def operate(self) -> Any:
        """What operators do to activities, and reports by their ids."""
        ident = IDS[self.pick(len(IDS))]
        pending = list(self.driver.run.activity_ids)
        if pending and self.pick(5):
            ident = pending[self.pick(len(pending))]
        kind = self.pick(14)
        if kind < 3:
            return PauseActivityRequest(id=ident, request_id=("", "p1")[self.pick(2)], identity="op", reason="why")
        if kind < 5:
            request = UnpauseActivityRequest(id=ident, reset_attempts=not self.pick(3), reset_heartbeat=not self.pick(3))
            request.jitter.CopyFrom(seconds(self.pick(3)))
            return request
        if kind < 8:
            request = ResetActivityRequest(reset_heartbeat=not self.pick(3), keep_paused=not self.pick(2))
            request.restore_original_options = not self.pick(2)
            if self.pick(3):
                request.id = ident
            else:
                request.match_all = True
            request.jitter.CopyFrom(seconds(self.pick(3)))
            return request
        if kind < 10:
            return self.update_options(ident)
        if kind == 10:
            return RespondActivityTaskCompletedByIdRequest(activity_id=ident, result=payloads("r"), identity="outside")
        if kind == 11:
            failed = RespondActivityTaskFailedByIdRequest(activity_id=ident)
            failed.failure.application_failure_info.non_retryable = not self.pick(4)
            return failed
        if kind == 12:
            return RespondActivityTaskCanceledByIdRequest(activity_id=ident)
        return RecordActivityTaskHeartbeatByIdRequest(activity_id=ident, details=payloads("h"))

    def update_options(self, ident: str) -> Any:
        request = UpdateActivityOptionsRequest(id=ident)
        paths = [
            "start_to_close_timeout",
            "taskQueue.name",
            "retry_policy.maximum_attempts",
            "heartbeatTimeout",
            "input",
            "schedule_to_close_timeout",
        ]
        request.update_mask.paths.extend(path for path in paths if self.pick(7) == 0)
        options = request.activity_options
        options.start_to_close_timeout.CopyFrom(seconds(1 + self.pick(5)))
        options.schedule_to_close_timeout.CopyFrom(seconds(self.pick(60)))
        options.heartbeat_timeout.CopyFrom(seconds(self.pick(5)))
        options.task_queue.name = ("queue", "elsewhere")[self.pick(2)]
        options.retry_policy.maximum_attempts = self.pick(4)
        request.restore_original = not self.pick(4)
        return request

    def rare(self) -> Any:
        kind = self.pick(11)
        if kind == 8 and self.pick(3) == 0:
            return PauseWorkflowExecutionRequest(identity="operator", reason="wait", request_id=f"p{self.pick(2)}")
        if kind >= 8:
            return UnpauseWorkflowExecutionRequest(identity="operator")
        if kind == 0 and self.pick(4) == 0:
            return TerminateWorkflowExecutionRequest(reason="enough", first_execution_run_id="" if self.pick(2) else "other")
        if kind == 1:
            return ResetStickyTaskQueueRequest()
        if kind == 2:
            return StickyUnavailable()
        if kind == 3:
            self.driver.env.incarnation += 1
            return AbandonInProcess(self.driver.env.incarnation)
        if kind == 4:
            request = SignalWithStartWorkflowExecutionRequest(signal_name="go", request_id=("", "s1", "s2")[self.pick(3)])
            return request
        if kind < 6:
            return start_request(request_id=f"r{self.pick(3)}", on_conflict_options={"attach_request_id": True})
        return RequestCancelWorkflowExecutionRequest(reason="stop")

    def reset(self) -> None:
        """Begins again at some event: mostly at one where a workflow task is."""
        driver = self.driver
        boundaries = [e.event_id for e in driver.events if e.HasField("workflow_task_started_event_attributes")]
        point = boundaries[self.pick(len(boundaries))] + self.pick(2) if boundaries and self.pick(4) else self.pick(len(driver.events) + 1)
        before = snapshot(driver.run)
        try:
            outcome = driver.reset(point, reset_reapply_exclude_types=[1] if self.pick(3) == 0 else [])
        except RpcError:
            assert snapshot(driver.run) == before
            return
        self.committed += 1
        self.tasks, self.activities = [], []
        self.collect(outcome)

    def step(self) -> None:
        if self.driver.run.closed and self.pick(4) == 0:
            self.begin(self.driver.env)
        driver = self.driver
        if self.pick(7) == 0:
            driver.reload()
        if self.pick(40) == 0:
            self.reset()
        request = self.request()
        before = snapshot(driver.run)
        rows = {key: a.row() for key, a in driver.run.activities.items()}
        try:
            outcome = driver.do(request)
        except RpcError:
            assert snapshot(driver.run) == before
            assert {key: a.row() for key, a in driver.run.activities.items()} == rows
            return
        self.committed += outcome.changed
        if not outcome.changed:
            assert snapshot(outcome.run) == before
        self.told += len(outcome.updates or ())
        self.collect(outcome)
        describe(driver.run)
        due = driver.run.next_due()
        assert due is None or due > 0


FAST = settings(
    max_examples=120,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
)


def run_machine(numbers: Iterable[int], steps: int) -> Machine:
    machine = Machine(numbers)
    for _ in range(steps):
        machine.step()
    return machine


@FAST
@given(st.binary(min_size=40, max_size=400))
def test_any_short_sequence_of_requests_keeps_the_laws(choices: bytes) -> None:
    assert run_machine(choices, 25).committed


@pytest.mark.parametrize("seed", range(SEEDS))
def test_any_long_sequence_of_requests_keeps_the_laws(seed: int) -> None:
    numbers = random.Random(seed)
    assert run_machine(iter(lambda: numbers.getrandbits(16), -1), 150).committed > 10
