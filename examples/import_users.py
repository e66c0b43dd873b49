"""Imports a CSV file of users into users.db: `python examples/import_users.py [FILE]`. Kill it and run it again: it goes on.

The workflow and its activities are perdure/demo/import_users.py. The records that were not stored end in rejects.csv, with the reasons.
"""

import asyncio
import sys
from pathlib import Path

from perdure import WorkflowClient, WorkflowWorker
from perdure.demo.import_users import ACTIVITIES, ImportUsers, import_csv
from perdure.demo.sample import sample_csv
from perdure.patterns.batch import CsvFile, open_csv, write_rejects


async def main(file: Path, database: Path) -> None:
    import_id = f"import-{file.name}"
    async with (
        WorkflowClient.connect("sqlite:///perdure.db") as client,
        WorkflowWorker(client, workflows=[ImportUsers], activities=ACTIVITIES),
    ):
        report = await import_csv(client, file, database, import_id)
    print(f"{report.successful_items} of {report.total_items} rows stored in {database}, {report.failed_items} not")
    write_rejects(database, import_id, open_csv(CsvFile(str(file))), "rejects.csv")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]) if len(sys.argv) > 1 else sample_csv(Path("perdure-sample")), Path("users.db")))
