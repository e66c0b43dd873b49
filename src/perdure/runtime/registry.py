"""Which workflows and activities a worker runs, by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from perdure.model.definitions import ActivityDefinition, WorkflowDefinition, activity_definitions, workflow_definition
from perdure.model.errors import DefinitionError
from perdure.model.suggestions import right_name


class DefinitionRegistry:
    """Workflows and activities by name. Names are unique; a second definition of one is refused."""

    def __init__(self, workflows: Iterable[Any] = (), activities: Iterable[Any] = ()) -> None:
        self.workflows: dict[str, WorkflowDefinition[Any, Any]] = {}
        self.activities: dict[str, ActivityDefinition[Any, Any]] = {}
        for each in workflows:
            self.register_workflow(each)
        for each in activities:
            self.register_activity(each)

    def register_workflow(self, workflow: Any) -> WorkflowDefinition[Any, Any]:
        """Adds a function or class under @workflow. DefinitionError when it is none, or its name is taken."""
        definition = workflow_definition(workflow)
        known = self.workflows.setdefault(definition.name, definition)
        if known is not definition:
            raise DefinitionError(_taken("workflow", definition, known))
        return definition

    def register_activity(self, activity: Any) -> list[ActivityDefinition[Any, Any]]:
        """Adds a function under @activity, or the activities of an object. DefinitionError when there are none, or a name is taken."""
        definitions = activity_definitions(activity)
        for definition in definitions:
            known = self.activities.setdefault(definition.name, definition)
            if known is not definition:
                raise DefinitionError(_taken("activity", definition, known))
        return definitions

    def workflow(self, name: str) -> WorkflowDefinition[Any, Any]:
        """The workflow of that name. DefinitionError names those there are."""
        found = self.workflows.get(name)
        if found is None:
            raise DefinitionError(_missing("workflow", name, self.workflows))
        return found

    def activity(self, name: str) -> ActivityDefinition[Any, Any]:
        """The activity of that name. DefinitionError names those there are."""
        found = self.activities.get(name)
        if found is None:
            raise DefinitionError(_missing("activity", name, self.activities))
        return found

    def __iter__(self) -> Iterator[str]:
        yield from self.workflows
        yield from self.activities

    def __repr__(self) -> str:
        return f"<DefinitionRegistry {len(self.workflows)} workflows, {len(self.activities)} activities>"


def _taken(kind: str, definition: Any, known: Any) -> str:
    return (
        f"two {kind} definitions are named {definition.name!r}: {known.__module__}.{known.__qualname__} and "
        f"{definition.__module__}.{definition.__qualname__}; give one of them another name, @{kind}(name=…)"
    )


def _missing(kind: str, name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    there = f"this worker has {', '.join(map(repr, names))}" if names else f"this worker has no {kind} at all"
    near = right_name(name, names)
    plural = "workflows" if kind == "workflow" else "activities"
    hint = near or f"; pass it to the worker: {plural}=[{name}, …]"
    return f"{kind} {name!r} is not registered: {there}{hint}"
