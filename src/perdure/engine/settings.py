"""What an operator may set for one engine; everything else is a constant beside its rule."""

from __future__ import annotations

from dataclasses import dataclass

from perdure.engine.core.limits import PAYLOAD_BYTES_MAX, SUGGEST_EVENTS

__all__ = ["EngineSettings"]


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """The defaults are Temporal's."""

    suggest_events: int = SUGGEST_EVENTS
    """Events of a history from which on its workflow tasks suggest to continue as new."""
    payload_bytes_max: int = PAYLOAD_BYTES_MAX
    """Of one field of payloads: more is refused, or ends the run whose worker asks for it. SDKs learn it, and fail the task first."""
