"""Which errors of workflow code fail the workflow, and which only its workflow task.

An error that the application means (`ApplicationError`, what an activity failed with, a time-out, an error named in
`failure_exception_types`) fails the workflow: it is an outcome. Any other error is taken for a mistake in the code, as Temporal
does: the task fails, the workflow stays where it was, and goes on as soon as a worker runs code that does not raise. A workflow of
a year's age is not lost to a misspelt name. What the code's non-determinism raises is always such a mistake.

A group of errors (from `asyncio.TaskGroup`) fails the workflow when all the errors in it do.
"""

from __future__ import annotations

import asyncio
from typing import Any

from temporalio.api.failure.v1.message_pb2 import Failure

from perdure.model.conversion import DataConverter
from perdure.model.errors import ActivityError, ApplicationError, DeterminismViolation, NondeterminismError, WorkflowError

_OUTCOMES = (ApplicationError, ActivityError, WorkflowError, TimeoutError, asyncio.CancelledError)
_MISTAKES = (NondeterminismError, DeterminismViolation)


class ContinueAsNew(BaseException):
    """Ends this run and starts the next; raised by `ctx.continue_as_new`. Not an error: `except Exception` lets it pass."""

    def __init__(self, attributes: Any) -> None:
        super().__init__("the workflow continues as a new run")
        self.attributes = attributes


def fails_workflow(error: BaseException, more: tuple[type[BaseException], ...]) -> bool:
    """Whether `error`, raised out of workflow code, is the workflow's outcome."""
    if isinstance(error, BaseExceptionGroup):
        members: tuple[BaseException, ...] = error.exceptions  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        return isinstance(error, more) or all(fails_workflow(each, more) for each in members)
    if isinstance(error, _MISTAKES):
        return False
    return isinstance(error, (*_OUTCOMES, *more))


def failure_of_error(error: BaseException, converter: DataConverter) -> Failure:
    """The failure that the workflow ends with. A group says its first error and is caused by it, and is not tried again when one of
    its errors is not.
    """
    failure = converter.to_failure(error)
    first, *others = _single(error)
    if first is not error and not failure.HasField("cause"):
        failure.cause.CopyFrom(failure_of_error(first, converter))
        failure.message += f": {type(first).__name__}: {first}".removesuffix(": ")
        failure.application_failure_info.non_retryable = any(getattr(each, "non_retryable", False) for each in (first, *others))
    return failure


def continue_as_new_in(error: BaseException) -> ContinueAsNew | None:
    """`ctx.continue_as_new` called within a TaskGroup arrives wrapped in a group."""
    if isinstance(error, ContinueAsNew):
        return error
    if isinstance(error, BaseExceptionGroup):
        members: tuple[BaseException, ...] = error.exceptions  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        return next((found for each in members if (found := continue_as_new_in(each)) is not None), None)
    return None


def _single(error: BaseException) -> list[BaseException]:
    """The errors that are no groups, in order."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    members: tuple[BaseException, ...] = error.exceptions  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return [each for member in members for each in _single(member)]
