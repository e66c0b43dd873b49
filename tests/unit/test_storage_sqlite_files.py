"""Proves what SQLiteStorage does with its files: the lock, the permissions, the schema, and what it refuses to touch."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import apsw
import pytest

from perdure.model.errors import SchemaTooNew, StorageCorrupt, StorageError, StorageLocked, UnknownEngine
from perdure.storage import MemoryStorage, SQLiteStorage, storage_for_url
from perdure.storage.conformance.rows import run_id, start
from perdure.storage.contract import Committed
from perdure.storage.sqlite import schema

HOLDER = """
import sys
from perdure.storage import SQLiteStorage
storage = SQLiteStorage(sys.argv[1])
storage.open()
print("open", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


def filled(path: Path) -> SQLiteStorage:
    storage = SQLiteStorage(path)
    storage.open()
    assert storage.commit([start(1, "order-1")]) == [Committed.YES]
    return storage


# --- the lock


def test_a_second_process_is_refused_by_the_pid_of_the_first_until_that_dies(path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        storage = SQLiteStorage(path)
        with pytest.raises(StorageLocked, match=rf"runs\.db is open in process {holder.pid}: stop it, or use another file"):
            storage.open()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        storage.open()
        storage.close()


def test_a_lock_whose_file_was_deleted_is_still_respected(path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        Path(f"{path}-lock").unlink()
        storage = SQLiteStorage(path)
        for _ in range(2):  # having been refused does not make it ours
            with pytest.raises(StorageError, match=r"open in another process, and .*-lock, .*has been deleted: end that process"):
                storage.open()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        storage.open()
        assert storage.commit([start(1, "order-1")]) == [Committed.YES]
        storage.close()


def test_a_database_that_comes_without_its_lock_is_opened_with_its_log(path: Path, tmp_path: Path) -> None:
    """As a copy, or after a crash and a clean-up: what looks whether somebody has it open changes nothing."""
    storage = filled(path)
    for suffix in ("", "-wal"):
        (tmp_path / f"copy.db{suffix}").write_bytes(Path(f"{path}{suffix}").read_bytes())
    storage.close()
    copy = SQLiteStorage(tmp_path / "copy.db")
    copy.open()
    assert copy.load_run(run_id(1)) is not None
    assert copy.commit([start(2, "order-2")]) == [Committed.YES]
    copy.close()


def test_the_same_process_is_refused_too(path: Path) -> None:
    storage = filled(path)
    with pytest.raises(StorageLocked, match=rf"This process \({os.getpid()}\) already has .*runs\.db open"):
        SQLiteStorage(path).open()
    assert storage.commit([start(2, "order-2")]) == [Committed.YES]
    storage.close()
    again = SQLiteStorage(path)
    again.open()
    again.close()


def test_opening_twice_does_not_harm_the_first_opening(path: Path) -> None:
    storage = filled(path)
    with pytest.raises(StorageLocked):
        storage.open()
    assert storage.commit([start(2, "order-2")]) == [Committed.YES]
    storage.close()


def test_a_forked_child_neither_keeps_nor_gives_up_the_lock(path: Path) -> None:
    storage = filled(path)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # lives on until the parent has closed its end
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)
    with pytest.raises(StorageLocked):
        SQLiteStorage(path).open()
    storage.close()
    again = SQLiteStorage(path)
    again.open()
    again.close()
    os.close(writing)
    os.waitpid(child, 0)


FORKING = """
import os, sys, threading
import apsw
from perdure.storage import SQLiteStorage
storage = SQLiteStorage(sys.argv[1])
storage.open()
reading, done = threading.Event(), threading.Event()
def read():
    storage.list_runs("default", None, 10)
    reading.set()
    done.wait()
thread = threading.Thread(target=read)
thread.start()
reading.wait()
connections = len(apsw.connections())
child = os.fork()
if child == 0:
    kept = len(apsw.connections())
    print(connections, kept, flush=True)
    sys.exit(0)  # the whole end of an interpreter, with all that it frees
ended = os.waitpid(child, 0)[1]
done.set()
thread.join()
storage.close()
print(ended, len(apsw.connections()))
"""


def test_a_forked_child_never_closes_what_its_parent_has_open(path: Path) -> None:
    """The parent's threads are gone there, and may have held SQLite's locks: closing their connections could wait for ever."""
    filled(path).close()
    ran = subprocess.run([sys.executable, "-c", FORKING, str(path)], check=True, timeout=120, stdout=subprocess.PIPE, text=True)
    assert ran.stdout.split() == ["2", "2", "0", "0"]


# --- files


def test_all_files_are_private(path: Path) -> None:
    storage = filled(path)
    storage.backup(str(path) + ".copy")
    files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert files == dict.fromkeys(["runs.db", "runs.db-wal", "runs.db-shm", "runs.db-lock", "runs.db.copy"], 0o600)
    storage.close()
    assert sorted(file.name for file in path.parent.iterdir()) == ["runs.db", "runs.db-lock", "runs.db.copy"]


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"The directory .*/nowhere does not exist: create it"):
        SQLiteStorage(tmp_path / "nowhere" / "runs.db").open()


def test_a_directory_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"is a directory: name a file in it"):
        SQLiteStorage(tmp_path).open()


