"""Proves that a wrong URL, file or connection is answered at once with one sentence that says what to type."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import temporalio.converter

from perdure import EngineUnavailable, WorkflowClient, WorkflowContext, workflow
from perdure.storage import SQLiteStorage
from perdure.testing import server

sys.path.insert(0, str(Path(__file__).parent))

from mistakes import Row, Table, seen

mistake = Table()
connect = WorkflowClient.connect


@workflow
async def nothing(ctx: WorkflowContext) -> None: ...


@mistake(
    "UnknownName",
    "what WorkflowClient.connect(…) returns has no 'start_workflow'; say `async with WorkflowClient.connect(…) as "
    "client`, or `client = await WorkflowClient.connect(…)`, and use the client",
)
async def client_not_entered(tmp: Path) -> None:
    await connect("memory://").start_workflow(nothing, id="1")  # type: ignore[attr-defined]


@mistake("UsageError", "say WorkflowClient.connect('sqlite:///x.db'), with `async with` or `await`")
async def client_made_by_hand(tmp: Path) -> None:
    WorkflowClient("sqlite:///x.db")  # type: ignore[arg-type]


@mistake("EngineUnavailable", "the client is closed; use it inside `async with WorkflowClient.connect(…) as client`")
async def client_closed(tmp: Path) -> None:
    client = await connect("memory://")
    await client.close()
    await client.start_workflow(nothing, id="1")


@mistake(
    "UnknownEngine",
    "there is no engine for postgres:// in this release; say sqlite:///perdure.db for a SQLite file, "
    "perdure://HOST:PORT for a server, or memory://",
)
async def postgres(tmp: Path) -> None:
    await connect("postgres://localhost/app")


@mistake(
    "EngineUnavailable", "no server answers at 127.0.0.1:1: connection refused. Start one with `perdure server`, or look at the address."
)
async def nobody_serves(tmp: Path) -> None:
    await connect("temporal://127.0.0.1:1")


@mistake(
    "UnknownEngine",
    "'perdure://127.0.0.1:7233' is a server already; what is served stands in a file or in memory: say sqlite:///perdure.db, or memory://",
)
async def server_of_a_server(tmp: Path) -> None:
    async with server("perdure://127.0.0.1:7233"):
        pass


@mistake(
    "EngineUnavailable",
    "no server answers at 127.0.0.1:<port>: what listens there does not speak gRPC, or only over TLS. Start one with `perdure server`, "
    "or look at the address.",
)
async def the_port_of_http(tmp: Path) -> None:
    async with _speaking_http() as port:
        await _on(port, f"perdure://127.0.0.1:{port}")


@mistake(
    "EngineUnavailable",
    "no server answers at 127.0.0.1:<port>: it does not speak TLS. Start one with `perdure server`, or look at the address.",
)
async def tls_where_there_is_none(tmp: Path) -> None:
    async with _speaking_http() as port:
        await _on(port, f"perdure://127.0.0.1:{port}?tls=true")


@asynccontextmanager
async def _speaking_http() -> AsyncGenerator[int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def _on(port: int, url: str) -> None:
    try:
        await connect(url)
    except EngineUnavailable as error:
        raise EngineUnavailable(str(error).replace(f":{port}", ":<port>")) from None


@mistake("UnknownEngine", "'localhost:7233' is not a URL; for a SQLite file say sqlite:///perdure.db, for an engine in memory memory://")
async def host_and_port(tmp: Path) -> None:
    await connect("localhost:7233")


@mistake(
    "UnknownEngine",
    "there is no engine for sqllite:// in this release; say sqlite:///app.db for a SQLite file, "
    "perdure://HOST:PORT for a server, or memory://",
)
async def misspelt(tmp: Path) -> None:
    await connect("sqllite:///app.db")


@mistake("UnknownEngine", "'sqlite//app.db' is not a URL; for a SQLite file say sqlite:///app.db, for an engine in memory memory://")
async def colon_forgotten(tmp: Path) -> None:
    await connect("sqlite//app.db")


@mistake("UnknownEngine", "'app.db' is not a URL; for a SQLite file say sqlite:///app.db, for an engine in memory memory://")
async def path_only(tmp: Path) -> None:
    await connect("app.db")


@mistake("UnknownEngine", "'sqlite://app.db' names a host: write sqlite:///app.db (three slashes) for a file from here.")
async def two_slashes(tmp: Path) -> None:
    await connect("sqlite://app.db")


@mistake("UnknownEngine", "for an engine in memory say memory://")
async def sqlite_memory(tmp: Path) -> None:
    await connect("sqlite:///:memory:")


@mistake("UnknownEngine", "'sqlite:///' names no file: write sqlite:///perdure.db, sqlite:////absolute/path/perdure.db, or memory://.")
async def no_file(tmp: Path) -> None:
    await connect("sqlite:///")


@mistake(
    "UnknownEngine",
    "'sqlite:///<path>/app.db?timeout=3' has options, and a SQLite storage takes none (write %3F for ? and %23 for # in a path).",
)
async def options_in_url(tmp: Path) -> None:
    await connect(f"sqlite:///{tmp}/app.db?timeout=3")


@mistake("UnknownEngine", "the URL is 7; give a string, as in sqlite:///perdure.db")
async def number_as_url(tmp: Path) -> None:
    await connect(7)  # type: ignore[arg-type]


@mistake("StorageError", "The directory <path>/missing does not exist: create it, or choose another path for app.db.")
async def no_such_directory(tmp: Path) -> None:
    await connect(f"sqlite:///{tmp}/missing/app.db")


@mistake("StorageError", "<path> is a directory: name a file in it, such as <path>/perdure.db.")
async def directory(tmp: Path) -> None:
    await connect(f"sqlite:///{tmp}")


@mistake("StorageCorrupt", "<path>/notes.txt is not a SQLite database: choose another path, or restore the file from a backup.")
async def no_database(tmp: Path) -> None:
    (tmp / "notes.txt").write_text("these are notes, and no database\n" * 100)
    await connect(f"sqlite:///{tmp}/notes.txt")


@mistake("RequestRefused", "there is no namespace 'production'; connect with namespace='default'")
async def unknown_namespace(tmp: Path) -> None:
    await connect("memory://", namespace="production")


@mistake("UsageError", "data_converter is 'json'; give a perdure.DataConverter, as in DataConverter(payload_converter, codec=…)")
async def converter_name(tmp: Path) -> None:
    await connect("memory://", data_converter="json")  # type: ignore[arg-type]


@mistake("UsageError", "data_converter is temporalio's; say perdure.DataConverter(theirs.payload_converter, codec=theirs.payload_codec)")
async def converter_of_temporalio(tmp: Path) -> None:
    await connect("memory://", data_converter=temporalio.converter.DataConverter.default)  # type: ignore[arg-type]


@pytest.mark.parametrize("row", mistake.rows, ids=lambda row: row.name)
async def test_what_its_author_sees(tmp_path: Path, row: Row) -> None:
    assert await seen(row.code(tmp_path), tmp_path) == (row.error, row.text)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_read_only_directory(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    error, text = await seen(connect(f"sqlite:///{tmp_path}/app.db")._open(), tmp_path)
    assert error == "StorageError" and "<path>" in text


async def test_second_process_where_something_else_holds_the_file(tmp_path: Path) -> None:
    """A second client joins the first; a storage that no engine serves cannot be joined, and says so."""
    url = f"sqlite:///{tmp_path}/app.db"
    program = f"""
import asyncio, perdure
async def main():
    try:
        await perdure.WorkflowClient.connect({url!r})
    except perdure.StorageLocked as error:
        print(error)
asyncio.run(main())
"""
    storage = SQLiteStorage(tmp_path / "app.db")
    storage.open()
    try:
        other = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
        said = (await other.communicate())[0].decode().strip()
        assert said == f"{tmp_path}/app.db is open in process {os.getpid()}: stop it, or use another file."
    finally:
        storage.close()
