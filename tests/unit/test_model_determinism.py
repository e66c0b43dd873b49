"""The static check: names the call, the line and the remedy; says nothing about what only looks alike."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import random
import time
import uuid
from datetime import datetime
from os import environ
from random import randint
from typing import Any

import pytest

from perdure.model.decorators import workflow
from perdure.model.determinism import check_determinism
from perdure.model.errors import DeterminismViolation


def uses_time() -> None:
    time.time()


def uses_sleep() -> None:
    time.sleep(1)


def uses_now() -> None:
    print(datetime.now(dt.UTC))


def uses_utcnow_by_module() -> None:
    dt.datetime.utcnow()  # noqa: DTZ003


def uses_today() -> None:
    dt.date.today()  # noqa: DTZ011


def uses_random() -> None:
    random.random()


def uses_randint() -> None:
    randint(1, 2)


def uses_the_clock_to_write() -> None:
    time.strftime("%Y")


def uses_gmtime() -> None:
    time.gmtime()


def uses_environ() -> str:
    return os.environ["HOME"]


def uses_environ_by_name() -> str | None:
    return environ.get("HOME")


def records_and_calls(ctx: Any) -> None:
    ctx.side_effect(lambda: time.time())
    time.time()


def uses_unseeded() -> None:
    random.Random()


def uses_uuid() -> None:
    [uuid.uuid4() for _ in range(3)]


def uses_urandom() -> None:
    os.urandom(3)


def uses_getenv() -> None:
    os.getenv("HOME")


def uses_open() -> None:
    with open("x"):
        pass


def uses_local_import() -> None:
    import time as clock

    clock.monotonic()


def uses_local_from_import() -> None:
    from secrets import token_hex

    token_hex()


def uses_socket() -> None:
    import socket

    socket.create_connection(("a", 1))


def uses_urllib() -> None:
    import urllib.request

    urllib.request.urlopen("http://x")


def uses_threading() -> None:
    import threading

    threading.Thread(target=print)


def uses_subprocess() -> None:
    import subprocess

    subprocess.run(["x"])


def uses_nested() -> None:
    def inner() -> float:
        return time.time()

    inner()


FOUND = [
    (uses_time, "time.time() in workflow code gives another answer on replay; say ctx.now()"),
    (uses_sleep, "time.sleep() in workflow code gives another answer on replay; say await ctx.sleep(…)"),
    (uses_now, "datetime.now() in workflow code gives another answer on replay; say ctx.now()"),
    (uses_utcnow_by_module, "dt.datetime.utcnow()"),
    (uses_today, "say ctx.now().date()"),
    (uses_random, "random.random() in workflow code gives another answer on replay; say ctx.random()"),
    (uses_randint, "randint()"),
    (uses_unseeded, "random.Random()"),
    (uses_uuid, "say ctx.uuid4()"),
    (uses_urandom, "os.urandom()"),
    (uses_the_clock_to_write, "time.strftime() in workflow code gives another answer on replay; say ctx.now().strftime(…)"),
    (uses_gmtime, "time.gmtime()"),
    (records_and_calls, "time.time() in workflow code"),
    (uses_environ, "os.environ in workflow code gives another answer on replay; pass the value as an argument, or read it in an activity"),
    (uses_environ_by_name, "environ in workflow code"),
    (uses_getenv, "pass the value as an argument, or read it in an activity"),
    (uses_open, "open() in workflow code gives another answer on replay; do it in an activity"),
    (uses_local_import, "clock.monotonic()"),
    (uses_local_from_import, "token_hex()"),
    (uses_socket, "do it in an activity"),
    (uses_urllib, "urllib.request.urlopen()"),
    (uses_threading, "use asyncio tasks, which are durable here"),
    (uses_subprocess, "do it in an activity"),
    (uses_nested, "time.time()"),
]


@pytest.mark.parametrize(("fn", "says"), FOUND, ids=[fn.__name__ for fn, _ in FOUND])
def test_calls_that_cannot_be_replayed_are_named(fn: Any, says: str) -> None:
    with pytest.raises(DeterminismViolation) as caught:
        check_determinism(fn)
    assert says in str(caught.value)
    assert caught.value.filename == __file__
    first = fn.__code__.co_firstlineno
    assert first < caught.value.line <= first + 5


def named_alike(time: Any, open: Any, self: Any) -> None:
    time.time()
    open("x")
    self.random.random()
    self.time.sleep(1)


def harmless(rng: random.Random) -> None:
    datetime.fromisoformat("2026-01-01")
    dt.timedelta(seconds=1)
    uuid.UUID(int=1)
    uuid.uuid5(uuid.NAMESPACE_DNS, "x")
    os.path.join("a", "b")
    rng.random()
    random.Random(7)
    time.strftime("%Y", time.gmtime(0))
    time.asctime(time.gmtime(0))
    os.path.join("environ")
    asyncio.sleep(1)


def records(ctx: Any) -> None:
    def draws() -> int:
        return random.randint(1, 6)

    ctx.side_effect(lambda: time.time())
    ctx.side_effect(draws, type=int)
    ctx.side_effect(call=lambda: os.environ.get("HOME"))
    ctx.side_effect(time.time)


def assigned() -> None:
    time = harmless
    time.time()  # type: ignore[attr-defined]


def with_default(at: float = time.time()) -> None:
    """Mentions time.time() in words."""


def not_imported() -> None:
    requests.get("x")  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize("fn", [named_alike, harmless, records, assigned, with_default, not_imported, len, eval("lambda: 1")])
def test_what_only_looks_alike_is_left_alone(fn: Any) -> None:
    check_determinism(fn)


def test_decorators_check_functions_and_every_method_of_a_class() -> None:
    async def clocked(ctx: Any) -> float:
        return time.time()

    class Handled:
        async def run(self, ctx: Any) -> None: ...

        @workflow.signal
        def touched(self) -> None:
            self.at = time.time()

    for wrong in (clocked, Handled):
        with pytest.raises(DeterminismViolation, match=r"time\.time\(\) in workflow code"):
            workflow(wrong)
