"""Proves that each storage keeps the contract: the public conformance suite, for memory and SQLite."""

from __future__ import annotations

from pathlib import Path

from perdure.storage import MemoryStorage, SQLiteStorage, WorkflowStorage
from perdure.storage.conformance import StorageConformance


class TestMemory(StorageConformance):
    def make_storage(self, directory: Path) -> WorkflowStorage:
        return MemoryStorage()


class TestSQLite(StorageConformance):
    def make_storage(self, directory: Path) -> WorkflowStorage:
        return SQLiteStorage(directory / "runs.db")
