"""Proves what `perdure workflow`, `schedule`, `batch`, `task-queue` and `namespace` ask of an engine, and how they print its answers.

The engine is one that notes every request and gives the answers that a test lays down; `tests/engine/test_cli.py` has a real one.
"""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from temporalio.api.common.v1 import WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import EventType, ResetReapplyExcludeType, ScheduleOverlapPolicy, WorkflowIdReusePolicy
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import History, HistoryEvent
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsResponse,
    DescribeBatchOperationResponse,
    DescribeNamespaceResponse,
    DescribeScheduleResponse,
    DescribeTaskQueueResponse,
    GetWorkflowExecutionHistoryResponse,
    ListNamespacesResponse,
    ListSchedulesResponse,
    ListWorkflowExecutionsResponse,
    QueryWorkflowResponse,
    ResetWorkflowExecutionResponse,
    StartWorkflowExecutionResponse,
    UpdateWorkflowExecutionResponse,
)

import perdure.client.client  # noqa: F401  # before `connect` is another for a while: it keeps the one that it finds
from perdure.cli.main import run
from perdure.cli.values import payload_of
from perdure.model.rpc import (
    RpcError,
    already_exists,
    already_started,
    deadline_exceeded,
    invalid_argument,
    namespace_exists,
    namespace_not_found,
    not_found,
    unimplemented,
    workflow_not_ready,
)
from perdure.service import connect as connecting
from perdure.service.connect import Connection


