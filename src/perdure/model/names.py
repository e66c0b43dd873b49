"""Names that users give (ids, queues): text that UTF-8 can write, within the limit."""

from __future__ import annotations

from typing import Any

from perdure.model.errors import UsageError

__all__ = ["NAME_BYTES_MAX", "check_name"]

NAME_BYTES_MAX = 1000
"""Temporal's limit of ids and names, in UTF-8."""


def check_name(name: Any, what: str, example: str) -> str:
    """The name; UsageError when it cannot be one. `what` begins the sentence, `example` shows what to type."""
    if not isinstance(name, str) or not name.strip():
        raise UsageError(f"{what} is {name!r}; give a string that is not empty, as in {example}")
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:
        raise UsageError(f"{what} is {name!r}, and {name[error.start]!r} is half of a character; leave it out") from None
    if size > NAME_BYTES_MAX:
        raise UsageError(f"{what} has {size} bytes, and {NAME_BYTES_MAX} are allowed; shorten it")
    return name
