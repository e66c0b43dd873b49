"""What the history does not say of a run: a few bytes that each transaction rewrites. They open with a format number.

Namespace, run id and start request id; the size of the history; the sticky queue; whether a close was attempted; failures
of workflow tasks since the last success; what a closed run still owes its parent, its children and those who wait for its end, and to
which run it was reset;
of the pending workflow task the start of its heartbeat chain and who holds it, and all of it when it is transient; at the end, if there
are any, the events of updates whose end somebody has not heard of.
(What it does not say of a pending activity: `rows`.)

Easily got wrong: anything put here that the history says too would be a second truth; the fold of every history is
compared with the live state, so a fact that is missing here shows as a difference after `load`.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from perdure.engine.core.others import CALL_BACK, END_CHILDREN, TELL_PARENT, discharge
from perdure.engine.core.pending import WorkflowTask
from perdure.model.ids import run_id_bytes, run_id_text

if TYPE_CHECKING:
    from perdure.engine.core.state import Run

FORMAT: Final = 1
_HEAD: Final = Struct("<B16sHH")
_BODY: Final = Struct("<QqIBHH")
_TASK: Final = Struct("<qI")
_TRANSIENT: Final = Struct("<QQIqqqII")

_UNTOLD: Final = Struct("<Q")

_CLOSE_ATTEMPTED: Final = 1
_HAS_TASK: Final = 2
_HAS_TRANSIENT: Final = 4
_WAS_RESET: Final = 4
"""Of a run without a pending task, where another has the bit before."""
_IN_PROCESS: Final = 8
_REROUTED: Final = 16
_MANY_UPDATES: Final = 32
"""Of a transient task, which an open run has, where a closed run has the next bit."""
_TELL_PARENT: Final = 32
_END_CHILDREN: Final = 64
_CALL_BACK: Final = 128


def run_facts(run: Run) -> bytes:
    """The facts of a run, as `read_identity` and `read_facts` take them."""
    head = run.facts_head or _head(run)
    task = run.task
    sticky = run.sticky_queue.encode() if run.sticky_queue else b""
    cause = run.reported_cause.encode() if run.reported_cause else b""
    flags = _CLOSE_ATTEMPTED if run.close_attempted else 0
    tail = b""
    if run.unsent and run.closed:
        flags |= (_TELL_PARENT if TELL_PARENT in run.unsent else 0) | (_END_CHILDREN if END_CHILDREN in run.unsent else 0)
        flags |= _CALL_BACK if CALL_BACK in run.unsent else 0
    if task is not None and not task.speculative:
        flags |= _HAS_TASK
        if task.in_process:
            flags |= _IN_PROCESS
        if task.rerouted:
            flags |= _REROUTED
        tail = _TASK.pack(task.original_scheduled_time, task.incarnation)
        if task.attempt > 1:
            flags |= _HAS_TRANSIENT | (_MANY_UPDATES if task.many_updates else 0)
            tail += _transient(task)
    elif run.reset_run_id:
        flags |= _WAS_RESET
        tail = run_id_bytes(run.reset_run_id)
    if run.updates is not None and run.updates.untold:
        tail += b"".join(map(_UNTOLD.pack, run.updates.untold))
    body = _BODY.pack(run.history_bytes, run.sticky_timeout, run.task_failures, flags, len(sticky), len(cause))
    return b"".join((head, body, sticky, cause, tail))


def _head(run: Run) -> bytes:
    namespace, request_id = run.namespace.encode(), run.start_request_id.encode()
    run.facts_head = head = _HEAD.pack(FORMAT, run.run_id_bytes, len(namespace), len(request_id)) + namespace + request_id
    return head


def _transient(task: WorkflowTask) -> bytes:
    request_id, identity = task.request_id.encode(), task.identity.encode()
    fixed = _TRANSIENT.pack(
        task.scheduled_event_id,
        task.started_event_id,
        task.attempt,
        task.scheduled_time,
        task.started_time,
        task.timeout,
        len(request_id),
        len(identity),
    )
    return fixed + request_id + identity


class Identity:
    """The part of the facts that never changes, and where the rest begins."""

    __slots__ = ("namespace", "rest", "run_id", "start_request_id")

    def __init__(self, data: bytes) -> None:
        version, raw, namespace, request_id = _HEAD.unpack_from(data)
        if version != FORMAT:
            raise ValueError(f"facts of a run have format {version}; this perdure reads {FORMAT}")
        at = _HEAD.size
        self.run_id = run_id_text(raw)
        self.namespace = data[at : at + namespace].decode()
        self.start_request_id = data[at + namespace : at + namespace + request_id].decode()
        self.rest = at + namespace + request_id


def read_facts(run: Run, data: bytes, at: int) -> None:
    """Puts the facts that change into a folded run; `at` is where they begin."""
    run.history_bytes, run.sticky_timeout, run.task_failures, flags, sticky, cause = _BODY.unpack_from(data, at)
    at += _BODY.size
    run.sticky_queue = data[at : at + sticky].decode()
    at += sticky
    run.reported_cause = data[at : at + cause].decode()
    run.close_attempted = bool(flags & _CLOSE_ATTEMPTED)
    at += cause
    if flags & _HAS_TASK:
        at = _read_task(run, data, at, flags)
    elif flags & _WAS_RESET:
        run.reset_run_id = run_id_text(data[at : at + 16])
        at += 16
    if run.updates is not None and run.updates.untold:
        still = {key for (key,) in _UNTOLD.iter_unpack(data[at:])}
        for key in [key for key in run.updates.untold if key not in still]:
            discharge(run, key)
    if run.unsent and run.closed:
        for bit, duty in ((_TELL_PARENT, TELL_PARENT), (_END_CHILDREN, END_CHILDREN), (_CALL_BACK, CALL_BACK)):
            if not flags & bit:
                discharge(run, duty)


def _read_task(run: Run, data: bytes, at: int, flags: int) -> int:
    """Returns where its facts end."""
    end = at + _TASK.size
    if flags & _HAS_TRANSIENT:
        run.task, end = _read_transient(run, data, end)
        run.task.many_updates = bool(flags & _MANY_UPDATES)
    task = run.task
    if task is None:
        raise ValueError(f"the facts of run {run.run_id} name a workflow task that its history does not have")
    task.original_scheduled_time, task.incarnation = _TASK.unpack_from(data, at)
    task.in_process = bool(flags & _IN_PROCESS)
    if flags & _REROUTED:
        task.reroute(run.task_queue)
    return end


def _read_transient(run: Run, data: bytes, at: int) -> tuple[WorkflowTask, int]:
    scheduled, started, attempt, scheduled_time, started_time, timeout, request_id, identity = _TRANSIENT.unpack_from(data, at)
    at += _TRANSIENT.size
    task = WorkflowTask(scheduled, run.task_queue, False, scheduled_time, timeout, attempt)
    task.started_event_id = started
    task.started_time = started_time
    task.request_id = data[at : at + request_id].decode()
    at += request_id
    task.identity = data[at : at + identity].decode()
    return task, at + identity
