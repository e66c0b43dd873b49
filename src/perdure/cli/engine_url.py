"""Which engine a command talks to: `--engine`, else PERDURE_ENGINE, else `engine` in perdure.toml, else a file in the working folder."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perdure.model.errors import ConfigError

FILE = "perdure.toml"
SETTINGS = ("engine", "worker")


def engine_url(option: str | None, *, environ: Mapping[str, str] = os.environ, folder: Path | None = None) -> str:
    """The engine's URL. Empty values count as not given. Raises ConfigError for a perdure.toml that cannot be understood."""
    from perdure.service.connect import DEFAULT_URL, ENGINE_VARIABLE  # here, so that `perdure --help` does not load the engine

    return option or environ.get(ENGINE_VARIABLE) or _engine_in_file((folder or Path.cwd()) / FILE) or DEFAULT_URL


def worker_config_file(option: Path | None, folder: Path | None = None) -> Path | None:
    """Where the worker's settings stand: `--config`, else perdure.toml when it has a table `[worker]`, else nowhere."""
    path = (folder or Path.cwd()) / FILE
    return option or (path if "worker" in _read(path) else None)


def _engine_in_file(path: Path) -> str | None:
    value = _read(path).get("engine")
    if value is None or isinstance(value, str):
        return value
    raise ConfigError(f'engine in {path} is {value!r}, not a URL. Write it like engine = "sqlite:///orders.db".', field="engine")


def _read(path: Path) -> dict[str, Any]:
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}. Mend that, or remove it.", field="engine") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} is not TOML: {error}. Mend it, or remove it and name the engine with --engine.", field="engine"
        ) from error
    for name in found:
        if name not in SETTINGS:
            meant = difflib.get_close_matches(name, SETTINGS)
            known = f"did you mean {meant[0]}?" if meant else f"it has {' and '.join(SETTINGS)}."
            raise ConfigError(f"{path} has no setting {name!r}: {known}", field=name)
    return found
