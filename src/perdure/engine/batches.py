"""Batch operations on the engine: jobs that go through many executions, page by page, at a bounded pace.

A job is a record that is due until it has ended: the engine that opens the storage goes on with it. It asks the engine's own
service for each execution, as any caller would, so that every rule holds.

The rule a newcomer would get wrong: progress is written after a page, so a page may be done twice. Its requests are recognised
when they are repeated; and of the first page after a restart, an execution that is closed or gone counts as done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, NamedTuple

from google.protobuf.message import Message
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import BatchOperationState, ResourceExhaustedCause
from temporalio.api.errordetails.v1 import WorkflowExecutionAlreadyStartedFailure
from temporalio.api.workflowservice.v1 import (
    CountActivityExecutionsRequest,
    CountWorkflowExecutionsRequest,
    ListActivityExecutionsRequest,
    ListWorkflowExecutionsRequest,
    ResetWorkflowExecutionRequest,
    StartBatchOperationRequest,
)

from perdure.engine.core.batch_operations import BatchJob, call_for, check, decode, named, new_job, operation_of, reset_point
from perdure.engine.history_reads import HistoryReads
from perdure.engine.live_runs import LiveRuns
from perdure.engine.record_timers import RecordTimers
from perdure.engine.records import Conflict, Records
from perdure.model.clock import Clock
from perdure.model.rpc import RpcError, StatusCode, already_exists, not_found, resource_exhausted, unimplemented
from perdure.storage.contract import Record

logger = logging.getLogger("perdure.engine")

KIND = "batch"
PAGE_EXECUTIONS = 100
"""Done between two writes of the progress."""
TOGETHER_MAX = 10
"""Executions of a job under way at a time."""
PER_SECOND_DEFAULT = 50.0
PER_SECOND_MAX = 1000.0
JOBS_RUNNING_MAX = 20
"""In one namespace."""
ATTEMPTS_MAX = 10
"""Of a request that fails for the moment."""
RETRY_NS = 200_000_000
"""Before the second attempt; each further one waits as much longer."""
KEPT_NS = 7 * 86_400 * 1_000_000_000
"""How long a job that has ended is told of."""
_FOR_THE_MOMENT = frozenset((StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED, StatusCode.ABORTED))
_COMPLETED = BatchOperationState.BATCH_OPERATION_STATE_COMPLETED
_FAILED = BatchOperationState.BATCH_OPERATION_STATE_FAILED


class Page(NamedTuple):
    """Some of a job's executions."""

    executions: Sequence[WorkflowExecution]
    following: bytes
    """The token of the next page; empty: there is none, or it needs none."""


