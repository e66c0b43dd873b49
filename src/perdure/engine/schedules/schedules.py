"""Schedules on the engine: each is one record, which is woken when it is due, when it is changed, and when what it started closes.

A *step* reads the record, hears what became of the workflows that run, lets the core decide, and makes that durable; then it
starts what was decided, and makes durable what came of it. All steps of a schedule follow each other; other schedules do
not wait for them. A change that comes in between is a conflict of versions, and the step is taken anew.

The rule a newcomer would get wrong: nothing of a schedule is kept in memory, also not which workflows it waits for. That one
has closed is told by the engine, through the attribute that names its schedule (a workflow may continue as new without it: such
a one is remembered); after a restart every schedule with a running workflow looks once, since a closing may have gone unheard.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Container
from json import loads

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import WorkflowExecutionStatus

from perdure.engine.core import Run
from perdure.engine.core.schedules import policies
from perdure.engine.core.schedules.requests import SCHEDULED_BY_ID, no_schedule
from perdure.engine.core.schedules.state import ScheduleState, decode
from perdure.engine.live_runs import LiveRuns
from perdure.engine.record_timers import RecordTimers
from perdure.engine.records import Conflict, Records
from perdure.engine.schedules.actions import Actions
from perdure.engine.schedules.chains import chain_end
from perdure.engine.transactions import StaleRun, settle
from perdure.model.clock import Clock
from perdure.model.errors import StorageError
from perdure.model.rpc import RpcError, unavailable
from perdure.storage.contract import Record

logger = logging.getLogger("perdure.engine")

KIND = "schedule"
RUNNING = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING
CHANGE_ATTEMPTS_MAX = 20
"""How often a change is decided anew because the schedule changed under it."""
RETRY_SECONDS = 1
"""Before a step is taken anew that failed."""
WATCHED_MAX = 10_000
"""Chains that are watched in memory, for they say no more which schedule started them; others are looked at when it is due."""
READ_TOGETHER = 200
"""Schedules read at a time when the engine opens."""


class Schedules:
    """The schedules of all namespaces."""

    def __init__(
        self, records: Records, timers: RecordTimers, runs: LiveRuns, actions: Actions, namespaces: Container[str], clock: Clock
    ) -> None:
        self._records = records
        self._timers = timers
        self._runs = runs
        self._actions = actions
        self._namespaces = namespaces
        self._clock = clock
        self._steps: dict[tuple[str, str], _Steps] = {}
        self.watched: dict[str, tuple[str, str]] = {}
        """First run ids of chains that are waited for and have lost the attribute that names their schedule."""
        self._opening: asyncio.Task[None] | None = None
        timers.handle(KIND, lambda record: self.step(record.namespace, record.key))

    def __repr__(self) -> str:
        return f"<Schedules: {len(self._steps)} taking a step>"

    def open(self) -> None:
        """Looks after the workflows that were running when the last engine ended, without being waited for."""
        self._opening = asyncio.get_running_loop().create_task(self._look_after_running())

    async def close(self) -> None:
        """Takes no step any more."""
        tasks = [steps.task for steps in self._steps.values()] + ([self._opening] if self._opening is not None else [])
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # What happens to schedules.

    async def add(self, state: ScheduleState) -> bool:
        """Makes a schedule, durably, and takes its first step; False if there is one of its id."""
        due = policies.next_due(state, self._clock.now())
        try:
            await self._records.put(KIND, state.namespace, state.schedule_id, state.encode(), expected_version=0, due=due)
        except Conflict:
            return False
        self._timers.set(due)
        await self.step(state.namespace, state.schedule_id)
        return True

    async def find(self, namespace: str, schedule_id: str) -> ScheduleState:
        """A schedule as it is.

        Raises:
            RpcError: NOT_FOUND.
        """
        record = await self._records.get(KIND, namespace, schedule_id)
        if record is None:
            raise no_schedule(schedule_id)
        return decode(namespace, schedule_id, record.data)

    async def list(self, namespace: str, after: str | None, limit: int) -> list[ScheduleState]:
        """Schedules in the order of their ids."""
        records = await self._records.list(KIND, namespace, after_key=after, limit=limit)
        return [decode(namespace, record.key, record.data) for record in records]

    async def change(self, namespace: str, schedule_id: str, decide: Callable[[ScheduleState, int], None]) -> None:
        """Changes a schedule, durably, after it has taken what came until now, and takes its next step.

        Raises:
            RpcError: NOT_FOUND, UNAVAILABLE, and what `decide` raises.
        """
        for _ in range(CHANGE_ATTEMPTS_MAX):
            record = await self._records.get(KIND, namespace, schedule_id)
            if record is None:
                raise no_schedule(schedule_id)
            state, now = decode(namespace, schedule_id, record.data), self._clock.now()
            policies.advance(state, now)
            decide(state, now)
            try:
                await self._save(state, record)
            except Conflict:
                continue
            await self.step(namespace, schedule_id)
            return
        raise unavailable(f"schedule {schedule_id!r} is being changed by others all the time; try again")

    async def delete(self, namespace: str, schedule_id: str) -> None:
        """Deletes a schedule; what it started runs on. Raises as `change` does."""
        for _ in range(CHANGE_ATTEMPTS_MAX):
            record = await self._records.get(KIND, namespace, schedule_id)
            if record is None:
                raise no_schedule(schedule_id)
            try:
                await self._records.delete(KIND, namespace, schedule_id, expected_version=record.version)
                return
            except Conflict:
                continue
        raise unavailable(f"schedule {schedule_id!r} is being changed by others all the time; try again")

    def on_closed(self, run: Run) -> None:
        """A run has closed, durably: if a schedule started it, that schedule looks."""
        schedule_id = scheduled_by(run)
        if schedule_id is not None:
            self._wanted(run.namespace, schedule_id)
        elif run.first_run_id in self.watched:
            self._wanted(*self.watched[run.first_run_id])

    # Steps.

    async def step(self, namespace: str, schedule_id: str) -> None:
        """Returns when a step has been taken that began after this call, or has failed and will be tried again.

        Raises:
            Exception: what is wrong with the schedule, if it cannot be taken at all.
        """
        taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wanted(namespace, schedule_id).waiting.append(taken)
        await taken

    def _wanted(self, namespace: str, schedule_id: str) -> _Steps:
        steps = self._steps.get((namespace, schedule_id))
        if steps is None:
            steps = self._steps[namespace, schedule_id] = _Steps()
            steps.task = asyncio.get_running_loop().create_task(self._take_steps(namespace, schedule_id, steps))
        steps.wanted = True
        return steps

    async def _take_steps(self, namespace: str, schedule_id: str, steps: _Steps) -> None:
        try:
            while steps.wanted:
                steps.wanted = False
                steps.told, steps.waiting = steps.waiting, []
                try:
                    steps.wanted = await self._step(namespace, schedule_id) or steps.wanted
                except (StorageError, RpcError, StaleRun):
                    logger.warning("Schedule %s could not act; trying again in %d s", schedule_id, RETRY_SECONDS, exc_info=True)
                    steps.tell()
                    await self._clock.sleep_until(self._clock.now() + RETRY_SECONDS * 1_000_000_000)
                    steps.wanted = True
                steps.tell()
                await asyncio.sleep(0)  # a step of a storage in memory waits for nothing: others have their turn
        except Exception as error:  # the record cannot be read, or the core broke: whoever waits is told
            logger.exception("Schedule %s cannot act", schedule_id)
            steps.tell(error)
        finally:
            del self._steps[namespace, schedule_id]
            steps.told += steps.waiting
            steps.tell()

    async def _step(self, namespace: str, schedule_id: str) -> bool:
        """True if another step is to follow at once."""
        record = await self._records.get(KIND, namespace, schedule_id)
        if record is None:
            return False
        state = decode(namespace, schedule_id, record.data)
        await self._hear(state)
        now = self._clock.now()
        try:
            if policies.is_over(state, now) or namespace not in self._namespaces:
                await self._records.delete(KIND, namespace, schedule_id, expected_version=record.version)
                return False
            more = policies.advance(state, now)
            record = await self._save(state, record)
            if state.cancelling or state.terminating:
                await self._actions.stop_running(state)
            if state.starting:
                await self._actions.start(state)
                await self._save(state, record)
        except Conflict:
            return True
        return more or policies.may_go_on(state)

    async def _hear(self, state: ScheduleState) -> None:
        """What became of the workflows that ran when the schedule last looked."""
        tracked = list(state.info.running_workflows)
        for execution in tracked:
            await self._hear_of(state, execution)
        for recent in list(state.info.recent_actions):
            execution = recent.start_workflow_result
            # One that overlaps others by right is only shown: the storage is not asked for it.
            if recent.start_workflow_status == RUNNING and execution not in tracked and self._runs.get(execution.run_id) is not None:
                await self._hear_of(state, execution)

    async def _hear_of(self, state: ScheduleState, execution: WorkflowExecution) -> None:
        end = await chain_end(self._runs, state.namespace, execution.workflow_id, execution.run_id)
        if end is not None:
            self.watched.pop(execution.run_id, None)
            policies.closed(state, execution, end.status, end.result, end.failure)
        elif len(self.watched) < WATCHED_MAX:
            live = self._runs.get_current(state.namespace, execution.workflow_id)
            if live is not None and scheduled_by(live.run) != state.schedule_id:
                self.watched[execution.run_id] = state.namespace, state.schedule_id

    async def _save(self, state: ScheduleState, record: Record) -> Record:
        """Makes a state durable that was read from `record`, if it is another; the record as it stands then."""
        due = policies.next_due(state, self._clock.now())
        if due == record.due and _says_as_much(record, state):
            return record
        data = state.encode()
        version = await self._records.put(record.kind, record.namespace, record.key, data, expected_version=record.version, due=due)
        self._timers.set(due)
        return Record(record.kind, record.namespace, record.key, version, due, data)

    async def _look_after_running(self) -> None:
        namespace, key = "", None
        while True:
            try:
                found = await self._records.list(KIND, None, after_key=key, after_namespace=namespace, limit=READ_TOGETHER)
            except StorageError:
                logger.warning("The storage could not be read for schedules; trying again in %d s", RETRY_SECONDS, exc_info=True)
                await self._clock.sleep_until(self._clock.now() + RETRY_SECONDS * 1_000_000_000)
                continue
            for record in found:
                await self._look_after(record)
            if len(found) < READ_TOGETHER:
                return
            namespace, key = found[-1].namespace, found[-1].key

    async def _look_after(self, record: Record) -> None:
        try:
            if decode(record.namespace, record.key, record.data).info.running_workflows:
                await self.step(record.namespace, record.key)
        except Exception:
            logger.exception("Schedule %s cannot be looked after", record.key)


def _says_as_much(record: Record, state: ScheduleState) -> bool:
    """Whether a record lacks nothing of a state: that times have passed in which nothing was to be done need not be written."""
    written = decode(record.namespace, record.key, record.data)
    written.processed = state.processed
    return written == state


def scheduled_by(run: Run) -> str | None:
    """The id of the schedule that started a run, as its search attributes say."""
    name = run.search_attributes.get(SCHEDULED_BY_ID)
    if name is None:
        return None
    try:
        schedule_id = loads(name.data)
    except ValueError:
        return None  # a user's own value of that name
    return schedule_id if isinstance(schedule_id, str) else None


class _Steps:
    """The steps that one schedule takes, one after the other."""

    __slots__ = ("task", "told", "waiting", "wanted")

    def __init__(self) -> None:
        self.task: asyncio.Task[None]
        self.wanted = True
        self.waiting: list[asyncio.Future[None]] = []
        """Who waits for a step that has not begun."""
        self.told: list[asyncio.Future[None]] = []
        """Who waits for the one under way."""

    def tell(self, error: Exception | None = None) -> None:
        """The step under way has been taken, or cannot be."""
        for future in self.told:
            settle(future, error)
        self.told = []
