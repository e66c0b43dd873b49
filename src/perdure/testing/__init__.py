"""What users need to test workflows at full speed: a clock that they move themselves, and a server in their own process."""

from perdure.testing.clock import ManualClock
from perdure.testing.server import server

__all__ = ["ManualClock", "server"]
