"""An engine of its own for each test, on every storage that can be embedded; or with a clock that stands still, in memory."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from one_worker import Rig

from perdure.engine.engine import Engine, open_engine
from perdure.storage import MemoryStorage, SQLiteStorage, WorkflowStorage
from perdure.testing import ManualClock


@pytest.fixture(params=["memory", "sqlite"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> WorkflowStorage:
    return MemoryStorage() if request.param == "memory" else SQLiteStorage(tmp_path / "runs.db")


@pytest.fixture
async def engine(storage: WorkflowStorage) -> AsyncGenerator[Engine]:
    engine = await open_engine(storage)
    yield engine
    await engine.close()


@pytest.fixture
async def rig() -> AsyncGenerator[Rig]:
    clock = ManualClock()
    engine = await open_engine(MemoryStorage(), clock=clock)
    yield Rig(engine, clock)
    await engine.close()
