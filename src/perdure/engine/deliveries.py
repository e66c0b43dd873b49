"""What one run does to another, brought there: child starts, signals, cancel requests, and the ends of children and of parents.

A run names in `Run.unsent` what it has to deliver, as far as that is durable this takes it up. A delivery and its answer are one
transaction of both runs (the child's first event and the parent's ChildWorkflowExecutionStarted, the signal and its
ExternalWorkflowExecutionSignaled): so what is delivered is delivered once, and what is not is still named by its sender. While a run
names something, its row says that it is due at once: after a crash the timer queue finds it, and asks here.

The rule a newcomer would get wrong: nothing is held over an `await`. A delivery that had to wait looks at both runs again, and where
one of them is no longer the one in memory (`StaleRun`), it begins anew. What cannot be delivered now (a storage that fails, a
receiver that is closing) comes again after a while, and gives its place to others meanwhile. Of a sender that is dropped from memory
nothing is lost: only its id is kept here.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.history.v1 import History

from perdure.engine.back_pressure import is_crowded, make_room, make_way
from perdure.engine.core import Outcome, StartDecision, codes, current_run, decide_start, outbound, start
from perdure.engine.core.inbound import CancelFromWorkflow, ChildClosed, SignalFromWorkflow, TerminateByParent
from perdure.engine.live_runs import LiveRun, LiveRuns
from perdure.engine.matching import Matching
from perdure.engine.transactions import StaleRun, Transactions, current_row
from perdure.model.clock import Clock
from perdure.model.errors import StorageError
from perdure.model.rpc import RpcError, StatusCode, unavailable

logger = logging.getLogger("perdure.engine")

IN_FLIGHT_MAX = 200
"""Deliveries at a time; the others wait for their turn."""
OF_ONE_SENDER_MAX = 50
"""Of them, so that one run with thousands of children does not keep all others waiting."""
SENDERS_MAX = 20_000
"""Runs whose turn may be waited for in memory. Those beyond it are found again by the timer queue when it next asks the storage."""
ENDED_TOGETHER_MAX = 50
"""Children of a closed run that are ended at a time."""
ATTEMPTS_MAX = 10
"""How often a delivery begins anew at once because a run changed under it."""
BACKOFF_FIRST_SECONDS = 0.05
"""Before a delivery that could not be made comes again; doubled each time,"""
BACKOFF_MAX_SECONDS = 10.0
"""up to this."""


class _Sender:
    """A run with something to deliver."""

    __slots__ = ("attempts", "held", "later", "queued", "run_id", "seen", "todo", "under_way")

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.seen = 0
        """The last event of which is known that it is to be delivered."""
        self.todo: deque[int] = deque()
        self.under_way: set[int] = set()
        self.held: set[int] = set()
        """What has to wait until something else of this sender is delivered."""
        self.later: set[int] = set()
        """What comes again after a while."""
        self.attempts: dict[int, int] = {}
        """How often what could not be delivered was tried."""
        self.queued = False

    def is_idle(self) -> bool:
        return not (self.todo or self.under_way or self.held or self.later)

    def knows(self, key: int) -> bool:
        return key in self.under_way or key in self.later or key in self.todo


class Deliveries:
    """The way from run to run."""

    def __init__(self, clock: Clock, runs: LiveRuns, transactions: Transactions, matching: Matching) -> None:
        self._clock = clock
        self._runs = runs
        self._transactions = transactions
        self._matching = matching
        self._senders: dict[str, _Sender] = {}
        self._queue: deque[_Sender] = deque()
        """Senders with something to do, in turn."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def __repr__(self) -> str:
        return f"<Deliveries: {len(self._tasks)} under way, {len(self._senders)} senders>"

    def take_up(self, live: LiveRun) -> None:
        """Sees to it that what a run has to deliver is delivered, as far as it is durable. Said twice, it is done once."""
        run_id = live.run.run_id
        sender = self._senders.get(run_id)
        if sender is None:
            if len(self._senders) >= SENDERS_MAX or self._closed:
                return
            sender = self._senders[run_id] = _Sender(run_id)
        if live.run.closed:
            if live.close_event:
                sender.todo.extend(key for key in live.run.unsent if not sender.knows(key))
        else:
            self._take_new(sender, live)
        if sender.held:
            sender.todo.extend(sorted(sender.held))
            sender.held.clear()
        self._turn(sender)

    @staticmethod
    def _take_new(sender: _Sender, live: LiveRun) -> None:
        """Adds what is durable and was not known: at the end of `unsent`, whose keys rise."""
        new: list[int] = []
        for key in reversed(live.run.unsent):
            if key <= sender.seen:
                break
            if key < live.durable_next_event_id:
                new.append(key)
        if new:
            sender.seen = new[0]
            sender.todo.extend(reversed(new))

    # Whose turn it is.

    def _turn(self, sender: _Sender) -> None:
        if sender.todo and not sender.queued:
            sender.queued = True
            self._queue.append(sender)
        if sender.is_idle():
            self._senders.pop(sender.run_id, None)
        self._pump()

    def _pump(self) -> None:
        while self._queue and len(self._tasks) < IN_FLIGHT_MAX and not self._closed:
            sender = self._queue.popleft()
            sender.queued = False
            if len(sender.under_way) >= OF_ONE_SENDER_MAX:
                continue  # the end of one of them makes it the sender's turn again
            key = sender.todo.popleft()
            sender.under_way.add(key)
            task = asyncio.get_running_loop().create_task(self._deliver(sender, key))
            self._tasks.add(task)
            task.add_done_callback(partial(self._ended, sender, key))
            if sender.todo:
                sender.queued = True
                self._queue.append(sender)

    def _ended(self, sender: _Sender, key: int, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        sender.under_way.discard(key)
        if not task.cancelled() and task.exception() is not None:
            logger.error("A delivery of run %s failed; it is tried again", sender.run_id, exc_info=task.exception())
            self._postpone(sender, key)
        self._turn(sender)

    def _postpone(self, sender: _Sender, key: int) -> None:
        if self._closed:
            return
        attempt = sender.attempts[key] = sender.attempts.get(key, 0) + 1
        seconds = min(BACKOFF_FIRST_SECONDS * 2 ** min(attempt - 1, 20), BACKOFF_MAX_SECONDS)
        sender.later.add(key)
        self._clock.call_at(self._clock.now() + int(seconds * 1e9), partial(self._again, sender, key))

    def _again(self, sender: _Sender, key: int) -> None:
        sender.later.discard(key)
        sender.todo.append(key)
        self._turn(sender)

    async def close(self) -> None:
        """Ends what is under way; what was not delivered is named by its senders."""
        self._closed = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # One delivery.

    async def _deliver(self, sender: _Sender, key: int) -> None:
        try:
            await self._attempt(sender, key)
        except (RpcError, StorageError) as error:
            logger.debug("A delivery of run %s is tried again: %s", sender.run_id, error)
            self._postpone(sender, key)
        else:
            sender.attempts.pop(key, None)

    async def _attempt(self, sender: _Sender, key: int) -> None:
        for _ in range(ATTEMPTS_MAX):
            try:
                live = await self._runs.load(sender.run_id)
                if live is None:
                    return
                if is_crowded(live):
                    await make_room(live, self._clock)
                    continue
                message = None if live.evicted else outbound.message(live.run, key)
                if live.evicted:
                    continue
                if message is not None and outbound.is_held_back(live.run, key):
                    sender.held.add(key)
                elif message is not None:
                    await self._send(live, message)
                return
            except StaleRun:
                continue
        raise unavailable("the workflows of a delivery are being changed by others all the time")

    async def _send(self, live: LiveRun, message: outbound.Message) -> None:
        if isinstance(message, outbound.StartChild):
            await self._start_child(live, message)
        elif isinstance(message, outbound.ToExternal):
            await self._reach(live, message)
        elif isinstance(message, outbound.TellParent):
            await self._tell_parent(live, message)
        else:
            await self._end_children(live, message)

    async def _answer(self, live: LiveRun, answer: outbound.Answer | outbound.Discharged) -> None:
        """Records what became of a message where nothing else is to be written."""
        try:
            await self._transactions.run(live, answer)
        except RpcError as error:
            if error.code is not StatusCode.NOT_FOUND:  # then the sender no longer waits for it
                raise

    async def _together(self, live: LiveRun, answer: Any, receiver: LiveRun, received: Outcome) -> None:
        """Makes what happened to the receiver durable together with the sender's answer."""
        try:
            answered = self._transactions.decide(live, answer, further=True)
        except RpcError:
            self._transactions.abandon(receiver)
            raise
        await self._transactions.commit_together([(live, answered), (receiver, received)])

    @staticmethod
    def _check_fresh(live: LiveRun, key: int, receiver: LiveRun) -> None:
        if live.evicted or receiver.evicted or key not in live.run.unsent:
            raise StaleRun

    # Child starts.

    async def _start_child(self, live: LiveRun, message: outbound.StartChild) -> None:
        request = message.request
        queue = self._matching.find_workflows(request.namespace, request.task_queue.name)
        if queue is not None and queue.is_crowded():
            await make_way(queue, self._clock)
        existing = self._runs.get_current(request.namespace, request.workflow_id)
        if existing is not None and existing.pending and (existing.run.closed or not existing.durable_version):
            await self._transactions.settled(existing)
            raise StaleRun
        if live.evicted or message.key not in live.run.unsent:
            raise StaleRun
        try:
            await self._decide_child(live, message, existing)
        except StaleRun:
            if self._runs.get_current(request.namespace, request.workflow_id) is None:
                await self._runs.load_current(request.namespace, request.workflow_id)
            raise

    async def _decide_child(self, live: LiveRun, message: outbound.StartChild, existing: LiveRun | None) -> None:
        decision = StartDecision.START
        if existing is not None:
            current = current_run(existing.run)
            if existing.run.closed:
                # Only one that runs can be the child that was started before a reset.
                current = current._replace(start_request_id="")
            try:
                decision = decide_start(current, message.request)
            except RpcError:
                decision = StartDecision.USE_EXISTING
        if existing is not None and decision is StartDecision.DEDUP:
            await self._answer(live, outbound.ChildStarted(message.key, existing.run.first_run_id))
        elif decision is StartDecision.START or (decision is StartDecision.TERMINATE_EXISTING and existing is not live):
            await self._make_child(live, message, existing, terminate=decision is StartDecision.TERMINATE_EXISTING)
        else:
            await self._answer(live, outbound.ChildRefused(message.key, codes.CHILD_EXISTS))

    async def _make_child(self, live: LiveRun, message: outbound.StartChild, existing: LiveRun | None, *, terminate: bool) -> None:
        environment, transactions = self._transactions.environment, self._transactions
        environment.begin()
        replaced = None if existing is None else existing.run
        try:
            run, outcome = start(message.request, environment, replaced if terminate else None, message.parent)
        except Exception as error:
            environment.release_reserved()
            raise transactions.broken(message.request, existing if terminate else None, error) from error
        try:
            answered = transactions.decide(live, outbound.ChildStarted(message.key, run.run_id), further=True)
        except RpcError:
            if terminate and existing is not None:
                transactions.abandon(existing)
            raise
        child = LiveRun(run, 0)
        members = [(live, answered), (child, outcome)]
        if existing is not None and outcome.terminated is not None:
            members.append((existing, outcome.terminated))
        self._runs.add(child, current=True)
        await transactions.commit_together(members, current_row(run, replaced))

    # Signals and cancel requests.

    async def _reach(self, live: LiveRun, message: outbound.ToExternal) -> None:
        run = live.run
        if message.workflow_id == run.workflow_id:
            await self._refuse(live, message)
            return
        try:
            target = await self._runs.find(run.namespace, message.workflow_id, message.run_id)
        except RpcError as error:
            if error.code is not StatusCode.NOT_FOUND:
                raise
            await self._refuse(live, message)
            return
        if is_crowded(target):
            await make_room(target, self._clock)
            raise StaleRun
        self._check_fresh(live, message.key, target)
        try:
            received = self._transactions.decide(target, message.request)
        except RpcError as error:
            if error.code not in (StatusCode.NOT_FOUND, StatusCode.INVALID_ARGUMENT):
                raise
            await self._transactions.settled(target)  # what it was refused for is durable
            await self._refuse(live, message, too_many=error.code is StatusCode.INVALID_ARGUMENT)
            return
        if received.changed:
            await self._together(live, outbound.ExternalReached(message.key), target, received)
        else:
            await self._transactions.settled(target)
            await self._answer(live, outbound.ExternalReached(message.key))

    async def _refuse(self, live: LiveRun, message: outbound.ToExternal, *, too_many: bool = False) -> None:
        if isinstance(message.request, SignalFromWorkflow):
            cause = codes.SIGNAL_TOO_MANY if too_many else codes.SIGNAL_NOT_FOUND
            await self._answer(live, outbound.SignalRefused(message.key, cause))
        else:
            await self._answer(live, outbound.CancelRefused(message.key, codes.CANCEL_NOT_FOUND))

    # The end of a child, told to its parent.

    async def _tell_parent(self, live: LiveRun, message: outbound.TellParent) -> None:
        run = live.run
        done = outbound.Discharged(message.key)
        parent = await self._parent(run.namespace, message)
        if parent is None:
            await self._answer(live, done)
            return
        if is_crowded(parent):
            await make_room(parent, self._clock)
            raise StaleRun
        self._check_fresh(live, message.key, parent)
        execution = WorkflowExecution(workflow_id=run.workflow_id, run_id=run.run_id)
        event = History.FromString(live.close_event).events[0]
        try:
            told = self._transactions.decide(parent, ChildClosed(message.initiated_event_id, run.first_run_id, execution, event))
        except RpcError as error:
            if error.code is not StatusCode.NOT_FOUND:
                raise
            await self._transactions.settled(parent)
            await self._answer(live, done)
            return
        await self._together(live, done, parent, told)

    async def _parent(self, namespace: str, message: outbound.TellParent) -> LiveRun | None:
        """The run that waits for a child: its parent, or what that was reset to; None if there is none any more."""
        try:
            parent = await self._runs.find(namespace, message.workflow_id, message.run_id)
            if not parent.run.closed:
                return parent
            await self._transactions.settled(parent)
            current = await self._runs.find(namespace, message.workflow_id, "")
        except RpcError as error:
            if error.code is not StatusCode.NOT_FOUND:
                raise
            return None
        same = current.run.start.original_execution_run_id == parent.run.start.original_execution_run_id
        return current if same and not current.run.closed else None

    # The end of a parent, brought to its children.

    async def _end_children(self, live: LiveRun, message: outbound.EndChildren) -> None:
        children = message.children
        for first in range(0, len(children), ENDED_TOGETHER_MAX):
            some: Sequence[outbound.EndChild] = children[first : first + ENDED_TOGETHER_MAX]
            await asyncio.gather(*(self._end_child(live.run.namespace, child) for child in some))
        await self._answer(live, outbound.Discharged(message.key))

    async def _end_child(self, namespace: str, child: outbound.EndChild) -> None:
        request = TerminateByParent(child.sender) if child.terminate else CancelFromWorkflow(child.sender, 0, "", True)
        for _ in range(ATTEMPTS_MAX):
            try:
                target = await self._runs.find(namespace, child.workflow_id, "")
                if target.run.first_run_id != child.sender.first_run_id:
                    await self._transactions.settled(target)
                    return
                if is_crowded(target) and not child.terminate:
                    await make_room(target, self._clock)
                    continue
                await self._transactions.run(target, request)
                return
            except StaleRun:
                continue
            except RpcError as error:
                if error.code is not StatusCode.NOT_FOUND:
                    raise
                return
        raise unavailable("a child keeps being changed by others")
