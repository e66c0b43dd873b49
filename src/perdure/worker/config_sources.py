"""A worker's settings from a TOML file and from the environment, as plain fields that `WorkerConfig` then checks."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perdure.model.errors import ConfigError
from perdure.worker.config_values import ALIASES, CHECKS, bad, unknown_field

__all__ = ["PREFIX", "read_environment", "read_file"]

PREFIX = "PERDURE_WORKER_"

_FLAGS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
_WHOLE = {
    "max_concurrent_workflow_tasks", "max_concurrent_activity_tasks", "max_concurrent_polls", "max_cpu_bound_processes",
    "task_queue_size", "max_cached_workflows",
}  # fmt: skip
_FLAG_FIELDS = {"replay_after_every_task", "enable_metrics", "enable_tracing"}


def read_file(path: Path) -> dict[str, Any]:
    """The fields in the table `[worker]` of a TOML file (its top level if it has no such table)."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"The worker's configuration {path} cannot be read: {error.strerror or error}.", field="config") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"The worker's configuration {path} is not TOML: {error}.", field="config") from error
    table = document.get("worker", document)
    if not isinstance(table, dict):
        raise ConfigError(f"In {path}, worker must be a table: write [worker] and the settings below it.", field="worker")
    return _canonical(table)  # pyright: ignore[reportUnknownArgumentType]


def read_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """The fields given by `PERDURE_WORKER_…` variables."""
    found = {name[len(PREFIX) :].lower(): text for name, text in environ.items() if name.startswith(PREFIX)}
    return {name: _parse(name, str(text)) for name, text in _canonical(found).items()}


def _canonical(fields: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in fields.items():
        canonical = ALIASES.get(name, name)
        if canonical not in CHECKS:
            raise unknown_field(name)
        if canonical in result:
            raise ConfigError(f"{canonical} is given twice, also as {name}: keep one of them.", field=canonical)
        result[canonical] = value
    return result


def _parse(name: str, text: str) -> Any:
    """The text of a variable in its field's type; durations stay text, `WorkerConfig` reads those."""
    if name in _FLAG_FIELDS:
        if text.strip().lower() not in _FLAGS:
            raise bad(name, text, "true or false")
        return _FLAGS[text.strip().lower()]
    if name in _WHOLE:
        try:
            return int(text)
        except ValueError:
            raise bad(name, text, "a whole number") from None
    if name == "tags":
        return _parse_tags(text)
    return text


def _parse_tags(text: str) -> dict[str, str]:
    tags: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, separator, value = part.partition("=")
        if not separator or not key.strip():
            raise bad("tags", text, 'written "key=value,key=value"')
        tags[key.strip()] = value.strip()
    return tags
