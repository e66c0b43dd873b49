"""Proves that every statement fits the real schema, is answered by an index, and that a commit is one call into SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from perdure.storage import SQLiteStorage, tables
from perdure.storage.conformance.rows import activity, start, step
from perdure.storage.contract import ActivityRow, Committed, CurrentRow, RunRow, VisibilityRow
from perdure.storage.sqlite import writes
from perdure.storage.sqlite.reads import queries
from perdure.storage.statements import FIELDS, Operation

SCANS_MEANT = {"record_kinds", "row_counts", "waiting_queues"}
"""These read a whole table or index."""


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[SQLiteStorage]:
    storage = SQLiteStorage(tmp_path / "runs.db")
    storage.open()
    yield storage
    storage.close()


def plan(storage: SQLiteStorage, text: str) -> list[str]:
    return [row[3] for row in storage._owned().execute("EXPLAIN QUERY PLAN " + text, [None] * text.count("?")).fetchall()]


@pytest.mark.parametrize("name", sorted(queries().all()))
def test_each_query_fits_the_schema_and_uses_an_index(storage: SQLiteStorage, name: str) -> None:
    steps = plan(storage, queries().all()[name].text)
    made = ("CONSTANT", "carray", "(subquery", "anon_")
    scans = [each for each in steps if each.startswith("SCAN") and not any(word in each for word in made)]
    if name not in SCANS_MEANT:
        assert scans == []


@pytest.mark.parametrize("name", ["waiting_runs", "waiting_activities", "list_runs", "next_due"])
def test_pages_are_read_in_the_order_of_an_index(storage: SQLiteStorage, name: str) -> None:
    """No sorting of everything that waits for the sake of one page."""
    assert [each for each in plan(storage, queries().all()[name].text) if "TEMP B-TREE" in each] == []


def test_of_what_is_due_only_a_page_and_what_is_held_are_sorted(storage: SQLiteStorage) -> None:
    text = queries().all()["due_runs"].text
    steps = storage._owned().execute("EXPLAIN QUERY PLAN " + text, [None] * text.count("?")).fetchall()
    free = [parent for _, parent, _, step in steps if step.startswith("SEARCH runs") and "incarnation=?" in step]
    assert len(free) == 1
    assert [step for _, parent, _, step in steps if parent == free[0] and "TEMP B-TREE" in step] == []


@pytest.mark.parametrize("count", writes._ROWS)
def test_each_group_statement_fits_the_schema_and_stays_prepared(storage: SQLiteStorage, count: int) -> None:
    text = writes._INSERT + ",".join([writes._ONE_ROW] * count)
    storage._owned().execute("EXPLAIN " + text, [None] * writes._WIDTH * count).fetchall()
    assert len(text) < 16_384
    assert writes._WIDTH * count <= storage._owned().limit(apsw.SQLITE_LIMIT_VARIABLE_NUMBER)  # type: ignore[attr-defined]


def test_each_operation_has_a_trigger_that_does_it() -> None:
    script = writes.receiver_script()
    for operation in Operation:
        assert (
            f"CREATE TEMP TRIGGER {operation.name.lower()} INSTEAD OF INSERT ON group_writes WHEN NEW.operation = {int(operation)} "
            in script
        )
    assert "?" not in script


def test_the_fields_are_those_of_the_contract_in_its_order() -> None:
    assert FIELDS[Operation.START_RUN] == (*RunRow._fields, "expected_version", "first_event_id", "history")
    assert FIELDS[Operation.SHOW_RUN] == VisibilityRow._fields
    assert FIELDS[Operation.NEXT_CURRENT] == CurrentRow._fields
    assert FIELDS[Operation.PUT_ACTIVITY] == ("run_id", *ActivityRow._fields)


def test_the_file_has_the_tables_and_columns_that_are_defined(storage: SQLiteStorage) -> None:
    for table in tables.metadata.sorted_tables:
        columns = storage._owned().execute(f"PRAGMA table_info({table.name})").fetchall()
        assert [row[1] for row in columns] == [column.name for column in table.c]


def statements_of(storage: SQLiteStorage, group: list[object]) -> list[str]:
    """The statements that SQLite ran for a commit, triggers apart."""
    seen: list[str] = []
    connection = storage._owned()
    connection.trace_v2(apsw.SQLITE_TRACE_STMT, lambda event: None if event["trigger"] else seen.append(event["sql"]))  # type: ignore[attr-defined]
    answers = storage.commit(group)  # type: ignore[arg-type]
    connection.trace_v2(0)  # type: ignore[attr-defined]
    assert Committed.FAILED not in answers
    return seen


def test_a_group_is_one_statement(storage: SQLiteStorage) -> None:
    """Beside a busy thread each further call costs up to 5 ms."""
    group: list[object] = [start(number, f"order-{number}") for number in range(1, 65)]
    group += [step(number, 2, b"<two>", activities=[activity(4)], buffered=[(1, b"x")]) for number in range(1, 65)]
    assert len(statements_of(storage, group)) == 1


def test_any_number_of_repeated_starts_costs_two_more(storage: SQLiteStorage) -> None:
    """One that fails, one that reads what stands there, one that writes the rest."""
    storage.commit([start(number, f"order-{number}") for number in range(1, 40)])
    group: list[object] = [start(100 + number, f"order-{number}") for number in range(1, 65)]
    assert len(statements_of(storage, group)) == 3


def test_a_group_that_is_all_conflicts_writes_nothing(storage: SQLiteStorage) -> None:
    storage.commit([start(1, "order-1")])
    assert len(statements_of(storage, [start(2, "order-1"), start(3, "order-1")])) == 2


def test_a_workflow_id_replaced_within_a_group_is_one_statement(storage: SQLiteStorage) -> None:
    storage.commit([start(1, "order-1")])
    group: list[object] = [start(2, "order-1", replaces=1), start(3, "order-1", replaces=2), start(4, "new"), start(5, "new", replaces=4)]
    assert len(statements_of(storage, group)) == 1
