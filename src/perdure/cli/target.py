"""What `MODULE[:ATTRIBUTE]` names: the definitions in a module, a list of definitions, or a function that makes a worker."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import click

from perdure.model.definitions import ACTIVITY_MARK, WORKFLOW_MARK, ActivityDefinition, WorkflowDefinition


@dataclass
class Definitions:
    """What a worker is to register."""

    workflows: list[Any] = field(default_factory=list[Any])
    activities: list[Any] = field(default_factory=list[Any])

    def take(self, value: Any) -> bool:
        """Adds a workflow, an activity, or an object or class that has activities, once; False if `value` is none of these."""
        if is_workflow(value):
            place = self.workflows
        elif has_activities(value):
            place = self.activities
        else:
            return False
        if not any(value is known for known in place):
            place.append(value)
        return True


Factory = Callable[..., Any]


def is_workflow(value: Any) -> bool:
    return isinstance(value, WorkflowDefinition) or (isinstance(value, type) and WORKFLOW_MARK in vars(value))


def has_activities(value: Any) -> bool:
    if isinstance(value, ActivityDefinition):
        return True
    cls: type = value if isinstance(value, type) else type(value)
    names = [vars(base) for base in cls.__mro__]
    return any(ACTIVITY_MARK in own or any(isinstance(each, ActivityDefinition) for each in own.values()) for own in names)


def load_target(text: str) -> Definitions | Factory:
    """Imports the module, with the working folder on sys.path, and finds what it offers. Raises click.UsageError when that is nothing."""
    name, _, attribute = text.partition(":")
    module = _import(name)
    return named(module, attribute) if attribute else everything_in(module)


def everything_in(module: ModuleType) -> Definitions:
    """Every definition that the module's names stand for, imported ones too. A class of activities gives way to an object of it."""
    found = Definitions()
    values = list(vars(module).values())
    for value in values:
        if is_workflow(value) or not isinstance(value, type):
            found.take(value)
    taken: set[type] = {type(value) for value in found.activities}
    for value in values:
        if isinstance(value, type) and value not in taken:
            found.take(value)
    if not found.workflows and not found.activities:
        raise click.UsageError(
            f"{module.__name__} has no workflow and no activity: decorate some with @workflow and @activity from perdure."
        )
    return found


def named(module: ModuleType, attribute: str) -> Definitions | Factory:
    value: Any = module
    for part in attribute.split("."):
        if not hasattr(value, part):
            raise click.UsageError(f"{module.__name__} has no attribute {attribute!r}; {_choices(module)}.")
        value = getattr(value, part)
    found = Definitions()
    if found.take(value):
        return found
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return _from_list(f"{module.__name__}:{attribute}", list(value))  # pyright: ignore[reportUnknownArgumentType]
    if callable(value):
        return cast(Factory, value)
    raise click.UsageError(
        f"{module.__name__}:{attribute} is {type(value).__name__}; it must be a list of workflows and activities, "
        "or a function that makes a worker."
    )


def _from_list(where: str, values: list[Any]) -> Definitions:
    found = Definitions()
    for value in values:
        if not found.take(value):
            raise click.UsageError(
                f"{where} holds {value!r}, which is neither a workflow nor an activity: decorate it with @workflow or @activity."
            )
    if not values:
        raise click.UsageError(f"{where} is empty: put your workflows and activities into it.")
    return found


def _choices(module: ModuleType) -> str:
    names = [name for name, value in vars(module).items() if is_workflow(value) or has_activities(value)]
    return f"it defines {', '.join(names)}" if names else "it defines no workflow and no activity"


def _import(name: str) -> ModuleType:
    _refuse_path(name)
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise click.UsageError(f"There is no module {error.name!r} in {os.getcwd()} or among the installed packages.") from error
        raise _broken(name, error) from error
    except Exception as error:
        raise _broken(name, error) from error


def _refuse_path(name: str) -> None:
    if name.endswith(".py") or "/" in name or os.sep in name:
        module = ".".join(Path(name).with_suffix("").parts).lstrip(".")
        raise click.UsageError(f"{name} is a path; give the module's name instead: {module}.")


def _broken(name: str, error: Exception) -> click.ClickException:
    """The error with the last line of code outside the import machinery."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if len(frames) > 1 else ""
    return click.ClickException(f"{name} cannot be imported: {type(error).__name__}: {error}{place}. Mend it; --debug shows the traceback.")
