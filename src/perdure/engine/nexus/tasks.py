"""Nexus tasks: a request to start or cancel an operation, brought to a worker, and its answer. They record nothing themselves.

The rule a newcomer would get wrong: a request that nobody took in time is gone from its queue; who sent it sends another one. (Which also
finds its way to the workers of another version, if that has become current.)
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TypeAlias

from temporalio.api.nexus.v1 import Request
from temporalio.api.workflowservice.v1 import PollNexusTaskQueueResponse, RespondNexusTaskCompletedRequest, RespondNexusTaskFailedRequest

from perdure.engine.core import TaskKind
from perdure.engine.core.times import set_ns
from perdure.engine.deployments import Deployments
from perdure.engine.matching import Matching, QueueKey
from perdure.engine.waiting import wait_until
from perdure.model.clock import Clock
from perdure.model.ids import uuid4_text
from perdure.model.rpc import invalid_argument, not_found, unavailable

TOKEN_MARK = b"nexus:"
"""How the token of a task begins."""
TIMEOUT_HEADER = "request-timeout"
"""Where a request says how long its sender waits for the answer."""

Answer: TypeAlias = RespondNexusTaskCompletedRequest | RespondNexusTaskFailedRequest


class NexusTask:
    """A request on its way to a worker."""

    __slots__ = ("answer", "response")

    def __init__(self, response: PollNexusTaskQueueResponse, answer: asyncio.Future[Answer | None]) -> None:
        self.response = response
        self.answer = answer


class NexusTasks:
    """Requests under way."""

    def __init__(self, clock: Clock, matching: Matching, deployments: Deployments) -> None:
        self._clock = clock
        self._matching = matching
        self._deployments = deployments
        self._asked: dict[bytes, asyncio.Future[Answer | None]] = {}

    async def ask(self, namespace: str, queue: str, request: Request, deadline: int) -> Answer | None:
        """Sends a request to the workers of a queue; None if no answer has come by `deadline` (ns)."""
        now = self._clock.now()
        token = TOKEN_MARK + uuid4_text().encode()
        answer: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        task = NexusTask(PollNexusTaskQueueResponse(task_token=token, request=request), answer)
        task.response.request.header[TIMEOUT_HEADER] = f"{max(1, (deadline - now) // 1_000_000)}ms"
        set_ns(task.response.request.scheduled_time, now)
        task.response.request.capabilities.temporal_failure_responses = True
        if self._deployments.active:
            about = request.start_operation.request_id or request.cancel_operation.operation_token
            queue = self._deployments.route_request(namespace, queue, about)
        key = QueueKey(TaskKind.NEXUS, namespace, queue)
        self._asked[token] = answer
        self._matching.adopt(task, key)
        try:
            return await wait_until(self._clock, answer, deadline, None)
        finally:
            del self._asked[token]
            answer.cancel()
            waiting = self._matching.find(key)
            if waiting is not None:
                with suppress(ValueError):
                    waiting.orphans.remove(task)
                self._matching.forget_if_unused(waiting)

    def answer(self, token: bytes, answer: Answer) -> None:
        """A worker answers.

        Raises:
            RpcError: NOT_FOUND, if nobody waits for it any more; INVALID_ARGUMENT for a token that is none.
        """
        if not token.startswith(TOKEN_MARK):
            raise invalid_argument("Error deserializing task token." if token else "Task token not set on request.")
        waiting = self._asked.get(token)
        if waiting is None or waiting.done():
            raise not_found("Nexus task not found or already expired")
        waiting.set_result(answer)

    def close(self) -> None:
        """Every sender is told that the engine closes."""
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(unavailable("the engine is closing"))
