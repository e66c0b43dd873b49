"""The file of the write-ahead log, laid out before it is needed.

While a log grows, every commit also has the file system note new blocks of the file, and takes twice as long as one that writes
over blocks that are there (as all do once the log has started again). So the file is filled up with zeros in one go.

The rule a newcomer would get wrong: this may write beside SQLite, but only behind the end of the file, in the thread that commits. The
zeros mean nothing to SQLite, which reads a log up to the first frame that does not carry its salt and checksum.
"""

from __future__ import annotations

import logging
import os

from perdure.storage.sqlite.connections import PAGE_BYTES

_log = logging.getLogger("perdure.storage")

_HEADER_BYTES = 32
_FRAME_BYTES = 24 + PAGE_BYTES
_CHUNK_BYTES = 1024 * 1024


def lay_out_log(database: str, pages: int) -> None:
    """Fills the log of a database up to so many pages, durably. A disk that refuses leaves it as long as it has become."""
    wanted = _HEADER_BYTES + pages * _FRAME_BYTES
    try:
        descriptor = os.open(f"{database}-wal", os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0))
        try:
            while (missing := wanted - os.fstat(descriptor).st_size) > 0:
                os.write(descriptor, bytes(min(missing, _CHUNK_BYTES)))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        _log.info("the log of %s grows as it is written: it could not be laid out before (%s)", database, error)