@pytest.mark.parametrize("content", [b"name,email\nAda,ada@example.com\n" * 100, b"\x00" * 5000])
def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(StorageCorrupt, match="is not a SQLite database: choose another path"):
        SQLiteStorage(path).open()
    assert path.read_bytes() == content


def test_a_database_of_another_application_is_refused_and_left_alone(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE customers (name TEXT)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StorageCorrupt, match="is a database of another application: choose another path"):
        SQLiteStorage(path).open()
    assert path.read_bytes() == before


def test_an_empty_file_becomes_a_storage(path: Path) -> None:
    path.touch()
    storage = filled(path)
    assert storage.sizes()["runs"] == 1
    storage.close()


def test_a_damaged_file_is_reported(path: Path) -> None:
    filled(path).close()
    content = path.read_bytes()
    path.write_bytes(content[:4096] + os.urandom(len(content) - 4096))
    storage = SQLiteStorage(path)
    with pytest.raises(StorageCorrupt, match=r"is damaged .*: restore it from a backup"):
        storage.open()
        storage.load_run(run_id(1))
    storage.close()


def test_a_deleted_file_is_noticed(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    storage = filled(path)
    path.unlink()
    assert storage.commit([start(2, "order-2")]) == [Committed.FAILED]
    assert "was moved or deleted while it was open" in caplog.text
    storage.close()


def test_durability_is_asserted_on_the_connection_that_writes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = filled(path)
    connection = storage._owned()
    settings = {name: connection.pragma(name) for name in ("journal_mode", "synchronous", "fullfsync", "checkpoint_fullfsync")}
    assert settings == {"journal_mode": "wal", "synchronous": 2, "fullfsync": 1, "checkpoint_fullfsync": 1}
    storage.close()
    real = schema._use_log

    def weakened(connection: object, path: str) -> None:
        connection.pragma("synchronous", "normal")  # type: ignore[attr-defined]
        real(connection, path)  # type: ignore[arg-type]

    monkeypatch.setattr(schema, "_use_log", weakened)
    with pytest.raises(StorageError, match="cannot be written durably: SQLite gives journal mode wal, synchronous 1"):
        SQLiteStorage(path).open()


def test_readers_cannot_write(path: Path) -> None:
    storage = filled(path)
    storage.load_run(run_id(1))
    with pytest.raises(apsw.ReadOnlyError):
        storage._readers.mine().execute("DELETE FROM runs")
    storage.close()


# --- schema


def test_a_newer_schema_is_refused_and_left_alone(path: Path) -> None:
    filled(path).close()
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE meta SET value = 99 WHERE name = 'schema'")
    connection.close()
    with pytest.raises(SchemaTooNew, match="has schema 99, and this perdure knows up to 2: upgrade perdure"):
        SQLiteStorage(path).open()


def test_an_older_schema_is_brought_forward_after_a_backup(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(path).close()
    monkeypatch.setattr(schema, "SCHEMA_VERSION", 4)
    steps = {2: ["ALTER TABLE runs ADD COLUMN priority INTEGER NOT NULL DEFAULT 3"], 3: ["UPDATE runs SET priority = priority + 1"]}
    monkeypatch.setattr(schema, "MIGRATIONS", steps)
    storage = SQLiteStorage(path)
    storage.open()
    assert storage._owned().execute("SELECT priority FROM runs").fetchall() == [(4,)]
    storage.close()
    backup = apsw.Connection(f"{path}.schema-2.backup")
    assert backup.execute("SELECT value FROM meta WHERE name = 'schema'").fetchall() == [(2,)]
    assert backup.execute("SELECT count(*) FROM runs").fetchall() == [(1,)]
    backup.close()


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "the disk is full: free some space"),
        (errno.EROFS, "the file or its directory is read-only"),
        (errno.EMFILE, "too many files are open: raise the limit"),
        (errno.EIO, "the operating system refused"),
    ],
)
def test_what_the_system_refuses_is_not_laid_at_sqlites_door(path: Path, number: int, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StorageError, match=rf"runs\.db cannot be opened: {says}"):
        SQLiteStorage(path).open()


