"""Who makes a call, as far as its answer depends on that.

A transport that serves others says so around the call; in the process nobody does.
"""

from __future__ import annotations

from contextvars import ContextVar

__all__ = ["sees_unrecorded"]

sees_unrecorded: ContextVar[bool] = ContextVar("sees_unrecorded", default=False)
"""Whether the caller is an SDK, whose worker may read a history to replay it: it is shown the events of a workflow task that is not
recorded, too. People's tools are not."""
