"""For tests: after every workflow task the whole history is replayed, so that non-determinism shows where it was written."""

from __future__ import annotations

import logging
from typing import Any

from temporalio.api.common.v1 import WorkflowExecution

from perdure.model.conversion import DataConverter
from perdure.model.definitions import WorkflowDefinition
from perdure.model.rpc import RpcError
from perdure.runtime.options import RunnerOptions
from perdure.runtime.runner import WorkflowRunner
from perdure.worker.histories import HistoryReader

__all__ = ["ReplayCheck"]

logger = logging.getLogger("perdure.worker")


class ReplayCheck:
    """Replays runs, and keeps what does not match; the worker raises it when it stops."""

    def __init__(self, histories: HistoryReader, converter: DataConverter, options: RunnerOptions) -> None:
        self._histories = histories
        self._converter = converter
        self._options = options
        self.errors: list[BaseException] = []

    async def replay(self, definition: WorkflowDefinition[..., Any], execution: WorkflowExecution) -> None:
        """Replays the run as it stands now."""
        try:
            events = await self._histories.read(execution)
        except RpcError as error:
            logger.warning("The history of %s could not be read for its replay: %s", execution.workflow_id, error)
            return
        runner = WorkflowRunner(definition, execution.workflow_id, execution.run_id, self._converter, self._options)
        try:
            runner.replay(events)
        except Exception as error:
            self.errors.append(error)
            logger.error("Replaying the workflow %s right after its task gave something else: %s", execution.workflow_id, error)
        finally:
            runner.evict()
