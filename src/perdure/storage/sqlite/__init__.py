"""The default storage: one SQLite file, owned by one process."""

from perdure.storage.sqlite.files import Holder, read_holder
from perdure.storage.sqlite.storage import SQLiteStorage

__all__ = ["Holder", "SQLiteStorage", "read_holder"]
