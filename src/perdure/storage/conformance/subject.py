"""What every group of cases starts from: the storage that is tested."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from perdure.storage.contract import WorkflowStorage


class StorageSubject:
    """Makes and opens the storage that is tested."""

    def make_storage(self, directory: Path) -> WorkflowStorage:
        """A storage, not yet open, whose contents live in `directory`."""
        raise TypeError(f"{type(self).__name__} does not define make_storage(directory)")

    @contextmanager
    def opened(self, directory: Path) -> Generator[WorkflowStorage]:
        """The storage of this test, open."""
        storage = self.make_storage(directory)
        storage.open()
        try:
            yield storage
        finally:
            storage.close()
