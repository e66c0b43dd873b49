"""What `WorkflowClient.connect` gives: something to await, or to enter with `async with`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from perdure.model.suggestions import missing_attribute

if TYPE_CHECKING:
    from perdure.client.client import WorkflowClient

__all__ = ["Connecting"]


class Connecting:
    """What `connect` gives: awaited it is the client, entered with `async with` it is closed at the end."""

    def __init__(self, open_client: Callable[[], Coroutine[Any, Any, WorkflowClient]]) -> None:
        self._open = open_client
        self._client: WorkflowClient | None = None

    def __await__(self) -> Generator[Any, Any, WorkflowClient]:
        return self._open().__await__()

    async def __aenter__(self) -> WorkflowClient:
        self._client = await self._open()
        return self._client

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._client is not None:
            await self._client.close()

    def __getattr__(self, name: str) -> Any:
        raise missing_attribute("what WorkflowClient.connect(…) returns", name, (), dict.fromkeys((name,), _CONNECT_FIRST))


_CONNECT_FIRST = "`async with WorkflowClient.connect(…) as client`, or `client = await WorkflowClient.connect(…)`, and use the client"
