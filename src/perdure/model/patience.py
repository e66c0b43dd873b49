"""How long the caller of a call still waits, for those who make it wait.

A transport that knows its caller's deadline says so around the call; whatever waits for news (a poll, a read of history, a query)
asks here and answers a little earlier, with an empty message rather than with an error. In the process nobody sets a deadline.
"""

from __future__ import annotations

from contextvars import ContextVar

__all__ = ["seconds_left", "wait_seconds"]

MARGIN_SECONDS_MAX = 1.0
"""An answer leaves so long before its caller's deadline, that it arrives in time; a tenth of what is left, if that is less."""

seconds_left: ContextVar[float | None] = ContextVar("seconds_left", default=None)
"""What the caller's deadline left when the call began, in seconds; None: no deadline. Set by the transport, in the task of the call."""


def wait_seconds(maximum: float) -> float:
    """How long a call that has just begun may wait for news, at most `maximum` seconds."""
    left = seconds_left.get()
    return maximum if left is None else min(maximum, left - min(MARGIN_SECONDS_MAX, left / 10))
