"""What is kept of a schedule, and its bytes: one record, which opens with a format number.

The schedule itself, what is shown of it (counts, recent actions, running workflows), how far its times have been taken, and
three lists: backfills that go on, actions that wait for their turn (`buffer`), and actions that are decided (`starting`).

The rule a newcomer would get wrong: an action is started only when the record that lists it in `starting` is durable, and leaves
the list when the record that counts it is. Whatever happens in between, it is started again under the same request id, which
the run remembers: so it runs once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from struct import Struct
from typing import Any, Final, NamedTuple

from temporalio.api.common.v1 import Memo, SearchAttributes
from temporalio.api.schedule.v1 import Schedule, ScheduleInfo
from temporalio.api.workflowservice.v1 import DescribeScheduleResponse, StartWorkflowExecutionRequest

FORMAT: Final = 1
SERVED_MAX: Final = 20
"""Request ids that are remembered: a caller repeats a request at once, or soon after."""
_HEAD: Final = Struct("<BII")


class Action(NamedTuple):
    """A workflow to start. Times are nanoseconds since the epoch."""

    number: int
    """Counts the actions of the schedule."""
    nominal: int
    actual: int
    """When it is due: the nominal time with jitter."""
    overlap: int
    """The overlap policy that was asked for; 0: the schedule's."""
    manual: bool
    """Triggered or backfilled, not named by the spec's clock."""
    tracked: bool = False
    """Counts as running until it closes: any policy but ALLOW_ALL. Known once it is decided."""
    decided: int = 0
    """When it was decided to start it."""


class Backfill(NamedTuple):
    """Times still to be taken: after `after`, up to and with `end`."""

    after: int
    end: int
    overlap: int


@dataclass(slots=True)
class ScheduleState:
    """One schedule."""

    namespace: str
    schedule_id: str
    uid: str
    """Tells it from one of the same id that was deleted: part of the request ids of its starts."""
    request_id: str
    """Of the request that created it."""
    schedule: Schedule = field(default_factory=Schedule)
    info: ScheduleInfo = field(default_factory=ScheduleInfo)
    memo: Memo = field(default_factory=Memo)
    search_attributes: SearchAttributes = field(default_factory=SearchAttributes)
    token: int = 1
    """The conflict token: counts the changes that others than the schedule itself must know of."""
    processed: int = 0
    """The spec's times up to here have been taken, or passed."""
    number: int = 0
    """Of the last action."""
    cancelling: bool = False
    """What runs is to be cancelled, since an action waits for it."""
    terminating: bool = False
    backfills: list[Backfill] = field(default_factory=list[Backfill])
    buffer: list[Action] = field(default_factory=list[Action])
    starting: list[Action] = field(default_factory=list[Action])
    served: list[str] = field(default_factory=list[str])
    """The ids of the last requests that changed it: one that is repeated changes nothing."""
    last: StartWorkflowExecutionRequest = field(default_factory=StartWorkflowExecutionRequest)
    """`last_completion_result` and `continued_failure` for the next tracked action; nothing else of it is used."""

    @property
    def seed(self) -> str:
        """From which jitter is drawn."""
        return f"{self.namespace}-{self.schedule_id}"

    def next_number(self) -> int:
        """For a new action."""
        self.number += 1
        return self.number

    def serves(self, request_id: str) -> bool:
        """Whether a request is to be carried out, which is then remembered: it has no id, or is not known."""
        if not request_id:
            return True
        if request_id in self.served:
            return False
        self.served = [*self.served[1 - SERVED_MAX :], request_id]
        return True

    def encode(self) -> bytes:
        """Its record; the same state gives the same bytes."""
        own = {
            "uid": self.uid,
            "request_id": self.request_id,
            "token": self.token,
            "processed": self.processed,
            "number": self.number,
            "cancelling": self.cancelling,
            "terminating": self.terminating,
            "backfills": self.backfills,
            "buffer": self.buffer,
            "starting": self.starting,
            "served": self.served,
        }
        described = DescribeScheduleResponse(
            schedule=self.schedule, info=self.info, memo=self.memo, search_attributes=self.search_attributes
        ).SerializeToString(deterministic=True)
        text = json.dumps(own, separators=(",", ":")).encode()
        return b"".join((_HEAD.pack(FORMAT, len(text), len(described)), text, described, self.last.SerializeToString(deterministic=True)))


def decode(namespace: str, schedule_id: str, data: bytes) -> ScheduleState:
    """The state of a record.

    Raises:
        ValueError: the bytes have another format.
    """
    version, text, described = _HEAD.unpack_from(data)
    if version != FORMAT:
        raise ValueError(f"the record of schedule {schedule_id} has format {version}; this perdure reads {FORMAT}")
    at = _HEAD.size
    own: dict[str, Any] = json.loads(data[at : at + text])
    shown = DescribeScheduleResponse.FromString(data[at + text : at + text + described])
    return ScheduleState(
        namespace,
        schedule_id,
        own["uid"],
        own["request_id"],
        shown.schedule,
        shown.info,
        shown.memo,
        shown.search_attributes,
        own["token"],
        own["processed"],
        own["number"],
        own["cancelling"],
        own["terminating"],
        [Backfill(*each) for each in own["backfills"]],
        [Action(*each) for each in own["buffer"]],
        [Action(*each) for each in own["starting"]],
        own["served"],
        StartWorkflowExecutionRequest.FromString(data[at + text + described :]),
    )
