"""A poll that waits on a queue: what the core reserves, and what a task is delivered to.

The rule a newcomer would get wrong: a poll may end at any moment (its caller goes, its time is over), also between the reservation
and the delivery; `deliver` says whether it was still there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from perdure.model.ids import uuid4_text

if TYPE_CHECKING:
    from perdure.engine.matching import TaskQueue
    from perdure.engine.rate_limits import RateLimit


class Poller:
    """A poll that waits; also the reservation that the core passes through."""

    __slots__ = ("_request_id", "charged", "deadline", "future", "identity", "in_process", "queue", "worker")

    def __init__(
        self, queue: TaskQueue, identity: str, in_process: bool, deadline: int, future: asyncio.Future[Any], worker: str = ""
    ) -> None:
        self.queue = queue
        self.identity = identity
        self.in_process = in_process
        self.deadline = deadline
        self.future = future
        self.worker = worker
        """The key of the worker that polls, if it has told one."""
        self.charged: Sequence[RateLimit] = ()
        """The rates that have let its task through."""
        self._request_id = ""

    @property
    def request_id(self) -> str:
        """Of the poll, as the events of its task name it; made when it is asked for, since most polls of an idle worker get no task."""
        if not self._request_id:
            self._request_id = uuid4_text()
        return self._request_id

    def release(self) -> None:
        """The task it was reserved for did not come to be: it waits again, before the others."""
        if self.charged:
            for rate in self.charged:
                rate.give_back()
            self.charged = ()
        self._request_id = ""  # so that no two starts have the same one
        self.queue.return_poller(self)

    def deliver(self, response: Any) -> bool:
        """Hands a task over; False if the poll has ended meanwhile."""
        if self.future.done():
            return False
        self.future.set_result(response)
        return True
