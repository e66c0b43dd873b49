"""One delivery from run to run: a child's start, a signal, a cancel request, the end of a child told, the end of a parent brought.

A delivery and its answer are one transaction of both runs (the child's first event and the parent's ChildWorkflowExecutionStarted,
the signal and its ExternalWorkflowExecutionSignaled): so what is delivered is delivered once, and what is not is still named by its
sender. Where nothing is to be written to the receiver (it was not found, it had been asked already), what was seen of it is durable
before the answer is recorded.

The rule a newcomer would get wrong: nothing is held over an `await`. A delivery that had to wait looks at both runs again, and where
one of them is no longer the one in memory (`StaleRun`), it begins anew.
"""

from __future__ import annotations

import asyncio
from typing import Any

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.history.v1 import History
from temporalio.api.update.v1 import Outcome as UpdateOutcome

from perdure.engine.back_pressure import is_crowded, make_room, make_way
from perdure.engine.core import Outcome, StartDecision, codes, current_run, decide_start, outbound, start
from perdure.engine.core.callbacks import Attached
from perdure.engine.core.inbound import CancelFromWorkflow, ChildClosed, SignalFromWorkflow, TerminateByParent
from perdure.engine.live_runs import LiveRun, LiveRuns
from perdure.engine.matching import Matching
from perdure.engine.nexus.callbacks import Callbacks
from perdure.engine.nexus.operations import Operations
from perdure.engine.transactions import StaleRun, Transactions, current_row
from perdure.model.clock import Clock
from perdure.model.rpc import RpcError, StatusCode, unavailable

ENDED_TOGETHER_MAX = 50
"""Children of closed runs that are ended at a time. With what is in flight, fewer runs than memory holds: else they would drive each
other out before anything is done to them."""
ATTEMPTS_MAX = 10
"""How often a delivery begins anew at once because a run changed under it."""


class BetweenRuns:
    """How each kind of delivery is done."""

    def __init__(self, clock: Clock, runs: LiveRuns, transactions: Transactions, matching: Matching, operations: Operations) -> None:
        self._clock = clock
        self._runs = runs
        self._transactions = transactions
        self._matching = matching
        self._operations = operations
        self._callbacks = Callbacks(clock, runs, transactions, operations)
        self._places_to_end = asyncio.Semaphore(ENDED_TOGETHER_MAX)

    async def deliver(self, run_id: str, key: int) -> bool:
        """Delivers what a run names by `key`, if it still does; True: it has to wait until something else of that run is delivered.

        Raises:
            RpcError, StorageError: it cannot be delivered now.
        """
        for _ in range(ATTEMPTS_MAX):
            try:
                live = await self._runs.load(run_id)
                if live is None:
                    return False
                if is_crowded(live):
                    await make_room(live, self._clock)
                    continue
                if live.evicted:
                    continue
                if outbound.is_held_back(live.run, key):
                    return True
                message = outbound.message(live.run, key)
                if message is None:
                    await self._transactions.settled(live)  # that it is no longer named is durable
                else:
                    await self._send(live, message)
                return False
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
        elif isinstance(message, outbound.EndChildren):
            await self._end_children(live, message)
        elif isinstance(message, outbound.CallBack):
            await self._call_back(live, message.key, message.callbacks)
        elif isinstance(message, outbound.UpdateEnded):
            await self._call_back(live, message.key, message.callbacks, message.outcome)
        else:
            self._operations.take_up(live.run, message)

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
            parent, request = message.parent, message.request
            if parent.pinned is not None and not environment.polled_by(parent.pinned, request.namespace, request.task_queue.name):
                parent = parent._replace(pinned=None)
            run, outcome = start(request, environment, replaced if terminate else None, parent)
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
        """The run that waits for a child: its parent, or what that was reset to; None if there is none any more.

        Where the parent has been deleted, the current run is asked: it knows the child by what no other has, the id of its first run.
        """
        origin = ""
        try:
            parent = await self._runs.find(namespace, message.workflow_id, message.run_id)
        except RpcError as error:
            if error.code is not StatusCode.NOT_FOUND:
                raise
        else:
            if not parent.run.closed:
                return parent
            await self._transactions.settled(parent)
            origin = parent.run.start.original_execution_run_id
        try:
            current = await self._runs.find(namespace, message.workflow_id, "")
        except RpcError as error:
            if error.code is not StatusCode.NOT_FOUND:
                raise
            return None
        if not current.run.closed and origin in ("", current.run.start.original_execution_run_id):
            return current
        await self._transactions.settled(current)
        return None

    # The end of a run, or of an update, told to the Nexus operations that wait for it.

    async def _call_back(self, live: LiveRun, key: int, callbacks: list[Attached], updated: UpdateOutcome | None = None) -> None:
        for attached in callbacks:
            await self._callbacks.call_back(live, attached, updated)
        again = await self._runs.load(live.run.run_id)
        if again is not None:
            await self._answer(again, outbound.Discharged(key))

    # The end of a parent, brought to its children.

    async def _end_children(self, live: LiveRun, message: outbound.EndChildren) -> None:
        await asyncio.gather(*(self._end_child(live.run.namespace, child) for child in message.children))
        again = await self._runs.load(live.run.run_id)  # it may have left memory meanwhile
        if again is not None:
            await self._answer(again, outbound.Discharged(message.key))

    async def _end_child(self, namespace: str, child: outbound.EndChild) -> None:
        request = TerminateByParent(child.sender) if child.terminate else CancelFromWorkflow(child.sender, 0, "", True)
        for _ in range(ATTEMPTS_MAX):
            try:
                async with self._places_to_end:
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
