"""Proves what happens to a run that becomes too large, by each of the limits, and what its worker is told before."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import SuggestContinueAsNewReason as Reason

sys.path.insert(0, str(Path(__file__).parent))

import core_commands as c
from core_support import Driver, payloads

from perdure.engine.core import limits
from perdure.engine.core.sizes import TransactionTooLarge
from perdure.model.rpc import StatusCode


def why(driver: Driver) -> str:
    ended = driver.events[-1].workflow_execution_terminated_event_attributes
    assert ended.identity == "history-service"
    return ended.reason


def large(activity_id: str, size: int) -> object:
    return c.activity(activity_id, input=payloads("x" * size))


def test_a_transaction_of_more_than_four_megabytes_is_refused() -> None:
    driver = Driver()
    driver.complete(*(large(str(number), 1_300_000) for number in range(3)))
    assert not driver.run.closed
    driver.signal()
    task = driver.take()
    before = driver.kinds
    with pytest.raises(TransactionTooLarge) as refused:
        driver.complete(*(large(f"more {number}", 1_500_000) for number in range(3)), task=task)
    assert refused.value.code == StatusCode.INVALID_ARGUMENT
    driver.reload()
    assert driver.kinds == before and not driver.run.closed


def test_pending_work_of_more_than_eight_megabytes_ends_the_run() -> None:
    driver = Driver()
    for number in range(4):
        driver.complete(large(str(number), 1_900_000))
        assert not driver.run.closed
        driver.signal()
    driver.complete(large("4", 1_900_000))
    assert why(driver) == "Workflow mutable state size exceeds limit."


def test_work_that_is_done_does_not_count() -> None:
    driver = Driver()
    for number in range(6):
        driver.complete(large(str(number), 1_900_000))
        driver.complete_activity(driver.take_activity(str(number)))
    assert driver.run.history_bytes > limits.STATE_BYTES_MAX and not driver.run.closed


def test_a_history_of_too_many_bytes_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HISTORY_BYTES_MAX", 5_000_000)
    driver = Driver()
    while not driver.run.closed:
        driver.complete(large("a", 900_000))
        if not driver.run.closed:
            driver.complete_activity(driver.take_activity())
    assert why(driver) == "Workflow history size exceeds limit."


def test_a_history_of_too_many_events_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HISTORY_EVENTS_MAX", 30)
    driver = Driver()
    while not driver.run.closed:
        driver.complete(c.marker())
        if not driver.run.closed:
            driver.signal()
    assert why(driver) == "Workflow history count exceeds limit." and driver.run.next_event_id <= 35


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("bytes", 1, Reason.SUGGEST_CONTINUE_AS_NEW_REASON_HISTORY_SIZE_TOO_LARGE),
        ("events", 1, Reason.SUGGEST_CONTINUE_AS_NEW_REASON_TOO_MANY_HISTORY_EVENTS),
    ],
)
def test_the_worker_is_told_before_and_why(monkeypatch: pytest.MonkeyPatch, name: str, value: int, reason: object) -> None:
    driver = Driver()
    driver.take()
    assert not driver.events[-1].workflow_task_started_event_attributes.suggest_continue_as_new
    driver.complete(task=driver.handed_task())
    driver.signal()
    if name == "bytes":
        monkeypatch.setattr(limits, "SUGGEST_BYTES", value)
    else:
        driver.env.suggest_events = value
    driver.take()
    started = driver.events[-1].workflow_task_started_event_attributes
    assert started.suggest_continue_as_new and list(started.suggest_continue_as_new_reasons) == [reason]


def test_a_reset_of_a_long_history_is_no_large_transaction() -> None:
    driver = Driver()
    for number in range(4):
        driver.complete(large(str(number), 1_900_000))
        driver.complete_activity(driver.take_activity(str(number)))
    point = [number for number, kind in enumerate(driver.kinds, 1) if kind == "WorkflowTaskCompleted"][-1]
    driver.reset(point)
    assert driver.run.history_bytes > limits.TRANSACTION_BYTES_MAX and not driver.run.closed
