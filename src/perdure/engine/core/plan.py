"""What a completion will have done, while its commands are being checked: nothing of it has happened yet.

Decides nothing. Easily got wrong: an id that a command frees may be taken again by the next one of the same completion,
so what is pending must be asked of the plan first and of the run second.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from temporalio.api.command.v1 import Command
from temporalio.api.enums.v1 import WorkflowTaskFailedCause

from perdure.engine.core.activity_options import Options
from perdure.engine.core.codes import EXTERNAL_SIGNAL_INITIATED
from perdure.engine.core.outcome import Env
from perdure.engine.core.state import Run

if TYPE_CHECKING:
    from perdure.engine.core.update_messages import Answers


class Refused(Exception):
    """A command is wrong: its workflow task fails with this cause, and with `terminate` the run ends."""

    def __init__(self, cause: WorkflowTaskFailedCause.ValueType, message: str, *, terminate: bool = False) -> None:
        super().__init__(message)
        self.cause = cause
        self.message = message
        self.terminate = terminate


class PlannedOutbound:
    """What a completion sends others."""

    __slots__ = ("cancels", "children", "children_ids", "signals")

    def __init__(self, run: Run) -> None:
        self.children = len(run.children)
        """Pending ones, as of the next two."""
        self.signals = sum(each.event.event_type == EXTERNAL_SIGNAL_INITIATED for each in run.externals.values())
        self.cancels = len(run.externals) - self.signals
        self.children_ids: set[str] = set()
        """Workflow ids of children that are initiated by it."""


class PlannedOperations:
    """What a completion does to Nexus operations."""

    __slots__ = ("cancelled", "pending")

    def __init__(self, run: Run) -> None:
        self.pending = set(run.operations or ())
        """By the ids of the events that scheduled them, or will."""
        self.cancelled: set[int] = set()
        """Asked to cancel themselves by it."""


class Plan:
    """What the commands checked so far will have done; nothing of it has happened."""

    __slots__ = (
        "activities",
        "activity_ids",
        "answers",
        "attributes",
        "buffered",
        "cancelled",
        "commands",
        "env",
        "memo",
        "next_event_id",
        "operations",
        "options",
        "outbound",
        "pending_activities",
        "run",
        "timers",
        "unfired",
    )

    def __init__(self, run: Run, commands: Iterable[Command], completed_event_id: int, env: Env) -> None:
        self.run = run
        self.env = env
        self.commands = list(commands)
        self.next_event_id = completed_event_id + 1
        """Of the event of the next command: each has exactly one that is not buffered."""
        self.buffered = len(run.buffered)
        self.pending_activities = len(run.activities)
        self.activity_ids: dict[str, int] = {}
        """Changes to the run's: 0 for an id that is free again."""
        self.activities: dict[int, str] = {}
        """Scheduled by this completion."""
        self.cancelled: set[int] = set()
        """Activities whose cancellation was requested by it."""
        self.timers: dict[str, bool] = {}
        """Changes to the pending timers, by their id."""
        self.unfired: set[str] = set()
        """Timers whose firing is taken out of the buffer."""
        self.answers: Answers | None = None
        """What the worker says of updates, if it says anything."""
        self.options: list[Options] = []
        """Of the activities to schedule, in order."""
        self.attributes: dict[str, int] | None = None
        """Sizes of the merged search attributes, once one was upserted."""
        self.outbound: PlannedOutbound | None = None
        """What goes to other workflows, once something does."""
        self.operations: PlannedOperations | None = None
        """What is done to Nexus operations, once something is."""
        self.memo: dict[str, int] | None = None
        """Sizes of the merged memo, once it was changed."""
