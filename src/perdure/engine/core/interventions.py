"""What operators have done to a pending activity: paused it, reset it, given it other options (3.7); or to a run: paused it.

Plain records; `activity_control` and `pausing` decide. Of activities the history says nothing: it stands in the activity's row (`rows`).
"""

from __future__ import annotations

from typing import NamedTuple

from temporalio.api.activity.v1 import ActivityOptions


class Pause(NamedTuple):
    """Who paused an activity or a run, when (ns) and why; the request is recognised when it is repeated."""

    time: int
    identity: str
    reason: str
    request_id: str


class Intervention:
    """What operators have done to a pending activity. Few ever have any."""

    __slots__ = ("options", "pause", "reset", "reset_heartbeats", "stamp")

    def __init__(self) -> None:
        self.pause: Pause | None = None
        self.reset = False
        """The attempt under way is told to stop, and the next one is the first again,"""
        self.reset_heartbeats = False
        """without the details of this one."""
        self.options: ActivityOptions | None = None
        """All that hold, if they are not those of its event."""
        self.stamp = 0
        """Tells two attempts apart that have the same number."""
