"""The import of the demo: users from a CSV file into a SQLite table.

What is particular to users stands here; the rest is `perdure.patterns.batch`.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple

from perdure import ActivityContext, WorkflowClient, WorkflowContext, activity, workflow
from perdure.patterns.batch import (
    IMPORT_ACTIVITIES,
    Chunk,
    ChunkResult,
    CsvFile,
    ImportJob,
    ImportReport,
    Row,
    SqliteSink,
    ValidationError,
    import_chunk,
    run_import,
)

SCHEMA = """
CREATE TABLE IF NOT EXISTS users (
    row INTEGER PRIMARY KEY,  -- the record's number in the file
    email TEXT NOT NULL UNIQUE, name TEXT NOT NULL, born TEXT NOT NULL, country TEXT NOT NULL, joined TEXT NOT NULL, notes TEXT NOT NULL)
"""
_EMAIL = re.compile(r"[^@\s.]+(\.[^@\s.]+)*@[^@\s.]+(\.[^@\s.]+)+")


class User(NamedTuple):
    email: str
    name: str
    born: str
    country: str
    joined: str
    notes: str


def validate(row: Row) -> None:
    """Only the e-mail address is indispensable; what is given has to be right."""
    if not _EMAIL.fullmatch(row["email"].strip()):
        raise ValidationError(f"e-mail {row['email']!r} is no address")


def transform(row: Row) -> User:
    return User(
        email=row["email"].strip().lower(),
        name=row.get("name", "").strip(),
        born=iso_date(row.get("born", "")),
        country=row.get("country", "").strip().upper(),
        joined=iso_date(row.get("joined", "")),
        notes=row.get("notes", "").strip(),
    )


def iso_date(text: str) -> str:
    """2001-12-31, from that or 31.12.2001 or 12/31/2001; empty when unknown."""
    try:
        if "." in text:
            day, month, year = text.split(".")
        elif "/" in text:
            month, day, year = text.split("/")
        else:
            return date.fromisoformat(text).isoformat() if text else ""
        if len(year) != 4:
            raise ValueError("which century?")
        return date(int(year), int(month), int(day)).isoformat()
    except ValueError:
        raise ValidationError(f"{text!r} is no date") from None


def store(db: sqlite3.Connection, users: Sequence[tuple[int, User]]) -> Mapping[int, str]:
    """Insert; an e-mail address that is there already is refused. Runs in the transaction that also records how far the import came."""
    rows = [(number, *user) for number, user in users]
    inserted = db.executemany("INSERT INTO users VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (email) DO NOTHING", rows).rowcount
    if inserted == len(rows):
        return {}
    span = (rows[0][0], rows[-1][0])
    present = {number for (number,) in db.execute("SELECT row FROM users WHERE row BETWEEN ? AND ?", span)}
    return {number: f"e-mail {user.email} is there already" for number, user in users if number not in present}


@activity
def import_users_chunk(ctx: ActivityContext, chunk: Chunk) -> ChunkResult:
    sink = SqliteSink(chunk.target, schema=SCHEMA, store=store)
    return import_chunk(ctx, chunk, validate=validate, transform=transform, sink=sink)


@workflow
class ImportUsers:
    async def run(self, ctx: WorkflowContext, job: ImportJob) -> ImportReport:
        return await run_import(ctx, job, import_users_chunk)


ACTIVITIES = (*IMPORT_ACTIVITIES, import_users_chunk)


async def import_csv(client: WorkflowClient, path: Path, database: Path, import_id: str, task_queue: str = "default") -> ImportReport:
    """Import the file; called again with the same id after a crash, it joins the import that is under way."""
    job = ImportJob(CsvFile(str(path.absolute())), str(database.absolute()), import_id, required=("email",))
    return await client.execute_workflow(ImportUsers, job, id=import_id, task_queue=task_queue)
