"""Proves that definitions are found by name, that duplicates are refused, and that a missing one is answered with those there are."""

from __future__ import annotations

import pytest

from perdure.model.decorators import activity, workflow
from perdure.model.errors import DefinitionError
from perdure.runtime.context import WorkflowContext
from perdure.runtime.registry import DefinitionRegistry


@activity
async def charge() -> None: ...


@workflow
async def fulfil(ctx: WorkflowContext) -> None: ...


class Mailer:
    @activity
    async def send(self, to: str) -> None: ...


def test_definitions_by_name() -> None:
    registry = DefinitionRegistry([fulfil], [charge, Mailer()])
    assert list(registry) == ["fulfil", "charge", "send"]
    assert registry.workflow("fulfil") is fulfil
    assert registry.activity("send").takes_ctx is False
    registry.register_workflow(fulfil)
    assert repr(registry) == "<DefinitionRegistry 1 workflows, 2 activities>"


def test_a_name_is_given_once() -> None:
    @activity(name="charge")
    async def other() -> None: ...

    with pytest.raises(DefinitionError, match="two activity definitions are named 'charge'"):
        DefinitionRegistry(activities=[charge, other])


def test_what_is_missing_is_answered_with_what_is_there() -> None:
    registry = DefinitionRegistry([fulfil], [charge])
    with pytest.raises(DefinitionError, match=r"this worker has 'fulfil'; did you mean 'fulfil'\?"):
        registry.workflow("fulfill")
    with pytest.raises(DefinitionError, match=r"pass it to the worker: activities=\[ship, …\]"):
        registry.activity("ship")
