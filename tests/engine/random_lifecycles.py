"""Three workflows, and everything that may happen to them, drawn by lot: clients, operators, workers, time, full memory, failing commits.

`Lives` plays against one engine. Each of its steps is one thing that somebody does; what is refused is refused, as long as the refusal
is one of the protocol's. `rest` lets everything come to an end, and `check` says whether what is stored is as it must be then.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from temporalio.api.command.v1 import Command
from temporalio.api.enums.v1 import WorkflowIdConflictPolicy as Conflict
from temporalio.api.enums.v1 import WorkflowIdReusePolicy as Reuse
from temporalio.api.history.v1 import History, HistoryEvent
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    ExecuteMultiOperationRequest,
    PauseWorkflowExecutionRequest,
    PollWorkflowTaskQueueRequest,
    PollWorkflowTaskQueueResponse,
    RequestCancelWorkflowExecutionRequest,
    RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskFailedRequest,
    SignalWithStartWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
    UnpauseWorkflowExecutionRequest,
)

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

import core_commands as commands
from by_hand import ByHand, child, execution
from core_support import check_history, snapshot
from core_updates import acceptance, rejection, response, update_request

from perdure.engine.core.others import RESETTER
from perdure.engine.engine import Engine
from perdure.engine.loading import load_runs
from perdure.model.ids import run_id_bytes, run_id_text
from perdure.model.rpc import RpcError, StatusCode
from perdure.storage.contract import join_history
from perdure.testing import ManualClock

NAMES = ("a", "b", "c")
BROKEN = (StatusCode.INTERNAL, StatusCode.UNKNOWN, StatusCode.DATA_LOSS)
CLOSING = (commands.complete, commands.fail, commands.cancel, commands.continue_as_new)


class Lives:
    """The game."""

    def __init__(self, engine: Engine, clock: ManualClock, seed: int) -> None:
        self.engine, self.clock = engine, clock
        self.hand, self.service = ByHand(engine), engine.frontend(in_process=False)
        self.roll = random.Random(seed)
        self.tasks: list[PollWorkflowTaskQueueResponse] = []
        """What workers hold."""
        self.waiting: set[asyncio.Task[Any]] = set()
        """Calls whose callers wait."""
        self.runs: dict[str, list[str]] = {name: [] for name in NAMES}
        self.count = 0

    def pick(self, number: int) -> int:
        return self.roll.randrange(number)

    def target(self) -> tuple[str, str]:
        """A workflow, and at times one of its runs."""
        name = self.roll.choice(NAMES)
        live = self.engine.runs.get_current("default", name)
        if live is not None and live.run.run_id not in self.runs[name]:
            self.runs[name].append(live.run.run_id)
        return name, self.roll.choice(self.runs[name]) if self.runs[name] and not self.pick(3) else ""

    async def ask(self, call: Awaitable[Any], *, wait: bool = True) -> Any:
        """Makes a call; None if it is refused, or nobody waits for its answer."""

        async def asked() -> Any:
            try:
                return await call
            except RpcError as error:
                assert error.code not in BROKEN, error
                return None

        if wait:
            return await asked()
        self.waiting.add(asyncio.ensure_future(asked()))
        await asyncio.sleep(0)
        return None

    async def step(self) -> None:
        """One thing happens."""
        for task in [each for each in self.waiting if each.done()]:
            self.waiting.discard(task)
            task.result()
        whose: list[Callable[[], Coroutine[Any, Any, None]]] = [self.poll] * 5 + [self.respond] * 4 + [self.client] * 4
        await self.roll.choice([*whose, self.operator, self.operator, self.operator, self.world, self.world])()

    # Workers.

    async def poll(self) -> None:
        """A worker polls a moment; its task begins with the first event, and ends where it was started."""
        request = PollWorkflowTaskQueueRequest(namespace="default", identity="worker")
        request.task_queue.name = self.roll.choice(NAMES)
        polled = asyncio.ensure_future(self.service.poll_workflow_task_queue(request))
        for _ in range(6):
            await asyncio.sleep(0)
        polled.cancel()
        (task,) = await asyncio.gather(polled, return_exceptions=True)
        if isinstance(task, PollWorkflowTaskQueueResponse) and task.task_token:
            assert [event.event_id for event in task.history.events] == list(range(1, task.started_event_id + 1))
            self.tasks.append(task)

    async def respond(self) -> None:
        """A worker answers: fails, or does something and says something of the updates it was asked for."""
        if not self.tasks:
            return
        task = self.tasks.pop(self.pick(len(self.tasks)))
        if not self.pick(10):
            failed = RespondWorkflowTaskFailedRequest(namespace="default", task_token=task.task_token)
            await self.ask(self.service.respond_workflow_task_failed(failed))
            return
        request = RespondWorkflowTaskCompletedRequest(namespace="default", task_token=task.task_token)
        request.commands.extend(self.command() for _ in range(self.pick(3)))
        if not self.pick(4):
            request.commands.append(self.roll.choice(CLOSING)())
        for message in task.messages:
            said = self.pick(4)
            if said == 0:
                request.messages.append(rejection(message.protocol_instance_id))
            elif said < 3:
                request.messages.append(acceptance(message.protocol_instance_id, message.event_id))
                if self.pick(2):
                    request.messages.append(response(message.protocol_instance_id))
        request.force_create_new_workflow_task = not self.pick(5)
        request.return_new_workflow_task = bool(self.pick(2))
        request.capabilities.discard_speculative_workflow_task_with_events = bool(self.pick(2))
        answer = await self.ask(self.service.respond_workflow_task_completed(request))
        if answer is not None and answer.workflow_task.task_token:
            task = answer.workflow_task
            ids = [event.event_id for event in task.history.events]
            assert ids == list(range(task.previous_started_event_id + 1, task.started_event_id + 1))
            self.tasks.append(task)

    def command(self) -> Command:
        self.count += 1
        name = self.roll.choice(NAMES)
        return self.roll.choice(
            (
                lambda: child(name, parent_close_policy=self.pick(4), workflow_id_reuse_policy=self.pick(5)),
                lambda: child(name),
                lambda: commands.timer(f"t{self.count}", 1 + self.pick(5)),
                lambda: commands.signal_external(name, child_workflow_only=not self.pick(4)),
                lambda: commands.cancel_external(name),
                lambda: commands.activity(f"a{self.count}"),
                commands.marker,
            )
        )()

    # Clients.

    async def client(self) -> None:
        name, run_id = self.target()
        what = self.pick(5)
        if what == 0:
            await self.start()
        elif what == 1:
            await self.ask(self.hand.signal(name, request_id=f"q{self.pick(20)}" if self.pick(2) else ""))
        elif what == 2:
            update = update_request(f"u{self.pick(8)}", namespace="default", wait_policy={"lifecycle_stage": self.roll.choice((0, 2, 3))})
            update.workflow_execution.CopyFrom(execution(name, run_id))
            await self.ask(self.service.update_workflow_execution(update), wait=False)
        elif what == 3:
            cancel = RequestCancelWorkflowExecutionRequest(namespace="default", workflow_execution=execution(name, run_id))
            await self.ask(self.service.request_cancel_workflow_execution(cancel))
        else:
            describe = DescribeWorkflowExecutionRequest(namespace="default", execution=execution(name, run_id))
            await self.ask(self.service.describe_workflow_execution(describe))

    async def start(self) -> None:
        """In one of three ways, with any policies, limits and schedules that go together."""
        self.count += 1
        name, way = self.roll.choice(NAMES), self.pick(4)
        request = StartWorkflowExecutionRequest(namespace="default", workflow_id=name, request_id=f"s{self.pick(self.count)}")
        request.workflow_type.name, request.task_queue.name = "Flow", name
        request.workflow_id_reuse_policy = self.roll.choice(Reuse.values())
        if request.workflow_id_reuse_policy != Reuse.WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING:
            request.workflow_id_conflict_policy = self.roll.choice(Conflict.values())
        if not self.pick(4):
            request.workflow_run_timeout.seconds = 3 + self.pick(20)
        if not self.pick(4):
            request.workflow_execution_timeout.seconds = 3 + self.pick(40)
        if not self.pick(3):
            request.retry_policy.maximum_attempts = 1 + self.pick(4)
        if way == 0:
            update = update_request(f"u{self.pick(8)}", namespace="default", workflow_execution=execution(name))
            both = ExecuteMultiOperationRequest(namespace="default", operations=[{"start_workflow": request}, {"update_workflow": update}])  # type: ignore[list-item]
            await self.ask(self.service.execute_multi_operation(both), wait=False)
            return
        if not self.pick(6):
            request.cron_schedule = "@every 2s"
        elif not self.pick(6):
            request.workflow_start_delay.seconds = 3
        if way == 1:
            # Its fields have the same numbers as far as they are used here.
            signal = SignalWithStartWorkflowExecutionRequest(signal_name="with start")
            for field, value in request.ListFields():
                if field.message_type is None:
                    setattr(signal, field.name, value)
                else:
                    getattr(signal, field.name).CopyFrom(value)
            await self.ask(self.service.signal_with_start_workflow_execution(signal))
            return
        request.on_conflict_options.attach_request_id = not self.pick(3)
        await self.ask(self.service.start_workflow_execution(request))

    # Operators.

    async def operator(self) -> None:
        name, run_id = self.target()
        what = self.pick(6)
        if what == 0 and not self.pick(3):
            await self.ask(self.hand.terminate(name, run_id))
        elif what in (1, 2):
            live = self.engine.runs.get_current("default", name)
            point = 2 + self.pick(10 if live is None else live.run.next_event_id)
            excluded = [self.pick(4)] if not self.pick(3) else []
            again = self.hand.reset(name, point, run_id, request_id=f"r{self.pick(self.count + 3)}", reset_reapply_exclude_types=excluded)
            await self.ask(again, wait=bool(self.pick(2)))
        elif what == 3:
            pause = PauseWorkflowExecutionRequest(namespace="default", workflow_id=name, run_id=run_id, request_id=f"p{self.pick(4)}")
            await self.ask(self.service.pause_workflow_execution(pause))
        elif what == 4:
            await self.unpause(name, run_id)
        elif what == 5 and not self.pick(4):
            await self.ask(self.hand.delete(name, run_id), wait=bool(self.pick(2)))

    async def unpause(self, name: str, run_id: str = "") -> None:
        request = UnpauseWorkflowExecutionRequest(namespace="default", workflow_id=name, run_id=run_id)
        await self.ask(self.service.unpause_workflow_execution(request))

    # The world.

    async def world(self) -> None:
        """Time passes, or a run leaves memory."""
        if self.pick(2):
            await self.clock.advance(self.roll.choice((0.1, 1, 2, 5)))
            return
        live = self.engine.runs.get_current("default", self.roll.choice(NAMES))
        if live is not None and not (live.in_flight or live.pending or live.watchers):
            self.engine.runs.evict(live)

    # The end.

    async def rest(self) -> None:
        """Nobody does anything any more: all callers get their answers, and what is to be delivered is."""
        for _ in range(40):
            for name in NAMES:
                await self.unpause(name)
            await self.clock.advance(1)
            for _ in range(20):
                await asyncio.sleep(0)
        assert [each for each in self.waiting if not each.done()] == []
        for task in self.waiting:
            task.result()

    def check(self) -> None:
        """Every history is one, makes the run that is in memory, and leaves nothing to be told to others."""
        storage = self.engine.storage
        found = {run_id_text(shown.run_id): shown for shown in storage.list_runs("default", None, 1000)}
        runs = dict(zip(found, (each.run for each in load_runs(storage, list(found)) if each is not None), strict=True))
        histories = {run_id: self.history(run_id) for run_id in runs}
        for run_id, run in runs.items():
            check_history(histories[run_id])
            live = self.engine.runs.get(run_id)
            if live is not None and not (live.in_flight or live.pending):
                assert snapshot(live.run) == snapshot(run)
            assert not run.unsent and not (run.closed and run.children)
            for pending in run.children.values():
                assert pending.run_id, f"a child of {run} was never started"
                chain = [other for other in runs.values() if other.first_run_id == pending.run_id]
                ended = any(
                    histories[other.run_id][-1].workflow_execution_terminated_event_attributes.identity == RESETTER for other in chain
                )
                assert not chain or ended or any(not other.closed for other in chain), f"{run} does not know the end of {chain}"

    def history(self, run_id: str) -> list[HistoryEvent]:
        stored = self.engine.storage.load_run(run_id_bytes(run_id))
        assert stored is not None
        return list(History.FromString(join_history(stored.history)).events)
