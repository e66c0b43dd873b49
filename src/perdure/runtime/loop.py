"""The event loop that workflow code runs on: `asyncio` without a clock, a selector or threads.

It decides nothing itself: callbacks run in the order in which they were scheduled, time stands still within an activation,
and a timer is a durable timer of the run. So the standard library's `gather`, `wait`, `TaskGroup`, `timeout`, `shield`, `Queue`,
`Event`, `Lock`, `Condition` and `Semaphore` work in workflow code, and do the same on every replay.

The rule a newcomer would get wrong: the standard library keeps tasks in sets (`TaskGroup` cancels from one, `wait` returns two),
and iterates over them. Objects hash by address unless told otherwise, so tasks and futures of this loop hash by their creation
number. The number is offset by a value drawn from the run's identity: tasks of thousands of runs share `asyncio`'s process-wide
set of all tasks, and must not collide there.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import contextvars
import sys
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, TypeVarTuple

from perdure.model.errors import DeterminismViolation
from perdure.runtime import asyncio_order
from perdure.runtime.refusals import RefusingLoop

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_Outer = tuple[asyncio.AbstractEventLoop | None, Any]
# An activation that runs this many callbacks does not wait for anything: it spins (`while True: await asyncio.sleep(0)`).
ACTIVATION_CALLBACKS_MAX = 1_000_000
# A coroutine that swallows its own closing is asked this often before it is given up.
CLOSE_ATTEMPTS_MAX = 20
# Finished tasks are forgotten when the list of tasks has grown to this length, and then at each doubling.
TASKS_PRUNED_AT = 64


class Evicted(BaseException):
    """The run has left this process's memory: its code may not go on here.

    Not a GeneratorExit: thrown into a coroutine, that would close what it awaits first, and lose whatever does not end at once.
    """


ENDS_HERE = (Evicted, GeneratorExit, KeyboardInterrupt)
"""What ends a run's code in this process and is not its outcome. To be passed on with a bare `raise`: raised by its name it would hold
the frame that did so, and with it the run, until the garbage collector comes."""


class DurableTimer(Protocol):
    """What a fired timer wakes: a handle of `call_later`, or the future of `ctx.sleep`."""

    command: Any

    def fire(self) -> None: ...


class LoopHost(Protocol):
    """What the loop needs of the run that it belongs to."""

    def elapsed_ns(self) -> int: ...
    def start_timer(self, delay_ns: int, timer: DurableTimer) -> None: ...
    def cancel_timer(self, timer: DurableTimer) -> None: ...
    def code_failed(self, error: BaseException) -> None: ...
    def report(self, message: str, error: BaseException | None) -> None: ...


class _Gone:
    """The host of a closed loop: the run has left, and nothing that is still done here matters."""

    def elapsed_ns(self) -> int:
        return 0

    def start_timer(self, delay_ns: int, timer: DurableTimer) -> None: ...
    def cancel_timer(self, timer: DurableTimer) -> None: ...
    def code_failed(self, error: BaseException) -> None: ...
    def report(self, message: str, error: BaseException | None) -> None: ...


_GONE = _Gone()


class _Handle(asyncio.Handle):
    """`asyncio.Handle` without its debugging fields, whose initialisation would double its price."""

    __slots__ = ()
    _repr = None
    _source_traceback = None
    if TYPE_CHECKING:
        _callback: Any
        _loop: WorkflowLoop
        _context: contextvars.Context
        _cancelled: bool


_new_handle = _Handle.__new__


class _TimerHandle(asyncio.TimerHandle):
    __slots__ = ("command",)
    _repr = None
    _source_traceback = None
    _loop: WorkflowLoop

    def __init__(
        self, when: float, callback: Callable[..., object], args: tuple[Any, ...], loop: WorkflowLoop, context: contextvars.Context
    ) -> None:
        self._callback: Any = callback
        self._args: Any = args
        self._loop = loop
        self._context = context
        self._cancelled = False
        self._when = when
        self._scheduled = False
        self.command: Any = None

    def cancel(self) -> None:
        if self._cancelled:
            return
        self._cancelled = True
        self._callback = self._args = None
        if self._scheduled:
            self._scheduled = False
            self._loop.host.cancel_timer(self)

    def fire(self) -> None:
        self._scheduled = False
        self._loop.ready.append(self)


class WorkflowFuture(asyncio.Future[T]):
    """A future that hashes by its creation number."""

    __slots__ = ("_hash",)

    def __init__(self, *, loop: WorkflowLoop) -> None:
        loop.created = self._hash = loop.created + 1
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._hash


class WorkflowTask(asyncio.Task[T]):
    """A task that hashes by its creation number, which also names it (asyncio's names count the whole process's tasks)."""

    __slots__ = ("_hash", "run_context")

    def __init__(
        self,
        coro: Any,
        *,
        loop: WorkflowLoop,
        name: str | None,
        context: contextvars.Context,
        **options: Any,
    ) -> None:
        loop.created = self._hash = loop.created + 1  # before asyncio puts the task in a set
        self.run_context = context
        super().__init__(coro, loop=loop, name=name or f"Task-{self._hash - loop.first_hash}", context=context, **options)

    def __hash__(self) -> int:
        return self._hash


class WorkflowLoop(RefusingLoop):
    """One per run. `drain()` runs what is ready; nothing else makes it go."""

    # What most loops never change stands in the class: making one is then cheap.
    _prune_at = TASKS_PRUNED_AT
    _generators: weakref.WeakSet[AsyncGenerator[Any, Any]] | None = None
    _closed = False

    def __init__(self, host: LoopHost, hash_offset: int) -> None:
        self.host = host
        self.ready: collections.deque[asyncio.Handle] = collections.deque()
        self.first_hash = self.created = hash_offset
        self.tasks: list[WorkflowTask[Any]] = []

    # --- what asyncio asks of a loop ------------------------------------------------------------------------------------

    def call_soon(self, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None) -> asyncio.Handle:
        handle = _new_handle(_Handle)  # filled here, not by an `__init__`: this runs at every step of the code
        handle._callback = callback
        handle._args = args
        handle._loop = self
        handle._context = contextvars.copy_context() if context is None else context
        handle._cancelled = False
        if not self._closed:
            self.ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        timer = _TimerHandle(self.time() + delay, callback, args, self, contextvars.copy_context() if context is None else context)
        # Loop times are floats: microseconds are what survives the subtraction of two of them.
        delay_ns = round(delay * 1_000_000) * 1000
        if self._closed:
            return timer
        if delay_ns <= 0:
            self.ready.append(timer)
        else:
            timer._scheduled = True
            self.host.start_timer(delay_ns, timer)
        return timer

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_later(when - self.time(), callback, *args, context=context)

    def time(self) -> float:
        """Seconds of workflow time since the run started."""
        return self.host.elapsed_ns() / 1e9

    def create_future(self) -> asyncio.Future[Any]:
        return WorkflowFuture(loop=self)

    def create_task(
        self,
        coro: Coroutine[Any, Any, T] | Generator[Any, None, T],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
        **options: Any,
    ) -> asyncio.Task[T]:
        if not self._closed and asyncio_order.started_by_as_completed(2):
            coro.close()
            raise DeterminismViolation(
                "asyncio.as_completed starts coroutines in random order. Write `asyncio.as_completed(…)` where `from asyncio import "
                "as_completed` stands, or give it tasks: [asyncio.create_task(each) for each in …]."
            )
        return self.start_task(coro, contextvars.copy_context() if context is None else context, name, **options)

    def start_task(
        self, coro: Coroutine[Any, Any, T] | Generator[Any, None, T], context: contextvars.Context, name: str | None = None, **options: Any
    ) -> WorkflowTask[T]:
        """`create_task` without a look at who calls."""
        if self._closed:
            coro.close()
            raise Evicted
        task: WorkflowTask[T] = WorkflowTask(coro, loop=self, name=name, context=context, **options)
        self.tasks.append(task)
        if len(self.tasks) >= self._prune_at:
            self._prune()
        return task

    def get_debug(self) -> bool:
        return False

    def set_debug(self, enabled: bool) -> None:
        """Accepted and ignored: debug mode measures real time."""

    def is_running(self) -> bool:
        return asyncio._get_running_loop() is self

    def is_closed(self) -> bool:
        return self._closed

    def get_task_factory(self) -> None:
        return None

    def get_exception_handler(self) -> None:
        return None

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.call_exception_handler(context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self._closed:
            self.host.report(str(context.get("message", "error in the workflow's event loop")), context.get("exception"))

    # --- what the runner asks of it ---------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Runs callbacks until none is ready. An error of a plain callback is an error of the workflow's code."""
        ready = self.ready
        left = ACTIVATION_CALLBACKS_MAX
        while ready:
            handle = ready.popleft()
            if handle._cancelled:
                continue
            try:
                handle._context.run(handle._callback, *handle._args)  # type: ignore[attr-defined]
            except Exception as error:
                self.host.code_failed(error)
            left -= 1
            if not left:
                raise DeterminismViolation(
                    f"the workflow ran {ACTIVATION_CALLBACKS_MAX:,} callbacks without waiting for anything: "
                    "it spins, as `while …: await asyncio.sleep(0)` does. "
                    "Wait with `await ctx.wait_condition(lambda: …)` or `await ctx.sleep(seconds)`."
                )

    def enter(self) -> _Outer:
        """Makes this the running loop. `leave` makes the outer one (uvloop's, as a rule) that again."""
        outer = asyncio._get_running_loop(), sys.get_asyncgen_hooks()
        asyncio._set_running_loop(self)
        sys.set_asyncgen_hooks(self._generator_begins, self._generator_dropped)
        return outer

    def leave(self, outer: _Outer) -> None:
        loop, hooks = outer
        sys.set_asyncgen_hooks(*hooks)
        asyncio._set_running_loop(loop)

    @contextlib.contextmanager
    def running(self) -> Generator[None]:
        """`enter` and `leave` around a block."""
        outer = self.enter()
        try:
            yield
        finally:
            self.leave(outer)

    def pending_tasks(self) -> list[WorkflowTask[Any]]:
        return [task for task in self.tasks if not task.done()]

    def close(self) -> None:
        """Ends every coroutine now, youngest first, so that no `finally` block runs later, when memory is collected.

        Blocks that run here find a loop that schedules nothing and a context that refuses commands.
        """
        if self._closed:
            return
        self._closed = True
        self.ready.clear()
        if self._generators or self.pending_tasks():
            outer = self.enter()
            self._close_coroutines()
            self.leave(outer)
        self.tasks.clear()
        self._generators = None
        self.host = _GONE

    def _close_coroutines(self) -> None:
        for task in reversed(self.tasks):
            if not task.done():
                setattr(task, "_log_destroy_pending", False)  # noqa: B010 - not in all type stubs
                _close_coroutine(task.get_coro(), task.run_context)
        for generator in list(self._generators or ()):
            _close_generator(generator)

    def _prune(self) -> None:
        self.tasks = self.pending_tasks()
        self._prune_at = max(TASKS_PRUNED_AT, 2 * len(self.tasks))

    def _generator_begins(self, generator: AsyncGenerator[Any, Any]) -> None:
        if self._generators is None:
            self._generators = weakref.WeakSet()
        self._generators.add(generator)

    def _generator_dropped(self, generator: AsyncGenerator[Any, Any]) -> None:
        """An abandoned async generator is closed at once by the code that dropped it, as on any loop; else here and now."""
        if not self._closed and self.is_running():
            self.create_task(generator.aclose())
        else:
            _close_generator(generator)


def _close_coroutine(coro: Any, context: contextvars.Context) -> None:
    try:
        for _ in range(CLOSE_ATTEMPTS_MAX):  # the first ends what it waits for, the next what it awaits in a `finally`
            context.run(coro.throw, Evicted())
    except BaseException:  # it has ended; with an error of the user's clean-up, perhaps, that nobody is left to see
        pass


def _close_generator(generator: AsyncGenerator[Any, Any]) -> None:
    closing: Any = generator.aclose()
    try:
        closing.send(None)
        for _ in range(CLOSE_ATTEMPTS_MAX):  # it awaits in a `finally`
            closing.throw(Evicted())
    except BaseException:  # it has ended; with an error of the user's clean-up, perhaps, that nobody is left to see
        pass


def _next_hash(loop: WorkflowLoop) -> int:
    loop.created += 1
    return loop.created


asyncio_order.install(lambda loop: isinstance(loop, WorkflowLoop), _next_hash)
