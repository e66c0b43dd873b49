"""What a worker can be told: names and defaults are the contract (REQUIREMENTS C1).

A configuration is a frozen value, checked when it is made: a bad value is a `ConfigError` that names the field and says what to
type instead. It comes from keyword arguments, from `WorkerConfig.builder()`, from a TOML file (`from_file`), from the environment
(`from_environment`), or from both layered (`load`). Durations are seconds or `timedelta`; in files and in the environment
"250ms", "30s", "5m", "2h" and "1d" are understood too. They are kept in seconds.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field
from pathlib import Path
from typing import Any, Self, TypedDict, Unpack

from perdure.model.durations import Duration
from perdure.model.errors import ConfigError
from perdure.worker import config_sources, config_values

__all__ = ["WorkerConfig", "WorkerConfigBuilder", "WorkerConfigFields", "WorkerSettings"]


class WorkerSettings(TypedDict, total=False):
    """The fields of `WorkerConfig` as keyword arguments, but for the task queue."""

    max_concurrent_workflow_tasks: int
    max_concurrent_activity_tasks: int
    max_concurrent_workflow_executions: int
    max_concurrent_activity_executions: int
    max_concurrent_polls: int
    max_cpu_bound_processes: int | None
    workflow_poll_timeout: Duration
    activity_poll_timeout: Duration
    poll_interval: Duration
    poll_error_backoff: Duration
    poll_error_backoff_max: Duration
    task_queue_size: int
    max_cached_workflows: int
    sticky_schedule_to_start_timeout: Duration
    default_start_to_close_timeout: Duration | None
    graceful_shutdown_timeout: Duration
    max_heartbeat_throttle_interval: Duration
    default_heartbeat_throttle_interval: Duration
    stall_threshold: Duration
    replay_after_every_task: bool
    enable_metrics: bool
    enable_tracing: bool
    tags: Mapping[str, str]


class WorkerConfigFields(WorkerSettings, total=False):
    """The fields of `WorkerConfig` as keyword arguments."""

    task_queue: str


def _no_tags() -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, kw_only=True)
class WorkerConfig:
    """The settings of a worker. Every duration is kept in seconds."""

    task_queue: str = "default"
    max_concurrent_workflow_tasks: int = 100
    """Workflow tasks in progress at once. 0 makes an activity-only worker."""
    max_concurrent_activity_tasks: int = 100
    """Activities in progress at once; also the number of threads for activities that are plain `def`. 0: no activities."""
    max_concurrent_polls: int = 5
    """Long polls of each kind held open at once on an engine that is not in this process."""
    max_cpu_bound_processes: int | None = None
    """Processes for `cpu_bound` activities, started when needed. None: one for each CPU."""
    workflow_poll_timeout: Duration = 60.0
    activity_poll_timeout: Duration = 60.0
    poll_interval: Duration = 0.1
    """Pause after a poll that came back empty at once: only engines that cannot wake a poll answer so."""
    poll_error_backoff: Duration = 1.0
    """First pause after a poll that failed; it doubles with each further error."""
    poll_error_backoff_max: Duration = 30.0
    task_queue_size: int = 0
    """Tasks of each kind that may wait in this process for a free slot. Their time-outs run meanwhile, so 0 unless asked for."""
    max_cached_workflows: int = 1000
    """Workflows kept in memory between their tasks, the least recently used go first. 0: each task replays the history."""
    sticky_schedule_to_start_timeout: Duration = 10.0
    """How long the engine waits for this worker's cache before it gives a task to any worker."""
    default_start_to_close_timeout: Duration | None = None
    """For activities whose options and definition name none."""
    graceful_shutdown_timeout: Duration = 30.0
    """What running tasks get to finish when the worker stops; then they are cancelled."""
    max_heartbeat_throttle_interval: Duration = 60.0
    default_heartbeat_throttle_interval: Duration = 30.0
    """Between two heartbeats that are sent, for activities without a heartbeat time-out (with one: 0.8 of it)."""
    stall_threshold: Duration = 0.5
    """The event loop standing still for so long is reported with the stack that blocks it; for twice as long, surely. 0: no watchdog."""
    replay_after_every_task: bool = False
    """For tests: every workflow task is followed by a replay of the whole history, so that non-determinism shows at once."""
    enable_metrics: bool = False
    enable_tracing: bool = False
    tags: Mapping[str, str] = field(default_factory=_no_tags)
    """Labels that travel to metrics, logs and worker listings."""
    max_concurrent_workflow_executions: InitVar[int | None] = None
    max_concurrent_activity_executions: InitVar[int | None] = None

    def __post_init__(self, max_concurrent_workflow_executions: int | None, max_concurrent_activity_executions: int | None) -> None:
        aliases = {
            "max_concurrent_workflow_tasks": max_concurrent_workflow_executions,
            "max_concurrent_activity_tasks": max_concurrent_activity_executions,
        }
        for name, value in aliases.items():
            if value is not None:
                object.__setattr__(self, name, value)
        for name, check in config_values.CHECKS.items():
            object.__setattr__(self, name, check(name, getattr(self, name)))
        if self.poll_error_backoff_max < self.poll_error_backoff:  # type: ignore[operator]  # both are seconds by now
            object.__setattr__(self, "poll_error_backoff_max", self.poll_error_backoff)

    def __hash__(self) -> int:
        return hash((*(value for name, value in self.as_dict().items() if name != "tags"), *sorted(self.tags.items())))

    def as_dict(self) -> dict[str, Any]:
        """Every field with its value."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    def replace(self, **changes: Unpack[WorkerConfigFields]) -> WorkerConfig:
        """This configuration with some fields changed."""
        return WorkerConfig._checked(self.as_dict() | _resolve_aliases(dict(changes)))

    @classmethod
    def of(cls, **fields: Unpack[WorkerConfigFields]) -> WorkerConfig:
        """Like the constructor; an unknown name is a `ConfigError` that names the nearest known one."""
        return cls._checked(dict(fields))

    @classmethod
    def builder(cls) -> WorkerConfigBuilder:
        """A builder: one method for each field, `.tag(key, value)`, `.build()`."""
        return WorkerConfigBuilder()

    # --- presets -----------------------------------------------------------------------------------------------------

    @classmethod
    def cpu_bound(cls, **fields: Unpack[WorkerConfigFields]) -> WorkerConfig:
        """For work that burns CPU: as many workflow tasks as CPUs, twice as many activities."""
        cpus = os.cpu_count() or 1
        return cls._checked(
            {"max_concurrent_workflow_tasks": cpus, "max_concurrent_activity_tasks": 2 * cpus} | _resolve_aliases(dict(fields))
        )

    @classmethod
    def io_bound(cls, **fields: Unpack[WorkerConfigFields]) -> WorkerConfig:
        """For work that waits: 50 workflow tasks, 200 activities."""
        return cls._checked({"max_concurrent_workflow_tasks": 50, "max_concurrent_activity_tasks": 200} | _resolve_aliases(dict(fields)))

    @classmethod
    def mixed(cls, **fields: Unpack[WorkerConfigFields]) -> WorkerConfig:
        """For both: 20 workflow tasks, 80 activities."""
        return cls._checked({"max_concurrent_workflow_tasks": 20, "max_concurrent_activity_tasks": 80} | _resolve_aliases(dict(fields)))

    # --- files and environment ---------------------------------------------------------------------------------------

    @classmethod
    def from_file(cls, path: str | Path, **overrides: Unpack[WorkerConfigFields]) -> WorkerConfig:
        """Reads the table `[worker]` of a TOML file, or its top level if there is none."""
        return cls._checked(config_sources.read_file(Path(path)) | _resolve_aliases(dict(overrides)))

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None, **overrides: Unpack[WorkerConfigFields]) -> WorkerConfig:
        """Reads `PERDURE_WORKER_<FIELD>` variables; tags are written `PERDURE_WORKER_TAGS="team=orders,zone=a"`."""
        found = config_sources.read_environment(os.environ if environ is None else environ)
        return cls._checked(found | _resolve_aliases(dict(overrides)))

    @classmethod
    def load(
        cls, path: str | Path | None = None, environ: Mapping[str, str] | None = None, **overrides: Unpack[WorkerConfigFields]
    ) -> WorkerConfig:
        """Layers: defaults, file, environment, keyword arguments; the later one wins."""
        layers = config_sources.read_file(Path(path)) if path is not None else {}
        layers |= config_sources.read_environment(os.environ if environ is None else environ)
        return cls._checked(layers | _resolve_aliases(dict(overrides)))

    @classmethod
    def _checked(cls, fields: dict[str, Any]) -> Self:
        fields = _resolve_aliases(fields)
        for name in fields:
            if name not in config_values.CHECKS:
                raise config_values.unknown_field(name)
        return cls(**fields)


def _resolve_aliases(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields under their own names; a field given under both names is refused."""
    resolved: dict[str, Any] = {}
    for name, value in fields.items():
        canonical = config_values.ALIASES.get(name, name)
        if canonical in resolved:
            raise ConfigError(f"{canonical} is given twice, also as {name}: keep one of them.", field=canonical)
        resolved[canonical] = value
    return resolved


