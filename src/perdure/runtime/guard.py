"""Refuses blocking calls in workflow code while it runs: `time.sleep`, files, sockets, processes.

Python audits these calls (PEP 578). A hook, installed once with the first workflow, looks only at threads that run an activation, and
only at the calls listed here. It cannot see what is not audited: reading the clock, random numbers, environment variables. The
static check of definitions looks for those, and replaying finds what they did. `time.sleep` is audited from Python 3.13 on; before,
it is wrapped, which a module that imported the function by name earlier does not see.

Imports, logging, tracebacks and time zones read files for reasons of their own; they are let through.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, cast

from perdure.model.errors import DeterminismViolation

_ACTIVITY = "move it into an activity and call that from the workflow"
_REFUSED: dict[str, tuple[str, str]] = {
    "time.sleep": ("time.sleep()", "write `await ctx.sleep(seconds)`, which is durable and blocks nobody"),
    "open": ("opening a file", _ACTIVITY),
    "os.listdir": ("reading a directory", _ACTIVITY),
    "os.scandir": ("reading a directory", _ACTIVITY),
    "os.mkdir": ("changing the file system", _ACTIVITY),
    "os.remove": ("changing the file system", _ACTIVITY),
    "os.rename": ("changing the file system", _ACTIVITY),
    "os.rmdir": ("changing the file system", _ACTIVITY),
    "os.truncate": ("changing the file system", _ACTIVITY),
    "socket.connect": ("a network connection", _ACTIVITY),
    "socket.bind": ("a network connection", _ACTIVITY),
    "socket.sendto": ("a network connection", _ACTIVITY),
    "socket.getaddrinfo": ("a name look-up", _ACTIVITY),
    "socket.gethostbyname": ("a name look-up", _ACTIVITY),
    "urllib.Request": ("an HTTP request", _ACTIVITY),
    "http.client.connect": ("an HTTP request", _ACTIVITY),
    "subprocess.Popen": ("starting a process", _ACTIVITY),
    "os.system": ("starting a process", _ACTIVITY),
    "os.fork": ("starting a process", _ACTIVITY),
    "os.posix_spawn": ("starting a process", _ACTIVITY),
    "sqlite3.connect": ("a database connection", _ACTIVITY),
}
_LET_THROUGH = frozenset(
    {
        *("importlib", "_frozen_importlib", "_frozen_importlib_external", "zipimport", "encodings"),
        *("logging", "linecache", "traceback", "tokenize", "warnings", "pdb", "bdb"),
    }
)

_TIME_ZONES = f"{os.sep}zoneinfo{os.sep}"  # zoneinfo opens its files from C, where no frame shows it

_guarded_threads: set[int] = set()
_installed = threading.Lock()
_is_installed = False


def install() -> None:
    """Installs the hook, once in a process."""
    global _is_installed
    if _is_installed:
        return
    with _installed:
        if not _is_installed:
            sys.addaudithook(_hook)
            if sys.version_info < (3, 13):
                time.sleep = cast(Any, _guarded(time.sleep))
            _is_installed = True


def _guarded(sleep: Callable[[float], None]) -> Callable[[float], None]:
    @functools.wraps(sleep)
    def guarded_sleep(seconds: float, /) -> None:
        if _guarded_threads and threading.get_ident() in _guarded_threads:
            _refuse("time.sleep", sys._getframe(1))
        sleep(seconds)

    return guarded_sleep


def enter() -> int | None:
    """From here on this thread runs workflow code. The token is for `leave`."""
    ident = threading.get_ident()
    if ident in _guarded_threads:
        return None
    _guarded_threads.add(ident)
    return ident


def leave(token: int | None) -> None:
    if token is not None:
        _guarded_threads.discard(token)


def suspend() -> bool:
    """Lets this thread call what it likes (a side effect); true if it could not before. `resume` undoes it."""
    ident = threading.get_ident()
    if ident not in _guarded_threads:
        return False
    _guarded_threads.discard(ident)
    return True


def resume(was_guarded: bool) -> None:
    if was_guarded:
        _guarded_threads.add(threading.get_ident())


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event not in _REFUSED or not _guarded_threads or threading.get_ident() not in _guarded_threads:
        return
    if event != "open" or _TIME_ZONES not in str(args[0]):
        _refuse(event, sys._getframe(1))


def _refuse(event: str, frame: FrameType | None) -> None:
    caller = frame
    culprit: FrameType | None = None
    while caller is not None:
        module = str(caller.f_globals.get("__name__", ""))
        if module.partition(".")[0] in _LET_THROUGH:
            return
        if module.startswith("perdure."):
            break
        if culprit is None and not _is_stdlib(module):
            culprit = caller
        caller = caller.f_back
    if culprit is None:
        return
    what, remedy = _REFUSED[event]
    code = culprit.f_code
    raise DeterminismViolation(
        f"{code.co_filename}:{culprit.f_lineno}: workflow code in {code.co_name!r} calls {what}: "
        f"it would block every workflow of this worker, and happen again on replay; {remedy}",
        filename=code.co_filename,
        line=culprit.f_lineno,
        call=what,
        remedy=remedy,
    )


def _is_stdlib(module: str) -> bool:
    return module.partition(".")[0] in sys.stdlib_module_names
