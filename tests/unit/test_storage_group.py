"""Proves that judging and merging a group comes to the same as taking its transactions one by one."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perdure.storage import MemoryStorage, SQLiteStorage
from perdure.storage.conformance import RandomGroups, contents
from perdure.storage.conformance.rows import activity, run_id, start, step
from perdure.storage.contract import Committed
from perdure.storage.group import MergedRun, Standing, judge
from perdure.storage.sqlite.writes import rows_of


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), sizes=st.lists(st.integers(1, 80), min_size=1, max_size=12))
def test_groups_give_the_answers_and_contents_of_the_model(seed: int, sizes: list[int]) -> None:
    groups, model = RandomGroups(seed), MemoryStorage()
    model.open()
    with tempfile.TemporaryDirectory() as directory:
        storage = SQLiteStorage(Path(directory) / "runs.db")
        storage.open()
        try:
            for size in sizes:
                group = groups.next_group(size)
                assert storage.commit(group) == model.commit(group)
            assert contents(storage, groups.run_ids, groups.workflow_ids) == contents(model, groups.run_ids, groups.workflow_ids)
        finally:
            storage.close()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), size=st.integers(1, 60))
def test_how_a_group_is_cut_does_not_matter(seed: int, size: int) -> None:
    together, apart = MemoryStorage(), MemoryStorage()
    together.open()
    apart.open()
    groups = RandomGroups(seed)
    group = groups.next_group(size)
    assert together.commit(group) == [answer for transaction in group for answer in apart.commit([transaction])]
    assert contents(together, groups.run_ids, groups.workflow_ids) == contents(apart, groups.run_ids, groups.workflow_ids)


def test_an_activity_scheduled_and_closed_within_the_group_is_never_written() -> None:
    scheduled = step(1, 2, b"<two>", activities=[activity(4), activity(5)])
    merged = judge([scheduled, step(1, 3, b"<three>", closed=[4, 2])]).runs[run_id(1)]
    assert isinstance(merged, MergedRun)
    assert merged.activities == {5: activity(5), 2: None}


def test_a_run_changed_often_is_one_row() -> None:
    judgement = judge([start(1, "order-1"), *(step(1, version, b"x") for version in range(2, 50))])
    assert judgement.answers == [Committed.YES] * 49
    assert len(rows_of(judgement)) == 3 * 13


def test_with_what_stands_there_the_judgement_is_exact() -> None:
    group = [start(2, "order-1"), step(1, 3, b"<stale>"), step(1, 5, b"<right>"), start(3, "order-3")]
    judgement = judge(group, Standing({run_id(1): 4}, {("default", "order-1"): run_id(1)}, {}))
    assert judgement.answers == [Committed.CONFLICT, Committed.CONFLICT, Committed.YES, Committed.YES]
    assert set(judgement.runs) == {run_id(1), run_id(3)}
