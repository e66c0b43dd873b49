"""What a worker can run: workflows and activities by the name of their type. Names are taken once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from perdure.model.definitions import ActivityDefinition, WorkflowDefinition, activity_definitions, workflow_definition
from perdure.model.errors import DefinitionError

__all__ = ["Activity", "Registration", "Workflow"]

Workflow: TypeAlias = WorkflowDefinition[..., Any] | type[Any]
"""What stands under `@workflow`: a function (now a definition) or a class."""
Activity: TypeAlias = ActivityDefinition[..., Any] | Callable[..., Any] | object
"""What stands under `@activity`, or an object (or class) that has such methods."""


class Registration:
    """The registered types. DefinitionError, naming both, when a name is taken."""

    def __init__(self, workflows: Iterable[Workflow] = (), activities: Iterable[Activity] = ()) -> None:
        self.workflows: dict[str, WorkflowDefinition[..., Any]] = {}
        self.activities: dict[str, ActivityDefinition[..., Any]] = {}
        for workflow in _listed("workflows", workflows):
            self.add_workflow(workflow)
        for activity in _listed("activities", activities):
            self.add_activity(activity)

    def __repr__(self) -> str:
        return f"<Registration {len(self.workflows)} workflows, {len(self.activities)} activities>"

    def add_workflow(self, workflow: Workflow) -> None:
        """Registers a workflow function or class."""
        definition = workflow_definition(workflow)
        taken = self.workflows.get(definition.name)
        if taken is not None:
            raise _taken("workflow", definition.name, taken, definition)
        self.workflows[definition.name] = definition

    def add_activity(self, activity: Activity) -> None:
        """Registers an activity function, an object with activity methods, or a class of such objects; all of it or nothing."""
        found: dict[str, ActivityDefinition[..., Any]] = {}
        for definition in activity_definitions(activity):
            name = str(definition.name)
            if name in found and found[name].fn == definition.fn:
                continue  # one method of an object, reached by two names
            taken = self.activities.get(name) or found.get(name)
            if taken is not None:
                raise _taken("activity", name, taken, definition)
            found[name] = definition
        self.activities |= found


def _listed(field: str, given: Any) -> Iterable[Any]:
    """The elements; one that was given without a list is a frequent slip."""
    single = isinstance(given, WorkflowDefinition | ActivityDefinition | type | str)  # pyright: ignore[reportUnknownArgumentType]
    if single or not isinstance(given, Iterable):
        raise DefinitionError(f"{field} takes a list; write {field}=[{_name(given)}]")
    return given  # pyright: ignore[reportUnknownVariableType]


def _name(given: Any) -> str:
    return str(getattr(given, "__name__", repr(given)))


def _taken(kind: str, name: str, first: Any, second: Any) -> DefinitionError:
    same = first.__module__ == second.__module__ and first.__qualname__ == second.__qualname__
    if same:
        return DefinitionError(f'The {kind} "{name}" ({_where(first)}) is registered twice on this worker; register it once.')
    return DefinitionError(
        f'Two {"activities" if kind == "activity" else "workflows"} are called "{name}": {_where(first)} and {_where(second)}; '
        f'give one of them another name: @{kind}(name="…").'
    )


def _where(definition: Any) -> str:
    return f"{definition.__module__}.{definition.__qualname__}"
