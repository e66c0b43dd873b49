"""Schedules, which start workflows at times: RPCs of the contract."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

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


class ScheduleRpcs(Protocol):
    """Schedules, which start workflows at times."""

    def create_schedule(self, request: CreateScheduleRequest, /) -> Coroutine[Any, Any, CreateScheduleResponse]:
        """Makes a schedule, durably, and carries its initial patch out. ALREADY_EXISTS if there is one of its id."""
        ...

    def describe_schedule(self, request: DescribeScheduleRequest, /) -> Coroutine[Any, Any, DescribeScheduleResponse]:
        """All of a schedule, with what it did and will do. NOT_FOUND if there is none, as with the others."""
        ...

    def update_schedule(self, request: UpdateScheduleRequest, /) -> Coroutine[Any, Any, UpdateScheduleResponse]:
        """Replaces a schedule; nothing happens if the conflict token is old."""
        ...

    def patch_schedule(self, request: PatchScheduleRequest, /) -> Coroutine[Any, Any, PatchScheduleResponse]:
        """Triggers, backfills, pauses or unpauses a schedule."""
        ...

    def delete_schedule(self, request: DeleteScheduleRequest, /) -> Coroutine[Any, Any, DeleteScheduleResponse]:
        """Deletes a schedule; the workflows that it started run on."""
        ...

    def list_schedules(self, request: ListSchedulesRequest, /) -> Coroutine[Any, Any, ListSchedulesResponse]:
        """Schedules of a namespace in the order of their ids, by page and query."""
        ...

    def count_schedules(self, request: CountSchedulesRequest, /) -> Coroutine[Any, Any, CountSchedulesResponse]:
        """How many schedules a query finds."""
        ...

    def list_schedule_matching_times(
        self, request: ListScheduleMatchingTimesRequest, /
    ) -> Coroutine[Any, Any, ListScheduleMatchingTimesResponse]:
        """When actions would be due in a span of time."""
        ...
