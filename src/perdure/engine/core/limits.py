"""The bounds of section 9 that the core holds: each with its unit in its name, each checked where its effect is written.

Easily got wrong: lengths of ids are bytes, not characters; `too_long` counts bytes only where characters cannot decide.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from google.protobuf.message import Message
from temporalio.api.common.v1 import Link, Priority

from perdure.engine.core.times import SECOND

ID_BYTES_MAX: Final = 1000
"""Of workflow, activity, timer, request ids, types, queues, identities, signal names: InvalidArgument, or the task fails."""
PAYLOAD_BYTES_MAX: Final = 2 * 1024 * 1024
"""Of one field of payloads: InvalidArgument, or the run is terminated, or the activity failed."""
MEMO_BYTES_MAX: Final = 2 * 1024 * 1024
"""Of a memo, merged."""
SEARCH_ATTRIBUTES_MAX: Final = 100
SEARCH_ATTRIBUTE_BYTES_MAX: Final = 2 * 1024
SEARCH_ATTRIBUTES_BYTES_MAX: Final = 40 * 1024
USER_SUMMARY_BYTES_MAX: Final = 400
USER_DETAILS_BYTES_MAX: Final = 20_000
HISTORY_BYTES_MAX: Final = 50 * 1024 * 1024
"""The run is terminated, as it is at `HISTORY_EVENTS_MAX`."""
HISTORY_EVENTS_MAX: Final = 51_200
STATE_BYTES_MAX: Final = 8 * 1024 * 1024
"""Of what is kept beside the history (`sizes`): the run is terminated,"""
TRANSACTION_BYTES_MAX: Final = 4 * 1024 * 1024
"""as it is when its worker asks for one transaction of more, which is not written. No limit of bytes here is smaller: `settling` relies
on that."""
SUGGEST_BYTES: Final = 4 * 1024 * 1024
"""From here on a workflow task suggests to continue as new, as from `SUGGEST_EVENTS` on."""
SUGGEST_EVENTS: Final = 4096
PENDING_ACTIVITIES_MAX: Final = 2000
"""The workflow task fails."""
PENDING_CHILDREN_MAX: Final = 2000
"""The workflow task fails, as it does at the next two."""
PENDING_EXTERNAL_SIGNALS_MAX: Final = 2000
PENDING_EXTERNAL_CANCELS_MAX: Final = 2000
PENDING_OPERATIONS_MAX: Final = 30
"""Nexus operations: the workflow task fails, as it does when the header of one has more bytes than these."""
NEXUS_HEADER_BYTES_MAX: Final = 8 * 1024
SIGNALS_MAX: Final = 10_000
"""Of one run: InvalidArgument to the sender."""
BUFFERED_EVENTS_MAX: Final = 100
"""The workflow task fails (B6), as it does at `BUFFERED_BYTES_MAX`."""
BUFFERED_BYTES_MAX: Final = 2 * 1024 * 1024
LINKS_MAX: Final = 10
"""Of one request, each of at most `LINK_BYTES_MAX`: InvalidArgument, as for a fairness key of more bytes than these."""
LINK_BYTES_MAX: Final = 4000
FAIRNESS_KEY_BYTES_MAX: Final = 64
BUILD_ID_BYTES_MAX: Final = 255
"""InvalidArgument to the worker that polls, as where it names its deployment with so many."""
RESERVED_QUEUES: Final = "/_sys/"
"""How no name of a task queue may begin."""
KEPT_FAILURE_BYTES_MAX: Final = 4 * 1024
"""Of an activity's failure that is kept for its next attempt: cut."""
CUT_FAILURE_BYTES: Final = 2 * 1024
"""To this many bytes of its message."""
HEARTBEAT_CHAIN: Final = 30 * 60 * SECOND
"""A workflow task that only heartbeats times out after this long, in nanoseconds."""
TASK_TIMEOUT_DEFAULT: Final = 10 * SECOND
TASK_TIMEOUT_MAX: Final = 120 * SECOND
REPORTED_FAILURES: Final = 5
"""Failures of workflow tasks in a row after which lists show the run as having problems."""
QUERY_ATTEMPT_MAX: Final = 3
"""From this attempt of the workflow task on, queries and updates are refused at once."""
UPDATES_IN_FLIGHT_MAX: Final = 10
"""Of one run, admitted or accepted and not completed: ResourceExhausted to the sender, as at `UPDATES_BYTES_MAX` of those not accepted."""
UPDATES_BYTES_MAX: Final = 20 * 1024 * 1024
UPDATES_MAX: Final = 2000
"""Of one run, rejected ones not counted: FailedPrecondition to the sender."""
SUGGEST_UPDATES: Final = UPDATES_MAX * 9 // 10
"""From here on a workflow task suggests to continue as new."""
SPECULATIVE_START: Final = 5 * SECOND
"""A speculative workflow task that no worker has taken from a normal queue by then becomes an ordinary one, in nanoseconds."""
CONTINUE_SPACING: Final = SECOND
"""The least time from a run's execution time to that of the run that continues it, in nanoseconds."""


def too_long(text: str, limit: int = ID_BYTES_MAX) -> bool:
    """Whether `text` has more than `limit` bytes."""
    return len(text) * 4 > limit and len(text.encode()) > limit


def too_large(message: Message, limit: int = PAYLOAD_BYTES_MAX) -> bool:
    """Whether a message takes more than `limit` bytes."""
    return message.ByteSize() > limit


def links_complaint(links: Iterable[Link]) -> str:
    """What is wrong with the links of a request; empty if nothing is."""
    sizes = [link.ByteSize() for link in links]
    if len(sizes) > LINKS_MAX:
        return f"cannot attach more than {LINKS_MAX} links per request, got {len(sizes)}"
    return f"link exceeds allowed size of {LINK_BYTES_MAX}, got {max(sizes)}" if sizes and max(sizes) > LINK_BYTES_MAX else ""


def priority_complaint(priority: Priority) -> str:
    """What is wrong with how urgent something is to be; empty if nothing is."""
    if priority.priority_key < 0:
        return "priority key can't be negative"
    if too_long(priority.fairness_key, FAIRNESS_KEY_BYTES_MAX):
        return f"fairness key length exceeds limit: {len(priority.fairness_key.encode())} > {FAIRNESS_KEY_BYTES_MAX}"
    return "" if priority.fairness_weight >= 0 else "fairness weight can't be negative"
