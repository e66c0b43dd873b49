"""How a worker is, in one value."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from perdure.worker.watchdog import Stall

__all__ = ["POLL_ERRORS_UNHEALTHY", "HealthStatus"]

POLL_ERRORS_UNHEALTHY = 3
"""Failed polls in a row from which on a worker counts as unhealthy: one lost connection is none."""


@dataclass(frozen=True, kw_only=True)
class HealthStatus:
    """What `WorkflowWorker.health_check()` answers."""

    is_healthy: bool
    """Running, and polling does not keep failing."""
    workflow_tasks_in_progress: int
    activity_tasks_in_progress: int
    last_poll_time: datetime | None
    """When the engine last answered a poll (UTC); an idle engine answers once a minute. None before the first."""
    state: str
    """new, running, stopping or stopped."""
    consecutive_poll_errors: int
    cached_workflows: int
    loop_stalls: int
    """How often the event loop has stood still longer than `stall_threshold`."""
    last_stall: Stall | None
    reason: str
    """Why it is not healthy; empty if it is."""
