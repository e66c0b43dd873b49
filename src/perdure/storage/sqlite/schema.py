"""Creates the schema, brings an older one forward after a backup, and refuses what it does not know.

A file is ours if its application id says so; its schema's number stands in the table `meta`, as on every SQL database.
Nothing is changed in a file before it has been recognised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from sqlalchemy.schema import CreateIndex, CreateTable, DDLElement

from perdure.model.errors import SchemaTooNew, StorageCorrupt, StorageError
from perdure.storage.dialect import SQLITE
from perdure.storage.schema_version import SCHEMA_VERSION
from perdure.storage.sqlite.connections import PAGE_BYTES
from perdure.storage.sqlite.database import Connection, connect, disconnect
from perdure.storage.sqlite.files import create_private, sync_directory
from perdure.storage.tables import metadata

APPLICATION_ID = 0x70657264
"""`perd`, in the header of the file."""

MIGRATIONS: Mapping[int, Sequence[str]] = {}
"""The statements that bring a schema of each number to the next one."""


def prepare(connection: Connection, path: str) -> None:
    """Makes the file a storage with this release's schema.

    Raises:
        SchemaTooNew: a newer perdure wrote it.
        StorageError: one from before the first release did.
        StorageCorrupt: it is a database of something else.
    """
    found = _found_version(connection, path)
    if found > SCHEMA_VERSION:
        raise SchemaTooNew(f"{path} has schema {found}, and this perdure knows up to {SCHEMA_VERSION}: upgrade perdure.")
    if found and any(version not in MIGRATIONS for version in range(found, SCHEMA_VERSION)):
        raise StorageError(
            f"{path} was written before perdure's first release (schema {found}) and cannot be read: "
            "end its workflows with the version that wrote it, then name a new file."
        )
    if found == 0:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    _use_log(connection, path)
    if found == 0:
        _create(connection)
    elif found < SCHEMA_VERSION:
        _migrate(connection, path, found)


@cache
def create_script() -> list[str]:
    """The statements that create the schema of this release."""
    tables = metadata.sorted_tables
    indexes = sorted((index for table in tables for index in table.indexes), key=lambda index: str(index.name))
    elements: list[DDLElement] = [*map(CreateTable, tables), *map(CreateIndex, indexes)]
    return [str(element.compile(dialect=SQLITE.dialect)).strip() for element in elements]


def copy_to(connection: Connection, path: str) -> None:
    """Copies the database, as it stands now, to a new private file.

    Raises:
        StorageError: there is a file already.
    """
    create_private(path)
    target = connect(path)
    try:
        if target.pragma("page_count") != 0:
            raise StorageError(f"{path} exists already: name a new file for the copy.")
        target.pragma("synchronous", "full")
        copy = target.backup("main", connection, "main")
        copy.step()
        copy.finish()
        target.pragma("journal_mode", "delete")
    finally:
        disconnect(target)
    sync_directory(path)


def _found_version(connection: Connection, path: str) -> int:
    application = connection.pragma("application_id")
    is_empty = connection.execute("SELECT count(*) FROM sqlite_schema").fetchall() == [(0,)]
    if application == APPLICATION_ID and not is_empty:
        version: int = connection.execute("SELECT value FROM meta WHERE name = 'schema'").fetchall()[0][0]
        return version
    if not is_empty or application not in (0, APPLICATION_ID):
        raise StorageCorrupt(f"{path} is a database of another application: choose another path.")
    return 0


def _use_log(connection: Connection, path: str) -> None:
    mode = connection.pragma("journal_mode", "wal")
    synchronous = connection.pragma("synchronous")
    if mode != "wal" or synchronous != 2:
        raise StorageError(f"{path} cannot be written durably: SQLite gives journal mode {mode}, synchronous {synchronous}, not wal and 2.")


def _create(connection: Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for statement in create_script():
        connection.execute(statement)
    connection.execute("INSERT INTO meta (name, value) VALUES ('schema', ?)", (SCHEMA_VERSION,))
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("COMMIT")


def _migrate(connection: Connection, path: str, found: int) -> None:
    _copy_before_migration(connection, f"{path}.schema-{found}.backup")
    connection.execute("BEGIN IMMEDIATE")
    try:
        for version in range(found, SCHEMA_VERSION):
            for statement in MIGRATIONS[version]:
                connection.execute(statement)
        connection.execute("UPDATE meta SET value = ? WHERE name = 'schema'", (SCHEMA_VERSION,))
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _copy_before_migration(connection: Connection, path: str) -> None:
    """Copies to `path`; what an attempt before this one left there is replaced."""
    unfinished = Path(f"{path}.unfinished")
    unfinished.unlink(missing_ok=True)
    copy_to(connection, str(unfinished))
    unfinished.replace(path)
    sync_directory(path)
