"""All pages of a list."""

from __future__ import annotations

from typing import Any

from perdure.cli.on_engine import Target

PAGE_SIZE = 500


async def pages_of(
    target: Target, name: str, request: Any, field: str, *, size_field: str = "page_size", limit: int | None = None
) -> list[Any]:
    """What `field` of each page's answer holds, joined; at most `limit`."""
    found: list[Any] = []
    while limit is None or len(found) < limit:
        setattr(request, size_field, PAGE_SIZE if limit is None else min(PAGE_SIZE, limit - len(found)))
        response = await target.call(name, request)
        found += getattr(response, field)
        request.next_page_token = response.next_page_token
        if not request.next_page_token:
            break
    return found[:limit]