class Batches:
    """The batch operations of all namespaces."""

    def __init__(
        self, records: Records, timers: RecordTimers, runs: LiveRuns, history: HistoryReads, clock: Clock, service: Callable[[], Any]
    ) -> None:
        """`service` gives the engine's own `WorkflowService`."""
        self._records = records
        self._timers = timers
        self._runs = runs
        self._history = history
        self._clock = clock
        self._service = service
        self._own: set[tuple[str, str]] = set()
        """Running jobs that this engine has begun or gone on with: only of others a page may have been done before."""
        self._stopped: set[tuple[str, str]] = set()
        timers.handle(KIND, self._go_on)

    def __repr__(self) -> str:
        return f"<Batches: {len(self._own)} running>"

    # What callers do.

    async def start(self, request: StartBatchOperationRequest) -> None:
        """Makes a job, durably; it begins at once.

        Raises:
            RpcError: INVALID_ARGUMENT, ALREADY_EXISTS, RESOURCE_EXHAUSTED, UNIMPLEMENTED for what this engine does not do.
        """
        check(request)
        operation = operation_of(request)
        needed = [operation.rpc, "list_activity_executions"] if operation.of_activities and request.visibility_query else [operation.rpc]
        for rpc in needed:
            if not hasattr(self._service(), rpc):
                raise unimplemented(f"this engine cannot {rpc.replace('_', ' ')}")
        running = [job for job in await self._jobs(request.namespace) if job.running]
        if len(running) >= JOBS_RUNNING_MAX:
            cause = ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_CONCURRENT_LIMIT
            raise resource_exhausted(f"Max concurrent batch operations is reached: {JOBS_RUNNING_MAX}", cause)
        now = self._clock.now()
        job = new_job(request, await self._total(request), now)
        try:
            await self._records.put(KIND, request.namespace, request.job_id, job.encode(), expected_version=0, due=now)
        except Conflict:
            detail = WorkflowExecutionAlreadyStartedFailure(start_request_id=request.job_id)
            raise already_exists(f"batch operation {request.job_id!r} already exists", detail) from None
        self._own.add((request.namespace, request.job_id))
        self._timers.set(now)

    async def find(self, namespace: str, job_id: str) -> BatchJob:
        """A job as it was last written.

        Raises:
            RpcError: NOT_FOUND.
        """
        return (await self._find(namespace, job_id))[1]

    async def all(self, namespace: str) -> AsyncIterator[BatchJob]:
        """The jobs of a namespace, in the order of their ids."""
        after: str | None = None
        while page := await self._records.list(KIND, namespace, after_key=after):
            for record in page:
                yield decode(record.data)
            after = page[-1].key

    async def stop(self, namespace: str, job_id: str) -> None:
        """Ends a job; what it has done stays done.

        Raises:
            RpcError: NOT_FOUND, also if it has ended.
        """
        while True:
            record, job = await self._find(namespace, job_id)
            if not job.running:
                raise not_found(f"batch operation {job_id!r} has already ended")
            try:
                await self._end(record, job, _FAILED)
            except Conflict:
                continue
            if (namespace, job_id) in self._own:
                self._stopped.add((namespace, job_id))
            return

    async def _find(self, namespace: str, job_id: str) -> tuple[Record, BatchJob]:
        record = await self._records.get(KIND, namespace, job_id)
        if record is None:
            raise not_found(f"batch operation {job_id!r} not found")
        return record, decode(record.data)

    async def _jobs(self, namespace: str) -> list[BatchJob]:
        return [job async for job in self.all(namespace)]

    # Going on.

    async def _go_on(self, record: Record) -> None:
        """A job is due: it goes on to its end. One that has ended is forgotten when its time has come."""
        key = record.namespace, record.key
        again = key not in self._own
        self._own.add(key)
        try:
            while True:
                found = await self._records.get(KIND, *key)
                if found is None:
                    return
                job = decode(found.data)
                if not job.running:
                    await self._forget(found)
                    return
                await self._do_page(found, job, again)
                again = False
        except Conflict:
            return  # it was stopped meanwhile
        finally:
            self._own.discard(key)
            self._stopped.discard(key)

    async def _do_page(self, record: Record, job: BatchJob, again: bool) -> None:
        page = await self._page(job)
        await self._do_each(record, job, page.executions, again)
        job.done += len(page.executions)
        job.page_token = page.following
        job.shown.total_operation_count = max(job.shown.total_operation_count, job.done)
        if page.following or job.done < len(named(job.start)):
            await self._records.put(KIND, record.namespace, record.key, job.encode(), expected_version=record.version, due=record.due)
        else:
            await self._end(record, job, _COMPLETED)

    async def _end(self, record: Record, job: BatchJob, state: BatchOperationState.ValueType) -> None:
        now = self._clock.now()
        job.close(state, now)
        await self._records.put(KIND, record.namespace, record.key, job.encode(), expected_version=record.version, due=now + KEPT_NS)
        self._timers.set(now + KEPT_NS)

    async def _forget(self, record: Record) -> None:
        if record.due is not None and record.due <= self._clock.now():
            await self._records.delete(KIND, record.namespace, record.key, expected_version=record.version)

    async def _total(self, request: StartBatchOperationRequest) -> int:
        if not request.visibility_query:
            return len(named(request))
        namespace, query = request.namespace, request.visibility_query
        if operation_of(request).of_activities:
            counted = await self._service().count_activity_executions(CountActivityExecutionsRequest(namespace=namespace, query=query))
        else:
            counted = await self._service().count_workflow_executions(CountWorkflowExecutionsRequest(namespace=namespace, query=query))
        total: int = counted.count
        return total

    async def _page(self, job: BatchJob) -> Page:
        start = job.start
        if not start.visibility_query:
            return Page(named(start)[job.done : job.done + PAGE_EXECUTIONS], b"")
        fields: dict[str, Any] = {"namespace": start.namespace, "query": start.visibility_query, "next_page_token": job.page_token}
        if operation_of(start).of_activities:
            found = await self._service().list_activity_executions(ListActivityExecutionsRequest(**fields, page_size=PAGE_EXECUTIONS))
            named_by = [WorkflowExecution(workflow_id=info.activity_id, run_id=info.run_id) for info in found.executions]
        else:
            found = await self._service().list_workflow_executions(ListWorkflowExecutionsRequest(**fields, page_size=PAGE_EXECUTIONS))
            named_by = [info.execution for info in found.executions]
        return Page(named_by, found.next_page_token)

    async def _do_each(self, record: Record, job: BatchJob, executions: Sequence[WorkflowExecution], again: bool) -> None:
        """Does it to each, some at a time, no faster than the job's rate."""
        wanted = job.start.max_operations_per_second
        spacing = int(1_000_000_000 / (min(wanted, PER_SECOND_MAX) if wanted > 0 else PER_SECOND_DEFAULT))
        begun, places = self._clock.now(), asyncio.Semaphore(TOGETHER_MAX)

        async def one(number: int, execution: WorkflowExecution) -> None:
            async with places:
                await self._clock.sleep_until(begun + number * spacing)
                if (record.namespace, record.key) in self._stopped:
                    return
                if await self._do(job, execution, again):
                    job.shown.complete_operation_count += 1
                else:
                    job.shown.failure_operation_count += 1

        async with asyncio.TaskGroup() as group:
            for number, execution in enumerate(executions):
                group.create_task(one(number, execution))
        if (record.namespace, record.key) in self._stopped:
            raise Conflict

    async def _do(self, job: BatchJob, execution: WorkflowExecution, again: bool) -> bool:
        """Whether it was done; what is refused for the moment is tried again."""
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                call = call_for(job.start, execution)
                if isinstance(call.request, ResetWorkflowExecutionRequest):
                    await self._set_point(job, call.request)
                method: Callable[[Message], Any] = getattr(self._service(), call.rpc)
                await method(call.request)
                return True
            except RpcError as refusal:
                if refusal.code not in _FOR_THE_MOMENT or attempt == ATTEMPTS_MAX:
                    logger.info("Batch operation %s passes %s over: %s", job.start.job_id, execution.workflow_id, refusal)
                    return again and refusal.code is StatusCode.NOT_FOUND
                await self._clock.sleep_until(self._clock.now() + attempt * RETRY_NS)
        return False

    async def _set_point(self, job: BatchJob, request: ResetWorkflowExecutionRequest) -> None:
        execution = request.workflow_execution
        live = await self._runs.find(request.namespace, execution.workflow_id, execution.run_id)
        events = await self._history.events(live.run.run_id, 1, live.durable_next_event_id - 1)
        execution.run_id, request.workflow_task_finish_event_id = reset_point(job.start, live.run.run_id, live.run.reset_points, events)
