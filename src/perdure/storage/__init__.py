"""Where runs are kept: the contract, and the storages that fulfil it.

`SQLiteStorage` is imported when it is asked for: what it stands on takes a quarter of a second to import, and memory
needs none of it.
"""

from typing import TYPE_CHECKING, Any

from perdure.storage.contract import WorkflowStorage
from perdure.storage.memory import MemoryStorage
from perdure.storage.urls import storage_for_url

if TYPE_CHECKING:
    from perdure.storage.sqlite import SQLiteStorage

__all__ = ["MemoryStorage", "SQLiteStorage", "WorkflowStorage", "storage_for_url"]


def __getattr__(name: str) -> Any:
    if name != "SQLiteStorage":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from perdure.storage.sqlite import SQLiteStorage

    return SQLiteStorage
