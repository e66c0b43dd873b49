"""Proves how a SQLite file is shared: joining, being refused, handing over, and what becomes of calls and tasks on the way."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from temporalio.api.common.v1 import WorkflowType
from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeTaskQueueRequest,
    GetSystemInfoRequest,
    PollWorkflowTaskQueueRequest,
    SignalWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
)

from perdure import StorageLocked, WorkflowClient, WorkflowContext, WorkflowWorker, workflow
from perdure.model.clock import SystemClock
from perdure.model.rpc import RpcError, StatusCode
from perdure.service.connect import connect
from perdure.service.local import address as addresses
from perdure.service.local import shared_file
from perdure.service.local.address import Address
from perdure.service.local.connection import NotLetIn, join
from perdure.service.local.frames import FrameSocket, Kind, call_body
from perdure.service.local.greeting import WIRE_VERSION, Greeting
from perdure.service.local.shared_file import SharedFile
from perdure.service.methods import is_repeatable, method_named, method_names
from perdure.storage.sqlite import SQLiteStorage, read_holder


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SharedFile]:
    file = SharedFile(str(path), None)
    await file.open()
    try:
        yield file
    finally:
        await file.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "app.db"


def start_request(workflow_id: str) -> StartWorkflowExecutionRequest:
    return StartWorkflowExecutionRequest(
        namespace="default",
        workflow_id=workflow_id,
        workflow_type=WorkflowType(name="hello"),
        task_queue=TaskQueue(name="q"),
        request_id=f"start {workflow_id}",
    )


def poll_request() -> PollWorkflowTaskQueueRequest:
    return PollWorkflowTaskQueueRequest(namespace="default", task_queue=TaskQueue(name="q"), identity="test")


def address_of(path: Path) -> Address:
    holder = read_holder(str(path))
    assert holder is not None
    address = Address.of_note(holder.note)
    assert address is not None
    return address


# --- joining


async def test_the_second_joins_the_first_and_gets_its_answers_and_refusals(path: Path) -> None:
    async with opened(path) as owner, opened(path) as joiner:
        assert (owner.engine is not None, joiner.engine) == (True, None)
        service = joiner.service()
        assert (await service.get_system_info(GetSystemInfoRequest())).capabilities.sdk_metadata
        started = await service.start_workflow_execution(start_request("w"))
        assert (await owner.service().start_workflow_execution(start_request("w"))).run_id == started.run_id
        with pytest.raises(RpcError) as refused:
            await service.describe_namespace(DescribeNamespaceRequest(namespace="nowhere"))
        assert refused.value.code is StatusCode.NOT_FOUND
        assert refused.value.detail == NamespaceNotFoundFailure(namespace="nowhere")


JOINER = """
import asyncio, sys
from perdure.service.connect import connect

async def main():
    connection = await connect("sqlite:///" + sys.argv[1], brief=True)
    print(repr(connection.service), "sqlalchemy" in sys.modules, "perdure.engine" in sys.modules)
    await connection.close()

asyncio.run(main())
"""


async def test_who_joins_briefly_loads_neither_engine_nor_database(path: Path) -> None:
    """Which is more than half of what `perdure workflow list` costs beside an application."""
    async with opened(path):
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", JOINER, str(path), stdout=pipe)
        said, _ = await process.communicate()
    assert said.decode() == f"<WorkflowService of {path}, joined> False False\n"


HEIR = """
import asyncio, sys
from perdure.service.local import shared_file

async def main():
    loaded, load = asyncio.Event(), shared_file._load
    loop = asyncio.get_running_loop()
    def noting(path):
        load(path)
        loop.call_soon_threadsafe(loaded.set)
    shared_file._load, shared_file.BRIEF_SECONDS = noting, 0
    file = shared_file.SharedFile(sys.argv[1], None, brief=True)
    await file.open()
    print(file.engine, "sqlalchemy" in sys.modules, "perdure.engine" in sys.modules)
    await loaded.wait()
    print(file.engine, "sqlalchemy" in sys.modules, "perdure.engine" in sys.modules)
    await file.close()

