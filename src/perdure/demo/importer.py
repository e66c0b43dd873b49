"""The process that the demo kills: engine, worker and import in one, `python -m perdure.demo.importer ENGINE CSV DATABASE IMPORT_ID`.

Run it again after a crash, and it goes on. Standard output gets one JSON object a line: the answers to the workflow's query
`progress`, the report last.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from perdure import PerdureError, WorkflowClient, WorkflowNotFound, WorkflowWorker
from perdure.demo.import_users import ACTIVITIES, ImportUsers, import_csv
from perdure.patterns.batch import PROGRESS, innermost

_LOOK_EVERY_SECONDS = 0.05


async def run(engine: str, csv: Path, database: Path, import_id: str) -> None:
    """Import until done. The task queue is the import's own: what an earlier demo left behind in this engine stays asleep."""
    async with (
        WorkflowClient.connect(engine) as client,
        WorkflowWorker(client, import_id, workflows=[ImportUsers], activities=ACTIVITIES),
    ):
        importing = asyncio.create_task(import_csv(client, csv, database, import_id, task_queue=import_id))
        while not (await asyncio.wait([importing], timeout=_LOOK_EVERY_SECONDS))[0]:
            await _tell_progress(client, import_id)
        _tell("report", await importing)


async def _tell_progress(client: WorkflowClient, import_id: str) -> None:
    with suppress(WorkflowNotFound):  # not started yet
        _tell("progress", await client.query_workflow(import_id, PROGRESS))


def _tell(kind: str, what: Any) -> None:
    print(json.dumps({kind: asdict(what)}), flush=True)


def main(engine: str, csv: str, database: str, import_id: str) -> int:
    try:
        asyncio.run(run(engine, Path(csv), Path(database), import_id))
    except PerdureError as error:
        print(innermost(error), file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
