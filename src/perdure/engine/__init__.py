"""The embedded engine: Temporal's semantics in the user's process, on a storage."""

from perdure.engine.engine import Engine, open_engine

__all__ = ["Engine", "open_engine"]
