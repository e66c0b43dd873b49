"""Proves that every YES survives the loss of power, and that this test would notice if it did not.

A layer below SQLite records each write and each sync. From that record, images of the disk are built as a crash at any
moment may leave it: what was synced is there; of what was written since, any part, in any order, torn anywhere. Each
image is opened as a storage would be after the crash. (`kill -9` proves nothing here: the kernel keeps what was written.)
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
import pytest

from perdure.storage import MemoryStorage, SQLiteStorage
from perdure.storage.conformance import RandomGroups, contents
from perdure.storage.conformance.rows import run_id, start, step
from perdure.storage.contract import Committed, Transaction
from perdure.storage.sqlite import commits

SECTOR = 512


@dataclass
class Record:
    """What was done to the disk, in order, with marks of what had been promised by then."""

    done: list[tuple[Any, ...]] = field(default_factory=list)

    def promise(self, promise: object) -> None:
        self.done.append(("promise", promise))


class RecordingVFS(apsw.VFS):
    """Passes everything on, and records what changes a file."""

    def __init__(self, name: str, record: Record) -> None:
        super().__init__(name, "")
        self.record = record

    def xOpen(self, name: Any, flags: list[int]) -> RecordedFile:  # noqa: N802
        return RecordedFile(name, flags, self.record)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        super().xDelete(filename, syncdir)
        self.record.done.append(("delete", Path(filename).name))


class RecordedFile(apsw.VFSFile):
    fail_sync: Callable[[str], bool] = staticmethod(lambda name: False)

    def __init__(self, name: Any, flags: list[int], record: Record) -> None:
        self.name = Path(name.filename() if isinstance(name, apsw.URIFilename) else name).name
        self.record = record
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        super().xWrite(data, offset)
        self.record.done.append(("write", self.name, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        super().xTruncate(newsize)
        self.record.done.append(("truncate", self.name, newsize))

    def xSync(self, flags: int) -> None:  # noqa: N802
        if type(self).fail_sync(self.name):
            raise apsw.IOError("the disk failed")
        super().xSync(flags)
        self.record.done.append(("sync", self.name))


class Disk:
    """What a disk holds after part of a record: for each file, what is synced, and what was written since."""

    def __init__(self) -> None:
        self.synced: dict[str, bytearray] = {}
        self.since: dict[str, list[tuple[Any, ...]]] = {}

    def apply(self, operation: tuple[Any, ...]) -> None:
        kind, name, *_ = operation
        if kind == "delete":  # of a rollback journal, when the file is created: durable at once is the weaker test, and enough
            self.synced.pop(name, None)
            self.since.pop(name, None)
        elif kind == "sync":
            image = self.synced.setdefault(name, bytearray())
            for change in self.since.pop(name, []):
                change_image(image, change)
        else:
            self.since.setdefault(name, []).append(operation)

    def image(self, directory: Path, roll: random.Random) -> None:
        """Writes the files as a crash now may leave them."""
        for name in {*self.synced, *self.since}:
            image = bytearray(self.synced.get(name, b""))
            for change in survivors(self.since.get(name, []), roll):
                change_image(image, change)
            (directory / name).write_bytes(image)


def survivors(changes: list[tuple[Any, ...]], roll: random.Random) -> Iterator[tuple[Any, ...]]:
    """Which of the un-synced changes reach the disk: none, all, the first few, or any, whole or torn."""
    how = roll.choice(["none", "all", "first", "any", "torn"])
    if how == "none":
        return
    last = roll.randint(0, len(changes)) if how == "first" else len(changes)
    for change in changes[:last]:
        if how in ("any", "torn") and roll.random() < 0.5:
            continue
        if how == "torn" and change[0] == "write" and len(change[3]) > SECTOR:
            keep = roll.randrange(0, len(change[3]), SECTOR)
            change = ("write", change[1], change[2], change[3][:keep])
        yield change


def change_image(image: bytearray, change: tuple[Any, ...]) -> None:
    if change[0] == "truncate":
        del image[change[2] :]
        return
    _, _, offset, data = change
    if len(image) < offset + len(data):
        image.extend(bytes(offset + len(data) - len(image)))
    image[offset : offset + len(data)] = data


@pytest.fixture
def record() -> Record:
    return Record()


@pytest.fixture
def storage(tmp_path: Path, record: Record) -> Iterator[SQLiteStorage]:
    vfs = RecordingVFS("recording", record)
    storage = SQLiteStorage(tmp_path / "runs.db", vfs="recording")
    storage.open()
    yield storage
    RecordedFile.fail_sync = staticmethod(lambda name: False)
    storage.close()
    vfs.unregister()


def every_image(record: Record, tmp_path: Path, seed: int, *, per_moment: int, every: int) -> Iterator[tuple[Path, list[Any]]]:
    """Images of the disk at many moments, each with what had been promised by then."""
    roll = random.Random(seed)
    disk, promises = Disk(), list[Any]()
    for place, operation in enumerate(record.done):
        if operation[0] == "promise":
            promises.append(operation[1])
        else:
            disk.apply(operation)
        if operation[0] == "promise" or place % every == 0:
            for number in range(per_moment):
                directory = tmp_path / f"image-{place}-{number}"
                directory.mkdir()
                disk.image(directory, roll)
                yield directory / "runs.db", list(promises)


def lost(path: Path, promised: list[bytes]) -> list[bytes]:
    """The promised runs that are not in an image; fails if the image cannot be opened, is damaged or holds half a transaction."""
    if not path.exists():
        return promised
    storage = SQLiteStorage(path)
    storage.open()
    try:
        found = storage.load_runs(promised) if promised else []
        for shown in storage.list_runs("default", None, 10**6):
            run = storage.load_run(shown.run_id)
            assert run is not None
            assert run.history[0].startswith(b"<start>")
            assert storage.current_run("default", shown.workflow_id)
    finally:
        storage.close()
    connection = apsw.Connection(str(path))
    assert connection.pragma("integrity_check") == "ok"
    connection.close()
    return [each for each, run in zip(promised, found, strict=True) if run is None]


def write_runs(storage: SQLiteStorage, record: Record, *, groups: int = 12) -> None:
    number = 0
    for _ in range(groups):
        group: list[Transaction] = []
        for _ in range(4):
            number += 1
            group += [start(number, f"order-{number}"), step(number, 2, b"<two>" * 50)]
        assert set(storage.commit(group)) == {Committed.YES}
        for transaction in group:
            record.promise(transaction.writes[0].row.run_id)


def test_every_yes_survives_the_loss_of_power(storage: SQLiteStorage, record: Record, tmp_path: Path) -> None:
    write_runs(storage, record)
    images = 0
    for path, promised in every_image(record, tmp_path, 1, per_moment=2, every=11):
        images += 1
        assert lost(path, promised) == []
    assert images > 100


def test_every_yes_survives_through_checkpoints(
    storage: SQLiteStorage, record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a checkpoint every few pages, which moves pages into the file and starts the log again from its beginning."""
    monkeypatch.setattr(commits, "CHECKPOINT_PAGES", 20)
    assert storage._committer is not None
    storage._committer._attend_at = 20
    write_runs(storage, record)
    assert any(operation[:2] == ("sync", "runs.db") for operation in record.done[100:])
    for path, promised in every_image(record, tmp_path, 2, per_moment=1, every=9):
        assert lost(path, promised) == []


