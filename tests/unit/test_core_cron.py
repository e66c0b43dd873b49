"""Proves when a cron schedule is due: the fields, the names, time zones, and the wait that a run gets (4.4)."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from temporalio.api.workflowservice.v1 import TerminateWorkflowExecutionRequest

sys.path.insert(0, str(Path(__file__).parent))

import core_commands as commands
from core_support import BEGIN, SECOND, Driver, payloads, seconds, start_request

from perdure.engine.core import cron


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * SECOND


def due(schedule: str, after: str) -> str:
    """When the schedule is due next, in UTC."""
    wait = cron.backoff(schedule, ns(after), ns(after))
    assert wait is not None
    return datetime.fromtimestamp((ns(after) + wait) / SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@pytest.mark.parametrize(
    ("schedule", "after", "expected"),
    [
        ("* * * * *", "2024-03-01T12:00:00+00:00", "2024-03-01T12:01:00"),
        ("*/15 * * * *", "2024-03-01T12:16:01+00:00", "2024-03-01T12:30:00"),
        ("5/20 * * * *", "2024-03-01T12:26:00+00:00", "2024-03-01T12:45:00"),
        ("0 9-17/4 * * *", "2024-03-01T13:00:00+00:00", "2024-03-01T17:00:00"),
        ("30 8 * * mon-FRI", "2024-03-01T08:30:00+00:00", "2024-03-04T08:30:00"),
        ("0 0 1,15 * *", "2024-03-01T00:00:00+00:00", "2024-03-15T00:00:00"),
        ("0 0 13 * fri", "2024-03-02T00:00:00+00:00", "2024-03-08T00:00:00"),  # either
        ("0 0 ? * sun", "2024-03-01T00:00:00+00:00", "2024-03-03T00:00:00"),
        ("0 0 */2 * sun", "2024-03-01T00:00:00+00:00", "2024-03-03T00:00:00"),  # a step restricts: either
        ("0 0 31 * *", "2024-03-31T00:00:00+00:00", "2024-05-31T00:00:00"),
        ("0 0 29 feb *", "2024-03-01T00:00:00+00:00", "2028-02-29T00:00:00"),
        ("@hourly", "2024-03-01T12:30:00+00:00", "2024-03-01T13:00:00"),
        ("@daily", "2024-12-31T23:59:59+00:00", "2025-01-01T00:00:00"),
        ("@weekly", "2024-03-01T00:00:00+00:00", "2024-03-03T00:00:00"),
        ("@monthly", "2024-03-01T00:00:00+00:00", "2024-04-01T00:00:00"),
        ("@yearly", "2024-03-01T00:00:00+00:00", "2025-01-01T00:00:00"),
        ("@every 1h30m", "2024-03-01T00:00:10+00:00", "2024-03-01T01:30:10"),
        ("@every 100ms", "2024-03-01T00:00:00+00:00", "2024-03-01T00:00:01"),
        ("CRON_TZ=America/New_York 0 9 * * *", "2024-07-01T00:00:00+00:00", "2024-07-01T13:00:00"),
        ("TZ=Asia/Kolkata 0 9 * * *", "2024-07-01T00:00:00+00:00", "2024-07-01T03:30:00"),
        # 02:30 does not exist on 31 March 2024 in Berlin; 02:30 comes twice on 27 October.
        ("CRON_TZ=Europe/Berlin 30 2 * * *", "2024-03-30T12:00:00+00:00", "2024-04-01T00:30:00"),
        ("CRON_TZ=Europe/Berlin 30 2 * * *", "2024-10-26T12:00:00+00:00", "2024-10-27T00:30:00"),
        ("CRON_TZ=Europe/Berlin 30 2 * * *", "2024-10-27T00:30:00+00:00", "2024-10-27T01:30:00"),
    ],
)
def test_when_a_schedule_is_due(schedule: str, after: str, expected: str) -> None:
    assert not cron.complaint(schedule)
    assert due(schedule, after) == expected


@pytest.mark.parametrize(
    "schedule",
    [
        "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 7", "5-1 * * * *", "*/0 * * * *",
        "a * * * *", "jan * * * *", "- * * * *", "1- * * * *", ", * * * *", "@never", "@every", "@every soon", "@every 1x",
        "CRON_TZ=Nowhere/Here * * * * *", "0 0 30 2 *", "",
    ],
)  # fmt: skip
def test_what_is_no_schedule(schedule: str) -> None:
    assert cron.complaint(schedule).startswith("Invalid CronSchedule")


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
    st.integers(0, 59),
    st.integers(0, 23),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
    st.integers(0, 3 * 365 * 24 * 60),
)
def test_the_next_time_is_the_first_minute_that_matches(minute: int, hour: int, zone: str, start: int) -> None:
    """Against a search minute by minute."""
    after = datetime(2023, 1, 1, tzinfo=UTC) + timedelta(minutes=start)
    found = after + timedelta(seconds=(cron.backoff(f"CRON_TZ={zone} {minute} {hour} * * *", ns(str(after)), ns(str(after))) or 0) / SECOND)
    at = after + timedelta(minutes=1)
    while (local := at.astimezone(ZoneInfo(zone))).hour != hour or local.minute != minute:
        at += timedelta(minutes=1)
    assert found == at


def test_times_that_have_passed_are_skipped_and_the_wait_is_whole_seconds() -> None:
    last = ns("2024-03-01T12:00:00+00:00")
    assert cron.backoff("* * * * *", last, last + 200 * SECOND) == 40 * SECOND
    assert cron.backoff("* * * * *", last, last + 200 * SECOND + 1) == 40 * SECOND
    assert cron.backoff("* * * * *", last, last + 240 * SECOND) == 0
    assert cron.backoff("@every 7s", last, last + 30 * SECOND) == 5 * SECOND
    assert cron.backoff("* * * * *", last, last - 5 * SECOND) == 5 * SECOND


# Runs of a schedule.


def every(span: str = "20s", **fields: object) -> Driver:
    driver = Driver(start_request(cron_schedule=f"@every {span}", **fields))  # type: ignore[arg-type]
    driver.later(20)
    return driver


def test_the_first_run_waits_for_its_time() -> None:
    driver = Driver(start_request(cron_schedule="@every 20s"))
    start = driver.run.start
    assert driver.kinds == ["WorkflowExecutionStarted"]
    assert (start.initiator, start.first_workflow_task_backoff.seconds, start.cron_schedule) == (3, 20, "@every 20s")
    assert driver.run.next_due() == BEGIN + 20 * SECOND
    driver.later(20)
    assert driver.kinds == ["WorkflowExecutionStarted", "WorkflowTaskScheduled"]


def test_a_run_that_completes_is_followed_by_the_next_with_its_result() -> None:
    driver = every()
    driver.env.now += 5 * SECOND
    driver.complete(commands.complete("one"))
    old = driver.ledgers[0].events()[-1].workflow_execution_completed_event_attributes
    start = driver.run.start
    assert old.new_execution_run_id == driver.run.run_id and driver.ledgers[0].run.status == 2
    assert (start.initiator, start.attempt, start.first_workflow_task_backoff.seconds) == (3, 1, 15)
    assert start.last_completion_result == payloads("one") and not start.HasField("continued_failure")
    assert start.continued_execution_run_id == driver.ledgers[0].run.run_id == start.first_execution_run_id


def test_a_failure_is_tried_again_before_the_schedule_goes_on() -> None:
    driver = every(retry_policy={"maximum_attempts": 2})
    driver.complete(commands.complete("one"))
    driver.later(20)
    driver.complete(commands.fail("first"))
    start = driver.run.start
    assert (start.initiator, start.attempt, start.cron_schedule) == (2, 2, "@every 20s")
    assert start.continued_failure.message == "first" and not start.HasField("last_completion_result")
    driver.later(1)
    driver.complete(commands.fail("second"))
    closed = driver.ledgers[-2].events()[-1].workflow_execution_failed_event_attributes
    start = driver.run.start
    assert closed.retry_state == 4 and closed.new_execution_run_id == driver.run.run_id
    assert (start.initiator, start.attempt, start.continued_failure.message) == (3, 1, "second")


def test_the_last_result_survives_a_failed_run_and_a_run_that_timed_out() -> None:
    driver = every(workflow_run_timeout=seconds(30))
    driver.complete(commands.complete("one"))
    driver.later(20)
    driver.complete(commands.fail("bad"))
    assert driver.run.start.last_completion_result == payloads("one")
    driver.later(20)
    driver.later(30)
    start = driver.run.start
    assert driver.ledgers[-2].run.status == 7
    assert start.last_completion_result == payloads("one") and start.continued_failure.message == "workflow timeout"
    assert (start.initiator, start.first_workflow_task_backoff.seconds) == (3, 10)


def test_a_cancelled_or_continued_run_ends_the_schedule_unless_it_says_so() -> None:
    driver = every()
    driver.complete(commands.cancel())
    assert len(driver.ledgers) == 1 and driver.run.closed
    driver = every()
    driver.complete(commands.continue_as_new())
    assert driver.run.start.cron_schedule == "" and driver.run.start.initiator == 1
    driver = every()
    driver.complete(commands.continue_as_new(cron_schedule="@every 5s"))
    assert driver.run.start.cron_schedule == "@every 5s"
    driver = every()
    driver.do(TerminateWorkflowExecutionRequest(reason="enough"))
    assert len(driver.ledgers) == 1 and driver.run.closed


def test_the_execution_timeout_ends_the_chain() -> None:
    driver = every(workflow_execution_timeout=seconds(45))
    driver.complete(commands.complete("one"))
    driver.later(20)
    driver.later(6)
    assert driver.run.closed and driver.run.status == 7 and len(driver.ledgers) == 2
