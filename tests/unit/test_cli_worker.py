"""Proves what `perdure worker MODULE[:ATTRIBUTE]` accepts, what it says about the rest, and that it works and stops on a signal."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from perdure.cli.main import run
from perdure.cli.target import Definitions, load_target

SHOP = """
from perdure import WorkflowContext, WorkflowWorker, activity, workflow

@activity
async def charge(order: str) -> str:
    print(f"charged {order}", flush=True)
    return order

@workflow
async def fulfil(ctx: WorkflowContext, order: str) -> str:
    return await ctx.execute_activity(charge, order, start_to_close_timeout=10)

only_workflows = [fulfil]
nothing = []
number = 5
mixed = [fulfil, "charge"]

async def make(client):
    await client.start_workflow(fulfil, "A-17", id="A-17")
    return WorkflowWorker(client, workflows=[fulfil], activities=[charge])

def forgets(client):
    return None
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with the modules shop, empty and broken."""
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "empty.py").write_text("x = 1\n")
    (tmp_path / "broken.py").write_text("import shop\n1 / 0\n")
    (tmp_path / "needy.py").write_text("import a_module_that_is_nowhere\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in ("shop", "empty", "broken", "needy"):
        sys.modules.pop(name, None)


def test_a_module_gives_all_its_definitions(shop: Path) -> None:
    found = load_target("shop")
    assert isinstance(found, Definitions)
    assert [definition.name for definition in found.workflows] == ["fulfil"]
    assert [definition.name for definition in found.activities] == ["charge"]


@pytest.mark.parametrize(
    ("target", "workflows", "activities"), [("shop:only_workflows", 1, 0), ("shop:charge", 0, 1), ("shop:fulfil", 1, 0)]
)
def test_an_attribute_is_a_list_or_a_definition(target: str, workflows: int, activities: int, shop: Path) -> None:
    found = load_target(target)
    assert isinstance(found, Definitions)
    assert (len(found.workflows), len(found.activities)) == (workflows, activities)


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("shop.py", "give the module's name instead: shop."),
        ("src/shop", "give the module's name instead: src.shop."),
        ("shap", "There is no module 'shap'"),
        ("empty", "empty has no workflow and no activity"),
        ("shop:fulfill", "it defines charge, fulfil"),
        ("shop:nothing", "shop:nothing is empty"),
        ("shop:number", "shop:number is int"),
        ("shop:mixed", "'charge', which is neither a workflow nor an activity"),
    ],
)
def test_wrong_targets_are_bad_usage(target: str, says: str, shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(click.UsageError) as caught:
        load_target(target)
    assert says in caught.value.message
    assert run(["worker", target]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(("target", "place"), [("broken", "broken.py:2"), ("needy", "a_module_that_is_nowhere")])
def test_a_module_that_does_not_import_names_the_users_line(
    target: str, place: str, shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["worker", target]) == 1
    error = capsys.readouterr().err
    assert place in error and "Traceback" not in error
    assert run(["worker", target, "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_factory_makes_its_own_worker(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["worker", "shop:make", "--task-queue", "orders"]) == 2
    assert "makes its own worker" in capsys.readouterr().err


async def test_the_worker_works_until_it_is_told_to_stop(shop: Path) -> None:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "perdure.cli", "worker", "shop:make", "--engine", "sqlite:///shop.db"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None
    try:
        assert await child.stdout.readline() == b"charged A-17\n"
        child.send_signal(signal.SIGTERM)
        _, error = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    assert child.returncode == 0, error.decode()
    assert "GC threshold" in error.decode() and "switch interval" in error.decode()


async def test_a_factory_that_returns_no_worker_is_bad_usage(shop: Path) -> None:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "perdure.cli", "worker", "shop:forgets", "--engine", "memory://"), stderr=asyncio.subprocess.PIPE
    )
    _, error = await child.communicate()
    assert child.returncode == 2
    assert "forgets returned NoneType; it must return a WorkflowWorker." in error.decode()


def test_an_unknown_engine_is_named_with_those_that_exist(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["worker", "shop", "--engine", "oracle://x"]) != 0
    assert "sqlite" in capsys.readouterr().err
