"""Retry policies: their defaults, their validation, and whether and when another attempt follows (3.1).

Decides about one failure, given as a message, and one policy; writes nothing. The caller says whether cancellation was
requested and what deadline bounds the chain.

Easily got wrong: `next_retry_delay` of an application failure replaces the interval, and for activities the policy's
maximum does not bound it, for workflows it does; an explicit zero delay means no retry, with state TIMEOUT.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import RetryPolicy
from temporalio.api.enums.v1 import RetryState
from temporalio.api.failure.v1 import Failure

from perdure.engine.core import codes
from perdure.engine.core.times import HUNDRED_YEARS, SECOND, set_ns, to_ns

INITIAL_INTERVAL: Final = SECOND
COEFFICIENT: Final = 2.0
MAXIMUM_FACTOR: Final = 100
"""The maximum interval is this many times the initial one unless given."""

_TIMEOUT_NAMES: Final = {
    "StartToClose": codes.START_TO_CLOSE,
    "ScheduleToStart": codes.SCHEDULE_TO_START,
    "ScheduleToClose": codes.SCHEDULE_TO_CLOSE,
    "Heartbeat": codes.HEARTBEAT,
}
TIMEOUT_TEXT: Final = {number: name for name, number in _TIMEOUT_NAMES.items()}
_TIMEOUT_PREFIX: Final = "TemporalTimeout:"


class Verdict(NamedTuple):
    """What follows a failure: with IN_PROGRESS, the next attempt after `delay` nanoseconds."""

    state: RetryState.ValueType
    delay: int


def fill(policy: RetryPolicy) -> RetryPolicy:
    """Puts the defaults into unset fields, in place."""
    if not to_ns(policy.initial_interval):
        set_ns(policy.initial_interval, INITIAL_INTERVAL)
    if not policy.backoff_coefficient:
        policy.backoff_coefficient = COEFFICIENT
    if not to_ns(policy.maximum_interval):
        set_ns(policy.maximum_interval, min(MAXIMUM_FACTOR * to_ns(policy.initial_interval), HUNDRED_YEARS))
    return policy


DEFAULT_POLICY: Final = fill(RetryPolicy())


def complaint(policy: RetryPolicy) -> str:
    """What is wrong with a policy as it was sent; empty if nothing is."""
    if policy.maximum_attempts == 1:
        return ""
    initial, maximum = to_ns(policy.initial_interval), to_ns(policy.maximum_interval)
    if initial < 0:
        return "InitialInterval cannot be negative on retry policy."
    if policy.backoff_coefficient and not policy.backoff_coefficient >= 1:
        return "BackoffCoefficient cannot be less than 1 on retry policy."
    if maximum < 0:
        return "MaximumInterval cannot be negative on retry policy."
    if maximum and maximum < (initial or INITIAL_INTERVAL):
        return "MaximumInterval cannot be less than InitialInterval on retry policy."
    if policy.maximum_attempts < 0:
        return "MaximumAttempts cannot be negative on retry policy."
    for name in policy.non_retryable_error_types:
        if name.startswith(_TIMEOUT_PREFIX) and name[len(_TIMEOUT_PREFIX) :] not in _TIMEOUT_NAMES:
            return f"Invalid timeout type value: {name[len(_TIMEOUT_PREFIX) :]}."
    return ""


def interval(policy: RetryPolicy, attempt: int) -> int:
    """Nanoseconds to wait after attempt `attempt` (from 1) has failed: initial x coefficient^(attempt-1), bounded, at most 100 years."""
    initial, maximum = min(to_ns(policy.initial_interval), HUNDRED_YEARS), min(to_ns(policy.maximum_interval), HUNDRED_YEARS)
    try:
        wait = int(initial * policy.backoff_coefficient ** (attempt - 1))
    except OverflowError:
        return maximum
    if wait <= 0:
        return maximum
    return min(wait, maximum or HUNDRED_YEARS)


def retryable(failure: Failure | None, policy: RetryPolicy) -> bool:
    """Whether the kind of failure allows another attempt (test 4); only the outermost failure counts."""
    if failure is None:
        return True
    kind = failure.WhichOneof("failure_info")
    if kind == "application_failure_info":
        application = failure.application_failure_info
        return not application.non_retryable and application.type not in policy.non_retryable_error_types
    if kind == "timeout_failure_info":
        timeout = failure.timeout_failure_info.timeout_type
        if timeout not in (codes.START_TO_CLOSE, codes.HEARTBEAT):
            return False
        return _TIMEOUT_PREFIX + TIMEOUT_TEXT[timeout] not in policy.non_retryable_error_types
    if kind == "server_failure_info":
        return not failure.server_failure_info.non_retryable
    return kind not in ("terminated_failure_info", "canceled_failure_info")


def decide(policy: RetryPolicy, attempt: int, failure: Failure | None, now: int, deadline: int, *, delay_unbounded: bool) -> Verdict:
    """Tests 4 and 6 to 8 of the table: what follows when attempt `attempt` has ended with `failure`.

    `deadline` (ns since the epoch; 0: none) bounds the start of the next attempt; `delay_unbounded` says that the
    failure's own delay may exceed the policy's maximum interval, as it may for activities.
    """
    if not retryable(failure, policy):
        return Verdict(codes.RETRY_NON_RETRYABLE, 0)
    if 0 < policy.maximum_attempts <= attempt:
        return Verdict(codes.RETRY_MAXIMUM_ATTEMPTS, 0)
    wait = _own_delay(failure)
    if wait is None:
        wait = interval(policy, attempt)
    elif not delay_unbounded:
        wait = min(wait, to_ns(policy.maximum_interval) or wait)
    if wait <= 0 or (deadline and now + wait > deadline):
        return Verdict(codes.RETRY_TIMEOUT, 0)
    return Verdict(codes.RETRY_IN_PROGRESS, wait)


def _own_delay(failure: Failure | None) -> int | None:
    if failure is None or not failure.HasField("application_failure_info"):
        return None
    application = failure.application_failure_info
    if not application.HasField("next_retry_delay"):
        return None
    delay: Duration = application.next_retry_delay
    return min(to_ns(delay), HUNDRED_YEARS)
