"""Whether the id of something that stands alone may be used again: policies of activities and of Nexus operations, which are the same.

Writes nothing. Decides from the run that the id means now, open or closed. The numbers are those of `ActivityIdReusePolicy` and
`NexusOperationIdReusePolicy`, and of their conflict policies.

Easily got wrong: a repeated request is recognised before any policy is asked.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from temporalio.api.enums.v1 import ActivityIdConflictPolicy, ActivityIdReusePolicy

from perdure.engine.core import codes
from perdure.engine.core.state import Run

_AFTER_FAILURE: Final = frozenset((codes.FAILED, codes.CANCELED, codes.TERMINATED, codes.TIMED_OUT))


class Found(Enum):
    """What a start comes upon."""

    SAME = "same"
    """The request has made it already."""
    EXISTING = "existing"
    """It is open, and that is fine; or the request has been attached to it already."""
    RUNNING = "already started"
    """It is open, which forbids another."""
    FINISHED = "already finished"
    """It has ended in a way that forbids another."""
    NOTHING = "nothing"
    """That stands in the way: another may begin."""


def judge(run: Run, request_id: str, reuse: int, conflict: int) -> Found:
    """What a start with these policies comes upon."""
    if request_id and request_id == run.start_request_id:
        return Found.SAME
    if request_id and request_id in run.attached_request_ids:
        return Found.EXISTING
    if not run.closed:
        return Found.EXISTING if conflict == ActivityIdConflictPolicy.ACTIVITY_ID_CONFLICT_POLICY_USE_EXISTING else Found.RUNNING
    rejected = reuse == ActivityIdReusePolicy.ACTIVITY_ID_REUSE_POLICY_REJECT_DUPLICATE
    failed_only = reuse == ActivityIdReusePolicy.ACTIVITY_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY
    return Found.FINISHED if rejected or (failed_only and run.status not in _AFTER_FAILURE) else Found.NOTHING
