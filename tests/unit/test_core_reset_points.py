"""Proves which points a run can be reset to so that a build of its workers is undone, and that they go with the chain of runs (4.5)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from temporalio.api.batch.v1 import BatchOperationReset
from temporalio.api.common.v1 import ResetOptions, WorkerVersionStamp
from temporalio.api.workflowservice.v1 import StartBatchOperationRequest

sys.path.insert(0, str(Path(__file__).parent))

import core_commands as commands
from core_support import Driver

from perdure.engine.core import describe
from perdure.engine.core.batch_operations import reset_point
from perdure.engine.core.reset_points import POINTS_MAX
from perdure.model.rpc import RpcError, StatusCode


def points(driver: Driver) -> list[tuple[str, str, int]]:
    """Checksum, build id and event of each, which the history says as well as the run in memory."""
    driver.reload()
    found = describe(driver.run).workflow_execution_info.auto_reset_points.points
    return [(each.binary_checksum, each.build_id, each.first_workflow_task_completed_id) for each in found]


def step(driver: Driver, checksum: str = "", build_id: str = "") -> int:
    """A workflow task that a build completes; the id of the event that says so."""
    driver.signal("go")
    stamp = WorkerVersionStamp(build_id=build_id) if build_id else None
    driver.complete(binary_checksum=checksum, worker_version_stamp=stamp)
    return driver.run.next_event_id - 1


def test_each_build_has_the_first_workflow_task_that_it_completed() -> None:
    driver = Driver()
    driver.complete()
    assert points(driver) == []  # who says nothing of its build leaves no point
    first, second = step(driver, "c1"), step(driver, "c2")
    step(driver, "c1")
    third = step(driver, build_id="b1")
    step(driver, build_id="b1")
    assert points(driver) == [("c1", "", first), ("c2", "", second), ("", "b1", third)]


def test_the_run_that_follows_has_those_of_the_run_before() -> None:
    driver = Driver()
    before = driver.run.run_id
    step(driver, build_id="b1")
    driver.signal("go")
    driver.complete(commands.continue_as_new())
    driver.later(1)
    after = step(driver, build_id="b2")
    found = describe(driver.run).workflow_execution_info.auto_reset_points.points
    assert [(each.build_id, each.run_id) for each in found] == [("b1", before), ("b2", driver.run.run_id)]
    assert points(driver)[1] == ("", "b2", after) and all(each.resettable for each in found)


def test_the_oldest_makes_room() -> None:
    driver = Driver()
    events = [step(driver, build_id=f"b{number}") for number in range(POINTS_MAX + 2)]
    assert points(driver) == [("", f"b{number}", events[number]) for number in range(2, POINTS_MAX + 2)]


def test_a_run_that_waits_for_another_one_cannot_go_back_there() -> None:
    driver = Driver()
    driver.complete(commands.signal_external())
    step(driver, build_id="b1")
    [point] = driver.run.reset_points
    assert not point.resettable
    assert refusal(driver, ResetOptions(build_id="b1")) == (StatusCode.INVALID_ARGUMENT, "cannot be reset to what build b1 did first")


def test_a_batch_goes_back_to_before_a_build() -> None:
    driver = Driver()
    before = driver.run.run_id
    first = step(driver, build_id="b1")
    driver.signal("go")
    driver.complete(commands.continue_as_new())
    driver.later(1)
    second = step(driver, build_id="b2")
    assert chosen(driver, ResetOptions(build_id="b2")) == (driver.run.run_id, second)
    assert chosen(driver, ResetOptions(build_id="b1")) == (before, first)
    nowhere = "build b1 has completed no workflow task"
    assert refusal(driver, ResetOptions(build_id="b1", current_run_only=True)) == (StatusCode.INVALID_ARGUMENT, nowhere)


def chosen(driver: Driver, options: ResetOptions) -> tuple[str, int]:
    start = StartBatchOperationRequest(reset_operation=BatchOperationReset(options=options))
    return reset_point(start, driver.run.run_id, driver.run.reset_points, driver.ledger.events())


def refusal(driver: Driver, options: ResetOptions) -> tuple[StatusCode, str]:
    with pytest.raises(RpcError) as caught:
        chosen(driver, options)
    says = ("cannot be reset to what build b1 did first", "build b1 has completed no workflow task")
    return caught.value.code, next(each for each in says if each in caught.value.message)
