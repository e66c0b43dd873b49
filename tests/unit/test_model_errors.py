"""The tree of errors: one root, stable codes, statuses, pickling with facts and causes; failures there and back."""

from __future__ import annotations

import asyncio
import builtins
import inspect
import pickle
from datetime import timedelta

import pytest
import temporalio.exceptions
from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import ResourceExhaustedCause
from temporalio.api.failure.v1 import Failure

from perdure.model import errors, rpc
from perdure.model.conversion import DataConverter
from perdure.model.errors import (
    ActivityCancelled,
    ActivityTimedOut,
    ApplicationError,
    ChildWorkflowFailed,
    ConfigError,
    ExecutionFailed,
    InvalidInput,
    NondeterminismError,
    PerdureError,
    RetryState,
    TimeoutType,
    UsageError,
    WorkflowAlreadyStarted,
    WorkflowCancelled,
    WorkflowTerminated,
)
from perdure.model.failures import FailureConverter, failure_of
from perdure.model.rpc import RpcError, StatusCode

CLASSES = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, PerdureError)]
CONVERTER = DataConverter.default


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_has_a_code_of_its_own_a_sentence_and_no_builtins_name(cls: type[PerdureError]) -> None:
    assert [each for each in CLASSES if each.code == cls.code] == [cls]
    assert not hasattr(builtins, cls.__name__)
    assert cls.__name__ in errors.__all__
    assert cls.__doc__
    first = cls.__doc__.partition("\n")[0]
    assert first.endswith(".")
    error = cls()
    assert error.message == first
    assert 400 <= error.http_status <= 599
    assert error.exit_code in (1, 2, 3)


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_pickles_with_its_facts_and_causes(cls: type[PerdureError]) -> None:
    names = [name for name, p in inspect.signature(cls).parameters.items() if p.kind is p.KEYWORD_ONLY]
    error = cls("what happened")
    for name in names:
        setattr(error, name, f"<{name}>")
    error.__cause__ = ValueError("why")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is cls
    assert copy.message == "what happened"
    assert [getattr(copy, name) for name in names] == [f"<{name}>" for name in names]
    assert repr(copy.__cause__) == "ValueError('why')"


def test_usage_errors_are_type_errors_and_unknown_names_attribute_errors() -> None:
    assert issubclass(UsageError, TypeError)
    assert issubclass(errors.UnknownName, AttributeError)


def test_a_subclass_of_application_error_has_its_name_as_type() -> None:
    class InsufficientFunds(ApplicationError):
        """No money."""

    assert InsufficientFunds("no").type == "InsufficientFunds"
    assert ApplicationError("no").type is None
    assert ApplicationError("no", 1, 2, type="X", next_retry_delay=3).next_retry_delay == timedelta(seconds=3)


def test_rpc_errors_carry_status_and_detail_and_pickle() -> None:
    error = rpc.already_started("there", start_request_id="r", run_id="run")
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.code, copy.message, copy.detail) == (StatusCode.ALREADY_EXISTS, "there", error.detail)
    assert str(error) == "ALREADY_EXISTS: there"
    assert rpc.resource_exhausted("busy", ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_BUSY_WORKFLOW).http_status == 429
    assert rpc.unavailable("away").exit_code == 3
    assert isinstance(rpc.not_found("x"), RpcError)


# --- failures ---------------------------------------------------------------------------------------------------------


def round_trip(error: BaseException) -> BaseException:
    return CONVERTER.from_failure(CONVERTER.to_failure(error))


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def test_a_users_exception_is_an_application_failure_with_its_classes_name() -> None:
    failure = CONVERTER.to_failure(raised(KeyError("k"), OSError("disk")))
    assert failure.application_failure_info.type == "KeyError"
    assert failure.cause.application_failure_info.type == "OSError"
    assert "test_model_errors.py" in failure.stack_trace
    error = CONVERTER.from_failure(failure)
    assert isinstance(error, ApplicationError)
    assert (error.type, error.message) == ("KeyError", "'k'")
    assert isinstance(error.__cause__, ApplicationError)
    assert error.__cause__.type == "OSError"


def test_application_errors_keep_details_and_flags() -> None:
    error = round_trip(ApplicationError("no", 1, {"a": 2}, type="X", non_retryable=True, next_retry_delay=2.5))
    assert isinstance(error, ApplicationError)
    assert (error.message, error.details, error.type, error.non_retryable) == ("no", (1, {"a": 2}), "X", True)
    assert error.next_retry_delay == timedelta(seconds=2.5)


def test_invalid_input_comes_back_as_itself() -> None:
    error = round_trip(InvalidInput("bad"))
    assert type(error) is InvalidInput
    assert error.non_retryable