class Noting:
    """A service that has every RPC."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.answers: dict[str, list[Any]] = {}

    def __getattr__(self, name: str) -> Callable[[Any], Any]:
        if name.startswith("_"):
            raise AttributeError(name)

        async def answer(request: Any) -> Any:
            self.requests.append(copy.deepcopy(request))  # a page's request is changed into the next one's
            laid = self.answers.get(name)
            given = laid.pop(0) if laid and len(laid) > 1 else laid[0] if laid else None
            if isinstance(given, Exception):
                raise given
            return given

        return answer


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Noting:
    service = Noting()

    async def release() -> None: ...

    async def connect(url: str, **_: Any) -> Connection:
        return Connection(url, service, release)  # type: ignore[arg-type]

    monkeypatch.setattr(connecting, "connect", connect)
    return service


# --- workflow


def test_start_says_what_was_typed(engine: Noting, capsys: pytest.CaptureFixture[str]) -> None:
    engine.answers["start_workflow_execution"] = [StartWorkflowExecutionResponse(run_id="r1")]
    line = (
        "workflow start --type order -w A-17 -t orders -i 1 -i {\"a\":true} --run-timeout 1h30m --id-reuse-policy RejectDuplicate "
        "--memo note=\"x\" --search-attribute Customer=\"c\" --cron @daily --start-delay 5s --static-summary hello -n payments"
    )  # fmt: skip
    assert run(line.split()) == 0
    [request] = engine.requests
    assert (request.namespace, request.workflow_id, request.workflow_type.name, request.task_queue.name) == (
        "payments",
        "A-17",
        "order",
        "orders",
    )
    assert [payload.data for payload in request.input.payloads] == [b"1", b'{"a":true}']
    assert request.workflow_run_timeout.seconds == 5400
    assert request.workflow_id_reuse_policy == WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE
    assert request.memo.fields["note"].data == b'"x"'
    assert request.search_attributes.indexed_fields["Customer"].data == b'"c"'
    assert (request.cron_schedule, request.workflow_start_delay.seconds) == ("@daily", 5)
    assert request.user_metadata.summary.data == b'"hello"'
    assert request.request_id and request.identity.startswith("perdure-cli:")
    assert "A-17" in capsys.readouterr().out


def test_a_file_that_is_not_text_is_bad_usage(engine: Noting, tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "input.json"
    for content, says in ((b'"\xff"', "is not UTF-8: invalid start byte at byte 1."), (b"{", "is not JSON: Expecting property name")):
        file.write_bytes(content)
        assert run(["workflow", "start", "--type", "t", "--input-file", str(file)]) == 2
        assert f"--input-file {file} {says}" in capsys.readouterr().err
    assert engine.requests == []


def test_a_file_may_begin_with_a_byte_order_mark(engine: Noting, tmp_path: Any) -> None:
    engine.answers["start_workflow_execution"] = [StartWorkflowExecutionResponse(run_id="r1")]
    (tmp_path / "input.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert run(["workflow", "start", "--type", "t", "--input-file", str(tmp_path / "input.json")]) == 0
    assert [each.data for each in engine.requests[0].input.payloads] == [b'{"a":1}']


def test_input_from_a_file_follows_input(engine: Noting, tmp_path: Any) -> None:
    engine.answers["start_workflow_execution"] = [StartWorkflowExecutionResponse(run_id="r1")]
    (tmp_path / "a.json").write_text('["from file"]')
    assert run(["workflow", "start", "--type", "t", "--input-file", str(tmp_path / "a.json"), "-i", "1", "-o", "json"]) == 0
    assert [payload.data for payload in engine.requests[0].input.payloads] == [b"1", b'["from file"]']


def test_a_table_stands_straight_and_steers_no_terminal(engine: Noting, capsys: pytest.CaptureFixture[str]) -> None:
    ids = ["plain", "two\nlines\x1b[2J", "漢字", "e\u0301"]
    found = [WorkflowExecutionInfo(execution=WorkflowExecution(workflow_id=each), type=WorkflowType(name="t"), status=1) for each in ids]
    engine.answers["list_workflow_executions"] = [ListWorkflowExecutionsResponse(executions=found)]
    assert run(["workflow", "list"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "Status   WorkflowId         Type  StartTime  CloseTime",
        "Running  plain              t",
        "Running  two\\nlines\\x1b[2J  t",
        "Running  漢字               t",
        "Running  e\u0301                  t",
    ]


def test_list_goes_through_the_pages_up_to_the_limit(engine: Noting, capsys: pytest.CaptureFixture[str]) -> None:
    def page(*ids: str, token: bytes) -> ListWorkflowExecutionsResponse:
        infos = [
            WorkflowExecutionInfo(execution=WorkflowExecution(workflow_id=each), type=WorkflowType(name="t"), status=8) for each in ids
        ]  # type: ignore[arg-type]
        return ListWorkflowExecutionsResponse(executions=infos, next_page_token=token)

    engine.answers["list_workflow_executions"] = [page("a", "b", token=b"1"), page("c", "d", token=b"2")]
    assert run(["workflow", "list", "-q", "WorkflowType = 't'", "--limit", "3"]) == 0
    assert [request.page_size for request in engine.requests] == [3, 1]
    assert engine.requests[0].query == "WorkflowType = 't'"
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [
        ["Status", "WorkflowId", "Type", "StartTime", "CloseTime"],
        *(["Paused", each, "t"] for each in "abc"),
    ]


def test_count_prints_groups(engine: Noting, capsys: pytest.CaptureFixture[str]) -> None:
    answer = CountWorkflowExecutionsResponse(count=3)
    answer.groups.add(count=2).group_values.append(payload_of("Running"))
    engine.answers["count_workflow_executions"] = [answer]
    assert run(["workflow", "count", "-q", "GROUP BY ExecutionStatus"]) == 0
    assert capsys.readouterr().out == "Total: 3\nRunning: 2\n"


def test_watch_follows_to_the_end_and_says_how_it_was(engine: Noting, capsys: pytest.CaptureFixture[str]) -> None:
    first, last = HistoryEvent(event_id=1, event_type=1), HistoryEvent(event_id=2, event_type=3)  # type: ignore[arg-type]
    last.workflow_execution_failed_event_attributes.failure.message = "no money"
    one, none, two = (GetWorkflowExecutionHistoryResponse(next_page_token=token) for token in (b"1", b"1", b""))
    one.history.events.append(first)
    two.history.events.append(last)
    engine.answers["get_workflow_execution_history"] = [one, none, two]
    assert run(["workflow", "watch", "-w", "A"]) == 1
    assert all(request.wait_new_event for request in engine.requests)
    assert "no money" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "operation"),
    [
        (["signal", "--name", "go", "-i", "1"], "signal_operation"),
        (["cancel"], "cancellation_operation"),
        (["terminate"], "termination_operation"),
        (["delete"], "deletion_operation"),
    ],
)
def test_a_query_makes_it_a_batch(engine: Noting, command: list[str], operation: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["workflow", *command, "-q", "WorkflowType = 't'", "--reason", "clean-up", "--yes", "-o", "json"]) == 0
    [request] = engine.requests
    assert (request.visibility_query, request.reason, request.WhichOneof("operation")) == ("WorkflowType = 't'", "clean-up", operation)
    assert json.loads(capsys.readouterr().out) == {"batchJobId": request.job_id}


def test_either_a_workflow_or_a_query(engine: Noting, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["workflow", "cancel"]) == 2
    assert run(["workflow", "cancel", "-w", "a", "-q", "b"]) == 2
    assert run(["workflow", "terminate", "-r", "r", "-q", "b", "--yes"]) == 2
    assert engine.requests == []
    assert "give either --workflow-id or --query." in capsys.readouterr().err


def test_reset_to_a_kind_of_task_looks_for_its_event(engine: Noting) -> None:
    answer = GetWorkflowExecutionHistoryResponse()
    for number in (4, 9):
        answer.history.events.add(event_id=number).workflow_task_completed_event_attributes.SetInParent()
    engine.answers["get_workflow_execution_history"] = [answer]
    engine.answers["reset_workflow_execution"] = [ResetWorkflowExecutionResponse(run_id="r2")]
    for kind in ("FirstWorkflowTask", "LastWorkflowTask"):
        assert run(["workflow", "reset", "-w", "A", "--type", kind, "--reapply-exclude", "Signal", "--reason", "bug"]) == 0
    resets = [request for request in engine.requests if "Reset" in type(request).__name__]
    assert [request.workflow_task_finish_event_id for request in resets] == [4, 9]
    assert list(resets[0].reset_reapply_exclude_types) == [ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_SIGNAL]
    assert run(["workflow", "reset", "-w", "A"]) == 2


def test_update_asks_on_until_it_is_done(engine: Noting, capsys: pytest.CaptureFixture[str]) -> None:
    accepted, done = UpdateWorkflowExecutionResponse(stage=2), UpdateWorkflowExecutionResponse(stage=3)  # type: ignore[arg-type]
    done.outcome.success.payloads.append(payload_of({"total": 3}))
    engine.answers["update_workflow_execution"] = [accepted, done]
    assert run(["workflow", "update", "-w", "A", "--name", "add", "-i", "3", "--update-id", "u1"]) == 0
    assert [request.request.meta.update_id for request in engine.requests] == ["u1", "u1"]
    assert json.loads(capsys.readouterr().out) == {"total": 3}


def test_an_update_that_failed_is_an_error(engine: Noting, capsys: pytest.CaptureFixture[str]) -> None:
    failed = UpdateWorkflowExecutionResponse(stage=3)  # type: ignore[arg-type]
    failed.outcome.failure.CopyFrom(Failure(message="too much"))
    engine.answers["update_workflow_execution"] = [failed]
    assert run(["workflow", "update", "-w", "A", "--name", "add"]) == 1
    assert capsys.readouterr().err == "Error: the update failed: too much\n"


def test_a_query_that_is_rejected_is_an_error(engine: Noting, capsys: pytest.CaptureFixture[str]) -> None:
    answer = QueryWorkflowResponse()
    answer.query_rejected.status = 2  # type: ignore[assignment]
    engine.answers["query_workflow"] = [answer]
    assert run(["workflow", "query", "-w", "A", "--name", "state", "--reject-condition", "NotOpen"]) == 1
    assert capsys.readouterr().err == "Error: the query was rejected, since the workflow is Completed.\n"


# --- schedule


def test_a_schedule_is_made_of_its_options(engine: Noting) -> None:
    command = [
        "schedule", "create", "-s", "nightly", "--type", "report", "-w", "report", "--cron", "0 2 * * *", "--interval", "5h/15m",
        "--calendar", '{"hour":"12","dayOfWeek":"MON"}', "--start-time", "2030-01-01T00:00:00Z", "--jitter", "30s",
        "--time-zone", "Europe/Berlin",
        "--overlap-policy", "BufferOne", "--catchup-window", "1d", "--pause-on-failure", "--paused", "--notes", "why",
        "--remaining-actions", "5",
        "--schedule-memo", "a=1", "-i", '"x"',
    ]  # fmt: skip
    assert run(command) == 0
    [request] = engine.requests
    schedule = request.schedule
    assert request.schedule_id == "nightly"
    assert (list(schedule.spec.cron_string), schedule.spec.calendar[0].day_of_week) == (["0 2 * * *"], "MON")
    assert (schedule.spec.interval[0].interval.seconds, schedule.spec.interval[0].phase.seconds) == (5 * 3600, 900)
    assert (schedule.spec.jitter.seconds, schedule.spec.timezone_name, schedule.spec.start_time.seconds) == (
        30,
        "Europe/Berlin",
        1893456000,
    )
    assert schedule.policies.overlap_policy == ScheduleOverlapPolicy.SCHEDULE_OVERLAP_POLICY_BUFFER_ONE
    assert (schedule.policies.pause_on_failure, schedule.policies.catchup_window.seconds) == (True, 86400)
    assert (schedule.state.paused, schedule.state.notes, schedule.state.limited_actions, schedule.state.remaining_actions) == (
        True,
        "why",
        True,
        5,
    )
    assert (schedule.action.start_workflow.workflow_id, schedule.action.start_workflow.workflow_type.name) == ("report", "report")
    assert schedule.action.start_workflow.input.payloads[0].data == b'"x"'
    assert request.memo.fields["a"].data == b"1"


@pytest.mark.parametrize(
    ("command", "field"),
    [
        (["toggle", "--pause", "--reason", "r"], "pause"),
        (["toggle", "--unpause"], "unpause"),
        (["trigger", "--overlap-policy", "AllowAll"], "trigger_immediately"),
        (["backfill", "--start-time", "2029-01-01", "--end-time", "2029-01-02"], "backfill_request"),
    ],
)
def test_a_schedule_is_patched(engine: Noting, command: list[str], field: str) -> None:
    assert run(["schedule", command[0], "-s", "nightly", *command[1:]]) == 0
    [request] = engine.requests
    assert [each.name for each, _ in request.patch.ListFields()] == [field]


def test_schedules_are_shown(engine: Noting, capsys: pytest.CaptureFixture[str]) -> None:
    listed, described = ListSchedulesResponse(), DescribeScheduleResponse()
    info = listed.schedules.add(schedule_id="nightly").info
    info.workflow_type.name, info.paused = "report", True
    info.future_action_times.add(seconds=1893456000)
    described.schedule.spec.cron_string.append("0 2 * * *")
    described.info.recent_actions.add().start_workflow_result.workflow_id = "report-1"
    engine.answers |= {"list_schedules": [listed], "describe_schedule": [described]}
    assert run(["schedule", "list"]) == 0
    assert "nightly     report  2030-01-01T00:00:00Z  yes" in capsys.readouterr().out
    assert run(["schedule", "describe", "-s", "nightly"]) == 0
    said = capsys.readouterr().out
    assert "0 2 * * *" in said and "report-1" in said
    assert run(["schedule", "delete", "-s", "nightly"]) == 0


# --- batch, task-queue, namespace


def test_a_batch_is_described_and_stopped(engine: Noting, capsys: pytest.CaptureFixture[str]) -> None:
    engine.answers["describe_batch_operation"] = [
        DescribeBatchOperationResponse(job_id="j", total_operation_count=7, state=1, operation_type=3)
    ]  # type: ignore[arg-type]
    assert run(["batch", "describe", "--job-id", "j"]) == 0
    assert "Total      7" in capsys.readouterr().out
    assert run(["batch", "terminate", "--job-id", "j", "--reason", "r"]) == 0
    assert (engine.requests[-1].job_id, engine.requests[-1].reason) == ("j", "r")


def test_a_task_queue_is_described_by_kind(engine: Noting, capsys: pytest.CaptureFixture[str]) -> None:
    answer = DescribeTaskQueueResponse()
    answer.pollers.add(identity="me", rate_per_second=5)
    answer.stats.approximate_backlog_count = 3
    engine.answers["describe_task_queue"] = [answer]
    assert run(["task-queue", "describe", "-t", "orders"]) == 0
    assert [request.task_queue_type for request in engine.requests] == [1, 2]
    assert capsys.readouterr().out.startswith("workflow tasks: 1 pollers, 3 tasks wait\nactivity tasks: 1 pollers, 3 tasks wait\n")


def test_namespaces(engine: Noting, capsys: pytest.CaptureFixture[str]) -> None:
    described, listed = DescribeNamespaceResponse(), ListNamespacesResponse()
    described.namespace_info.name = "payments"
    described.config.workflow_execution_retention_ttl.seconds = 86400
    listed.namespaces.append(described)
    engine.answers |= {"describe_namespace": [described], "list_namespaces": [listed]}
    assert run(["namespace", "describe", "payments"]) == 0
    assert run(["namespace", "list"]) == 0
    assert capsys.readouterr().out.count("1 day, 0:00:00") == 2
    assert run(["namespace", "create", "payments", "--retention", "7d", "--data", "a=b"]) == 0
    assert engine.requests[-1].workflow_execution_retention_period.seconds == 7 * 86400
    assert run(["namespace", "update", "payments", "--description", "d"]) == 0
    assert engine.requests[-1].update_info.description == "d"
    assert run(["namespace", "delete", "payments", "--yes"]) == 0
    assert engine.requests[-1].namespace == "payments"


# --- what goes wrong


@pytest.mark.parametrize("command", ["create", "update", "delete --yes"])
def test_a_namespace_is_changed_only_by_its_name(engine: Noting, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`perdure namespace delete "$UNSET" --yes` must not delete the default one."""
    assert run(["namespace", *command.split()]) == 2
    assert "name the namespace" in capsys.readouterr().err
    assert run(["namespace", *command.split(), ""]) == 2
    assert "NAME is empty." in capsys.readouterr().err
    assert run(["namespace", *command.split(), "--namespace", ""]) == 2
    assert "--namespace is empty" in capsys.readouterr().err
    assert engine.requests == []
    assert run(["namespace", *command.split(), "--namespace", "payments"]) == 0
    assert engine.requests[-1].namespace == "payments"


