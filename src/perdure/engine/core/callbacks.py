"""What is to hear of the end of a run: completion callbacks, and the token by which one names the operation that waits for it.

Decides which callbacks a run may have. Only those of Nexus operations of the same engine are: they go to `SYSTEM_URL`, with a token
that the engine gave to the operation's handler.

Easily got wrong: callbacks go with the chain of runs, and are due when its last run ends.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from temporalio.api.common.v1 import Callback, Link
from temporalio.api.enums.v1 import CallbackState, EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import CallbackInfo

from perdure.engine.core import codes, limits
from perdure.engine.core.times import set_ns, to_ns
from perdure.model.rpc import failed_precondition, invalid_argument

if TYPE_CHECKING:
    from perdure.engine.core.state import Run

SYSTEM_URL: Final = "temporal://system"
"""Where callbacks within one engine go."""
TOKEN_HEADER: Final = "temporal-callback-token"
OPERATION_TOKEN_HEADER: Final = "nexus-operation-token"
"""Where a handler says by which token it will have known the operation."""
CALLBACKS_MAX: Final = 32
"""Of one run."""
HEADER_BYTES_MAX: Final = 8 * 1024


class CallbackToken(NamedTuple):
    """The operation that waits for a callback."""

    namespace: str
    workflow_id: str
    run_id: str
    scheduled_event_id: int
    request_id: str

    def encode(self) -> str:
        """As text for a header."""
        return base64.urlsafe_b64encode(json.dumps(self).encode()).decode()


def decode_token(text: str) -> CallbackToken | None:
    """The operation that a token names; None if it is no token."""
    try:
        fields: object = json.loads(base64.urlsafe_b64decode(text.encode()))
    except (binascii.Error, ValueError):
        return None
    if not isinstance(fields, list):
        return None
    values = cast("list[object]", fields)
    if [type(each) for each in values] != [str, str, str, int, str]:
        return None
    return CallbackToken(*cast("tuple[str, str, str, int, str]", tuple(values)))


class Attached(NamedTuple):
    """A callback of a run."""

    callback: Callback
    request_id: str
    """Of the request that attached it."""
    time: int
    event_type: EventType.ValueType
    """Of the event with which it was."""

    def header(self, name: str) -> str:
        """One of its headers; empty if it has none of that name."""
        return next((value for key, value in self.callback.nexus.header.items() if key.lower() == name), "")


def check_callbacks(callbacks: Sequence[Callback], already: int = 0) -> None:
    """Refuses callbacks that nobody could be called back by.

    Raises:
        RpcError: InvalidArgument; FailedPrecondition if there are too many together with those that are attached already.
    """
    if len(callbacks) > CALLBACKS_MAX:
        raise invalid_argument(f"cannot attach more than {CALLBACKS_MAX} callbacks to a workflow")
    if len(callbacks) + already > CALLBACKS_MAX:
        raise failed_precondition(f"cannot attach more than {CALLBACKS_MAX} callbacks to a workflow ({already} are attached already)")
    for callback in callbacks:
        check_links(callback.links)
        if callback.nexus.url != SYSTEM_URL:
            raise invalid_argument(f"invalid callback: this engine calls back Nexus operations of its own ({SYSTEM_URL}), and no other URL")
        if sum(len(key) + len(value) for key, value in callback.nexus.header.items()) > HEADER_BYTES_MAX:
            raise invalid_argument(f"invalid callback: its headers exceed {HEADER_BYTES_MAX} bytes")
        if decode_token(Attached(callback, "", 0, EventType.EVENT_TYPE_UNSPECIFIED).header(TOKEN_HEADER)) is None:
            raise invalid_argument(f"invalid callback: its header {TOKEN_HEADER} names no operation of this engine")


def check_links(links: Iterable[Link]) -> None:
    """Refuses too many links of one request, or one that is too large.

    Raises:
        RpcError: InvalidArgument.
    """
    wrong = limits.links_complaint(links)
    if wrong:
        raise invalid_argument(wrong)


def further(links: Sequence[Link], callbacks: Sequence[Callback]) -> list[Link]:
    """Of the links of a request those that its callbacks do not bring along: clients name both where a start is an operation."""
    return [link for link in links if not any(link in callback.links for callback in callbacks)]


def attach(run: Run, callbacks: Iterable[Callback], event: HistoryEvent, request_id: str) -> None:
    """Folds that callbacks are attached to a run."""
    run.linked = True
    run.callbacks = [*(run.callbacks or ()), *attached(callbacks, event, request_id)]


def attached(callbacks: Iterable[Callback], event: HistoryEvent, request_id: str) -> list[Attached]:
    """Callbacks as they came with an event."""
    time, kind = to_ns(event.event_time), event.event_type
    return [Attached(_copy(each), request_id, time, kind) for each in callbacks]


def _copy(callback: Callback) -> Callback:
    copy = Callback()
    copy.CopyFrom(callback)
    return copy


def link_to(run: Run, request_id: str, event_type: EventType.ValueType) -> Link:
    """To the event with which a request began the run, or was attached to it; to the operation or activity, where it is nothing else."""
    if run.lone_operation or run.standalone:
        return run_link(run)
    return event_link(run.namespace, run.workflow_id, run.run_id, request_id, event_type)


def run_link(run: Run) -> Link:
    """To an operation or an activity without a workflow."""
    names = {"namespace": run.queue_namespace, "run_id": run.run_id}
    if run.standalone:
        return Link(activity=Link.Activity(activity_id=run.workflow_id, **names))
    return Link(nexus_operation=Link.NexusOperation(operation_id=run.workflow_id, **names))


def event_link(namespace: str, workflow_id: str, run_id: str, request_id: str, event_type: EventType.ValueType) -> Link:
    """To the event of a run that a request has made; the one that started it has an id that is known."""
    link = Link()
    to = link.workflow_event
    to.namespace, to.workflow_id, to.run_id = namespace, workflow_id, run_id
    if event_type == codes.WORKFLOW_STARTED:
        to.event_ref.event_id, to.event_ref.event_type = 1, event_type
    else:
        to.request_id_ref.request_id, to.request_id_ref.event_type = request_id, event_type
    return link


def infos(run: Run, delivered: bool) -> list[CallbackInfo]:
    """What is shown of a run's callbacks, and of those of its updates as long as somebody waits for them."""
    made: list[CallbackInfo] = []
    for each in run.callbacks or ():
        info = _info(each)
        info.trigger.workflow_closed.SetInParent()
        if run.closed:
            info.state = CallbackState.CALLBACK_STATE_SUCCEEDED if delivered else CallbackState.CALLBACK_STATE_SCHEDULED
        made.append(info)
    if run.updates is not None:
        ended = {untold.update_id for untold in run.updates.untold.values()}
        for update_id, callbacks in run.updates.callbacks.items():
            for each in callbacks:
                info = _info(each)
                info.trigger.update_workflow_execution_completed.update_id = update_id
                if update_id in ended:
                    info.state = CallbackState.CALLBACK_STATE_SCHEDULED
                made.append(info)
    return made


def _info(callback: Attached) -> CallbackInfo:
    info = CallbackInfo(callback=callback.callback, request_id=callback.request_id)
    set_ns(info.registration_time, callback.time)
    info.state = CallbackState.CALLBACK_STATE_STANDBY
    return info
