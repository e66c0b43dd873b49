"""The cases of the conformance suite about finding, counting and deleting runs."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from perdure.storage.conformance.rows import AWKWARD, COMPLETED, NAMESPACE, RUNNING, activity, row, run_id, shown, start, step
from perdure.storage.conformance.subject import StorageSubject
from perdure.storage.contract import ClosedRun, Committed, RunDelete, RunWrite, Transaction, VisibilityRow, WorkflowStorage
from perdure.storage.memory import MemoryStorage
from perdure.storage.run_queries import (
    EVERYTHING,
    All,
    Attribute,
    Check,
    Column,
    Condition,
    Either,
    Field,
    Operator,
    Place,
    RunQuery,
    Scalar,
    SearchValue,
    encoded,
)

YES, CONFLICT = Committed.YES, Committed.CONFLICT

Op = Operator
ID, TYPE, STATUS, CLOSED, LENGTH = (
    Column("workflow_id"),
    Column("workflow_type"),
    Column("status"),
    Column("close_time"),
    Column("history_length"),
)
TAG, SIZE, RATE = Attribute("Tag:KeywordList"), Attribute("Size:Int"), Attribute("Rate:Double")


def _shown(number: int) -> VisibilityRow:
    """Of ten runs: those with an even number have closed."""
    closed = number % 2 == 0
    base = shown(number, f"order-{number}", status=COMPLETED if closed else RUNNING, close_time=2_000 - number if closed else None)
    return base._replace(
        workflow_type="Order" if number < 6 else "Refund", start_time=1_000 + number // 4, execution_time=1_000, history_length=number
    )


def _search(number: int) -> list[SearchValue]:
    found = [SearchValue("Tag:KeywordList", encoded(tag)) for tag in ("red", "blue", "é")[: number % 4]]
    if number % 3:
        found.append(SearchValue("Size:Int", encoded(number - 5)))
    if number % 5:
        found.append(SearchValue("Rate:Double", encoded((number - 5) / 2)))
    return found


def _started(number: int, namespace: str = NAMESPACE) -> Transaction:
    write = RunWrite(row(number), 0, 1, b"<start>", visibility=_shown(number)._replace(namespace=namespace), search=_search(number))
    return Transaction([write])


def _bytes(*values: str | float) -> tuple[Scalar, ...]:
    return tuple(encoded(value) for value in values)


CONDITIONS: list[tuple[Condition, set[int]]] = [
    (EVERYTHING, set(range(1, 11))),
    (Either(), set()),
    (Check(ID, Op.AMONG, ("order-3",)), {3}),
    (Check(ID, Op.AMONG, ("order-3", "order-4", "order-99")), {3, 4}),
    (Check(ID, Op.NOT_AMONG, ("order-3", "order-4")), {1, 2, 5, 6, 7, 8, 9, 10}),
    (Check(ID, Op.STARTS_WITH, ("order-1",)), {1, 10}),
    (Check(ID, Op.NOT_STARTS_WITH, ("order-1",)), {2, 3, 4, 5, 6, 7, 8, 9}),
    (Check(ID, Op.STARTS_WITH, ("",)), set(range(1, 11))),
    (Check(ID, Op.ABOVE, ("order-7",)), {8, 9}),
    (Check(Column("run_id"), Op.AMONG, (run_id(7),)), {7}),
    (Check(Column("run_hex"), Op.STARTS_WITH, (run_id(7).hex()[:12],)), {7}),
    (Check(TYPE, Op.AMONG, ("Refund",)), {6, 7, 8, 9, 10}),
    (Check(STATUS, Op.AMONG, (RUNNING,)), {1, 3, 5, 7, 9}),
    (Check(CLOSED, Op.ABSENT), {1, 3, 5, 7, 9}),
    (Check(CLOSED, Op.PRESENT), {2, 4, 6, 8, 10}),
    (Check(CLOSED, Op.BELOW, (1_995,)), {6, 8, 10}),
    (Check(CLOSED, Op.NOT_AMONG, (1_998,)), {4, 6, 8, 10}),
    (Check(LENGTH, Op.AT_LEAST, (4,)), {4, 6, 8, 10}),
    (Check(Column("duration"), Op.AT_MOST, (992,)), {8, 10}),
    (Check(Column("start_time"), Op.AMONG, (1_001,)), {4, 5, 6, 7}),
    (Check(TAG, Op.AMONG, _bytes("blue")), {2, 3, 6, 7, 10}),
    (Check(TAG, Op.AMONG, _bytes("blue", "é")), {2, 3, 6, 7, 10}),
    (Check(TAG, Op.NONE_OF, _bytes("blue")), {1, 4, 5, 8, 9}),
    (Check(TAG, Op.ABSENT), {4, 8}),
    (Check(TAG, Op.PRESENT), {1, 2, 3, 5, 6, 7, 9, 10}),
    (Check(TAG, Op.STARTS_WITH, _bytes("b")), {2, 3, 6, 7, 10}),
    (Check(SIZE, Op.AMONG, _bytes(0)), {5}),
    (Check(SIZE, Op.NOT_AMONG, _bytes(0)), {1, 2, 4, 7, 8, 10}),
    (Check(SIZE, Op.BELOW, _bytes(0)), {1, 2, 4}),
    (Check(SIZE, Op.AT_LEAST, _bytes(-1)), {4, 5, 7, 8, 10}),
    (Check(RATE, Op.ABOVE, _bytes(-0.5)), {6, 7, 8, 9}),
    (Check(RATE, Op.AT_MOST, _bytes(-0.5)), {1, 2, 3, 4}),
    (Check(Attribute("Nothing:Int"), Op.ABSENT), set(range(1, 11))),
    (Check(Attribute("Nothing:Int"), Op.NONE_OF, _bytes(1)), set(range(1, 11))),
    (All((Check(STATUS, Op.AMONG, (RUNNING,)), Check(SIZE, Op.ABOVE, _bytes(0)))), {7}),
    (Either((Check(ID, Op.AMONG, ("order-3",)), All((Check(TYPE, Op.AMONG, ("Refund",)), Check(TAG, Op.ABSENT))))), {3, 8}),
]


class FindCases(StorageSubject):
    """What a storage promises of queries for runs, and of deletions."""

    @pytest.mark.parametrize(("condition", "wanted"), CONDITIONS, ids=str)
    def test_a_condition_finds_and_counts(self, tmp_path: Path, condition: Condition, wanted: set[int]) -> None:
        with self.opened(tmp_path) as storage:
            storage.commit([*map(_started, range(1, 11)), *(_started(number, "other") for number in range(21, 31))])
            query = RunQuery(NAMESPACE, condition)
            assert {_number(found) for found in storage.find_runs(query, None, 99)} == wanted
            assert storage.count_runs(query, None) == ([(None, len(wanted))] if wanted else [])

    def test_open_runs_come_first_and_pages_follow_each_other(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            storage.commit([*map(_started, range(1, 11))])
            order = [9, 7, 5, 3, 1, 2, 4, 6, 8, 10]
            for size in (1, 2, 3, 4, 7, 99):
                assert self._found_pages(storage, RunQuery(NAMESPACE), size) == order
            assert self._found_pages(storage, RunQuery("nowhere"), 2) == []

    def test_a_run_keeps_its_place_when_it_closes_between_pages(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            storage.commit([*map(_started, range(1, 11))])
            query = RunQuery(NAMESPACE, as_of=5_000)
            first = storage.find_runs(query, None, 2)
            closing = [step(n, 2, b"<end>", status=COMPLETED, visibility=_shown(n)._replace(close_time=6_000)) for n in (1, 5, 7, 9)]
            storage.commit([*closing, Transaction([RunWrite(row(41), 0, 1, b"<start>", visibility=_shown(41))])])
            last = first[-1]
            rest = storage.find_runs(query, Place(None, last.start_time, last.run_id), 99)
            assert [_number(found) for found in [*first, *rest]] == [9, 7, 5, 3, 1, 2, 4, 6, 8, 10]

    def test_groups_are_counted_the_largest_first(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            storage.commit([*map(_started, range(1, 11)), _started(11)])
            everything = RunQuery(NAMESPACE)
            assert storage.count_runs(everything, STATUS) == [(RUNNING, 6), (COMPLETED, 5)]
            assert storage.count_runs(RunQuery(NAMESPACE, Check(ID, Op.AMONG, ("order-3",))), TYPE) == [("Order", 1)]
            assert storage.count_runs(everything, Attribute("Nothing:Keyword")) == [(None, 11)]
            assert storage.count_runs(RunQuery(NAMESPACE, Check(SIZE, Op.AT_MOST, _bytes(-1))), SIZE) == [
                (encoded(value), 1) for value in sorted((-1, -3, -4), key=lambda value: str(encoded(value)))
            ]
            assert storage.count_runs(RunQuery(NAMESPACE, Either()), STATUS) == []

    def test_values_are_replaced_together(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            storage.commit([_started(3), _started(7)])
            tagged = RunQuery(NAMESPACE, Check(TAG, Op.PRESENT))
            storage.commit([step(3, 2, b"<two>", visibility=_shown(3))])
            assert storage.count_runs(tagged, None) == [(None, 2)]
            storage.commit([_changed(3, 3, SearchValue("Size:Int", encoded(70)))])
            assert [_number(found) for found in storage.find_runs(tagged, None, 9)] == [7]
            assert [_number(found) for found in storage.find_runs(RunQuery(NAMESPACE, Check(SIZE, Op.AMONG, _bytes(70))), None, 9)] == [3]
            storage.commit([_changed(3, 4, SearchValue("Tag:KeywordList", b"x")), _changed(3, 5)])
            assert storage.count_runs(tagged, None) == [(None, 1)]
            assert storage.sizes()["search_values"] == len(_search(7))

    def test_any_text_can_be_asked_for(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            for number, text in enumerate(AWKWARD, 1):
                value = SearchValue(f"{text}:Keyword", encoded(text))
                base = shown(number, text)._replace(workflow_type=text)
                storage.commit([Transaction([RunWrite(row(number), 0, 1, b"<start>", visibility=base, search=[value])])])
            for number, text in enumerate(AWKWARD, 1):
                named = Attribute(f"{text}:Keyword")
                for condition in (
                    Check(TYPE, Op.AMONG, (text,)),
                    Check(named, Op.AMONG, _bytes(text)),
                    Check(named, Op.STARTS_WITH, _bytes(text)),
                ):
                    assert [_number(found) for found in storage.find_runs(RunQuery(NAMESPACE, condition), None, 99)] == [number]
                starting = {place for place, other in enumerate(AWKWARD, 1) if other.startswith(text)}
                found = storage.find_runs(RunQuery(NAMESPACE, Check(ID, Op.STARTS_WITH, (text,))), None, 99)
                assert {_number(each) for each in found} == starting

    def test_random_conditions_find_what_the_model_finds(self, tmp_path: Path) -> None:
        roll = random.Random(20_240_305)
        with self.opened(tmp_path) as storage:
            model = MemoryStorage()
            model.open()
            runs = [*map(_started, range(1, 41))]
            assert storage.commit(runs) == model.commit(runs)
            for _ in range(150):
                query = RunQuery(NAMESPACE, random_condition(roll), roll.choice([1_990, 5_000]))
                size = roll.randint(1, 12)
                assert self._found_pages(storage, query, size) == self._found_pages(model, query, size)
                group = roll.choice([None, STATUS, TYPE, SIZE])
                assert storage.count_runs(query, group) == model.count_runs(query, group)

    def _found_pages(self, storage: WorkflowStorage, query: RunQuery, size: int) -> list[int]:
        numbers: list[int] = []
        place: Place | None = None
        while page := storage.find_runs(query, place, size):
            assert len(page) <= size
            numbers += map(_number, page)
            last = page[-1]
            closed = last.close_time if last.close_time is not None and last.close_time <= query.as_of else None
            place = Place(closed, last.start_time, last.run_id)
        return numbers

    # --- deletion

    def test_a_deleted_run_leaves_nothing(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            empty = _rows(storage)
            begin = start(1, "order-1", due=7)
            busy = step(1, 2, b"<two>", activities=[activity(4)], buffered=[(1, b"x")], due=8)
            storage.commit([begin, busy, _changed(1, 3, SearchValue("Tag:KeywordList", b"x"))])
            assert storage.commit([_deleted(1, 2), _deleted(9, 1)]) == [CONFLICT, CONFLICT]
            assert storage.commit([_deleted(1, 3)]) == [YES]
            assert _rows(storage) == empty
            assert (storage.load_run(run_id(1)), storage.current_run(NAMESPACE, "order-1")) == (None, None)
            assert storage.due_runs(2**62, 9) == []
            assert storage.commit([start(2, "order-1")]) == [YES]

    def test_a_deletion_leaves_the_newer_run_of_its_workflow_id(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            storage.commit([start(1, "order-1"), start(2, "order-1", replaces=1)])
            assert storage.commit([_deleted(1, 1)]) == [YES]
            current = storage.current_run(NAMESPACE, "order-1")
            assert current is not None and current.run_id == run_id(2)

    def test_deletions_and_writes_in_a_group_are_taken_in_their_order(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            storage.commit([start(1, "order-1"), start(3, "order-3")])
            group = [step(1, 2, b"<two>"), _deleted(1, 2), step(1, 3, b"<late>"), _deleted(1, 2), start(2, "order-1"), _deleted(3, 7)]
            assert storage.commit(group) == [YES, YES, CONFLICT, CONFLICT, YES, CONFLICT]
            current = storage.current_run(NAMESPACE, "order-1")
            assert current is not None and current.run_id == run_id(2)
            assert storage.load_run(run_id(1)) is None
            assert storage.commit([start(4, "order-3", replaces=3), _deleted(3, 1)]) == [YES, YES]
            assert storage.commit([_deleted(4, 1, "order-3"), start(5, "order-3", replaces=4)]) == [YES, CONFLICT]

    def test_closed_runs_come_in_the_order_of_their_close(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            assert storage.first_close(NAMESPACE) is None
            storage.commit([*map(_started, range(1, 11)), _started(21, "other"), _started(22, "other")])
            assert storage.first_close(NAMESPACE) == 1_990
            found = storage.closed_runs(NAMESPACE, 1_995, 2)
            assert found == [ClosedRun(run_id(10), 1, "order-10", 1_990), ClosedRun(run_id(8), 1, "order-8", 1_992)]
            assert len(storage.closed_runs(NAMESPACE, 1_995, 9)) == 3
            assert len(storage.runs_of_namespace(NAMESPACE, 4)) == 4
            assert {run.run_id for run in storage.runs_of_namespace("other", 9)} == {run_id(21), run_id(22)}


def _changed(number: int, version: int, *values: SearchValue) -> Transaction:
    (write,) = step(number, version, b"<changed>", visibility=_shown(number)).writes
    return Transaction([write._replace(search=values)])


def _deleted(number: int, version: int, workflow_id: str = "") -> Transaction:
    return Transaction((), deletes=[RunDelete(run_id(number), version, NAMESPACE, workflow_id or f"order-{number}")])


def _number(found: VisibilityRow) -> int:
    return int.from_bytes(found.run_id[:6], "big")


def _rows(storage: WorkflowStorage) -> dict[str, int]:
    tables = "runs", "current_runs", "history", "activities", "buffered_events", "visibility", "search_values"
    sizes = storage.sizes()
    return {name: sizes[name] for name in tables}


def random_condition(roll: random.Random, depth: int = 3) -> Condition:
    """Any condition on the runs of these cases."""
    if depth and roll.random() < 0.5:
        parts = tuple(random_condition(roll, depth - 1) for _ in range(roll.choice([0, 1, 2, 3])))
        return All(parts) if roll.random() < 0.5 else Either(parts)
    fields: list[tuple[Field, list[Scalar]]] = [
        (ID, ["order-1", "order-", "order-5", "", "z"]),
        (TYPE, ["Order", "Refund"]),
        (TAG, [*_bytes("red", "blue", "b", "é", "")]),
        (STATUS, [RUNNING, COMPLETED, 7]),
        (CLOSED, [1_990, 1_995, 0]),
        (LENGTH, [4, 10]),
        (SIZE, [*_bytes(-1, 0, 3)]),
        (RATE, [*_bytes(-0.5, 0.0, 1.5)]),
    ]
    field, values = roll.choice(fields)
    operator = roll.choice(list(Operator))
    while operator in (Op.STARTS_WITH, Op.NOT_STARTS_WITH) and isinstance(values[0], int):
        operator = roll.choice(list(Operator))
    count = roll.randint(1, len(values)) if operator in (Op.AMONG, Op.NOT_AMONG, Op.NONE_OF) else 1
    return Check(field, operator, () if operator in (Op.PRESENT, Op.ABSENT) else tuple(roll.sample(values, count)))
