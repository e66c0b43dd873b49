"""What users' tests need: a clock that they move themselves."""

from perdure.testing.clock import ManualClock

__all__ = ["ManualClock"]
