"""The cases of the conformance suite about runs: one promise of the contract each."""

from __future__ import annotations

from pathlib import Path

from perdure.storage.conformance.find_cases import FindCases
from perdure.storage.conformance.random_groups import RandomGroups, contents
from perdure.storage.conformance.record_cases import RecordCases
from perdure.storage.conformance.rows import AWKWARD, COMPLETED, NAMESPACE, QUEUE, activity, row, run_id, shown, start, step
from perdure.storage.contract import (
    Committed,
    CurrentRun,
    Due,
    RunWrite,
    StoredRun,
    Transaction,
    Waiting,
    WorkflowStorage,
    join_history,
    queue_key,
)
from perdure.storage.memory import MemoryStorage

YES, CONFLICT = Committed.YES, Committed.CONFLICT


class StorageConformance(RecordCases, FindCases):
    """Subclass it, and say how to make the storage."""

    # --- what a transaction writes is what is read

    def test_a_new_run_is_read_as_it_was_written(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            transaction = start(1, "order-1", due=77)
            assert storage.commit([transaction]) == [YES]
            write = transaction.writes[0]
            assert storage.load_run(run_id(1)) == StoredRun(write.row, [b"<start>"], [], [])
            assert storage.current_run(NAMESPACE, "order-1") == CurrentRun(run_id(1), "request 1")
            assert storage.visibility(run_id(1)) == write.visibility

    def test_what_is_not_there_is_none(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            assert storage.load_run(run_id(1)) is None
            assert storage.load_runs([]) == []
            assert storage.current_run(NAMESPACE, "order-1") is None
            assert storage.visibility(run_id(1)) is None
            assert storage.read_history(run_id(1), 1, 1000) == []
            assert storage.next_due(0) is None
            assert storage.commit([]) == []

    def test_a_commit_at_once_is_a_commit_or_nothing(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            transaction = start(1, "order-1")
            answers = storage.commit_at_once([transaction])
            if answers is None:
                assert storage.load_run(run_id(1)) is None
                answers = storage.commit([transaction])
            assert answers == [YES]
            assert storage.load_run(run_id(1)) == StoredRun(transaction.writes[0].row, [b"<start>"], [], [])
            assert storage.commit_at_once([start(2, "order-1")]) in ([CONFLICT], None)
            assert storage.load_run(run_id(2)) is None

    def test_loading_many_keeps_the_order_asked_for(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            storage.commit([start(number, f"order-{number}") for number in (1, 2, 3)])
            found = storage.load_runs([run_id(3), run_id(9), run_id(1), run_id(3)])
            assert [run and run.row.run_id for run in found] == [run_id(3), None, run_id(1), run_id(3)]

    def test_any_text_and_any_bytes_are_kept(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            group = [start(number, text, namespace=text, queue=queue_key(text, text)) for number, text in enumerate(AWKWARD, 1)]
            assert storage.commit(group) == [YES] * len(AWKWARD)
            for number, text in enumerate(AWKWARD, 1):
                assert storage.current_run(text, text) == CurrentRun(run_id(number), f"request {number}")
                assert storage.visibility(run_id(number)) == shown(number, text, namespace=text)
                assert storage.waiting(queue_key(text, text), activities=False, after=None, limit=9) == [Waiting(run_id(number), 0)]
            assert storage.commit([start(99, text, namespace=text) for text in AWKWARD]) == [CONFLICT] * len(AWKWARD)

    def test_large_numbers_and_values_are_kept(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            large = bytes(range(256)) * 8192
            storage.commit(
                [start(1, "large"), step(1, 2, large, due=2**63 - 1, activities=[activity(2**40, data=large)], buffered=[(2**40, large)])]
            )
            stored = storage.load_run(run_id(1))
            assert stored is not None
            assert stored.row.due == 2**63 - 1
            assert join_history(stored.history) == b"<start>" + large
            assert stored.activities == [activity(2**40, data=large)]
            assert stored.buffered == [large]

    # --- versions, run ids and current runs

    def test_a_stale_version_conflicts_and_writes_nothing(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            storage.commit([start(1, "order-1"), step(1, 2, b"<two>")])
            before = storage.load_run(run_id(1))
            assert storage.commit([step(1, 2, b"<again>", activities=[activity(5)], buffered=[(1, b"x")])]) == [CONFLICT]
            assert storage.commit([step(1, 7, b"<ahead>")]) == [CONFLICT]
            assert storage.load_run(run_id(1)) == before

    def test_a_change_of_a_run_that_does_not_exist_conflicts(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            assert storage.commit([step(1, 2, b"<two>")]) == [CONFLICT]
            assert storage.load_run(run_id(1)) is None

    def test_a_second_run_with_the_same_run_id_conflicts(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            storage.commit([start(1, "order-1")])
            assert storage.commit([start(1, "order-2")]) == [CONFLICT]
            assert storage.current_run(NAMESPACE, "order-2") is None

    def test_a_repeated_start_conflicts_alone(self, tmp_path: Path) -> None:
        """The usual conflict: the workflow id exists. Its neighbours are written as if it were not there."""
        with self.opened(tmp_path) as storage:
            storage.commit([start(1, "order-1"), start(2, "order-2")])
            group = [start(10, "order-10"), start(11, "order-1"), step(1, 2, b"<two>"), start(12, "order-2"), start(13, "order-10")]
            assert storage.commit(group) == [YES, CONFLICT, YES, CONFLICT, CONFLICT]
            assert storage.load_run(run_id(11)) is None
            assert storage.visibility(run_id(11)) is None
            assert storage.current_run(NAMESPACE, "order-1") == CurrentRun(run_id(1), "request 1")
            assert storage.current_run(NAMESPACE, "order-10") == CurrentRun(run_id(10), "request 10")

    def test_the_same_workflow_id_in_two_namespaces_is_two_workflows(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            assert storage.commit([start(1, "order-1"), start(2, "order-1", namespace="other")]) == [YES, YES]
            assert storage.commit([start(3, "order-1", namespace="third"), start(4, "order-1", namespace="other")]) == [YES, CONFLICT]

    def test_a_new_run_replaces_the_one_it_expects(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            storage.commit([start(1, "order-1")])
            assert storage.commit([start(2, "order-1", replaces=1)]) == [YES]
            assert storage.commit([start(3, "order-1", replaces=1)]) == [CONFLICT]
            assert storage.commit([start(4, "nobody", replaces=1)]) == [CONFLICT]
            assert storage.current_run(NAMESPACE, "order-1") == CurrentRun(run_id(2), "request 2")

    def test_two_runs_in_one_transaction_stand_or_fall_together(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            storage.commit([start(1, "order-1")])
            follows = start(2, "order-1", replaces=1)
            stale = Transaction([*step(1, 3, b"<end>").writes, *follows.writes], follows.current)
            right = Transaction([*step(1, 2, b"<end>").writes, *follows.writes], follows.current)
            assert storage.commit([stale]) == [CONFLICT]
            assert storage.load_run(run_id(2)) is None
            assert storage.commit([right]) == [YES]
            assert storage.current_run(NAMESPACE, "order-1") == CurrentRun(run_id(2), "request 2")

    def test_transactions_of_one_run_follow_each_other_in_a_group(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            group = [start(1, "order-1"), *(step(1, version, b"<%d>" % version) for version in range(2, 9))]
            assert storage.commit(group) == [YES] * 8
            stored = storage.load_run(run_id(1))
            assert stored is not None
            assert stored.row.version == 8
            assert join_history(stored.history) == b"<start><2><3><4><5><6><7><8>"

    def test_what_is_built_on_a_conflict_conflicts(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            storage.commit([start(1, "order-1")])
            built = [
                start(2, "order-1"),
                step(2, 2, b"<two>"),
                step(2, 3, b"<three>"),
                start(3, "order-1", replaces=2),
                step(1, 2, b"<fine>"),
            ]
            assert storage.commit(built) == [CONFLICT, CONFLICT, CONFLICT, CONFLICT, YES]
            assert storage.load_run(run_id(2)) is None

    def test_a_conflict_leaves_room_for_the_right_expectation(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            storage.commit([start(1, "order-1"), step(1, 2, b"<two>")])
            assert storage.commit([step(1, 2, b"<stale>"), step(1, 3, b"<right>"), step(1, 3, b"<late>")]) == [CONFLICT, YES, CONFLICT]

    def test_a_group_of_thousands_is_one(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            storage.commit([start(7, "order-7")])
            group = [start(number, f"order-{number}") for number in range(100, 1100)]
            group.insert(500, start(99, "order-7"))
            answers = storage.commit(group)
            assert answers[500] is CONFLICT
            assert answers.count(YES) == 1000
            assert storage.sizes()["runs"] == 1001

    # --- activities and buffered events

    def test_activities_are_put_changed_and_closed(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            storage.commit([start(1, "order-1"), step(1, 2, b"<two>", activities=[activity(5), activity(4)])])
            assert self._activities(storage) == [activity(4), activity(5)]
            storage.commit([step(1, 3, activities=[activity(4, data=b"attempt 2")])])
            storage.commit([step(1, 4, b"<four>", closed=[5], activities=[activity(10)])])
            assert self._activities(storage) == [activity(4, data=b"attempt 2"), activity(10)]
            storage.commit([step(1, 5, b"<end>", clear=True, status=COMPLETED)])
            assert self._activities(storage) == []

    def test_an_activity_scheduled_and_closed_within_a_group_is_gone(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            scheduled = step(1, 2, b"<two>", activities=[activity(4), activity(5)])
            assert storage.commit([start(1, "order-1"), scheduled, step(1, 3, b"<three>", closed=[4])]) == [YES] * 3
            assert self._activities(storage) == [activity(5)]

    def test_an_older_activity_changed_and_closed_within_a_group_is_gone(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            storage.commit([start(1, "order-1"), step(1, 2, b"<two>", activities=[activity(4), activity(5)])])
            storage.commit([step(1, 3, activities=[activity(4, data=b"attempt 2")]), step(1, 4, b"<four>", closed=[4])])
            assert self._activities(storage) == [activity(5)]

    def test_clearing_within_a_group_keeps_what_comes_after(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            storage.commit([start(1, "order-1"), step(1, 2, b"<two>", activities=[activity(4)], buffered=[(1, b"a")])])
            storage.commit(
                [
                    step(1, 3, b"<three>", activities=[activity(7)], buffered=[(2, b"b")]),
                    step(1, 4, b"<four>", clear=True, clear_buffered=True, buffered=[(3, b"c")]),
                    step(1, 5, b"<five>", activities=[activity(13)], buffered=[(4, b"d")]),
                ]
            )
            assert self._activities(storage) == [activity(13)]
            stored = storage.load_run(run_id(1))
            assert stored is not None
            assert stored.buffered == [b"c", b"d"]

    def _activities(self, storage: WorkflowStorage) -> list[object]:
        stored = storage.load_run(run_id(1))
        assert stored is not None
        return list(stored.activities)

    # --- reading the history in parts

    def test_history_is_read_from_the_batch_that_holds_the_event(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            storage.commit([start(1, "order-1")])
            for version in range(2, 6):
                storage.commit([step(1, version, b"%d" % version * 100)])
            assert storage.read_history(run_id(1), 5, 1) == [(4, b"2" * 100)]
            assert storage.read_history(run_id(1), 4, 101) == [(4, b"2" * 100), (7, b"3" * 100)]
            assert storage.read_history(run_id(1), 4, 200) == [(4, b"2" * 100), (7, b"3" * 100)]
            assert storage.read_history(run_id(1), 4, 0) == [(4, b"2" * 100)]
            assert [first for first, _ in storage.read_history(run_id(1), 1, 10**9)] == [1, 4, 7, 10, 13]
            assert storage.read_history(run_id(1), 99, 10**9) == [(13, b"5" * 100)]

    # --- what is asked over all runs

    def test_due_runs_come_in_order_and_move_with_each_write(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            storage.commit([start(number, f"order-{number}", due=100 - number) for number in range(1, 6)])
            assert storage.due_runs(97, 10) == [Due(95, run_id(5)), Due(96, run_id(4)), Due(97, run_id(3))]
            assert storage.due_runs(1000, 2) == [Due(95, run_id(5)), Due(96, run_id(4))]
            assert (storage.next_due(0), storage.next_due(97), storage.next_due(99)) == (95, 98, None)
            storage.commit([step(5, 2, due=500), step(4, 2, due=None)])
            assert storage.due_runs(97, 10) == [Due(97, run_id(3))]
            assert storage.next_due(99) == 500

    def test_waiting_tasks_are_found_by_queue(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            other = queue_key("other", "orders")
            storage.commit([start(number, f"order-{number}") for number in (1, 2, 3)])
            storage.commit([step(2, 2, b"<two>", activities=[activity(4, queue=QUEUE), activity(5, queue=other), activity(6)])])
            assert storage.waiting_queues() == sorted([(QUEUE, False), (QUEUE, True), (other, True)])
            assert storage.waiting(QUEUE, activities=False, after=None, limit=9) == [Waiting(run_id(1), 0), Waiting(run_id(3), 0)]
            assert storage.waiting(QUEUE, activities=False, after=Waiting(run_id(1), 0), limit=9) == [Waiting(run_id(3), 0)]
            assert storage.waiting(QUEUE, activities=True, after=None, limit=9) == [Waiting(run_id(2), 4)]
            assert storage.waiting(other, activities=False, after=None, limit=9) == []

    def test_waiting_activities_are_read_in_pages(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            many = [activity(number, queue=QUEUE) for number in range(4, 9)]
            storage.commit([start(1, "a"), start(2, "b"), step(1, 2, b"<>", activities=many), step(2, 2, b"<>", activities=many)])
            pages: list[Waiting] = []
            while page := storage.waiting(QUEUE, activities=True, after=pages[-1] if pages else None, limit=3):
                assert len(page) <= 3
                pages += page
            assert pages == [Waiting(run_id(run), number) for run in (1, 2) for number in range(4, 9)]

    def test_abandoned_runs_are_those_of_older_incarnations(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            storage.commit([start(1, "a", held_by=1), start(2, "b", held_by=2), start(3, "c"), start(4, "d", held_by=1)])
            storage.commit([step(3, 2, b"<>", held_by=1), step(4, 2, b"<>")])
            assert storage.abandoned_runs(2) == [run_id(1), run_id(3)]
            assert storage.abandoned_runs(3) == [run_id(1), run_id(2), run_id(3)]
            assert storage.abandoned_runs(1) == []

    def test_lists_show_the_runs_of_a_namespace_in_pages(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            storage.commit([start(number, f"order-{number}", namespace="a" if number % 2 else "b") for number in range(1, 8)])
            assert storage.list_runs("a", None, 2) == [shown(1, "order-1", namespace="a"), shown(3, "order-3", namespace="a")]
            assert [found.run_id for found in storage.list_runs("a", run_id(3), 9)] == [run_id(5), run_id(7)]
            assert storage.list_runs("nobody", None, 9) == []

    def test_what_lists_show_changes_only_when_written(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            storage.commit([start(1, "order-1"), step(1, 2, b"<two>")])
            assert storage.visibility(run_id(1)) == shown(1, "order-1")
            closed = shown(1, "order-1", status=COMPLETED, close_time=5)
            storage.commit([step(1, 3, b"<end>", status=COMPLETED, visibility=closed), step(1, 4)])
            assert storage.visibility(run_id(1)) == closed

    # --- keeping

    def test_what_was_committed_is_there_when_it_is_opened_again(self, tmp_path: Path) -> None:
        storage = self.make_storage(tmp_path)
        storage.open()
        storage.commit([start(1, "order-1", due=5), step(1, 2, b"<two>", activities=[activity(4, queue=QUEUE)], buffered=[(1, b"x")])])
        before = contents(storage, [run_id(1)], [(NAMESPACE, "order-1")])
        storage.close()
        storage.close()
        storage.open()
        assert contents(storage, [run_id(1)], [(NAMESPACE, "order-1")]) == before
        storage.close()

    def test_incarnations_count_up_over_openings(self, tmp_path: Path) -> None:
        storage = self.make_storage(tmp_path)
        storage.open()
        assert [storage.next_incarnation(), storage.next_incarnation()] == [1, 2]
        storage.close()
        storage.open()
        assert storage.next_incarnation() == 3
        storage.close()

    def test_a_group_does_not_change_what_it_was_given(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            write = RunWrite(row(1), 0, 1, b"<start>", [activity(2)], buffered=[(1, b"a")])
            storage.commit([Transaction([write]), step(1, 2, b"<two>", closed=[2], clear_buffered=True, buffered=[(2, b"b")])])
            assert write == RunWrite(row(1), 0, 1, b"<start>", [activity(2)], buffered=[(1, b"a")])

    def test_sizes_count_rows(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as storage:
            storage.commit([start(1, "a"), start(2, "b"), step(2, 2, b"<>", activities=[activity(4)], buffered=[(1, b"x")])])
            sizes = storage.sizes()
            wanted = {"runs": 2, "current_runs": 2, "activities": 1, "buffered_events": 1, "visibility": 2}
            assert {name: sizes[name] for name in wanted} == wanted

    # --- against the model

    def test_random_groups_give_the_answers_and_contents_of_the_model(self, tmp_path: Path) -> None:
        """Groups with stale versions, repeated starts and replaced runs, against `MemoryStorage`."""
        with self.opened(tmp_path) as storage:
            model = MemoryStorage()
            model.open()
            groups = RandomGroups(seed=20_240_229)
            for _ in range(60):
                group = groups.next_group()
                assert storage.commit(group) == model.commit(group)
            assert contents(storage, groups.run_ids, groups.workflow_ids) == contents(model, groups.run_ids, groups.workflow_ids)
