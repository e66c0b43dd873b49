"""The default storage: one SQLite file, owned by one process.

`SQLiteStorage` is imported when it is asked for: who only wants to know who holds a file needs nothing of what it stands on.
"""

from typing import TYPE_CHECKING, Any

from perdure.storage.sqlite.files import Holder, read_holder

if TYPE_CHECKING:
    from perdure.storage.sqlite.storage import SQLiteStorage

__all__ = ["Holder", "SQLiteStorage", "read_holder"]


def __getattr__(name: str) -> Any:
    if name != "SQLiteStorage":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from perdure.storage.sqlite.storage import SQLiteStorage

    return SQLiteStorage
