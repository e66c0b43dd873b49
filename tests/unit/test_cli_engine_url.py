"""Proves where a command finds its engine: --engine, PERDURE_ENGINE, perdure.toml, then the default; and what a bad file says."""

from __future__ import annotations

from pathlib import Path

import pytest

from perdure.cli.engine_url import engine_url, worker_config_file
from perdure.model.errors import ConfigError

TOML = 'engine = "sqlite:///from-file.db"\n'


@pytest.mark.parametrize(
    ("option", "environ", "toml", "expected"),
    [
        ("memory://", {"PERDURE_ENGINE": "sqlite:///env.db"}, TOML, "memory://"),
        (None, {"PERDURE_ENGINE": "sqlite:///env.db"}, TOML, "sqlite:///env.db"),
        (None, {"PERDURE_ENGINE": ""}, TOML, "sqlite:///from-file.db"),
        (None, {}, TOML, "sqlite:///from-file.db"),
        (None, {}, "[worker]\n", "sqlite:///perdure.db"),
        (None, {}, None, "sqlite:///perdure.db"),
    ],
)
def test_precedence(option: str | None, environ: dict[str, str], toml: str | None, expected: str, tmp_path: Path) -> None:
    if toml is not None:
        (tmp_path / "perdure.toml").write_text(toml)
    assert engine_url(option, environ=environ, folder=tmp_path) == expected


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("engine = 5\n", "engine in"),
        ("engine = [", "is not TOML"),
        ('engne = "memory://"\n', "has no setting 'engne': did you mean engine?"),
        ("[colours]\n", "has no setting 'colours': it has engine and worker."),
    ],
)
def test_a_bad_file_is_a_config_error_with_a_remedy(toml: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "perdure.toml").write_text(toml)
    with pytest.raises(ConfigError, match=says) as caught:
        engine_url(None, environ={}, folder=tmp_path)
    assert "perdure.toml" in str(caught.value)
    assert caught.value.exit_code == 2


def test_worker_settings_come_from_perdure_toml_only_if_it_has_a_worker_table(tmp_path: Path) -> None:
    file = tmp_path / "perdure.toml"
    file.write_text(TOML)
    assert worker_config_file(None, tmp_path) is None
    file.write_text(TOML + '[worker]\ntask_queue = "orders"\n')
    assert worker_config_file(None, tmp_path) == file
    assert worker_config_file(tmp_path / "other.toml", tmp_path) == tmp_path / "other.toml"