class WorkerConfigBuilder:
    """Builds a `WorkerConfig` step by step: `WorkerConfig.builder().task_queue("orders").tag("team", "a").build()`.

    Every field of `WorkerConfig` (and its accepted other names) is a method that takes the value and returns the builder.
    """

    def __init__(self) -> None:
        self._fields: dict[str, Any] = {}
        self._tags: dict[str, str] = {}

    def tag(self, key: str, value: str) -> Self:
        """Adds one label."""
        self._tags[key] = value
        return self

    def set(self, **fields: Unpack[WorkerConfigFields]) -> Self:
        """Sets several fields at once."""
        self._fields |= fields
        return self

    def task_queue(self, value: str) -> Self:
        return self._put("task_queue", value)

    def max_concurrent_workflow_tasks(self, value: int) -> Self:
        return self._put("max_concurrent_workflow_tasks", value)

    def max_concurrent_activity_tasks(self, value: int) -> Self:
        return self._put("max_concurrent_activity_tasks", value)

    def max_concurrent_workflow_executions(self, value: int) -> Self:
        return self._put("max_concurrent_workflow_tasks", value)

    def max_concurrent_activity_executions(self, value: int) -> Self:
        return self._put("max_concurrent_activity_tasks", value)

    def workflow_poll_timeout(self, value: Duration) -> Self:
        return self._put("workflow_poll_timeout", value)

    def activity_poll_timeout(self, value: Duration) -> Self:
        return self._put("activity_poll_timeout", value)

    def poll_interval(self, value: Duration) -> Self:
        return self._put("poll_interval", value)

    def poll_error_backoff(self, value: Duration) -> Self:
        return self._put("poll_error_backoff", value)

    def task_queue_size(self, value: int) -> Self:
        return self._put("task_queue_size", value)

    def max_cached_workflows(self, value: int) -> Self:
        return self._put("max_cached_workflows", value)

    def default_start_to_close_timeout(self, value: Duration | None) -> Self:
        return self._put("default_start_to_close_timeout", value)

    def graceful_shutdown_timeout(self, value: Duration) -> Self:
        return self._put("graceful_shutdown_timeout", value)

    def enable_metrics(self, value: bool = True) -> Self:
        return self._put("enable_metrics", value)

    def enable_tracing(self, value: bool = True) -> Self:
        return self._put("enable_tracing", value)

    def build(self) -> WorkerConfig:
        """The configuration; a bad value is a `ConfigError`."""
        fields = dict(self._fields)
        if self._tags:
            fields["tags"] = dict(fields.get("tags", {})) | self._tags
        return WorkerConfig.of(**fields)  # names are checked there

    def _put(self, name: str, value: Any) -> Self:
        self._fields[name] = value
        return self