def test_activity_errors_come_back_with_their_facts() -> None:
    failed = ExecutionFailed("x", activity_type="charge", activity_id="1", retry_state=RetryState.MAXIMUM_ATTEMPTS_REACHED, identity="w")
    failed.__cause__ = ApplicationError("no money", type="InsufficientFunds")
    error = round_trip(failed)
    assert type(error) is ExecutionFailed
    assert (error.activity_type, error.activity_id, error.retry_state, error.identity) == ("charge", "1", 4, "w")
    assert str(error) == "activity charge failed: InsufficientFunds: no money"
    assert isinstance(error.__cause__, ApplicationError)


def test_a_time_out_and_its_activity_are_one_error() -> None:
    timed_out = ActivityTimedOut(
        "slow", timeout_type=TimeoutType.HEARTBEAT, last_heartbeat_details=[7], activity_type="charge", activity_id="1"
    )
    timed_out.__cause__ = ValueError("the attempt before")
    failure = CONVERTER.to_failure(timed_out)
    assert failure.cause.timeout_failure_info.timeout_type == TimeoutType.HEARTBEAT
    error = CONVERTER.from_failure(failure)
    assert type(error) is ActivityTimedOut
    assert (error.timeout_type, error.last_heartbeat_details, error.activity_type) == (TimeoutType.HEARTBEAT, (7,), "charge")
    assert str(error) == "activity charge timed out (HEARTBEAT)"
    assert isinstance(error.__cause__, ApplicationError)


def test_a_cancelled_activity_is_one_error() -> None:
    error = round_trip(ActivityCancelled("x", details=["d"], activity_type="charge"))
    assert type(error) is ActivityCancelled
    assert (error.details, str(error)) == (("d",), "activity charge was cancelled")


def test_cancellation_termination_server_and_child_failures() -> None:
    assert type(round_trip(asyncio.CancelledError())) is WorkflowCancelled
    assert type(round_trip(WorkflowTerminated("t"))) is WorkflowTerminated
    server = round_trip(errors.ServerFailure("s", non_retryable=True))
    assert isinstance(server, errors.ServerFailure)
    assert server.non_retryable
    child = round_trip(ChildWorkflowFailed("c", workflow_id="w", run_id="r", workflow_type="t", retry_state=RetryState.TIMEOUT))
    assert isinstance(child, ChildWorkflowFailed)
    assert (child.workflow_id, child.run_id, child.workflow_type, child.retry_state) == ("w", "r", "t", 3)


def test_an_error_that_came_from_a_failure_goes_on_unchanged() -> None:
    failure = Failure(message="from Go", source="GoSDK", stack_trace="go.go:1")
    failure.application_failure_info.type = "wrapError"
    failure.nexus_handler_failure_info.type = "INTERNAL"  # a kind that we have no class for
    error = CONVERTER.from_failure(failure)
    assert failure_of(error) == failure
    assert CONVERTER.to_failure(error) == failure
    assert failure_of(pickle.loads(pickle.dumps(error))) == failure


def test_temporalios_own_exceptions_are_understood() -> None:
    failure = CONVERTER.to_failure(temporalio.exceptions.ApplicationError("no", 1, type="X", non_retryable=True))
    assert (failure.application_failure_info.type, failure.application_failure_info.non_retryable) == ("X", True)


def test_a_circular_chain_of_causes_ends() -> None:
    first, second = ValueError("1"), ValueError("2")
    first.__cause__, second.__cause__ = second, first
    failure, depth = CONVERTER.to_failure(first), 0
    while failure.HasField("cause"):
        failure, depth = failure.cause, depth + 1
    assert depth == 30


def test_messages_can_be_hidden_for_a_codec() -> None:
    converter = DataConverter(failure_converter=FailureConverter(encode_common_attributes=True))
    failure = converter.to_failure(ValueError("secret"))
    assert failure.message == "Encoded failure"
    assert "secret" in str(failure.encoded_attributes.data)
    error = converter.from_failure(failure)
    assert str(error) == "secret"


def test_details_of_a_heartbeat_are_values() -> None:
    failure = Failure(message="late")
    failure.timeout_failure_info.timeout_type = 4  # type: ignore[assignment]
    failure.timeout_failure_info.last_heartbeat_details.CopyFrom(Payloads(payloads=CONVERTER.encode_values([{"row": 3}])))
    error = CONVERTER.from_failure(failure)
    assert isinstance(error, ActivityTimedOut)
    assert error.last_heartbeat_details == ({"row": 3},)


def test_facts_are_attributes() -> None:
    assert ConfigError("x", field="task_queue").field == "task_queue"
    assert NondeterminismError("x", event_id=5, expected="a", found="b", line="f.py:3").event_id == 5
    assert WorkflowAlreadyStarted("x", run_id="r").run_id == "r"
