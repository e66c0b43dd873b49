"""Where runs are kept: the contract, and the storages that fulfil it."""

from perdure.storage.contract import WorkflowStorage
from perdure.storage.memory import MemoryStorage
from perdure.storage.sqlite import SQLiteStorage
from perdure.storage.urls import storage_for_url

__all__ = ["MemoryStorage", "SQLiteStorage", "WorkflowStorage", "storage_for_url"]
