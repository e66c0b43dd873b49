"""Activities, from the task to the report: every kind of function, heartbeats, cancellation, and everything that goes wrong on the way.

A scripted service stands for the engine; it records what is reported.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.workflowservice.v1 import (
    PollActivityTaskQueueResponse,
    RecordActivityTaskHeartbeatRequest,
    RecordActivityTaskHeartbeatResponse,
    RespondActivityTaskCanceledRequest,
    RespondActivityTaskCanceledResponse,
    RespondActivityTaskCompletedRequest,
    RespondActivityTaskCompletedResponse,
    RespondActivityTaskFailedRequest,
    RespondActivityTaskFailedResponse,
)
from temporalio.converter import PayloadCodec

from perdure import ActivityContext, ApplicationError, DataConverter, WorkerConfig, activity
from perdure.model.clock import SystemClock
from perdure.model.rpc import RpcError, not_found, unavailable
from perdure.worker import process_pool
from perdure.worker.activity_context import CancelReason, activity_context
from perdure.worker.activity_executor import ActivityExecutor
from perdure.worker.registration import Registration

CONVERTER = DataConverter.default


@dataclass
class Service:
    """Records reports; the next answers may be errors."""

    reports: list[Any] = field(default_factory=list)
    heartbeats: list[list[Any]] = field(default_factory=list)
    errors: list[RpcError] = field(default_factory=list)
    cancel: bool = False
    gone: bool = False
    beaten: asyncio.Event = field(default_factory=asyncio.Event)

    def _record(self, request: Any) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.reports.append(request)

    async def respond_activity_task_completed(self, request: RespondActivityTaskCompletedRequest) -> RespondActivityTaskCompletedResponse:
        self._record(request)
        return RespondActivityTaskCompletedResponse()

    async def respond_activity_task_failed(self, request: RespondActivityTaskFailedRequest) -> RespondActivityTaskFailedResponse:
        self._record(request)
        return RespondActivityTaskFailedResponse()

    async def respond_activity_task_canceled(self, request: RespondActivityTaskCanceledRequest) -> RespondActivityTaskCanceledResponse:
        self._record(request)
        return RespondActivityTaskCanceledResponse()

    async def record_activity_task_heartbeat(self, request: RecordActivityTaskHeartbeatRequest) -> RecordActivityTaskHeartbeatResponse:
        self.heartbeats.append([CONVERTER.from_payload(payload) for payload in request.details.payloads])
        self.beaten.set()
        if self.gone:
            raise not_found("the attempt is over")
        return RecordActivityTaskHeartbeatResponse(cancel_requested=self.cancel)


@dataclass
class Rig:
    """An executor with its service."""

    service: Service
    executor: ActivityExecutor
    converter: DataConverter

    async def run(self, name: str, *args: Any, **facts: Any) -> Any:
        """Executes one task in a slot of its own; what was reported."""
        slot = asyncio.get_running_loop().create_task(self.executor.execute(task(name, *args, **facts)))
        await slot
        assert not slot.cancelling()
        return self.service.reports[-1] if self.service.reports else None

    def value(self, report: Any) -> Any:
        assert isinstance(report, RespondActivityTaskCompletedRequest), report
        return self.converter.from_payload(report.result.payloads[0])


def task(name: str, *args: Any, heartbeat_timeout: int = 0, start_to_close: int = 10, details: Any = None) -> PollActivityTaskQueueResponse:
    made = PollActivityTaskQueueResponse(task_token=b"token", activity_id="7", attempt=2, workflow_namespace="default")
    made.activity_type.name = name
    made.workflow_type.name = "fulfil"
    made.workflow_execution.workflow_id = "order-1"
    made.workflow_execution.run_id = "run-1"
    made.input.payloads.extend(CONVERTER.encode_values(args))
    made.start_to_close_timeout.seconds = start_to_close
    made.heartbeat_timeout.seconds = heartbeat_timeout
    made.started_time.seconds = made.scheduled_time.seconds = 1_000
    if details is not None:
        made.heartbeat_details.payloads.append(CONVERTER.to_payload(details))
    return made


Make = Callable[..., Rig]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    rigs: list[Rig] = []

    def made(*activities: Any, converter: DataConverter = CONVERTER, **settings: Any) -> Rig:
        service = Service()
        executor = ActivityExecutor(
            Registration((), activities).activities,
            service,  # type: ignore[arg-type]
            namespace="default",
            identity="me",
            converter=converter,
            clock=SystemClock(),
            config=WorkerConfig(**settings),
        )
        rigs.append(Rig(service, executor, converter))
        return rigs[-1]

    yield made
    for rig in rigs:
        rig.executor.close()


# --- every kind of function --------------------------------------------------------------------------------------------


@activity
async def double(number: int) -> int:
    await asyncio.sleep(0)
    return number * 2


@activity
def where_am_i() -> str:
    return threading.current_thread().name


@activity(cpu_bound=True)
def burn(number: int) -> tuple[int, int]:
    return os.getpid(), sum(range(number))


class Shop:
    def __init__(self, name: str) -> None:
        self.name = name

    @activity
    async def sell(self, ctx: ActivityContext, item: str) -> str:
        return f"{self.name} sells {item} for {ctx.workflow_id}"

    @activity
    def close(self) -> str:
        return f"{self.name} closes"


@activity
class Greeter:
    async def run(self, name: str) -> str:
        return f"hello {name}"


async def test_async_in_the_loop_sync_in_a_thread_cpu_bound_in_a_process(make: Make) -> None:
    rig = make(double, where_am_i, burn)
    assert rig.value(await rig.run("double", 21)) == 42
    assert rig.value(await rig.run("where_am_i")).startswith("perdure activity")
    pid, total = rig.value(await rig.run("burn", 1000))
    assert (pid != os.getpid(), total) == (True, 499500)


async def test_methods_and_classes(make: Make) -> None:
    rig = make(Shop("corner"), Greeter)
    assert rig.value(await rig.run("sell", "tea")) == "corner sells tea for order-1"
    assert rig.value(await rig.run("close")) == "corner closes"
    assert rig.value(await rig.run("Greeter", "you")) == "hello you"


leaking: contextvars.ContextVar[str] = contextvars.ContextVar("leaking", default="clean")


@activity
async def leaks() -> str:
    before = leaking.get()
    leaking.set("dirty")
    await asyncio.sleep(0)
    assert leaking.get() == "dirty"
    return before


async def test_context_variables_do_not_outlive_the_activity(make: Make) -> None:
    rig = make(leaks)

    async def slot() -> None:
        for _ in range(2):
            await rig.executor.execute(task("leaks"))
            assert rig.value(rig.service.reports[-1]) == "clean"

    await asyncio.get_running_loop().create_task(slot())


@activity
async def about(ctx: ActivityContext) -> list[Any]:
    assert activity_context() is ctx
    info = ctx.info
    assert info.deadline is not None
    return [
        ctx.idempotency_key,
        info.attempt,
        info.activity_type,
        info.heartbeat_details,
        ctx.last_heartbeat(int),
        (info.deadline - info.started_time).total_seconds(),
        info.heartbeat_timeout,
    ]


async def test_the_context_knows_its_attempt(make: Make) -> None:
    rig = make(about)
    assert rig.value(await rig.run("about", details=5)) == ["run-1/7", 2, "about", [5], 5, 10.0, None]


# --- failures ----------------------------------------------------------------------------------------------------------


@activity
async def fails(kind: str) -> object:
    if kind == "application":
        raise ApplicationError("no funds", 12, type="InsufficientFunds", non_retryable=True, next_retry_delay=3)
    if kind == "result":
        return object()
    if kind == "exit":
        raise SystemExit(3)
    if kind == "stop":
        raise StopIteration
    if kind == "cancelled":
        raise asyncio.CancelledError
    if kind == "own task":
        asyncio.current_task().cancel()  # type: ignore[union-attr]
        return "done"
    raise ValueError(kind)


@activity
def fails_in_thread(kind: str) -> object:
    if kind == "stop":
        raise StopIteration
    if kind == "exit":
        raise SystemExit(3)
    if kind == "cancelled":
        raise asyncio.CancelledError
    raise ValueError(kind)


@activity(cpu_bound=True)
def fails_in_process(kind: str) -> object:
    if kind == "exit":
        raise SystemExit(3)
    if kind == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "result":
        return threading.Lock()
    if kind == "application":
        raise ApplicationError("no funds", 12, type="InsufficientFunds", non_retryable=True)
    raise ValueError(kind)


FAILURES = [
    ("fails", "x", "ValueError", False, "x"),
    ("fails", "application", "InsufficientFunds", True, "no funds"),
    ("fails", "result", "InvalidInput", True, "result of the activity fails"),
    ("fails", "exit", "SystemExit", False, "3"),
    ("fails", "stop", "RuntimeError", False, "StopIteration"),
    ("fails", "cancelled", "CancelledError", False, "nobody had cancelled"),
    ("fails_in_thread", "x", "ValueError", False, "x"),
    ("fails_in_thread", "stop", "RuntimeError", False, "StopIteration"),
    ("fails_in_thread", "exit", "SystemExit", False, "3"),
    ("fails_in_thread", "cancelled", "CancelledError", False, "nobody had cancelled"),
    ("fails_in_process", "x", "ValueError", False, "x"),
    ("fails_in_process", "exit", "SystemExit", False, "sys.exit(3)"),
    ("fails_in_process", "result", "InvalidResult", True, "pickle"),
    ("fails_in_process", "application", "InsufficientFunds", True, "no funds"),
    ("fails_in_process", "die", "ProcessError", False, "signal 9"),
]


@pytest.mark.parametrize(("name", "kind", "type_", "non_retryable", "says"), FAILURES)
async def test_failures_are_reported_as_what_they_are(make: Make, name: str, kind: str, type_: str, non_retryable: bool, says: str) -> None:
    rig = make(fails, fails_in_thread, fails_in_process)
    report = await rig.run(name, kind)
    assert isinstance(report, RespondActivityTaskFailedRequest)
    info = report.failure.application_failure_info
    assert (info.type, info.non_retryable) == (type_, non_retryable)
    assert says in report.failure.message
    if kind == "x":
        assert "test_worker_activities.py" in report.failure.stack_trace and "ValueError(kind)" in report.failure.stack_trace


async def test_a_cancellation_of_the_own_task_does_not_reach_the_report(make: Make) -> None:
    rig = make(fails)
    assert rig.value(await rig.run("fails", "own task")) == "done"


async def test_a_dead_process_is_replaced(make: Make) -> None:
    rig = make(fails_in_process, burn, max_cpu_bound_processes=1)
    assert isinstance(await rig.run("fails_in_process", "die"), RespondActivityTaskFailedRequest)
    assert rig.value(await rig.run("burn", 10))[1] == 45


async def test_an_unknown_activity_names_the_known_ones(make: Make) -> None:
    rig = make(double, burn)
    report = await rig.run("triple", 1)
    assert report.failure.application_failure_info.type == "NotFoundError"
    assert not report.failure.application_failure_info.non_retryable
    assert '"triple"' in report.failure.message and "burn, double" in report.failure.message


@pytest.mark.parametrize(("args", "says"), [(("many",), "'number'"), ((), "takes 1 argument"), ((1, 2), "2 were given")])
async def test_input_that_does_not_fit_is_not_tried_again(make: Make, args: tuple[Any, ...], says: str) -> None:
    rig = make(double)
    report = await rig.run("double", *args)
    info = report.failure.application_failure_info
    assert (info.type, info.non_retryable) == ("InvalidInput", True)
    assert says in report.failure.message


async def test_a_report_is_repeated_while_the_engine_is_away(make: Make) -> None:
    rig = make(double)
    rig.service.errors = [unavailable("away"), unavailable("away")]
    assert rig.value(await rig.run("double", 1)) == 2


async def test_a_report_that_nobody_waits_for_is_dropped(make: Make) -> None:
    rig = make(double)
    rig.service.errors = [not_found("over")]
    assert await rig.run("double", 1) is None


# --- heartbeats and cancellation -----------------------------------------------------------------------------------------


@activity
async def beats(ctx: ActivityContext, times: int) -> str:
    for number in range(times):
        ctx.heartbeat(number)
        await asyncio.sleep(0)
    raise ValueError("after the heartbeats")


async def test_heartbeats_are_throttled_and_the_last_goes_with_the_failure(make: Make) -> None:
    rig = make(beats)
    report = await rig.run("beats", 50, heartbeat_timeout=100)
    assert rig.service.heartbeats in ([[0]], [[49]], [[1]]) or len(rig.service.heartbeats) == 1
    assert [CONVERTER.from_payload(p) for p in report.last_heartbeat_details.payloads] == [49]


async def test_heartbeats_within_the_interval_are_sent_at_its_end(make: Make) -> None:
    @activity
    async def waits(ctx: ActivityContext) -> None:
        for number in range(3):
            ctx.heartbeat(number)
            await asyncio.sleep(0)
        while len(rig.service.heartbeats) < 2:
            await asyncio.sleep(0.01)

    rig = make(waits, default_heartbeat_throttle_interval=0.05)
    await rig.run("waits")
    assert rig.service.heartbeats[-1] == [2]


@activity
async def waits_for_cancel(ctx: ActivityContext) -> str:
    ctx.heartbeat("begun")
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        assert ctx.is_cancelled and ctx.cancel_reason is not None
        await asyncio.sleep(0)  # cleaning up may take its time
        raise
    return "never"


@activity
def loops_in_thread(ctx: ActivityContext) -> str:
    while True:
        ctx.heartbeat("on")
        threading.Event().wait(0.005)


@activity(cpu_bound=True)
def loops_in_process(ctx: ActivityContext) -> str:
    while True:
        ctx.heartbeat("on")
        threading.Event().wait(0.005)


@activity(cpu_bound=True)
def never_looks_up(ctx: ActivityContext) -> str:
    ctx.heartbeat("on")
    while True:
        pass


@pytest.mark.parametrize("name", ["waits_for_cancel", "loops_in_thread", "loops_in_process"])
async def test_cancellation_is_delivered(make: Make, name: str) -> None:
    rig = make(waits_for_cancel, loops_in_thread, loops_in_process)
    rig.service.cancel = True
    assert isinstance(await rig.run(name), RespondActivityTaskCanceledRequest)


@pytest.mark.parametrize("name", ["waits_for_cancel", "loops_in_thread", "loops_in_process"])
async def test_what_the_engine_no_longer_waits_for_is_stopped_without_a_report(make: Make, name: str) -> None:
    rig = make(waits_for_cancel, loops_in_thread, loops_in_process)
    rig.service.gone = True
    assert await rig.run(name) is None


async def test_a_process_that_does_not_heed_is_killed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_pool, "CANCEL_GRACE_SECONDS", 0.2)
    rig = make(never_looks_up)
    rig.service.cancel = True
    assert isinstance(await rig.run("never_looks_up"), RespondActivityTaskCanceledRequest)


async def test_what_waits_for_a_process_can_be_cancelled(make: Make) -> None:
    rig = make(loops_in_process, burn, max_cpu_bound_processes=1)
    first = asyncio.ensure_future(rig.run("loops_in_process"))
    await asyncio.wait_for(rig.service.beaten.wait(), 30)
    second = asyncio.ensure_future(rig.run("burn", 10))
    await asyncio.sleep(0.01)
    rig.executor.cancel_all()
    await first
    await second
    kinds = [report.failure.application_failure_info.type for report in rig.service.reports]
    assert kinds == ["ActivityStopped", "ActivityStopped"]


async def test_an_activity_may_finish_although_cancelled(make: Make) -> None:
    @activity
    async def finishes(ctx: ActivityContext) -> str:
        ctx.heartbeat()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(30)
        return "kept"

    rig = make(finishes)
    rig.service.cancel = True
    assert rig.value(await rig.run("finishes")) == "kept"


@pytest.mark.parametrize("name", ["waits_for_cancel", "loops_in_thread", "loops_in_process"])
async def test_a_worker_that_stops_fails_the_attempt_so_that_it_is_tried_again(make: Make, name: str) -> None:
    rig = make(waits_for_cancel, loops_in_thread, loops_in_process)
    slot = asyncio.ensure_future(rig.run(name))
    await asyncio.wait_for(rig.service.beaten.wait(), 30)
    rig.executor.announce_stop()
    rig.executor.cancel_all()
    report = await slot
    info = report.failure.application_failure_info
    assert (info.type, info.non_retryable) == ("ActivityStopped", False)
    assert [CONVERTER.from_payload(p) for p in report.last_heartbeat_details.payloads] in (["on"], [])


async def test_an_attempt_is_stopped_after_its_time_is_over(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.worker.activity_executor.DEADLINE_SLACK_SECONDS", -9.9)
    reasons = []

    @activity
    async def overstays(ctx: ActivityContext) -> None:
        try:
            await asyncio.sleep(30)
        finally:
            reasons.append(ctx.cancel_reason)

    rig = make(overstays)
    monkeypatch.setattr("perdure.worker.activity_executor._timeout_ns", lambda _task: 50_000_000)
    assert await rig.run("overstays") is None
    assert reasons == [CancelReason.TIMED_OUT]


async def test_details_that_cannot_be_converted_fail_at_the_users_line(make: Make) -> None:
    @activity
    async def odd(ctx: ActivityContext) -> None:
        ctx.heartbeat(object())

    rig = make(odd)
    report = await rig.run("odd")
    assert report.failure.application_failure_info.type == "InvalidInput"
    assert "heartbeat" in report.failure.message


# --- codec ---------------------------------------------------------------------------------------------------------------


class Rot(PayloadCodec):
    """Turns every byte round."""

    async def encode(self, payloads: Any) -> list[Payload]:
        await asyncio.sleep(0)
        return [Payload(metadata={"encoding": b"rot"}, data=p.SerializeToString()[::-1]) for p in payloads]

    async def decode(self, payloads: Any) -> list[Payload]:
        await asyncio.sleep(0)
        return [Payload.FromString(p.data[::-1]) if p.metadata["encoding"] == b"rot" else p for p in payloads]


async def test_a_codec_covers_results_failures_and_details(make: Make) -> None:
    rig = make(double, fails, converter=DataConverter(codec=Rot()))
    report = await rig.run("double", 21)
    assert report.result.payloads[0].metadata["encoding"] == b"rot"
    report = await rig.run("fails", "application")
    assert report.failure.application_failure_info.details.payloads[0].metadata["encoding"] == b"rot"