asyncio.run(main())
"""


async def test_a_brief_joiner_that_stays_gets_ready_to_take_over(path: Path) -> None:
    async with opened(path):
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", HEIR, str(path), stdout=asyncio.subprocess.PIPE)
        said, _ = await process.communicate()
    assert said.decode().splitlines() == ["None False False", "None True True"]


async def test_files_are_private_and_go_with_the_owner(path: Path) -> None:
    async with opened(path):
        beside = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        assert set(beside) == {"app.db", "app.db-wal", "app.db-shm", "app.db-lock", "app.db-socket"}
        assert set(beside.values()) == {0o600}
    assert {file.name for file in path.parent.iterdir()} == {"app.db", "app.db-lock"}


async def test_a_long_path_is_joined_through_a_folder_of_the_users_own(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    async with opened(deep / "app.db"), opened(deep / "app.db") as joiner:
        place = Path(address_of(deep / "app.db").place.removeprefix("unix:"))
        assert place.parent.name == f"perdure-{os.getuid()}"
        assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
        await joiner.service().get_system_info(GetSystemInfoRequest())
    assert not place.exists()


async def test_without_unix_sockets_a_loopback_port_serves(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "_paths", lambda database: [])
    async with opened(path), opened(path) as joiner:
        assert address_of(path).place.startswith("tcp:")
        await joiner.service().get_system_info(GetSystemInfoRequest())


async def test_client_and_worker_join_from_another_thread(path: Path) -> None:
    """Two event loops of one process are two processes to each other."""

    @workflow
    async def hello(ctx: WorkflowContext, name: str) -> str:
        return f"hello {name}"

    url = f"sqlite:///{path}"
    ready, over = threading.Event(), threading.Event()

    async def work() -> None:
        async with WorkflowClient.connect(url) as client, WorkflowWorker(client, workflows=[hello]):
            ready.set()
            await asyncio.to_thread(over.wait)

    async with WorkflowClient.connect(url) as client:
        thread = threading.Thread(target=lambda: asyncio.run(work()))
        thread.start()
        assert await asyncio.to_thread(ready.wait, 20)
        try:
            assert await client.execute_workflow(hello, "you", id="w") == "hello you"
        finally:
            over.set()
            await asyncio.to_thread(thread.join)


async def test_connections_opened_at_once_have_one_owner(path: Path) -> None:
    files = [SharedFile(str(path), None) for _ in range(6)]
    await asyncio.gather(*(file.open() for file in files))
    assert [file.engine is not None for file in files].count(True) == 1
    await asyncio.gather(*(file.close() for file in files))


# --- being refused


async def test_a_file_that_something_else_holds_is_refused_at_once(path: Path) -> None:
    storage = SQLiteStorage(path)
    storage.open()
    try:
        with pytest.raises(StorageLocked, match=rf"This process \({os.getpid()}\) already has .*app.db open"):
            await connect(f"sqlite:///{path}")
    finally:
        storage.close()


async def test_an_owner_who_does_not_answer_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_file, "OPENING_SECONDS_MAX", 0.05)
    async with opened(path):
        Path(f"{path}-socket").unlink()
        with pytest.raises(StorageLocked, match=rf"is open in this process \({os.getpid()}\), which does not answer: close the client"):
            await SharedFile(str(path), None).open()
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(os, "getpid", lambda: 1)
            with pytest.raises(StorageLocked, match=r"app.db is open in process \d+, which does not answer: stop it, or use another"):
                await SharedFile(str(path), None).open()


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (Greeting("0.0.1", 1), r"runs perdure \S+, and this is 0.0.1: use the same version"),
        (Greeting("same", 99), r"knows schema \d+, and this process 99: use the same version of perdure"),
    ],
)
async def test_another_version_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch, other: Greeting, text: str) -> None:
    async with opened(path) as owner:
        other = other._replace(perdure=owner._greeting.perdure) if other.perdure == "same" else other
        monkeypatch.setattr(shared_file, "_greeting", lambda: other)
        with pytest.raises(StorageLocked, match=rf"app.db is open in this process \({os.getpid()}\), which {text}"):
            await SharedFile(str(path), None).open()


async def test_who_does_not_know_the_secret_is_not_let_in(path: Path) -> None:
    async with opened(path) as owner:
        with pytest.raises(NotLetIn, match="try again"):
            await join(address_of(path)._replace(secret="guessed"), owner._greeting)


@pytest.mark.parametrize(
    "said",
    [b"GET / HTTP/1.1\r\n\r\n", bytes((WIRE_VERSION,)) + b"\xff" * 64, bytes((WIRE_VERSION,)) + b"\0\0\0\x05\x01\0\0\0\0", b"\x07", b""],
)
async def test_what_is_not_this_protocol_is_cut_off_and_harms_nobody(path: Path, said: bytes) -> None:
    async with opened(path), opened(path) as joiner:
        reader, writer = await asyncio.open_unix_connection(f"{path}-socket")
        writer.write(said)
        writer.write_eof()
        await reader.read()
        writer.close()
        await writer.wait_closed()
        await joiner.service().get_system_info(GetSystemInfoRequest())


# --- calls


async def test_unknown_and_unreadable_calls_are_refused_and_the_connection_stays(path: Path) -> None:
    async with opened(path) as owner:
        frames = FrameSocket(await address_of(path).connect())
        frames.send_byte(WIRE_VERSION)
        frames.send(Kind.HELLO, 0, owner._greeting.hello(address_of(path).secret))
        assert await frames.read_byte() == WIRE_VERSION
        welcome = await frames.read()
        assert welcome is not None and welcome.kind == Kind.WELCOME
        for number, (body, code) in enumerate(
            [
                (call_body("__init__", b""), StatusCode.UNIMPLEMENTED),
                (call_body("", b""), StatusCode.UNIMPLEMENTED),
                (b"", StatusCode.UNIMPLEMENTED),
                (call_body("get_system_info", b"\xff\xff"), StatusCode.INVALID_ARGUMENT),
            ]
        ):
            frames.send(Kind.CALL, number, body)
            answer = await frames.read()
            assert answer is not None
            assert (answer.kind, answer.number, answer.body[0]) == (Kind.ERROR, number, code)
        await frames.close()


async def test_a_request_that_is_too_large_is_refused_before_it_is_sent(path: Path) -> None:
    async with opened(path), opened(path) as joiner:
        request = SignalWorkflowExecutionRequest(signal_name="x" * (65 * 1024 * 1024))
        with pytest.raises(RpcError) as refused:
            await joiner.service().signal_workflow_execution(request)
        assert refused.value.code is StatusCode.RESOURCE_EXHAUSTED


async def test_a_joiner_that_does_not_read_is_not_read_either_and_holds_up_nobody(path: Path) -> None:
    async with opened(path) as owner, opened(path) as joiner:
        slow = await join(address_of(path), owner._greeting)
        slow._reading.cancel()
        await asyncio.wait((slow._reading,))
        body = call_body("get_system_info", b"")
        for number in range(20_000):
            slow._frames.send(Kind.CALL, number, body)
        await joiner.service().get_system_info(GetSystemInfoRequest())
        assert owner._server is not None
        assert sum(session._frames._unsent_bytes for session in owner._server._sessions) < 10 * 1024 * 1024
        await slow._frames.close()


# --- tasks


async def test_a_poll_that_is_cancelled_loses_no_task(path: Path) -> None:
    async with opened(path) as owner, opened(path) as joiner:
        service = joiner.service()
        for round_ in range(20):
            poll = asyncio.create_task(service.poll_workflow_task_queue(poll_request()))
            await polls(owner, 1)
            await owner.service().start_workflow_execution(start_request(f"w{round_}"))  # its task is on the way to the poll
            poll.cancel()
            await asyncio.wait((poll,))
            if poll.cancelled():
                task = await service.poll_workflow_task_queue(poll_request())
            else:
                task = poll.result()
            assert task.workflow_execution.workflow_id == f"w{round_}"


async def test_a_task_on_its_way_to_a_joiner_that_dies_goes_to_another(path: Path) -> None:
    async with opened(path) as owner:
        dying = await join(address_of(path), owner._greeting)
        dying._reading.cancel()  # it never hears of its task
        await asyncio.wait((dying._reading,))
        dying._frames.send(Kind.CALL, 1, call_body("poll_workflow_task_queue", poll_request().SerializeToString()))
        await polls(owner, 1)
        await owner.service().start_workflow_execution(start_request("w"))
        await dying._frames.close()
        task = await owner.service().poll_workflow_task_queue(poll_request())
        assert (task.workflow_execution.workflow_id, task.attempt) == ("w", 1)


async def test_a_worker_that_has_joined_and_goes_leaves_its_sticky_queue(path: Path) -> None:
    async with opened(path) as owner:
        joiner = SharedFile(str(path), None)
        await joiner.open()
        request = poll_request()
        request.task_queue.MergeFrom(TaskQueue(name="sticky", kind=2, normal_name="q"))  # type: ignore[arg-type]
        request.task_queue.name = "sticky"
        poll = asyncio.create_task(joiner.service().poll_workflow_task_queue(request))
        await polls(owner, 1, "sticky")
        assert owner._server is not None
        session = next(iter(owner._server._sessions.values()))
        await joiner.close()
        await asyncio.wait((poll, session))
        assert isinstance(poll.exception(), RpcError)
        assert owner.engine is not None
        assert [queue.key.name for queue in owner.engine.matching.queues()] == []


async def polls(owner: SharedFile, count: int, queue: str = "q") -> None:
    """Returns when so many polls wait on a queue."""
    request = DescribeTaskQueueRequest(namespace="default", task_queue=TaskQueue(name=queue), task_queue_type=1)  # type: ignore[arg-type]
    while len((await owner.service().describe_task_queue(request)).pollers) < count:
        await asyncio.sleep(0)


# --- handing over


async def test_a_clean_end_hands_the_file_over(path: Path) -> None:
    owner, joiner = SharedFile(str(path), None), SharedFile(str(path), None)
    await owner.open()
    await joiner.open()
    service = joiner.service()
    poll = asyncio.create_task(service.poll_workflow_task_queue(poll_request()))
    await polls(owner, 1)
    await owner.close()
    started = await service.start_workflow_execution(start_request("w"))
    assert joiner.engine is not None
    assert not (await poll).task_token or (await poll).workflow_execution.run_id == started.run_id
    await joiner.close()


@pytest.mark.parametrize("times", [3])
async def test_calls_go_on_while_owners_come_and_go(path: Path, times: int) -> None:
    """Each owner leaves while the others call; every call is answered, and what was started is there at the end."""
    files = [SharedFile(str(path), None) for _ in range(times + 1)]
    for file in files:
        await file.open()
    last = files[-1].service()
    going, started = True, []

    async def call(lane: int) -> None:
        number = 0
        while going:
            await last.start_workflow_execution(start_request(f"{lane}-{number}"))
            started.append(f"{lane}-{number}")
            number += 1

    calls = [asyncio.create_task(call(lane)) for lane in range(8)]
    for file in files[:-1]:
        seen = len(started)
        while len(started) < seen + 20:
            await asyncio.sleep(0)
        await file.close()
    seen = len(started)
    while len(started) < seen + 20:
        await asyncio.sleep(0)
    going = False
    await asyncio.gather(*calls)
    for workflow_id in started:
        await last.start_workflow_execution(start_request(workflow_id))  # the same request: no error means it is there
    await files[-1].close()


HOLDER = """
import asyncio, sys
from perdure.service.connect import connect
async def main():
    await connect(sys.argv[1])
    print("open", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


async def test_a_killed_owner_is_followed(path: Path) -> None:
    owner = await asyncio.create_subprocess_exec(sys.executable, "-c", HOLDER, f"sqlite:///{path}", stdout=asyncio.subprocess.PIPE)
    assert owner.stdout is not None
    assert await owner.stdout.readline() == b"open\n"
    async with opened(path) as joiner:
        assert joiner.engine is None
        service = joiner.service()
        first = await service.start_workflow_execution(start_request("before"))
        waiting = asyncio.create_task(service.poll_workflow_task_queue(poll_request()))
        owner.kill()
        await owner.wait()
        again = await service.start_workflow_execution(start_request("before"))
        assert again.run_id == first.run_id
        assert joiner.engine is not None
        waiting.cancel()
        await asyncio.wait((waiting,))


FORKED = """
import asyncio, os, sys
from perdure.service.connect import connect
async def main():
    await connect(sys.argv[1])
    if os.fork() == 0:  # lives until the test closes its end
        os.read(0, 1)
        os._exit(0)
    print("open", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


async def test_a_forked_child_of_a_killed_owner_holds_nobody_up(path: Path) -> None:
    """It has inherited the owner's sockets and its lock, and must not keep them open."""
    command = [sys.executable, "-c", FORKED, f"sqlite:///{path}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:  # closing its end of stdin ends the child
        assert owner.stdout is not None
        assert await asyncio.to_thread(owner.stdout.readline) == b"open\n"
        async with opened(path) as joiner:
            assert joiner.engine is None
            owner.kill()
            assert (await joiner.service().start_workflow_execution(start_request("w"))).run_id
            assert joiner.engine is not None


async def test_what_cannot_be_repeated_is_unavailable_when_its_answer_is_lost(path: Path) -> None:
    listener = addresses.listen(str(path))
    storage = SQLiteStorage(path)
    storage.announce(listener.address.note())
    storage.open()
    loop = asyncio.get_running_loop()
    accepting = loop.create_task(loop.sock_accept(listener.socket))
    joiner = SharedFile(str(path), SystemClock())
    opening = loop.create_task(joiner.open())
    silent = FrameSocket((await accepting)[0])
    silent.send_byte(WIRE_VERSION)
    assert await silent.read_byte() == WIRE_VERSION
    assert await silent.read()
    silent.send(Kind.WELCOME, 0)
    await opening
    calls = [
        loop.create_task(joiner.service().terminate_workflow_execution(TerminateWorkflowExecutionRequest(namespace="default"))),
        loop.create_task(joiner.service().start_workflow_execution(start_request("w"))),
    ]
    assert await silent.read() and await silent.read()
    listener.close()
    storage.close()
    await silent.close()
    with pytest.raises(RpcError) as lost:
        await calls[0]
    assert lost.value.code is StatusCode.UNAVAILABLE
    assert (await calls[1]).run_id
    await joiner.close()


async def test_a_connection_that_is_closed_answers_unavailable(path: Path) -> None:
    async with opened(path):
        joiner = SharedFile(str(path), None)
        await joiner.open()
        await joiner.close()
        with pytest.raises(RpcError) as refused:
            await joiner.service().get_system_info(GetSystemInfoRequest())
        assert refused.value.code is StatusCode.UNAVAILABLE


# --- the table of methods


def test_every_rpc_of_the_contract_is_known_by_name() -> None:
    assert "start_workflow_execution" in method_names()
    for name in method_names():
        method = method_named(name)
        assert method is not None
        camel = "".join(word.capitalize() for word in name.split("_"))
        assert (method.request.__name__, method.response.__name__) == (f"{camel}Request", f"{camel}Response")
    assert method_named("__class__") is None


def test_what_may_be_repeated() -> None:
    assert is_repeatable("poll_workflow_task_queue", poll_request())
    assert is_repeatable("start_workflow_execution", start_request("w"))
    assert not is_repeatable("start_workflow_execution", StartWorkflowExecutionRequest())
    assert not is_repeatable("terminate_workflow_execution", TerminateWorkflowExecutionRequest())


@pytest.fixture(autouse=True)
def no_socket_is_left() -> Iterator[None]:
    """Each of these tests closes what it opens."""
    before = {id(each) for each in _sockets()}
    yield
    assert not [each for each in _sockets() if id(each) not in before]


def _sockets() -> list[socket.socket]:
    import gc

    return [each for each in gc.get_objects() if isinstance(each, socket.socket) and each.fileno() != -1]
