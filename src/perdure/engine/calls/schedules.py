"""Schedules: RPCs on the engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from temporalio.api.schedule.v1 import SchedulePatch
from temporalio.api.workflowservice.v1 import (
    CountSchedulesRequest,
    CountSchedulesResponse,
    CreateScheduleRequest,
    CreateScheduleResponse,
    DeleteScheduleRequest,
    DeleteScheduleResponse,
    DescribeScheduleRequest,
    DescribeScheduleResponse,
    ListScheduleMatchingTimesRequest,
    ListScheduleMatchingTimesResponse,
    ListSchedulesRequest,
    ListSchedulesResponse,
    PatchScheduleRequest,
    PatchScheduleResponse,
    UpdateScheduleRequest,
    UpdateScheduleResponse,
)

from perdure.engine.calls.base import Calls, rpc
from perdure.engine.core.schedules import policies, requests
from perdure.engine.core.schedules.state import ScheduleState
from perdure.engine.core.times import set_ns, timestamp, to_ns
from perdure.engine.newest_first import Place, newest_first
from perdure.engine.schedules.queries import schedule_filter
from perdure.model.ids import new_run_id

PAGE_MAX = 1000
"""Schedules in a page, and read together."""
LOOKED_AT_ONCE = 50
"""Schedules that a list looks at without a pause: some milliseconds."""


class ScheduleCalls(Calls):
    """Schedules, which start workflows at times."""

    @rpc
    async def create_schedule(self, request: CreateScheduleRequest) -> CreateScheduleResponse:
        """Makes a schedule; durable when it returns."""
        self._namespace_for_starts(request.namespace)
        custom = self.engine.namespaces.get(request.namespace).attributes
        requests.check_create(request, custom)
        schedule = requests.checked(request.namespace, request.schedule_id, request.schedule, custom)
        state = ScheduleState(request.namespace, request.schedule_id, new_run_id(), request.request_id, schedule)
        state.memo.CopyFrom(request.memo)
        state.search_attributes.CopyFrom(request.search_attributes)
        state.processed = now = self.engine.clock.now()
        set_ns(state.info.create_time, now)
        self._patch(state, request.initial_patch, now)
        if not await self.engine.schedules.add(state):
            existing = await self.engine.schedules.find(request.namespace, request.schedule_id)
            if existing.request_id != request.request_id:
                raise requests.schedule_exists(existing)
            return CreateScheduleResponse(conflict_token=requests.token_bytes(existing))
        return CreateScheduleResponse(conflict_token=requests.token_bytes(state))

    @rpc
    async def describe_schedule(self, request: DescribeScheduleRequest) -> DescribeScheduleResponse:
        """All of a schedule."""
        return requests.described(await self._schedule(request.namespace, request.schedule_id))

    @rpc
    async def update_schedule(self, request: UpdateScheduleRequest) -> UpdateScheduleResponse:
        """Replaces a schedule; nothing happens if the conflict token is old."""
        self._check_schedule(request.namespace, request.schedule_id)
        custom = self.engine.namespaces.get(request.namespace).attributes
        requests.check_update(request, custom)
        schedule = requests.checked(request.namespace, request.schedule_id, request.schedule, custom)

        def replace(state: ScheduleState, now: int) -> None:
            if not state.serves(request.request_id) or (request.conflict_token and request.conflict_token != requests.token_bytes(state)):
                return
            policies.update(state, schedule, now)
            if request.HasField("search_attributes"):
                state.search_attributes.CopyFrom(request.search_attributes)
            if request.HasField("memo"):
                state.memo.CopyFrom(request.memo)

        await self.engine.schedules.change(request.namespace, request.schedule_id, replace)
        return UpdateScheduleResponse()

    @rpc
    async def patch_schedule(self, request: PatchScheduleRequest) -> PatchScheduleResponse:
        """Triggers, backfills, pauses or unpauses a schedule."""
        self._check_schedule(request.namespace, request.schedule_id)
        requests.check_patch(request.patch)

        def patch(state: ScheduleState, now: int) -> None:
            if state.serves(request.request_id):
                self._patch(state, request.patch, now)

        await self.engine.schedules.change(request.namespace, request.schedule_id, patch)
        return PatchScheduleResponse()

    @rpc
    async def delete_schedule(self, request: DeleteScheduleRequest) -> DeleteScheduleResponse:
        """Deletes a schedule; the workflows that it started run on."""
        self._check_schedule(request.namespace, request.schedule_id)
        await self.engine.schedules.delete(request.namespace, request.schedule_id)
        return DeleteScheduleResponse()

    @rpc
    async def list_schedules(self, request: ListSchedulesRequest) -> ListSchedulesResponse:
        """Schedules, the newest first."""
        self._namespace(request.namespace)
        size = min(request.maximum_page_size, PAGE_MAX) if request.maximum_page_size > 0 else PAGE_MAX
        found = self._found(request.namespace, request.query)
        states, token = await newest_first(found, _place, size, request.next_page_token)
        return ListSchedulesResponse(schedules=[requests.listed(state) for state in states], next_page_token=token)

    @rpc
    async def count_schedules(self, request: CountSchedulesRequest) -> CountSchedulesResponse:
        """How many schedules a query finds."""
        self._namespace(request.namespace)
        return CountSchedulesResponse(count=sum([1 async for _ in self._found(request.namespace, request.query)]))

    @rpc
    async def list_schedule_matching_times(self, request: ListScheduleMatchingTimesRequest) -> ListScheduleMatchingTimesResponse:
        """When actions would be due: after the start, up to and with the end."""
        state = await self._schedule(request.namespace, request.schedule_id)
        times = requests.matching_times(state, to_ns(request.start_time), to_ns(request.end_time))
        return ListScheduleMatchingTimesResponse(start_time=[timestamp(when) for when in times])

    def _check_schedule(self, namespace: str, schedule_id: str) -> None:
        self._namespace(namespace)
        requests.check_names(schedule_id)

    async def _schedule(self, namespace: str, schedule_id: str) -> ScheduleState:
        self._check_schedule(namespace, schedule_id)
        return await self.engine.schedules.find(namespace, schedule_id)

    @staticmethod
    def _patch(state: ScheduleState, patch: SchedulePatch, now: int) -> None:
        policies.patch(state, patch, now)
        policies.advance(state, now)

    async def _found(self, namespace: str, query: str) -> AsyncIterator[ScheduleState]:
        wanted, after = schedule_filter(query, self.engine.namespaces.get(namespace).attributes), ""
        while True:
            states = await self.engine.schedules.list(namespace, after or None, PAGE_MAX)
            for number, state in enumerate(states):
                if number % LOOKED_AT_ONCE == 0:
                    await asyncio.sleep(0)  # others have their turn
                if wanted(state):
                    yield state
            if len(states) < PAGE_MAX:
                return
            after = states[-1].schedule_id


def _place(state: ScheduleState) -> Place:
    return Place.of(to_ns(state.info.create_time), state.schedule_id)
