"""Failures that are too large to keep: what stays of them, as the cause of a failure of the engine's (3.3).

Of each failure in the chain of causes stay message, stack trace, source and, of an application's, its type, the outermost first, as
long as there is room. Easily got wrong: whether an activity is tried again is judged by the outermost failure alone, and that is the
engine's now. So whoever cuts says whether it may be.
"""

from __future__ import annotations

from typing import Final

from temporalio.api.failure.v1 import Failure

CAUSES_MAX: Final = 20
"""So long a chain of causes stays."""


def cut(failure: Failure, bytes_max: int, *, non_retryable: bool) -> Failure:
    """A failure of the engine's that stands for a larger one; of the texts in that at most `bytes_max` bytes stay."""
    outer = Failure(message="Failure exceeds size limit.", source="Server")
    outer.server_failure_info.non_retryable = non_retryable
    short, room = outer, bytes_max
    for _ in range(CAUSES_MAX):
        short = short.cause
        short.SetInParent()
        room = _shorten(failure, short, room)
        if not failure.HasField("cause") or not room:
            break
        failure = failure.cause
    return outer


def _shorten(failure: Failure, into: Failure, room: int) -> int:
    """Returns what room is left."""
    if failure.HasField("application_failure_info"):
        info = failure.application_failure_info
        into.application_failure_info.type, room = _begin(info.type, room)
        into.application_failure_info.non_retryable = info.non_retryable
    elif failure.HasField("server_failure_info"):
        into.server_failure_info.non_retryable = failure.server_failure_info.non_retryable
    into.message, room = _begin(failure.message, room)
    into.source, room = _begin(failure.source, room)
    into.stack_trace, room = _begin(failure.stack_trace, room)
    return room


def _begin(text: str, room: int) -> tuple[str, int]:
    """The beginning of a text, and what room is left after it."""
    kept = text.encode()[:room]
    return kept.decode(errors="ignore"), room - len(kept)