@pytest.mark.parametrize(
    ("typed", "code", "says"),
    [("y\n", 0, ""), ("n\n", 1, "Error: nothing was done.\n"), ("", 2, "Error: nobody answers; add --yes if that is meant.")],
)
def test_a_deletion_is_asked_for(
    engine: Noting, typed: str, code: int, says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    assert run(["namespace", "delete", "payments"]) == code
    assert says in capsys.readouterr().err
    assert len(engine.requests) == (code == 0)


@pytest.mark.parametrize(
    ("url", "option", "namespace"),
    [
        ("perdure://host:7233", [], "default"),
        ("perdure://host:7233?namespace=payments", [], "payments"),
        ("perdure://host:7233?namespace=payments", ["-n", "orders"], "orders"),
    ],
)
def test_the_namespace_is_that_of_the_url_unless_given(engine: Noting, url: str, option: list[str], namespace: str) -> None:
    engine.answers["count_workflow_executions"] = [CountWorkflowExecutionsResponse()]
    assert run(["workflow", "count", "--engine", url, *option]) == 0
    assert engine.requests[-1].namespace == namespace


def test_a_retention_of_nothing_is_for_ever(engine: Noting, capsys: pytest.CaptureFixture[str]) -> None:
    described = DescribeNamespaceResponse()
    described.config.workflow_execution_retention_ttl.SetInParent()
    engine.answers["describe_namespace"] = [described]
    assert run(["namespace", "describe", "payments"]) == 0
    assert "Retention  for ever\n" in capsys.readouterr().out


def test_what_an_engine_does_not_have_is_one_clear_sentence(engine: Noting, capsys: pytest.CaptureFixture[str]) -> None:
    engine.answers["list_schedules"] = [unimplemented("unknown method")]
    assert run(["schedule", "list"]) == 1
    said = capsys.readouterr().err
    assert said == "Error: this engine does not have ListSchedules; use one that does (perdure server --help, or Temporal Server)\n"


def test_a_refusal_keeps_its_words(engine: Noting, capsys: pytest.CaptureFixture[str]) -> None:
    engine.answers["query_workflow"] = [workflow_not_ready("no workflow task has been completed yet")]
    assert run(["workflow", "query", "-w", "A", "--name", "state"]) != 0
    assert capsys.readouterr().err == "Error: no workflow task has been completed yet\n"


RUN = "01a226a5-95d4-7038-afe2-ef883e8efea5"
EXISTS = (
    "workflow 'A' exists already; take another id, or say what is to happen with --id-conflict-policy (it runs) "
    "or --id-reuse-policy (it has ended)"
)


@pytest.mark.parametrize(
    ("command", "rpc", "refusal", "says"),
    [
        (
            "schedule describe -s nightly",
            "describe_schedule",
            not_found("schedule not found"),
            "no schedule has the id 'nightly'; `perdure schedule list` names those that there are",
        ),
        (
            "schedule create -s nightly --type t",
            "create_schedule",
            already_exists("schedule exists"),
            "schedule 'nightly' exists already; take another name, or change it with `perdure schedule update`",
        ),
        (
            "batch describe --job-id b1",
            "describe_batch_operation",
            not_found("batch operation 'b1' not found"),
            "no batch has the id 'b1'; `perdure batch list` names those that there are",
        ),
        (
            "batch terminate --job-id b1",
            "stop_batch_operation",
            not_found("batch operation 'b1' has already ended"),
            "batch 'b1' has already ended; `perdure batch describe --job-id b1` shows how",
        ),
        (
            "namespace describe away",
            "describe_namespace",
            namespace_not_found("away"),
            "there is no namespace 'away'; `perdure namespace list` names those that there are",
        ),
        (
            "namespace create away",
            "register_namespace",
            namespace_exists("away"),
            "namespace 'away' exists already; take another name, or change it with `perdure namespace update`",
        ),
        (
            "workflow describe -w A",
            "describe_workflow_execution",
            not_found("workflow not found for workflow_id: A"),
            "no workflow has the id 'A'; `perdure workflow list` names those that there are",
        ),
        (
            f"workflow describe -w A -r {RUN}",
            "describe_workflow_execution",
            not_found("workflow not found for workflow_id: A"),
            f"workflow 'A' has no run '{RUN}'; `perdure workflow describe -w A` shows the current one",
        ),
        (
            "workflow result -w A",
            "get_workflow_execution_history",
            not_found("workflow not found for workflow_id: A"),
            "no workflow has the id 'A'; `perdure workflow list` names those that there are",
        ),
        (
            "workflow describe -w A -r none",
            "describe_workflow_execution",
            invalid_argument("Invalid RunId."),
            "'none' is not the id of a run; `perdure workflow describe -w A` shows the current one",
        ),
        (
            "workflow start --type t -w A",
            "start_workflow_execution",
            already_started("there", start_request_id="r", run_id=RUN),
            EXISTS,
        ),
        (
            "workflow update -w A --name add",
            "update_workflow_execution",
            not_found("workflow update was aborted by closing workflow"),
            "workflow update was aborted by closing workflow",
        ),
        (
            "workflow query -w A --name state",
            "query_workflow",
            deadline_exceeded("workflow A has not taken its workflow task; is a worker running?"),
            "no answer in time: workflow A has not taken its workflow task; is a worker running?",
        ),
        (
            "workflow list -q x",
            "list_workflow_executions",
            invalid_argument("invalid query: malformed"),
            "invalid query: malformed; write it like \"WorkflowType = 'order' AND ExecutionStatus = 'Running'\"",
        ),
    ],
)
def test_a_refusal_names_what_was_asked_for_and_what_to_type(
    engine: Noting, command: str, rpc: str, refusal: RpcError, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.answers[rpc] = [refusal]
    assert run(command.split()) == 1
    assert capsys.readouterr().err == f"Error: {says}\n"


def test_a_workflow_that_failed_says_so_in_one_line(engine: Noting, capsys: pytest.CaptureFixture[str]) -> None:
    end = HistoryEvent(event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED)
    failure = end.workflow_execution_failed_event_attributes.failure
    failure.message = "no money\nleft"
    failure.application_failure_info.type = "Broke"
    engine.answers["get_workflow_execution_history"] = [GetWorkflowExecutionHistoryResponse(history=History(events=[end]))]
    assert run(["workflow", "result", "-w", "A 1"]) == 1
    said = "Error: workflow 'A 1' failed: Broke: no money left; `perdure workflow show -w 'A 1'` shows where\n"
    assert capsys.readouterr() == ("", said)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["workflow", "start", "--type", "t", "-i", "text"], "--input is not JSON"),
        (["workflow", "start", "--type", "t", "--run-timeout", "soon"], "'soon' is not a duration; write it like 90s, 1h30m or 7d."),
        (["workflow", "start", "--type", "t", "-i", "text"], "A text needs quotes of its own, as in --input '\"text\"'."),
        (["workflow", "start", "--type", "t", "-i", "NaN"], "--input is not JSON: NaN is no number there."),
        (["workflow", "start", "--type", "t", "-i", "[-Infinity]"], "--input is not JSON: -Infinity is no number there."),
        (["workflow", "start", "--type", "t", "-i", "1e999"], "--input is not JSON: 1e999 is no number there."),
        (["workflow", "start", "--type", "t", "-i", "[" * 100_000], "--input is nested too deeply"),
        (["workflow", "start", "--type", "t", "-w", "a\udcff"], "a\\xff is not UTF-8"),
        (["workflow", "start", "--type", "t", "--run-timeout", "9" * 30 + "s"], "is too long; 3652500d is the longest there is."),
        (["workflow", "start", "--type", "t", "--memo", "x=y"], "as in --memo 'x=\"y\"'."),
        (["workflow", "start", "--type", "t", "--memo", "x"], "--memo is 'x'; write it as NAME=JSON."),
        (["workflow", "start", "--type", "t", "--id-reuse-policy", "Never"], "--id-reuse-policy is 'Never'; choose one of AllowDuplicate,"),
        (["workflow", "show", "-w", "A", "--follow", "--reverse"], "give either --follow or --reverse."),
        (["schedule", "toggle", "-s", "x"], "give either --pause or --unpause."),
        (["schedule", "create", "-s", "x", "--type", "t", "--interval", "soon"], "'soon' is not a duration"),
        (["schedule", "create", "-s", "x", "--type", "t", "--calendar", '{"hours":1}'], "--calendar cannot be understood"),
        (["schedule", "create", "-s", "x", "--type", "t", "--calendar", "[]"], '--calendar is []; write it like {"hour":"12"}.'),
        (
            ["schedule", "create", "-s", "x", "--type", "t", "--interval", "soon"],
            "Invalid value for '--interval': 'soon' is not a duration",
        ),
        (["schedule", "create", "-s", "x", "--type", "t", "--start-time", "0001-01-01T00:00:00+14:00"], "is not a time; write it like"),
        (["schedule", "backfill", "-s", "x", "--start-time", "then", "--end-time", "2030-01-01"], "'then' is not a time"),
        (["namespace", "create", "x", "--data", "y"], "--data is 'y'; write it as KEY=VALUE."),
    ],
)
def test_bad_usage(engine: Noting, command: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command) == 2
    assert engine.requests == []
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1
