"""From a URL to the storage it names."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import unquote, urlsplit

from perdure.model.errors import UnknownEngine
from perdure.storage.contract import WorkflowStorage
from perdure.storage.memory import MemoryStorage


def storage_for_url(url: str) -> WorkflowStorage:
    """The storage that `url` names, not yet open: `memory://`, `sqlite:///relative/path` or `sqlite:////absolute/path`.

    Raises:
        UnknownEngine: no storage has this scheme, or the rest names none.
    """
    scheme, separator, _ = url.partition("://")
    build = STORAGES.get(scheme) if separator else None
    if build is None:
        known = ", ".join(f"{name}://" for name in STORAGES)
        raise UnknownEngine(f"{url!r} names no storage: it begins with one of {known}.")
    return build(url)


def _memory(url: str) -> WorkflowStorage:
    if url.removeprefix("memory://").strip("/"):
        raise UnknownEngine(f"{url!r} has a path, and memory keeps no file: write memory:// or sqlite:///….")
    return MemoryStorage()


def sqlite_path(url: str) -> str:
    """The file that a `sqlite:///` URL names.

    Raises:
        UnknownEngine: it names none.
    """
    parts = urlsplit(url)
    path = unquote(parts.path.removeprefix("/"))
    if parts.netloc:
        raise UnknownEngine(f"{url!r} names a host: write sqlite:///{parts.netloc}{parts.path} (three slashes) for a file from here.")
    if parts.query or parts.fragment:
        raise UnknownEngine(f"{url!r} has options, and a SQLite storage takes none (write %3F for ? and %23 for # in a path).")
    if not path or path.endswith("/"):
        raise UnknownEngine(f"{url!r} names no file: write sqlite:///perdure.db, sqlite:////absolute/path/perdure.db, or memory://.")
    return path


def _sqlite(url: str) -> WorkflowStorage:
    path = sqlite_path(url)
    from perdure.storage.sqlite import SQLiteStorage  # not at the top: see the package

    return SQLiteStorage(path)


STORAGES: dict[str, Callable[[str], WorkflowStorage]] = {"memory": _memory, "sqlite": _sqlite}
"""What builds the storage of each scheme."""
