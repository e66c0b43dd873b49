"""Instants as they stand in events, encoded: the core's part of `model.framing`."""

from __future__ import annotations

from functools import lru_cache

from google.protobuf.timestamp_pb2 import Timestamp

from perdure.engine.core.times import SECOND
from perdure.model.framing import framed


@lru_cache(maxsize=256)
def instant(ns: int) -> bytes:
    """A Timestamp as it follows the tag of its field. The same one is often needed many times within a transaction, and soon after."""
    message = Timestamp()
    message.seconds, message.nanos = divmod(ns, SECOND)
    return framed(b"", message.SerializeToString())
