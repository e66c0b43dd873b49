"""Records on the engine's side: what is no run (namespaces, schedules, batch operations), read and written durably.

A record is small and has a version: who changes one says which version was read, and `Conflict` means that somebody else has
changed it since. What `put` and `delete` wrote is durable when they return, and every later read shows it.

The rule a newcomer would get wrong: nothing of a record is kept in memory here. Whoever needs one on every request keeps a
copy of its own, and changes that copy after `put` has returned.
"""

from __future__ import annotations

import asyncio
from typing import TypeAlias

from perdure.engine.committer import Committer
from perdure.engine.reader import Reader
from perdure.model.rpc import unavailable
from perdure.storage.contract import Committed, Record, RecordWrite, Transaction

Found: TypeAlias = list[Record]


class Conflict(Exception):
    """A record was not at the version that its writer expected: read it again, and decide again."""


class Records:
    """Reads and writes records. Reads raise StorageError, like every read of the storage."""

    def __init__(self, reader: Reader, committer: Committer) -> None:
        self._reader = reader
        self._committer = committer

    async def get(self, kind: str, namespace: str, key: str) -> Record | None:
        """One record; None if there is none."""
        return await self._reader.read(self._reader.storage.record, kind, namespace, key)

    async def list(
        self, kind: str, namespace: str | None, *, after_key: str | None = None, after_namespace: str = "", limit: int = 1000
    ) -> Found:
        """Records of a kind in the order of namespace and key; of all namespaces if `namespace` is None (`WorkflowStorage.records`)."""
        return await self._reader.read(self._reader.storage.records, kind, namespace, after_key, limit, after_namespace)

    async def due(self, until: int, limit: int) -> Found:
        """Records due at or before `until`, the earliest first."""
        return await self._reader.read(self._reader.storage.due_records, until, limit)

    async def next_due(self, after: int) -> int | None:
        """The earliest `due` later than `after`."""
        return await self._reader.read(self._reader.storage.next_due_record, after)

    async def put(self, kind: str, namespace: str, key: str, data: bytes, *, expected_version: int, due: int | None = None) -> int:
        """Writes a record, and returns its new version; `expected_version` 0 makes one that must not exist yet.

        Raises:
            Conflict: its version is another.
            RpcError: UNAVAILABLE, the storage failed.
        """
        await self.write(RecordWrite(kind, namespace, key, expected_version, data, due))
        return expected_version + 1

    async def delete(self, kind: str, namespace: str, key: str, *, expected_version: int) -> None:
        """Deletes a record; raises as `put` does."""
        await self.write(RecordWrite(kind, namespace, key, expected_version, None))

    async def write(self, *writes: RecordWrite) -> None:
        """Writes several records, all or none; raises as `put` does."""
        answer: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()

        def tell(committed: Committed) -> None:
            if not answer.done():
                answer.set_result(committed)

        self._committer.submit(Transaction((), None, writes), tell)
        committed = await answer
        if committed is Committed.CONFLICT:
            raise Conflict
        if committed is not Committed.YES:
            what = "may not be durable" if committed is Committed.UNKNOWN else "could not be made durable"
            raise unavailable(f"a change to {writes[0].kind} {writes[0].key} {what}: the storage failed (see the engine's log); try again")
