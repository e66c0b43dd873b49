"""Temporal's gRPC API on an engine: what `perdure server` and `perdure.testing.server` run.

The rule a newcomer would get wrong: nothing here knows an RPC. Methods are found by name in the API's descriptors and on the
engine's frontend; a new RPC is written there, and is served.
"""

from perdure.server.server import Server, ServerOptions
from perdure.server.skipping_clock import SkippingClock

__all__ = ["Server", "ServerOptions", "SkippingClock"]
