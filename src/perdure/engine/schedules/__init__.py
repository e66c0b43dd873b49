"""Schedules as the engine runs them: records that wake, starts that happen once, and workflows whose ends are heard of."""

from perdure.engine.schedules.schedules import Schedules

__all__ = ["Schedules"]
