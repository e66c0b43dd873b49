"""The records of a memory storage."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort

from perdure.storage.contract import Record, RecordWrite


class MemoryRecords:
    """Records by kind, namespace and key, and in the order in which they are due."""

    def __init__(self) -> None:
        self._records: dict[tuple[str, str, str], Record] = {}
        self._due: list[tuple[int, str, str, str]] = []  # sorted

    def __len__(self) -> int:
        return len(self._records)

    def is_expected(self, write: RecordWrite) -> bool:
        standing = self._records.get(write[:3])
        if standing is None:
            return write.expected_version == 0 and write.data is not None
        return standing.version == write.expected_version

    def write(self, write: RecordWrite) -> None:
        key = write[:3]
        standing = self._records.pop(key, None)
        if standing is not None and standing.due is not None:
            del self._due[bisect_left(self._due, (standing.due, *key))]
        if write.data is None:
            return
        self._records[key] = Record(*key, write.expected_version + 1, write.due, write.data)
        if write.due is not None:
            insort(self._due, (write.due, *key))

    def get(self, kind: str, namespace: str, key: str) -> Record | None:
        return self._records.get((kind, namespace, key))

    def page(self, kind: str, namespace: str | None, after: tuple[str, str], limit: int) -> list[Record]:
        found = (record for record in self._records.values() if record.kind == kind and namespace in (None, record.namespace))
        return sorted(record for record in found if (record.namespace, record.key) > after)[:limit]

    def kinds(self) -> list[str]:
        return sorted({kind for kind, _, _ in self._records})

    def due(self, until: int, limit: int) -> list[Record]:
        count = min(bisect_right(self._due, until, key=lambda entry: entry[0]), limit)
        return [self._records[kind, namespace, key] for _, kind, namespace, key in self._due[:count]]

    def next_due(self, after: int) -> int | None:
        at = bisect_right(self._due, after, key=lambda entry: entry[0])
        return self._due[at][0] if at < len(self._due) else None
