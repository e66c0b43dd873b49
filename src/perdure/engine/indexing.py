"""How runs are found by their search attributes: each value as a row of its own, under the attribute's name and type.

The rule a newcomer would get wrong: the type is part of the stored name. An attribute that is removed and added again with another
type does not find the values of the old one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from temporalio.api.common.v1 import Payload

from perdure.engine.core import Run
from perdure.engine.core.describe import shown_attributes
from perdure.engine.core.search_attributes import KEYWORD, TEXT, Value, type_name, type_of, values
from perdure.storage.run_queries import SearchValue, encoded

_WORD: Final = re.compile(r"[^\W_]+")


def stored_name(name: str, kind: int) -> str:
    """Under which the values of an attribute stand."""
    return f"{name}:{type_name(kind)}"


PARENT_WORKFLOW: Final = stored_name("ParentWorkflowId", KEYWORD)
PARENT_RUN: Final = stored_name("ParentRunId", KEYWORD)
ROOT_WORKFLOW: Final = stored_name("RootWorkflowId", KEYWORD)
ROOT_RUN: Final = stored_name("RootRunId", KEYWORD)


def tokens(text: str) -> list[str]:
    """The words by which a text is found."""
    return list(dict.fromkeys(_WORD.findall(text.casefold())))


def hexadecimal(run_id: str) -> str:
    """A run id, or the beginning of one, as the digits that are compared."""
    return run_id.replace("-", "").lower()


def search_values(run: Run) -> list[SearchValue]:
    """All values by which a run is found."""
    found = dict.fromkeys(attribute_values(shown_attributes(run)))
    started = run.start
    if started.HasField("parent_workflow_execution"):
        parent, root = started.parent_workflow_execution, started.root_workflow_execution
        found[SearchValue(PARENT_WORKFLOW, encoded(parent.workflow_id))] = None
        found[SearchValue(PARENT_RUN, encoded(hexadecimal(parent.run_id)))] = None
        found[SearchValue(ROOT_WORKFLOW, encoded(root.workflow_id))] = None
        found[SearchValue(ROOT_RUN, encoded(hexadecimal(root.run_id)))] = None
    return list(found)


def attribute_values(attributes: Mapping[str, Payload]) -> list[SearchValue]:
    """The values of search attributes, as they are found."""
    found: list[SearchValue] = []
    for name, payload in attributes.items():
        kind = type_of(name, payload)
        if kind is not None:
            found.extend(SearchValue(stored_name(name, kind), encoded(value)) for value in _indexed(values(payload, kind), kind))
    return found


def _indexed(found: list[Value], kind: int) -> list[Value]:
    return [word for text in found for word in tokens(str(text))] if kind == TEXT else found
