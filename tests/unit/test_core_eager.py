"""Proves eager starts and eager activities (4.3, 3.8): whole histories, what is in the reply, and when it is not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import core_commands as commands
from core_support import Driver, FakeEnv, effects, seconds, start_request
from temporalio.api.workflowservice.v1 import RespondWorkflowTaskCompletedRequest, StartWorkflowExecutionResponse

from perdure.engine.core import TaskKind, add_eager_task
from perdure.engine.core.versions import Version


def eager(**fields: Any) -> Driver:
    return Driver(start_request(request_eager_execution=True, **fields))


def test_the_first_workflow_task_is_in_the_reply() -> None:
    driver = eager()
    assert driver.kinds == ["WorkflowExecutionStarted", "WorkflowTaskScheduled", "WorkflowTaskStarted"]
    assert driver.events[0].workflow_execution_started_event_attributes.eager_execution_accepted
    assert driver.events[2].workflow_task_started_event_attributes.identity == "client"
    reply = driver.outcome.reply
    assert isinstance(reply, StartWorkflowExecutionResponse) and effects(driver.outcome) == []
    task = reply.eager_workflow_task
    assert (task.attempt, task.started_event_id, len(task.history.events)) == (1, 3, 3) and task.workflow_type.name == "Flow"
    again = StartWorkflowExecutionResponse()
    add_eager_task(driver.run, again)
    assert again.eager_workflow_task == task
    driver.do(_completed(task.task_token))
    assert driver.run.closed
    late = StartWorkflowExecutionResponse()
    add_eager_task(driver.run, late)
    assert not late.HasField("eager_workflow_task")


def _completed(token: bytes) -> Any:
    return RespondWorkflowTaskCompletedRequest(task_token=token, commands=[commands.complete()])


def test_a_delayed_start_is_not_eager_and_a_lost_reply_times_out() -> None:
    driver = eager(workflow_start_delay=seconds(5))
    assert driver.kinds == ["WorkflowExecutionStarted"]
    assert not driver.events[0].workflow_execution_started_event_attributes.eager_execution_accepted
    driver = eager()
    driver.later(10)
    assert driver.kinds[-1] == "WorkflowTaskTimedOut"


def test_activities_go_into_the_reply_of_the_completion_that_schedules_them() -> None:
    env = FakeEnv()
    env.polled.add((TaskKind.ACTIVITY, "queue"))
    driver = Driver(env=env)
    outcome = driver.complete(commands.activity("a", request_eager_execution=True), commands.activity("b"))
    (task,) = outcome.reply.activity_tasks  # type: ignore[union-attr]
    assert task.activity_id == "a" and task.attempt == 1
    assert effects(outcome) == ["ActivityStarted"]  # the other one, by way of its queue
    driver.reload()
    held = driver.run.activities[driver.run.activity_ids["a"]]
    assert held.state == 2 and held.identity == "worker" and held.request_id
    assert driver.kinds[-2:] == ["ActivityTaskScheduled", "ActivityTaskScheduled"]


def test_what_the_completion_cancels_or_closes_is_not_started() -> None:
    driver = Driver()
    task = driver.take()
    scheduled = task.started_event_id + 2
    outcome = driver.complete(commands.activity("a", request_eager_execution=True), commands.cancel_activity(scheduled), task=task)
    assert not outcome.reply.activity_tasks  # type: ignore[union-attr]
    driver = Driver()
    outcome = driver.complete(commands.activity("a", request_eager_execution=True), commands.complete())
    assert not outcome.reply.activity_tasks and driver.run.closed  # type: ignore[union-attr]


def test_an_activity_inherits_the_priority_of_its_workflow_field_by_field() -> None:
    driver = Driver(start_request(priority={"priority_key": 2, "fairness_key": "tenant"}))
    driver.complete(commands.activity("a", priority={"fairness_weight": 2.5}), commands.activity("b", priority={"priority_key": 5}))
    a, b = driver.take_activity("a").response.priority, driver.take_activity("b").response.priority
    assert (a.priority_key, a.fairness_key, a.fairness_weight) == (2, "tenant", 2.5)
    assert (b.priority_key, b.fairness_key) == (5, "tenant")
    assert not driver.events[-1].activity_task_scheduled_event_attributes.priority.fairness_key


def test_a_start_is_eager_only_for_a_worker_of_the_version_that_is_to_have_it() -> None:
    ours = {"deployment_name": "d", "build_id": "1", "worker_versioning_mode": 2}
    for target, options, is_eager in ((None, {}, True), ("1", ours, True), ("2", ours, False), ("1", {}, False), (None, ours, False)):
        env = FakeEnv()
        env.target_version = None if target is None else Version("d", target)
        driver = Driver(start_request(request_eager_execution=True, eager_worker_deployment_options=options), env)
        reply = driver.outcome.reply
        assert isinstance(reply, StartWorkflowExecutionResponse) and reply.HasField("eager_workflow_task") is is_eager
