"""An engine of its own for each test, on every storage that can be embedded."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from perdure.engine.engine import Engine, open_engine
from perdure.storage import MemoryStorage, SQLiteStorage, WorkflowStorage


@pytest.fixture(params=["memory", "sqlite"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> WorkflowStorage:
    return MemoryStorage() if request.param == "memory" else SQLiteStorage(tmp_path / "runs.db")


@pytest.fixture
async def engine(storage: WorkflowStorage) -> AsyncGenerator[Engine]:
    engine = await open_engine(storage)
    yield engine
    await engine.close()
