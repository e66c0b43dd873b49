"""Definitions: what decorators make of functions, methods and classes, and what they answer to wrong use."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import temporalio.activity
import temporalio.common
import temporalio.workflow

import perdure
from perdure.model import definitions
from perdure.model.decorators import activity, workflow
from perdure.model.definitions import (
    ActivityDefinition,
    WorkflowDefinition,
    activity_definition,
    activity_definitions,
    current_workflow,
    workflow_definition,
)
from perdure.model.errors import DefinitionError, PerdureError, UnknownName, UsageError
from perdure.model.messages import Query, Signal, query, query_name, query_type, signal, signal_name, signal_type
from perdure.model.options import ActivityOptions, ChildWorkflowOptions, RetryPolicy, StartWorkflowOptions

if TYPE_CHECKING:
    from perdure import ActivityContext, WorkflowContext


@dataclass
class Order:
    id: str


@signal
class Approval:
    by: str


@query(name="how_far")
class Progress:
    done: int = 0


@activity(start_to_close_timeout=30)
async def charge(order: Order) -> str:
    """Charges."""
    return order.id


@activity
def reserve(ctx: ActivityContext, order: Order, count: int = 1) -> bool:
    return count > 0


@activity(cpu_bound=True, name="crunching")
def crunch(n: int) -> int:
    return n


class Mailer:
    def __init__(self, sender: str) -> None:
        self.sender = sender

    @activity
    async def send(self, ctx: ActivityContext, to: str) -> str:
        return f"{self.sender}>{to}"

    @activity(name="count")
    def counted(self, n: int) -> int:
        return n


@activity
class Resize:
    def __init__(self, factor: int = 2) -> None:
        self.factor = factor

    async def run(self, ctx: ActivityContext, size: int) -> int:
        return size * self.factor


@workflow
async def fulfil(ctx: WorkflowContext, order: Order) -> Later:
    return Later()


@workflow(name="entity")
class Entity:
    def __init__(self) -> None:
        self.approvals: list[Any] = []

    async def run(self, ctx: WorkflowContext, order: Order, tries: int = 3) -> int:
        return len(self.approvals)

    @workflow.signal
    def approve(self, approval: Approval) -> None:
        self.approvals.append(approval)

    @workflow.signal("named")
    async def other(self, text: str) -> None: ...

    @workflow.signal(dynamic=True)
    def any_signal(self, name: str, *args: Any) -> None: ...

    @workflow.query
    def level(self) -> float:
        return 0.5

    @workflow.query(Progress)
    def progress(self) -> Progress:
        return Progress()


class Later:
    """Defined below its use."""


class FakeHook:
    def __init__(self) -> None:
        self.calls: list[tuple[str, list[Any], ActivityOptions]] = []

    async def execute_activity(self, definition: ActivityDefinition[Any, Any], args: Sequence[Any], options: ActivityOptions) -> Any:
        self.calls.append((definition.name, list(args), options))
        return "durable"


# --- activities --------------------------------------------------------------------------------------------------------


def test_an_activity_knows_its_name_arguments_and_types() -> None:
    assert (charge.name, charge.is_async, charge.takes_ctx, charge.arg_names) == ("charge", True, False, ("order",))
    assert (charge.arg_types, charge.result_type, charge.__doc__) == ([Order], str, "Charges.")
    assert (reserve.takes_ctx, reserve.is_async, reserve.arg_names, reserve.arg_types) == (True, False, ("order", "count"), [Order, int])
    assert (crunch.name, crunch.cpu_bound, repr(crunch)) == ("crunching", True, "<activity crunching>")


async def test_outside_a_workflow_an_activity_is_the_plain_function() -> None:
    assert await charge(Order("A")) == "A"
    assert reserve(None, Order("A"), count=0) is False  # type: ignore[arg-type]
    assert await Mailer("me").send(None, "you") == "me>you"  # type: ignore[arg-type]


async def test_inside_a_workflow_it_is_the_durable_call() -> None:
    hook = FakeHook()
    token = current_workflow.set(hook)
    try:
        assert await charge(Order("A")) == "durable"  # type: ignore[comparison-overlap]
        await reserve(Order("B"), count=2)
        await charge.options(task_queue="fast")(Order("C"))
        await Mailer.send("you")
        with pytest.raises(UsageError, match=r"activity charge takes 1 argument \(order\), and 2 were given"):
            charge(Order("A"), 1)  # type: ignore[call-overload]
        with pytest.raises(
            UsageError, match=r"activity reserve takes 2 arguments \(order, count\), of which 1 must be given, and 0 were given"
        ):
            reserve()
        with pytest.raises(UsageError, match="cannot be given 'amount' by name; its arguments are, in this order: order"):
            charge(amount=1)  # type: ignore[call-overload]
    finally:
        current_workflow.reset(token)
    assert [(name, args) for name, args, _ in hook.calls] == [
        ("charge", [Order("A")]),
        ("reserve", [Order("B"), 2]),
        ("charge", [Order("C")]),
        ("send", ["you"]),
    ]
    assert hook.calls[0][2].start_to_close_timeout == 30
    assert (hook.calls[2][2].start_to_close_timeout, hook.calls[2][2].task_queue) == (30, "fast")


def test_what_a_worker_can_run() -> None:
    assert [each.name for each in activity_definitions(charge)] == ["charge"]
    found = {each.name: each for each in activity_definitions(Mailer("me"))}
    assert set(found) == {"send", "count"}
    assert (found["send"].takes_ctx, found["send"].arg_names, found["count"].fn(3)) == (True, ("to",), 3)
    assert asyncio.run(found["send"].fn(None, "you")) == "me>you"
    (resize,) = activity_definitions(Resize)
    assert (resize.name, resize.takes_ctx, resize.arg_types, asyncio.run(resize.fn(None, 2))) == ("Resize", True, [int], 4)
    assert asyncio.run(activity_definitions(Resize(5))[0].fn(None, 2)) == 10
    assert activity_definition(Resize).name == "Resize"


def test_definitions_pickle_by_name_as_functions_do() -> None:
    assert pickle.loads(pickle.dumps(crunch)) is crunch
    assert pickle.loads(pickle.dumps(fulfil)) is fulfil


# --- workflows ----------------------------------------------------------------------------------------------------------


def test_a_workflow_function_is_its_definition() -> None:
    assert isinstance(fulfil, WorkflowDefinition)
    assert (fulfil.name, fulfil.takes_ctx, fulfil.arg_names, fulfil.arg_types) == ("fulfil", True, ("order",), [Order])
    assert fulfil.result_type is Later
    assert fulfil.create() is None
    with pytest.raises(UsageError, match=r"run it with client.execute_workflow\(fulfil, …, id=…\)"):
        fulfil(None, Order("A"))  # type: ignore[arg-type]


def test_a_workflow_class_stays_the_class() -> None:
    definition = workflow_definition(Entity)
    assert (definition.name, definition.cls, definition.arg_names, definition.result_type) == ("entity", Entity, ("order", "tries"), int)
    assert isinstance(definition.create(), Entity)
    assert set(definition.signals) == {"Approval", "named", None}
    assert (definition.signals["Approval"].arg_types, definition.signals["named"].is_async) == ([Approval], True)
    assert set(definition.queries) == {"level", "how_far"}
    assert definition.queries["level"].result_type is float


def test_the_names_of_signals_and_queries() -> None:
    assert signal_name(Approval) == signal_name(Approval(by="a")) == signal_name(Entity.approve) == "Approval"  # type: ignore[call-arg]
    assert (signal_name("x"), signal_name(Signal("y", int)), signal_name(Entity.other)) == ("x", "y", "named")
    assert (query_name(Progress), query_name(Query("q", int)), query_name(Entity.level)) == ("how_far", "q", "level")
    assert (signal_type(Approval), signal_type(Signal("y", int)), query_type(Query("q", float)), query_type("q")) == (
        Approval,
        int,
        float,
        None,
    )
    assert Signal("y", int) == Signal("y", int) != Signal("y", str)
    assert repr(Signal("y", int)) == "Signal('y', int)"
    assert repr(Approval(by="ann")) == "Approval(by='ann')"  # type: ignore[call-arg]


def test_the_public_names_are_all_there() -> None:
    for name in perdure.__all__:
        assert getattr(perdure, name) is not None
    assert set(perdure._MODULE_OF) == set(perdure.__all__)
    assert "activity" in dir(perdure)


# --- wrong use ------------------------------------------------------------------------------------------------------------


def generator() -> Any:
    yield 1


async def no_context() -> None: ...


async def other_first(order: Order) -> None: ...


async def keyword_only(ctx: Any, *, order: Order) -> None: ...


def plain(ctx: Any) -> None: ...


async def unresolvable(ctx: WorkflowContext, order: NoSuchName) -> None: ...  # type: ignore[name-defined]  # noqa: F821


def class_with(**members: Any) -> type:
    return type("Wrong", (), members)


async def good_run(self: Any, ctx: WorkflowContext) -> None: ...


def needs_argument(self: Any, size: int) -> None: ...


async def async_query(self: Any) -> int:
    return 1


coroutine_names = ("charge", "fulfil")

WRONG = [
    (lambda: activity(max_attempts=3), "@activity has no option 'max_attempts'; say retry_policy=RetryPolicy(maximum_attempts=…)"),
    (lambda: activity(retries=3), "say retry_policy=RetryPolicy(maximum_attempts=…), which counts the first attempt too"),
    (lambda: activity(timeout=3), "say start_to_close_timeout=… (of one attempt) or schedule_to_close_timeout=… (of all attempts)"),
    (lambda: activity(start_to_close_timout=3), "did you mean 'start_to_close_timeout'?"),
    (lambda: activity(start_to_close_timeout="3s"), "start_to_close_timeout is '3s'; give seconds as a number, or a timedelta"),
    (lambda: activity(retry_policy=3), "give a RetryPolicy, as in retry_policy=RetryPolicy(maximum_attempts=3)"),
    (lambda: activity(task_queue=""), "task_queue is ''; give a string that is not empty"),
    (lambda: activity("charge"), "say @activity(name='charge')"),
    (lambda: activity(3), "@activity goes on a function, a method or a class, not on 3"),
    (lambda: activity(lambda x: x), "a lambda needs a name to be an activity"),
    (lambda: activity(generator), "activity generator is a generator (it has a yield)"),
    (lambda: activity(staticmethod(plain)), "put @staticmethod above @activity, not below it"),
    (lambda: activity(charge), "charge is already an activity; use one decorator"),
    (lambda: activity(fulfil), "fulfil is already a workflow; use one decorator"),
    (lambda: activity(class_with()), "the activity class Wrong has no method `run`"),
    (lambda: activity(cpu_bound=True)(no_context), "activity no_context is cpu_bound and async"),
    (lambda: activity(cpu_bound=True)(Mailer.__init__), "cpu_bound and not at the top of its module; move it there"),
    (lambda: activity.defn, "perdure's activity has no 'defn'; say @activity, without .defn"),
    (lambda: activity.heartbeat, "say ctx.heartbeat(…) on the ActivityContext"),
    (lambda: workflow.defn, "perdure's workflow has no 'defn'; say @workflow, without .defn"),
    (lambda: workflow.run, "leave it out: the method that is named `run` is the one that runs"),
    (lambda: workflow.execute_activity, "say await the activity itself, or ctx.execute_activity(…)"),
    (lambda: workflow.sginal, "did you mean 'signal'?"),
    (lambda: workflow(retries=3), "@workflow has no option 'retries'"),
    (lambda: workflow("fulfil"), "say @workflow(name='fulfil')"),
    (lambda: workflow(plain), "workflow plain must be an `async def`; write `async def plain(ctx, …)`"),
    (lambda: workflow(no_context), "workflow no_context must take the WorkflowContext first"),
    (lambda: workflow(other_first), "workflow other_first must take the WorkflowContext first"),
    (lambda: workflow(keyword_only), "workflow keyword_only has the keyword-only parameter 'order'"),
    (lambda: workflow(charge), "charge is already an activity; use one decorator"),
    (lambda: workflow(class_with()), "workflow class Wrong has no method `run`"),
    (lambda: workflow(class_with(run=plain)), "Wrong.run must be an `async def`"),
    (lambda: workflow(class_with(run=good_run, __init__=needs_argument)), "workflow class Wrong is created without arguments"),
    (lambda: workflow(class_with(run=good_run, q=workflow.query(async_query))), "query handler async_query is async; a query only reads"),
    (
        lambda: workflow(class_with(run=good_run, a=workflow.signal("x")(plain), b=workflow.signal("x")(good_run))),
        "two handlers of the signal x; keep one",
    ),
    (lambda: workflow.signal(3), "@workflow.signal goes on a method, and takes a name, a Signal or a signal class, not 3"),
    (lambda: workflow(unresolvable).arg_types, "the annotation of 'order' in workflow unresolvable cannot be resolved"),
    (lambda: signal(plain), "@signal goes on a class"),
    (lambda: Signal(""), "a signal needs a name; say Signal('approved', bool)"),
    (lambda: signal_name(Order("A")), "is no signal; put @signal on its class, or say Signal('name', type)"),
    (lambda: query_name(Order), "Order is no query; put @query on its class, or say Query('name', type)"),
    (lambda: workflow_definition(plain), "plain is not a workflow; put @workflow on it"),
    (lambda: workflow_definition(3), "3 is not a workflow; pass the function or class under @workflow"),
    (lambda: workflow_definition(charge), "charge is an activity, not a workflow; call it from a workflow, with await charge(…)"),
    (lambda: workflow_definition(no_context()), "no_context(…) was called; pass the workflow itself and its arguments after it"),
    (lambda: workflow_definition(type("Sub", (Entity,), {})), "Sub is a subclass of a workflow; put @workflow on it too"),
    (lambda: activity_definition(fulfil), "fulfil is a workflow, not an activity; start it from an activity"),
    (lambda: activity_definition(no_context()), "an activity was called; pass the activity itself"),
    (lambda: activity_definition(plain), "plain is not an activity; put @activity on it"),
    (lambda: activity_definitions(Mailer), "Mailer cannot be created without arguments; register an object: activities=[Mailer(…)]"),
    (lambda: activity_definitions(Mailer.send), "activity send is a method; register an object that has it: activities=[Mailer(…)]"),
    (lambda: activity_definitions(Order("A")), "is not an activity; put @activity on it"),
    (lambda: charge.options(timeout=3), "ActivityOptions has no option 'timeout'"),
    (lambda: RetryPolicy(max_attempts=3), "RetryPolicy has no option 'max_attempts'; say maximum_attempts=…"),
    (lambda: RetryPolicy(retries=3), "say maximum_attempts=…, which counts the first attempt too"),
    (lambda: RetryPolicy(maximum_attempts=-1), "maximum_attempts is -1; it must be a whole number: 1 for a single attempt, 0 for no limit"),
    (lambda: RetryPolicy(backoff_coefficient=0.5), "backoff_coefficient is 0.5; it must be a number of at least 1"),
    (lambda: RetryPolicy(initial_interval=0), "initial_interval must be more than 0 seconds"),
    (lambda: RetryPolicy(initial_interval=10, maximum_interval=1), "is less than initial_interval"),
    (lambda: RetryPolicy(non_retryable_error_types="ValueError"), "say non_retryable_error_types=['ValueError']"),
    (lambda: StartWorkflowOptions(workflow_id="x"), "StartWorkflowOptions has no option 'workflow_id'; say id=…"),
    (
        lambda: StartWorkflowOptions(start_to_close_timeout=3),
        "say run_timeout=… (a workflow's run; start_to_close_timeout is an activity's)",
    ),
    (lambda: ChildWorkflowOptions(run_timeout=-3), "run_timeout is -3; a duration cannot be negative"),
    (lambda: perdure.Client, "perdure has no 'Client'; say WorkflowClient"),
    (lambda: perdure.WorkflowWroker, "did you mean 'WorkflowWorker'?"),
]


@pytest.mark.parametrize(("use", "says"), WRONG, ids=[says[:50] for _, says in WRONG])
def test_wrong_use_is_answered_with_the_right_one(use: Any, says: str) -> None:
    with pytest.raises(PerdureError) as caught:
        use()
    assert says in str(caught.value)
    assert isinstance(caught.value, UsageError)


def test_unknown_names_do_not_break_hasattr() -> None:
    assert not hasattr(workflow, "defn")
    assert not hasattr(perdure, "Client")
    with pytest.raises(UnknownName):
        _ = activity.defn


@temporalio.activity.defn
async def theirs() -> None: ...


@temporalio.workflow.defn(sandboxed=False)
class Theirs:
    @temporalio.workflow.run
    async def run(self) -> None: ...


def test_temporals_decorators_are_recognised() -> None:
    with pytest.raises(DefinitionError, match=r"theirs is defined with temporalio's @activity.defn; define it with perdure's @activity"):
        activity_definition(theirs)
    with pytest.raises(DefinitionError, match=r"Theirs is defined with temporalio's @workflow.defn"):
        workflow_definition(Theirs)


# --- options ----------------------------------------------------------------------------------------------------------------


def test_options_merge_and_keep_what_is_not_given() -> None:
    base = ActivityOptions(start_to_close_timeout=timedelta(seconds=3), task_queue="q")
    assert base.merged({}) is base
    assert base.merged({"task_queue": None}) == ActivityOptions(start_to_close_timeout=timedelta(seconds=3))
    assert ActivityOptions().start_to_close_timeout is None


def test_retry_policies_take_seconds_timedeltas_and_exception_classes() -> None:
    policy = RetryPolicy(
        initial_interval=0.5, maximum_interval=timedelta(minutes=1), maximum_attempts=3, non_retryable_error_types=[ValueError, "X"]
    )
    assert (policy.initial_interval, policy.maximum_interval) == (timedelta(seconds=0.5), timedelta(minutes=1))
    assert policy.non_retryable_error_types == ["ValueError", "X"]
    assert isinstance(policy, perdure.RetryPolicy)
    assert isinstance(policy, temporalio.common.RetryPolicy)
    ActivityOptions(retry_policy=temporalio.common.RetryPolicy())


def test_a_bound_method_is_made_anew_for_each_object() -> None:
    one, two = Mailer("1"), Mailer("2")
    assert isinstance(one.send, definitions.ActivityDefinition)
    assert one.send.fn.__self__ is one  # type: ignore[attr-defined]
    assert two.send.fn.__self__ is two  # type: ignore[attr-defined]
    assert Mailer.send.needs_instance
    assert not one.send.needs_instance
