"""Which calls are let in: so many at once, so large each. What is refused is told why, and costs next to nothing.

Long polls are counted apart from other calls: idle workers must not keep a client from starting something, nor the reverse.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from temporalio.api.enums.v1 import ResourceExhaustedCause, ResourceExhaustedScope

from perdure.model.rpc import RpcError, StatusCode, resource_exhausted

REQUEST_BYTES_MAX = 4 * 1024 * 1024
"""Of one request, uncompressed: Temporal's limit. Refused in the words of its server, which SDKs look for to fail the task at hand."""
CALLS_MAX = 2_000
"""Calls under way at once. A client that is refused comes back after a moment; each call holds its request in memory."""
POLLS_MAX = 20_000
"""Long polls under way at once: these hold next to nothing."""


class Gate:
    """One kind of calls."""

    __slots__ = ("_limit", "_name", "_request_bytes_max", "inside")

    def __init__(self, name: str, limit: int, request_bytes_max: int) -> None:
        self.inside = 0
        self._name = name
        self._limit = limit
        self._request_bytes_max = request_bytes_max

    def __repr__(self) -> str:
        return f"<Gate {self._name}: {self.inside} of {self._limit}>"

    @contextmanager
    def admitted(self, body: bytes) -> Generator[None]:
        """Around a call. Raises RpcError: RESOURCE_EXHAUSTED, when there are too many or the request is too large."""
        if len(body) > self._request_bytes_max:
            raise RpcError(
                StatusCode.RESOURCE_EXHAUSTED, f"grpc: received message larger than max ({len(body)} vs. {self._request_bytes_max})"
            )
        if self.inside >= self._limit:
            raise resource_exhausted(
                f"{self.inside} {self._name} are under way, which is the limit; try again later",
                ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_CONCURRENT_LIMIT,
                ResourceExhaustedScope.RESOURCE_EXHAUSTED_SCOPE_SYSTEM,
            )
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1


class Admission:
    """The gates of one server."""

    def __init__(self, calls_max: int = CALLS_MAX, polls_max: int = POLLS_MAX, request_bytes_max: int = REQUEST_BYTES_MAX) -> None:
        self.calls = Gate("calls", calls_max, request_bytes_max)
        self.polls = Gate("polls", polls_max, request_bytes_max)

    def gate(self, method: str) -> Gate:
        """The gate for a method of the API."""
        return self.polls if method.startswith("Poll") or method == "GetWorkflowExecutionHistory" else self.calls