def test_a_migration_that_fails_changes_nothing_and_can_be_tried_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(path).close()
    monkeypatch.setattr(schema, "SCHEMA_VERSION", 3)
    monkeypatch.setattr(schema, "MIGRATIONS", {2: ["ALTER TABLE runs ADD COLUMN priority INTEGER", "SELECT nonsense FROM nowhere"]})
    with pytest.raises(StorageError, match=r"runs\.db cannot be opened: SQLite refused"):
        SQLiteStorage(path).open()
    monkeypatch.setattr(schema, "MIGRATIONS", {2: ["ALTER TABLE runs ADD COLUMN priority INTEGER"]})
    storage = SQLiteStorage(path)
    storage.open()
    assert storage.load_run(run_id(1)) is not None
    storage.close()


def test_a_schema_that_nothing_brings_forward_is_refused_and_left_alone(path: Path) -> None:
    filled(path).close()
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE meta SET value = 1 WHERE name = 'schema'")
    connection.close()
    with pytest.raises(StorageError, match="was written before perdure's first release"):
        SQLiteStorage(path).open()


# --- backup


def test_a_backup_is_a_storage_with_all_that_was_committed(path: Path, tmp_path: Path) -> None:
    storage = filled(path)
    copy = tmp_path / "copy.db"
    storage.backup(str(copy))
    storage.commit([start(2, "order-2")])
    storage.close()
    restored = SQLiteStorage(copy)
    restored.open()
    assert restored.sizes()["runs"] == 1
    assert restored.load_run(run_id(1)) is not None
    restored.close()


def test_a_backup_never_overwrites(path: Path, tmp_path: Path) -> None:
    storage = filled(path)
    storage.backup(str(tmp_path / "copy.db"))
    with pytest.raises(StorageError, match="exists already: name a new file"):
        storage.backup(str(tmp_path / "copy.db"))
    with pytest.raises(StorageError, match="is the database itself"):
        storage.backup(str(path))
    storage.close()


def test_memory_cannot_be_backed_up() -> None:
    with pytest.raises(StorageError, match="A memory storage cannot be copied"):
        MemoryStorage().backup("copy.db")


# --- URLs, and use when closed


def test_urls_name_storages() -> None:
    relative, absolute = storage_for_url("sqlite:///data/orders.db"), storage_for_url("sqlite:////var/lib/my%20orders.db")
    assert isinstance(relative, SQLiteStorage)
    assert isinstance(absolute, SQLiteStorage)
    assert (relative.path, relative.url) == (f"{Path.cwd()}/data/orders.db", f"sqlite:///{Path.cwd()}/data/orders.db")
    assert absolute.path == "/var/lib/my orders.db"
    assert absolute.url == "sqlite:////var/lib/my%20orders.db"
    assert isinstance(storage_for_url("memory://"), MemoryStorage)


def test_a_relative_path_stays_where_it_was_when_the_directory_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    storage = filled(Path("runs.db"))
    monkeypatch.chdir("/")
    assert storage.load_run(run_id(1)) is not None
    storage.close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("orders.db", "names no storage: it begins with one of memory://, sqlite://"),
        ("mongodb://host/db", "names no storage"),
        ("sqlite://orders.db", r"names a host: write sqlite:///orders\.db"),
        ("sqlite:///", "names no file"),
        ("sqlite:///data/", "names no file"),
        ("sqlite:///orders.db?mode=ro", "has options, and a SQLite storage takes none"),
        ("memory://orders", "has a path, and memory keeps no file"),
    ],
)
def test_wrong_urls_say_what_to_write(url: str, message: str) -> None:
    with pytest.raises(UnknownEngine, match=message) as refused:
        storage_for_url(url)
    assert refused.value.exit_code == 2, "the user's mistake, and not an engine out of reach"


@pytest.mark.parametrize("make", [MemoryStorage, lambda: SQLiteStorage("never-opened.db")])
def test_a_closed_storage_says_so(make: type[MemoryStorage]) -> None:
    storage = make()
    for call in (lambda: storage.commit([]), lambda: storage.load_run(run_id(1)), storage.next_incarnation, storage.sizes):
        with pytest.raises(StorageError, match="is not open"):
            call()
    storage.close()


def test_memory_imports_no_database() -> None:
    code = "import sys, perdure.storage as s; s.storage_for_url('memory://'); print('sqlalchemy' in sys.modules, 'apsw' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False False\n"
