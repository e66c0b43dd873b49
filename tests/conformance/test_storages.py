"""Proves that each storage keeps the contract: the public conformance suite, for memory and SQLite."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.register_assert_rewrite("perdure.storage.conformance.cases")

from perdure.storage import MemoryStorage, SQLiteStorage, WorkflowStorage  # noqa: E402
from perdure.storage.conformance import StorageConformance  # noqa: E402


class TestMemory(StorageConformance):
    def make_storage(self, directory: Path) -> WorkflowStorage:
        return MemoryStorage()


class TestSQLite(StorageConformance):
    def make_storage(self, directory: Path) -> WorkflowStorage:
        return SQLiteStorage(directory / "runs.db")
