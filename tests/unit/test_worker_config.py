"""A worker's configuration: the defaults are the contract, every way to give a setting leads to the same place, a bad value says so."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from perdure import ConfigError, WorkerConfig

DEFAULTS = {
    "task_queue": "default",
    "max_concurrent_workflow_tasks": 100,
    "max_concurrent_activity_tasks": 100,
    "workflow_poll_timeout": 60.0,
    "activity_poll_timeout": 60.0,
    "poll_interval": 0.1,
    "poll_error_backoff": 1.0,
    "max_cached_workflows": 1000,
    "default_start_to_close_timeout": None,
    "graceful_shutdown_timeout": 30.0,
    "tags": {},
}


@pytest.mark.parametrize(("field", "value"), DEFAULTS.items())
def test_the_defaults_are_the_contract(field: str, value: object) -> None:
    assert getattr(WorkerConfig(), field) == value


def test_durations_are_seconds_or_timedelta() -> None:
    assert WorkerConfig(graceful_shutdown_timeout=timedelta(minutes=2)).graceful_shutdown_timeout == 120.0
    assert WorkerConfig(poll_interval=2).poll_interval == 2.0


def test_executions_is_another_name_for_tasks() -> None:
    config = WorkerConfig(max_concurrent_workflow_executions=3, max_concurrent_activity_executions=4)
    assert (config.max_concurrent_workflow_tasks, config.max_concurrent_activity_tasks) == (3, 4)
    assert WorkerConfig.of(max_concurrent_activity_executions=5).max_concurrent_activity_tasks == 5


def test_the_builder_builds_what_the_keywords_do() -> None:
    built = (
        WorkerConfig.builder()
        .task_queue("orders")
        .max_concurrent_workflow_executions(7)
        .max_concurrent_activity_tasks(8)
        .graceful_shutdown_timeout(timedelta(seconds=5))
        .set(max_cached_workflows=9)
        .enable_metrics()
        .tag("team", "shop")
        .tag("zone", "a")
        .build()
    )
    assert built == WorkerConfig(
        task_queue="orders",
        max_concurrent_workflow_tasks=7,
        max_concurrent_activity_tasks=8,
        graceful_shutdown_timeout=5,
        max_cached_workflows=9,
        enable_metrics=True,
        tags={"team": "shop", "zone": "a"},
    )
    assert hash(built) == hash(built.replace())


def test_presets() -> None:
    cpus = os.cpu_count() or 1
    shapes = [(c.max_concurrent_workflow_tasks, c.max_concurrent_activity_tasks) for c in map(_preset, ("cpu_bound", "io_bound", "mixed"))]
    assert shapes == [(cpus, 2 * cpus), (50, 200), (20, 80)]
    assert WorkerConfig.io_bound(task_queue="q", max_concurrent_workflow_executions=1).max_concurrent_workflow_tasks == 1


def _preset(name: str) -> WorkerConfig:
    config = getattr(WorkerConfig, name)()
    assert isinstance(config, WorkerConfig)
    return config


def test_layers_file_environment_keywords(tmp_path: Path) -> None:
    file = tmp_path / "perdure.toml"
    file.write_text(
        '[worker]\ntask_queue = "from-file"\nmax_cached_workflows = 5\ngraceful_shutdown_timeout = "2m"\n'
        'max_concurrent_activity_executions = 6\n[worker.tags]\nteam = "shop"\n'
    )
    environ = {
        "PERDURE_WORKER_TASK_QUEUE": "from-env",
        "PERDURE_WORKER_POLL_INTERVAL": "250ms",
        "PERDURE_WORKER_ENABLE_METRICS": "yes",
        "HOME": "/",
    }
    assert WorkerConfig.from_file(file).task_queue == "from-file"
    assert WorkerConfig.from_environment(environ) == WorkerConfig(task_queue="from-env", poll_interval=0.25, enable_metrics=True)
    config = WorkerConfig.load(file, environ, max_cached_workflows=7)
    assert (
        config.as_dict()
        == WorkerConfig(
            task_queue="from-env",
            max_cached_workflows=7,
            graceful_shutdown_timeout=120,
            max_concurrent_activity_tasks=6,
            poll_interval=0.25,
            enable_metrics=True,
            tags={"team": "shop"},
        ).as_dict()
    )


def test_a_file_without_the_table_is_the_table(tmp_path: Path) -> None:
    file = tmp_path / "worker.toml"
    file.write_text("max_concurrent_workflow_tasks = 0\n")
    assert WorkerConfig.from_file(file, task_queue="q").max_concurrent_workflow_tasks == 0


def test_tags_from_the_environment() -> None:
    assert WorkerConfig.from_environment({"PERDURE_WORKER_TAGS": "team=shop, zone=a=b"}).tags == {"team": "shop", "zone": "a=b"}


BAD = [
    ({"max_concurrent_workflow_tasks": -1}, "max_concurrent_workflow_tasks", "a whole number from 0"),
    ({"max_concurrent_activity_tasks": 2.5}, "max_concurrent_activity_tasks", "not 2.5"),
    ({"max_concurrent_activity_tasks": True}, "max_concurrent_activity_tasks", "whole number"),
    ({"max_concurrent_activity_tasks": 1_000_000}, "max_concurrent_activity_tasks", "10000"),
    ({"max_cached_workflows": "many"}, "max_cached_workflows", "'many'"),
    ({"graceful_shutdown_timeout": -1}, "graceful_shutdown_timeout", "0 or more"),
    ({"poll_interval": 0}, "poll_interval", "more than 0"),
    ({"workflow_poll_timeout": float("nan")}, "workflow_poll_timeout", "nan"),
    ({"activity_poll_timeout": "soon"}, "activity_poll_timeout", "timedelta"),
    ({"default_start_to_close_timeout": 0}, "default_start_to_close_timeout", "more than 0"),
    ({"task_queue": ""}, "task_queue", '"orders"'),
    ({"task_queue": "/_sys/x"}, "task_queue", "reserved"),
    ({"task_queue": 5}, "task_queue", "not 5"),
    ({"tags": ["a"]}, "tags", "mapping"),
    ({"tags": {"a": 1}}, "tags", "mapping"),
    ({"enable_metrics": 1}, "enable_metrics", "True or False"),
    ({"max_concurrent_activities": 3}, "max_concurrent_activities", '"max_concurrent_activity_tasks"'),
    ({"graceful_shutdown_timout": 3}, "graceful_shutdown_timout", '"graceful_shutdown_timeout"'),
    ({"colour": 3}, "colour", "the fields are"),
    ({"max_concurrent_workflow_tasks": 1, "max_concurrent_workflow_executions": 2}, "max_concurrent_workflow_tasks", "given twice"),
]


@pytest.mark.parametrize(("fields", "field", "says"), BAD)
def test_a_bad_value_names_its_field(fields: dict[str, object], field: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        WorkerConfig.of(**fields)  # type: ignore[arg-type]
    assert caught.value.field == field
    assert field in str(caught.value) and says in str(caught.value)


@pytest.mark.parametrize(
    ("environ", "field"),
    [
        ({"PERDURE_WORKER_MAX_CACHED_WORKFLOWS": "ten"}, "max_cached_workflows"),
        ({"PERDURE_WORKER_ENABLE_METRICS": "perhaps"}, "enable_metrics"),
        ({"PERDURE_WORKER_TAGS": "team"}, "tags"),
        ({"PERDURE_WORKER_POLL_INTERVAL": "1 fortnight"}, "poll_interval"),
        ({"PERDURE_WORKER_QUEUE": "x"}, "queue"),
    ],
)
def test_a_bad_variable_names_its_field(environ: dict[str, str], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        WorkerConfig.from_environment(environ)
    assert caught.value.field == field


@pytest.mark.parametrize("text", [None, "= 3", "worker = 5\n", "[worker]\nnope = 1\n"])
def test_a_bad_file_says_so(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "w.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError):
        WorkerConfig.from_file(file)


def test_a_configuration_does_not_change() -> None:
    with pytest.raises(AttributeError):
        WorkerConfig().task_queue = "x"  # type: ignore[misc]
