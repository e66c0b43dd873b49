"""Where a run can be reset to, so that what a build of its workers did is undone: the first workflow task that each build completed.

They follow from WorkflowTaskCompleted, which names the checksum of its worker's program or the build id of its version, and go from
run to run of a chain in WorkflowExecutionStarted (4.5). Knows no builds but those that completed something.

Easily got wrong: a point of an earlier run of the chain keeps that run's id. One that was there before a reset is written anew by the
fold, with the id of the run that the reset made, whose events they are.
"""

from __future__ import annotations

from typing import Final

from temporalio.api.history.v1 import WorkflowTaskCompletedEventAttributes
from temporalio.api.workflow.v1 import ResetPointInfo

from perdure.engine.core.state import Run
from perdure.engine.core.times import set_ns

POINTS_MAX: Final = 20
"""Of a chain of runs; a further one takes the place of the oldest."""


def note(run: Run, event_id: int, time: int, completed: WorkflowTaskCompletedEventAttributes) -> None:
    """Folds what a WorkflowTaskCompleted says of its worker's build."""
    checksum = completed.binary_checksum
    build_id = completed.worker_version.build_id or completed.deployment_version.build_id
    if not (checksum or build_id):
        return
    for known in run.reset_points:
        if (build_id and known.build_id == build_id) or (checksum and known.binary_checksum == checksum):
            return
    point = ResetPointInfo(build_id=build_id, binary_checksum=checksum, run_id=run.run_id, first_workflow_task_completed_id=event_id)
    point.resettable = not run.externals
    set_ns(point.create_time, time)
    run.reset_points = (*run.reset_points, point)[-POINTS_MAX:]
