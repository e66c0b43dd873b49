"""`ctx.logger`: the standard logging, silent while the workflow repeats what it has logged before."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any, Protocol

LOGGER = logging.getLogger("perdure.workflow")


class Replaying(Protocol):
    """What the logger asks of its run."""

    replaying: bool
    evicted: bool


class WorkflowLogger(logging.LoggerAdapter[logging.Logger]):
    """Adds workflow_id, run_id and workflow_type to each record (as attributes); logs nothing in replay unless told to."""

    def __init__(self, run: Replaying, facts: dict[str, Any], log_in_replay: bool, logger: logging.Logger = LOGGER) -> None:
        super().__init__(logger, facts)
        self._run = run
        self._log_in_replay = log_in_replay

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802
        if self._run.evicted or (self._run.replaying and not self._log_in_replay):
            return False
        return super().isEnabledFor(level)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs
