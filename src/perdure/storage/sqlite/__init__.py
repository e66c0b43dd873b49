"""The default storage: one SQLite file, owned by one process."""

from perdure.storage.sqlite.storage import SQLiteStorage

__all__ = ["SQLiteStorage"]