@pytest.mark.parametrize("synchronous", ["off", "normal"])
def test_a_missing_sync_would_be_noticed(storage: SQLiteStorage, record: Record, tmp_path: Path, synchronous: str) -> None:
    """The planted bug: commits that do not wait for the disk."""
    storage._owned().pragma("synchronous", synchronous)
    write_runs(storage, record, groups=6)
    images = every_image(record, tmp_path, 3, per_moment=3, every=10**9)
    assert any(lost(path, promised) for path, promised in images)


def test_what_was_answered_failed_never_comes_back(storage: SQLiteStorage, record: Record, tmp_path: Path) -> None:
    """The disk fails while a group is synced: its frames are in the log, and a crash must not bring them back."""
    write_runs(storage, record, groups=2)
    syncs = iter([True])
    RecordedFile.fail_sync = staticmethod(lambda name: name.endswith("-wal") and next(syncs, False))
    assert storage.commit([start(500, "failed"), start(501, "failed-too")]) == [Committed.FAILED] * 2
    answered = len(record.done)
    assert storage.load_run(run_id(500)) is None
    disk, roll = Disk(), random.Random(4)
    for operation in record.done[:answered]:
        if operation[0] != "promise":
            disk.apply(operation)
    for number in range(30):
        directory = tmp_path / f"after-{number}"
        directory.mkdir()
        disk.image(directory, roll)
        assert lost(directory / "runs.db", [run_id(500), run_id(501)]) == [run_id(500), run_id(501)]
        assert lost(directory / "runs.db", [run_id(1), run_id(8)]) == []


def test_a_crash_leaves_a_group_whole_or_not_at_all(storage: SQLiteStorage, record: Record, tmp_path: Path) -> None:
    """Random groups: each image equals the model after some number of groups, at least those that were answered."""
    model, groups = MemoryStorage(), RandomGroups(seed=5)
    model.open()
    states = [contents(model, groups.run_ids, groups.workflow_ids)]
    for count in range(1, 16):
        group = groups.next_group(12)
        assert storage.commit(group) == model.commit(group)
        states.append(contents(model, groups.run_ids, groups.workflow_ids))
        record.promise(count)
    for path, promised in every_image(record, tmp_path, 6, per_moment=2, every=10):
        if not path.exists():
            assert not promised
            continue
        image = SQLiteStorage(path)
        image.open()
        found = contents(image, groups.run_ids, groups.workflow_ids)
        image.close()
        assert found in states[len(promised) :]
