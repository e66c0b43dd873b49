"""Proves that records are durable when a write of them returns, and that a write built on an old version is refused."""

from __future__ import annotations

import pytest

from perdure.engine.engine import Engine, open_engine
from perdure.engine.records import Conflict
from perdure.model.rpc import RpcError, StatusCode
from perdure.storage import MemoryStorage
from perdure.storage.contract import Committed, Record, RecordWrite


async def test_what_was_put_is_read(engine: Engine) -> None:
    records = engine.records
    assert await records.put("schedule", "default", "nightly", b"one", expected_version=0, due=10) == 1
    assert await records.put("schedule", "default", "nightly", b"two", expected_version=1, due=20) == 2
    nightly = Record("schedule", "default", "nightly", 2, 20, b"two")
    assert await records.get("schedule", "default", "nightly") == nightly
    assert await records.list("schedule", "default") == [nightly]
    assert await records.list("schedule", None, after_namespace="default", after_key="nightly") == []
    assert (await records.due(20, 9), await records.next_due(0), await records.next_due(20)) == ([nightly], 20, None)
    await records.delete("schedule", "default", "nightly", expected_version=2)
    assert await records.get("schedule", "default", "nightly") is None


async def test_a_write_built_on_an_old_version_is_refused(engine: Engine) -> None:
    await engine.records.put("schedule", "default", "nightly", b"one", expected_version=0)
    with pytest.raises(Conflict):
        await engine.records.put("schedule", "default", "nightly", b"two", expected_version=0)
    with pytest.raises(Conflict):
        await engine.records.delete("schedule", "default", "nightly", expected_version=2)
    with pytest.raises(Conflict):
        await engine.records.write(RecordWrite("batch", "default", "b", 0, b""), RecordWrite("schedule", "default", "nightly", 7, b""))
    assert await engine.records.get("batch", "default", "b") is None


async def test_a_storage_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = MemoryStorage()
    engine = await open_engine(storage)
    monkeypatch.setattr(storage, "commit", lambda group: [Committed.FAILED] * len(group))
    with pytest.raises(RpcError, match="could not be made durable") as refused:
        await engine.records.put("schedule", "default", "nightly", b"one", expected_version=0)
    assert refused.value.code is StatusCode.UNAVAILABLE
    await engine.close()
