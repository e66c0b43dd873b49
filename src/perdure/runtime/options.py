"""What a worker (or a test) decides about the running of workflow code."""

from __future__ import annotations

from dataclasses import dataclass

from perdure.model.durations import Duration


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerOptions:
    """Options of a WorkflowRunner; every workflow of a worker has the same."""

    namespace: str = "default"
    default_start_to_close_timeout: Duration | None = None
    """For activities that state no time of one attempt; None means 10 minutes."""
    failure_exception_types: tuple[type[BaseException], ...] = ()
    """Errors that fail the workflow, besides perdure's own and TimeoutError. Others fail the workflow *task*: it is tried again."""
    log_in_replay: bool = False
    """Whether `ctx.logger` also logs what the workflow has logged before."""
    guard: bool = True
    """Whether blocking calls (time.sleep, open, sockets, processes) in workflow code are refused while it runs."""
    completion: bytes = b""
    """What every completion of a workflow task says beside its commands, encoded."""
    last_completion: bytes = b""
    """Likewise, of a task that ends its workflow."""
    strict: bool = False
    """Whether replay also compares inputs, results and durations, which may change between releases but not within one: for tests."""
