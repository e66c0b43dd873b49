"""Proves what a run knows of its version: from completed tasks, from overrides, over a continue-as-new; after a reload too."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.workflow.v1 import VersioningOverride
from temporalio.api.workflowservice.v1 import UpdateWorkflowExecutionOptionsRequest

sys.path.insert(0, str(Path(__file__).parent))

import core_commands as commands
from core_support import Driver, start_request

from perdure.engine.core import describe, outbound, start
from perdure.engine.core.versions import AUTO_UPGRADE, PINNED, USE_RAMPING, Version
from perdure.model.rpc import RpcError

ONE = {"deployment_name": "d", "build_id": "1", "worker_versioning_mode": 2}


def done_by(driver: Driver, *todo: Any, behavior: int = PINNED, options: Any = ONE, **fields: Any) -> None:
    driver.complete(*todo, deployment_options=options, versioning_behavior=behavior, **fields)
    driver.reload()


def test_a_versioned_worker_is_noted_and_one_without_a_version_undoes_it() -> None:
    driver = Driver()
    done_by(driver, commands.timer())
    assert driver.run.versioning is not None and driver.run.versioning.pinned == Version("d", "1")
    shown = describe(driver.run).workflow_execution_info
    assert shown.versioning_info.version == "d.1" and shown.worker_deployment_name == "d"
    said = driver.events[3].workflow_task_completed_event_attributes
    assert (said.worker_deployment_version, said.versioning_behavior) == ("d.1", PINNED)
    driver.signal()
    done_by(driver, behavior=0, options={})
    assert driver.run.versioning is None


def test_a_sticky_worker_is_left_when_another_version_is_to_go_on() -> None:
    driver = Driver()
    driver.env.target_version = Version("d", "1")
    done_by(driver, commands.timer(), behavior=AUTO_UPGRADE, sticky="sticky")
    driver.signal()
    assert driver.run.waiting_queue == ("sticky", True)
    done_by(driver, behavior=AUTO_UPGRADE, sticky="sticky")
    driver.env.target_version = Version("d", "2")
    driver.signal()
    assert driver.run.waiting_queue == ("queue", False)
    driver.take()
    assert driver.events[-1].workflow_task_started_event_attributes.target_worker_deployment_version_changed


def test_an_override_goes_before_what_workers_say() -> None:
    override = VersioningOverride()
    override.pinned.version.deployment_name, override.pinned.version.build_id = "d", "9"
    driver = Driver(start_request(versioning_override=override))
    assert driver.run.versioning is not None and driver.run.versioning.pinned == Version("d", "9")
    done_by(driver, commands.timer(), behavior=AUTO_UPGRADE)
    assert driver.run.versioning.pinned == Version("d", "9")
    driver.signal()
    done_by(driver, commands.continue_as_new())
    assert driver.run.versioning.pinned == Version("d", "9")


@pytest.mark.parametrize("initial", [0, 1, USE_RAMPING])
def test_a_pinned_run_continues_pinned_unless_it_says_otherwise(initial: int) -> None:
    driver = Driver()
    command = commands.continue_as_new()
    command.continue_as_new_workflow_execution_command_attributes.initial_versioning_behavior = initial  # type: ignore[assignment]
    done_by(driver, command)
    versioning = driver.run.versioning
    if initial == 0:
        assert versioning is not None and versioning.pinned == Version("d", "1")
    elif initial == 1:
        assert versioning is None
    else:
        assert versioning is not None and versioning.ramping and versioning.pinned is None


def test_a_behavior_without_a_version_is_refused() -> None:
    driver = Driver()
    with pytest.raises(RpcError):
        done_by(driver, options={})


def test_an_operator_pins_and_unpins_an_open_run() -> None:
    driver = Driver()
    done_by(driver, commands.timer(), behavior=AUTO_UPGRADE)
    request = UpdateWorkflowExecutionOptionsRequest(identity="op")
    request.update_mask.paths.append("versioning_override")
    pinned = request.workflow_execution_options.versioning_override.pinned
    pinned.version.deployment_name, pinned.version.build_id = "d", "9"
    driver.do(request)
    driver.reload()
    assert driver.kinds[-1] == "WorkflowExecutionOptionsUpdated" and driver.run.versioning is not None
    assert driver.run.versioning.pinned == Version("d", "9")
    assert not driver.do(request).changed
    request.ClearField("workflow_execution_options")
    driver.do(request)
    assert driver.run.versioning.pinned is None and driver.run.waiting_queue is None
    request.update_mask.paths.append("memo")
    with pytest.raises(RpcError):
        driver.do(request)


def test_a_child_is_pinned_as_its_parent_is() -> None:
    driver = Driver()
    done_by(driver, commands.start_child())
    (key,) = driver.run.unsent
    message = outbound.message(driver.run, key)
    assert isinstance(message, outbound.StartChild) and message.parent.pinned == Version("d", "1")
    child, _ = start(message.request, driver.env, None, message.parent)
    assert child.versioning is not None and child.versioning.pinned == Version("d", "1")
    assert child.start.inherited_pinned_version.build_id == "1"
    driver.signal()
    done_by(driver, commands.start_child("other"), behavior=AUTO_UPGRADE)
    message = outbound.message(driver.run, list(driver.run.unsent)[-1])
    assert isinstance(message, outbound.StartChild) and message.parent.pinned is None


def test_a_priority_is_changed_as_the_mask_says() -> None:
    driver = Driver(start_request(priority={"priority_key": 3, "fairness_key": "a"}))
    driver.complete(commands.activity("a"))
    assert driver.take_activity("a").response.priority.priority_key == 3
    request = UpdateWorkflowExecutionOptionsRequest(identity="operator")
    request.workflow_execution_options.priority.priority_key = 1
    request.update_mask.paths.append("priority.priorityKey")
    reply = driver.do(request).reply
    driver.reload()
    shown = describe(driver.run).workflow_execution_info.priority
    assert reply.workflow_execution_options.priority == shown and (shown.priority_key, shown.fairness_key) == (1, "a")
    event = driver.events[-1]
    assert event.worker_may_ignore and event.workflow_execution_options_updated_event_attributes.priority == shown
    assert not driver.do(request).changed
    driver.signal()
    driver.complete(commands.activity("b"))
    assert driver.take_activity("b").response.priority.priority_key == 1
    request.update_mask.paths[:] = ["priority"]
    driver.do(request)
    assert describe(driver.run).workflow_execution_info.priority.fairness_key == ""
    request.update_mask.paths[:] = ["priority.colour"]
    with pytest.raises(RpcError):
        driver.do(request)
