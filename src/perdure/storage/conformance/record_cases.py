"""The cases of the conformance suite about records."""

from __future__ import annotations

import random
from pathlib import Path

from perdure.storage.conformance.rows import AWKWARD, NAMESPACE, record, run_id, start, step
from perdure.storage.conformance.subject import StorageSubject
from perdure.storage.contract import Committed, Record, RecordWrite, Transaction, WorkflowStorage
from perdure.storage.memory import MemoryStorage

YES, CONFLICT = Committed.YES, Committed.CONFLICT


def written(*records: RecordWrite) -> Transaction:
    """A transaction of records alone."""
    return Transaction((), None, records)


class RecordCases(StorageSubject):
    """What a storage promises of records."""

    def test_a_record_is_read_as_it_was_written(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            assert storage.record("schedule", NAMESPACE, "nightly") is None
            assert storage.commit([written(record("nightly", due=7, data=b"\x00\xff"))]) == [YES]
            assert storage.record("schedule", NAMESPACE, "nightly") == Record("schedule", NAMESPACE, "nightly", 1, 7, b"\x00\xff")
            assert storage.record("schedule", "other", "nightly") is None
            assert storage.record("batch", NAMESPACE, "nightly") is None
            assert storage.sizes()["records"] == 1

    def test_records_are_changed_and_deleted_at_the_version_that_was_read(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            assert storage.commit([written(record("a", 1)), written(record("a", 0, None))]) == [CONFLICT, CONFLICT]
            assert storage.commit([written(record("a", due=5))]) == [YES]
            assert storage.commit([written(record("a", 0)), written(record("a", 2)), written(record("a", 1, b"two"))]) == [
                CONFLICT,
                CONFLICT,
                YES,
            ]
            assert storage.record("schedule", NAMESPACE, "a") == Record("schedule", NAMESPACE, "a", 2, None, b"two")
            assert storage.commit([written(record("a", 1, None))]) == [CONFLICT]
            assert storage.commit([written(record("a", 2, None))]) == [YES]
            assert storage.record("schedule", NAMESPACE, "a") is None
            assert storage.commit([written(record("a", 3)), written(record("a"))]) == [CONFLICT, YES]

    def test_writes_of_a_record_follow_each_other_in_a_group(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            group = [
                written(record("a")),
                written(record("a", 1, b"two")),
                written(record("a", 2, None)),
                written(record("a", data=b"new")),
            ]
            assert storage.commit(group) == [YES] * 4
            assert storage.record("schedule", NAMESPACE, "a") == Record("schedule", NAMESPACE, "a", 1, None, b"new")
            assert storage.commit([*group, written(record("a", 1, b"again"))]) == [CONFLICT, YES, YES, YES, YES]

    def test_records_and_a_run_stand_or_fall_together(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            storage.commit([written(record("a"))])
            begin = start(1, "order-1")
            assert storage.commit([begin._replace(records=[record("a", 7), record("b")])]) == [CONFLICT]
            assert storage.load_run(run_id(1)) is None
            assert storage.record("schedule", NAMESPACE, "b") is None
            assert storage.commit([begin._replace(records=[record("a", 1, b"two"), record("b")])]) == [YES]
            stale = step(1, 7, b"<ahead>")._replace(records=[record("a", 2)])
            assert storage.commit([stale, written(record("b", 1, None))]) == [CONFLICT, YES]
            assert storage.record("schedule", NAMESPACE, "a") == Record("schedule", NAMESPACE, "a", 2, None, b"two")

    def test_any_text_names_a_record(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            names = [text for text in AWKWARD if text]
            group = [written(record(text, kind=text, namespace=text)) for text in names]
            assert storage.commit(group) == [YES] * len(names)
            assert storage.commit(group) == [CONFLICT] * len(names)
            for text in names:
                assert storage.record(text, text, text) == Record(text, text, text, 1, None, b"data")
                assert storage.records(text, text, None, 9) == [Record(text, text, text, 1, None, b"data")]

    def test_records_are_listed_in_pages(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            keys = ["a", "B", "é", "a b", "😀", "b"]
            storage.commit([written(*(record(key) for key in keys), record("other", kind="batch"), record("a", namespace="z"))])
            assert self._pages(storage, NAMESPACE) == [(NAMESPACE, key) for key in sorted(keys)]
            assert storage.records("schedule", "nowhere", None, 9) == []

    def test_records_of_all_namespaces_are_listed_in_pages(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            places = [(namespace, key) for namespace in ("", "n", "m", "n\x1fa") for key in ("b", "a", "c")]
            storage.commit([written(*(record(key, namespace=namespace) for namespace, key in places), record("x", kind="batch"))])
            assert self._pages(storage, None) == sorted(places)

    def _pages(self, storage: WorkflowStorage, namespace: str | None) -> list[tuple[str, str]]:
        places: list[tuple[str, str]] = []
        while page := storage.records("schedule", namespace, places[-1][1] if places else None, 2, places[-1][0] if places else ""):
            assert len(page) <= 2
            places += [(found.namespace, found.key) for found in page]
        return places

    def test_due_records_come_in_order_and_move_with_each_write(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            assert (storage.due_records(2**62, 9), storage.next_due_record(0)) == ([], None)
            storage.commit([written(record(key, due=due)) for key, due in (("a", 30), ("b", 10), ("c", 20), ("d", None))])
            assert [found.key for found in storage.due_records(20, 9)] == ["b", "c"]
            assert [found.key for found in storage.due_records(99, 1)] == ["b"]
            assert (storage.next_due_record(0), storage.next_due_record(10), storage.next_due_record(30)) == (10, 20, None)
            storage.commit([written(record("b", 1, due=40)), written(record("c", 1, None)), written(record("d", 1, due=5))])
            assert [(found.due, found.key) for found in storage.due_records(99, 9)] == [(5, "d"), (30, "a"), (40, "b")]

    def test_records_are_there_when_it_is_opened_again(self, tmp_path: Path) -> None:
        storage = self.make_storage(tmp_path)
        storage.open()
        storage.commit([written(record("a", due=5))])
        storage.close()
        storage.open()
        assert storage.due_records(5, 9) == [Record("schedule", NAMESPACE, "a", 1, 5, b"data")]
        storage.close()

    def test_random_writes_of_records_give_the_answers_of_the_model(self, tmp_path: Path) -> None:
        roll = random.Random(20_240_301)
        with self.opened(tmp_path) as storage:
            model = MemoryStorage()
            model.open()
            for _ in range(60):
                group = [_random_transaction(roll) for _ in range(roll.randint(1, 12))]
                assert storage.commit(group) == model.commit(group)
                assert storage.records("schedule", None, None, 99) == model.records("schedule", None, None, 99)
                assert storage.due_records(500, 99) == model.due_records(500, 99)


def _random_transaction(roll: random.Random) -> Transaction:
    keys = roll.sample(["a", "b", "c"], roll.choice([1, 1, 1, 2]))
    writes = [
        record(key, roll.choice([0, 0, 1, 1, 2, 3]), roll.choice([None, b"x", b"y", b"z"]), due=roll.choice([None, roll.randrange(1000)]))
        for key in keys
    ]
    return written(*writes)
