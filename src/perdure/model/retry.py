"""`RetryPolicy`: temporalio's, with durations in seconds accepted and wrong names answered with the right one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import temporalio.common

from perdure.model.durations import Duration, to_timedelta
from perdure.model.errors import UsageError
from perdure.model.suggestions import unknown_option

__all__ = ["RetryPolicy"]

_FIELDS = ("initial_interval", "backoff_coefficient", "maximum_interval", "maximum_attempts", "non_retryable_error_types")


class RetryPolicy(temporalio.common.RetryPolicy):
    """How often, and how soon, something is tried again.

    Attempt n+1 starts `initial_interval * backoff_coefficient ** (n - 1)` after attempt n failed, at most `maximum_interval` (100 times
    the first unless given). `maximum_attempts` counts the first attempt; 0 means without end. An error whose type's name is in
    `non_retryable_error_types` is not tried again.
    """

    def __init__(
        self,
        *,
        initial_interval: Duration = 1,
        backoff_coefficient: float = 2.0,
        maximum_interval: Duration | None = None,
        maximum_attempts: int = 0,
        non_retryable_error_types: Sequence[str | type[BaseException]] | None = None,
        **unknown: Any,
    ) -> None:
        if unknown:
            raise unknown_option("RetryPolicy", unknown, _FIELDS, "retry")
        _check_numbers(backoff_coefficient, maximum_attempts)
        types = non_retryable_error_types
        if isinstance(types, (str, type)):
            raise UsageError(f"non_retryable_error_types takes a list of names; say non_retryable_error_types=[{_name(types)!r}]")
        super().__init__(
            initial_interval=to_timedelta(initial_interval, "initial_interval"),
            backoff_coefficient=backoff_coefficient,
            maximum_interval=None if maximum_interval is None else to_timedelta(maximum_interval, "maximum_interval"),
            maximum_attempts=maximum_attempts,
            non_retryable_error_types=None if types is None else [_name(each) for each in types],
        )
        _check_intervals(self.initial_interval, self.maximum_interval)


def _name(error_type: str | type[BaseException]) -> str:
    return error_type if isinstance(error_type, str) else error_type.__name__


def _check_numbers(coefficient: Any, attempts: Any) -> None:
    if isinstance(coefficient, bool) or not isinstance(coefficient, (int, float)) or not coefficient >= 1:
        raise UsageError(f"backoff_coefficient is {coefficient!r}; it must be a number of at least 1 (1 keeps the interval, 2 doubles it)")
    if isinstance(attempts, bool) or not isinstance(attempts, int) or attempts < 0:
        raise UsageError(f"maximum_attempts is {attempts!r}; it must be a whole number: 1 for a single attempt, 0 for no limit")


def _check_intervals(initial: timedelta, maximum: timedelta | None) -> None:
    if initial <= timedelta(0):
        raise UsageError("initial_interval must be more than 0 seconds")
    if maximum is not None and maximum < initial:
        raise UsageError(f"maximum_interval ({maximum}) is less than initial_interval ({initial}); raise it, or leave it out")
