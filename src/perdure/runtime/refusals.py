"""What the loop of workflow code refuses: everything that reaches out of the process, or into another thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NoReturn

from perdure.model.errors import DeterminismViolation

_IN_ACTIVITY = "Move it into an activity and call that from the workflow."
_NO_THREADS = "Put the blocking call into an activity (a plain `def` activity runs in a thread, `@activity(cpu_bound=True)` in a process)."
_SIGNAL = "Send the workflow a signal with `client.signal_workflow` instead."
_RETURN = "Return from the workflow instead."
_AWAIT = "It runs already: use `await`."


def _refused(what: str, remedy: str) -> Callable[..., NoReturn]:
    def refuse(self: asyncio.AbstractEventLoop, *args: Any, **kwargs: Any) -> NoReturn:
        raise DeterminismViolation(f"workflow code cannot use {what}: they would not do the same on replay. {remedy}")

    return refuse


class RefusingLoop(asyncio.AbstractEventLoop):
    """Answers these calls with what to do instead."""

    run_in_executor: Any = _refused("threads (asyncio.to_thread, run_in_executor)", _NO_THREADS)
    set_default_executor: Any = _refused("threads", _NO_THREADS)
    call_soon_threadsafe: Any = _refused("calls from other threads", "Send the workflow a signal instead.")
    create_connection: Any = _refused("network connections", _IN_ACTIVITY)
    create_server: Any = _refused("network servers", _IN_ACTIVITY)
    create_unix_connection: Any = _refused("network connections", _IN_ACTIVITY)
    create_unix_server: Any = _refused("network servers", _IN_ACTIVITY)
    create_datagram_endpoint: Any = _refused("network connections", _IN_ACTIVITY)
    connect_accepted_socket: Any = _refused("network connections", _IN_ACTIVITY)
    start_tls: Any = _refused("network connections", _IN_ACTIVITY)
    sendfile: Any = _refused("files and sockets", _IN_ACTIVITY)
    getaddrinfo: Any = _refused("name look-ups", _IN_ACTIVITY)
    getnameinfo: Any = _refused("name look-ups", _IN_ACTIVITY)
    connect_read_pipe: Any = _refused("pipes", _IN_ACTIVITY)
    connect_write_pipe: Any = _refused("pipes", _IN_ACTIVITY)
    subprocess_shell: Any = _refused("processes", _IN_ACTIVITY)
    subprocess_exec: Any = _refused("processes", _IN_ACTIVITY)
    add_reader: Any = _refused("sockets", _IN_ACTIVITY)
    remove_reader: Any = _refused("sockets", _IN_ACTIVITY)
    add_writer: Any = _refused("sockets", _IN_ACTIVITY)
    remove_writer: Any = _refused("sockets", _IN_ACTIVITY)
    sock_recv: Any = _refused("sockets", _IN_ACTIVITY)
    sock_recv_into: Any = _refused("sockets", _IN_ACTIVITY)
    sock_recvfrom: Any = _refused("sockets", _IN_ACTIVITY)
    sock_recvfrom_into: Any = _refused("sockets", _IN_ACTIVITY)
    sock_sendall: Any = _refused("sockets", _IN_ACTIVITY)
    sock_sendto: Any = _refused("sockets", _IN_ACTIVITY)
    sock_sendfile: Any = _refused("sockets", _IN_ACTIVITY)
    sock_connect: Any = _refused("sockets", _IN_ACTIVITY)
    sock_accept: Any = _refused("sockets", _IN_ACTIVITY)
    add_signal_handler: Any = _refused("operating system signals", _SIGNAL)
    remove_signal_handler: Any = _refused("operating system signals", _SIGNAL)
    run_forever: Any = _refused("other ways to run the loop", _AWAIT)
    run_until_complete: Any = _refused("other ways to run the loop", _AWAIT)
    stop: Any = _refused("ways to stop the loop", _RETURN)
    shutdown_asyncgens: Any = _refused("ways to stop the loop", _RETURN)
    shutdown_default_executor: Any = _refused("ways to stop the loop", _RETURN)
    set_task_factory: Any = _refused("other task factories", "Tasks of a workflow are numbered by its own loop.")
    set_exception_handler: Any = _refused("exception handlers", "Catch the error where it is raised.")
