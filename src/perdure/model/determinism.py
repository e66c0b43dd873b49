"""The static check of workflow code: calls that would answer differently on replay are refused where they are written.

It reads one function's syntax tree and resolves names through that function's own globals and imports, so that a local variable that
happens to be called `time` is not mistaken for the module. What it cannot see: calls inside other functions, names bound at run time,
objects that reach the workflow as arguments. Those are for the run-time check and for replay.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import os
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any

from perdure.model.errors import DeterminismViolation

__all__ = ["check_determinism"]

_NOW = "say ctx.now()"
_SLEEP = "say await ctx.sleep(…)"
_RANDOM = "say ctx.random()"
_UUID = "say ctx.uuid4()"
_ACTIVITY = "do it in an activity"
_ENVIRONMENT = "pass the value as an argument, or read it in an activity"
_TASKS = "use asyncio tasks, which are durable here"

_CALLS: Mapping[str, str] = {
    "time.time": _NOW,
    "time.time_ns": _NOW,
    "time.monotonic": _NOW,
    "time.monotonic_ns": _NOW,
    "time.perf_counter": _NOW,
    "time.perf_counter_ns": _NOW,
    "time.localtime": _NOW,
    "time.gmtime": _NOW,
    "time.ctime": _NOW,
    "time.asctime": _NOW,
    "time.strftime": "say ctx.now().strftime(…)",
    "time.sleep": _SLEEP,
    "datetime.datetime.now": _NOW,
    "datetime.datetime.utcnow": _NOW,
    "datetime.datetime.today": _NOW,
    "datetime.date.today": f"{_NOW}.date()",
    "uuid.uuid1": _UUID,
    "uuid.uuid4": _UUID,
    "os.urandom": f"{_RANDOM}, or do it in an activity when it must be secret",
    "os.getenv": _ENVIRONMENT,
    "os.system": _ACTIVITY,
    "builtins.open": _ACTIVITY,
    "builtins.input": _ACTIVITY,
    "io.open": _ACTIVITY,
}
_MODULES: Mapping[str, str] = {
    "random": _RANDOM,
    "_random": _RANDOM,
    "secrets": f"{_RANDOM}, or do it in an activity when it must be secret",
    "requests": _ACTIVITY,
    "httpx": _ACTIVITY,
    "aiohttp": _ACTIVITY,
    "urllib.request": _ACTIVITY,
    "http.client": _ACTIVITY,
    "socket": _ACTIVITY,
    "_socket": _ACTIVITY,
    "subprocess": _ACTIVITY,
    "sqlite3": _ACTIVITY,
    "threading": _TASKS,
    "_thread": _TASKS,
    "multiprocessing": _TASKS,
    "concurrent.futures": _TASKS,
}
_MODULE_NAMES: Mapping[str, str] = {"_random": "random", "_socket": "socket", "_thread": "threading"}
_BY_ARGUMENT = {"random.Random": 1, "time.gmtime": 1, "time.asctime": 1, "time.strftime": 2}
"""With so many arguments, as deterministic as those: random.Random(seed), time.strftime(format, when)."""
_WATCHED_ROOTS = {name.partition(".")[0] for name in (*_CALLS, *_MODULES)}


def check_determinism(fn: Callable[..., Any]) -> None:
    """DeterminismViolation for the first call in `fn` that cannot be replayed; nothing when its source cannot be read."""
    target = inspect.unwrap(fn)
    if not isinstance(target, FunctionType):
        return
    tree, first_line = _tree(target)
    if tree is None:
        return
    scope = _Scope(target, tree)
    for node in _uses(tree):
        name, remedy = scope.verdict(node) if isinstance(node, ast.Call) else scope.verdict_on_name(node)
        if remedy:
            line = first_line + node.lineno - 1
            file = target.__code__.co_filename
            raise DeterminismViolation(
                f"{file}:{line}: {name} in workflow code gives another answer on replay; {remedy}",
                filename=file,
                line=line,
                call=name.removesuffix("()"),
                remedy=remedy,
            )


def _tree(fn: FunctionType) -> tuple[ast.AST | None, int]:
    try:
        lines, first = inspect.getsourcelines(fn)
        return ast.parse(textwrap.dedent("".join(lines))), first
    except (OSError, TypeError, SyntaxError, IndentationError):
        return None, 0


def _side_effects(tree: ast.AST) -> set[ast.AST]:
    """All that stands in functions which are passed to `ctx.side_effect`: called once and recorded, they may give what they like."""
    called = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute) and n.func.attr == "side_effect"]
    passed = [each for call in called for each in (*call.args, *(k.value for k in call.keywords if k.arg == "call"))]
    names = {each.id for each in passed if isinstance(each, ast.Name)}
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name in names]
    lambdas = [each for each in passed if isinstance(each, ast.Lambda)]
    return {node for function in (*functions, *lambdas) for node in ast.walk(function)}


def _uses(tree: ast.AST) -> Iterator[ast.Call | ast.Attribute | ast.Name]:
    """Every call and every name in the body, in the order of the source; decorators and defaults run once, at import, and are left out."""
    function = next((node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)), None)
    body = function.body if function is not None else []
    recorded = _side_effects(tree)
    nodes = [node for statement in body for node in ast.walk(statement) if node not in recorded]
    found = [node for node in nodes if isinstance(node, ast.Call | ast.Attribute | ast.Name)]
    return iter(sorted(found, key=lambda node: (node.lineno, node.col_offset)))


class _Scope:
    """What names mean inside one function: its imports, its closure, its globals, the builtins; a local variable means nothing."""

    def __init__(self, fn: FunctionType, tree: ast.AST) -> None:
        closure: Mapping[str, Any] = inspect.getclosurevars(fn).nonlocals if fn.__closure__ else {}
        self._globals: Mapping[str, Any] = {**vars(builtins), **fn.__globals__, **closure}
        self._imports = dict(_imports(tree))
        self._locals = _local_names(tree) - self._imports.keys()

    def verdict(self, call: ast.Call) -> tuple[str, str]:
        """What is called, in the user's words, and what to do instead: empty when the call is harmless."""
        path = _dotted(call.func)
        if not path or path[0] in self._locals:
            return "", ""
        target = self._resolve(path)
        if target is None:
            return "", ""
        name = _full_name(target)
        if name in _BY_ARGUMENT and len(call.args) + len(call.keywords) >= _BY_ARGUMENT[name]:
            return "", ""
        return f"{'.'.join(path)}()", _remedy(name)

    def verdict_on_name(self, node: ast.Attribute | ast.Name) -> tuple[str, str]:
        """The same of what is no call: `os.environ`, whatever is then asked of it."""
        path = _dotted(node)
        if not path or path[0] in self._locals:
            return "", ""
        found: Any = self._imports.get(path[0], self._globals.get(path[0]))
        if len(path) == 2 and isinstance(found, ModuleType):
            found = vars(found).get(path[1])
        elif len(path) > 1:
            return "", ""
        return (".".join(path), _ENVIRONMENT) if found is os.environ else ("", "")

    def _resolve(self, path: list[str]) -> Any:
        found: Any = self._imports.get(path[0], self._globals.get(path[0]))
        for attribute in path[1:]:
            if not isinstance(found, ModuleType | type) and not _is_shared_random(found):
                return None  # an attribute of some object: not ours to judge
            get: Callable[..., Any] = inspect.getattr_static if isinstance(found, type) else getattr
            found = get(found, attribute, None)
            found = getattr(found, "__func__", found)
        return found


def _is_shared_random(found: Any) -> bool:
    return type(found).__module__ == "random"


def _dotted(node: ast.expr) -> list[str]:
    """`a.b.c` as a list; empty for anything that is not names and dots."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return [node.id, *reversed(names)] if isinstance(node, ast.Name) else []


def _imports(tree: ast.AST) -> Iterator[tuple[str, Any]]:
    """What is imported inside the function, when it is something that is watched and already loaded or in the standard library."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                module, root = _module(alias.name), alias.name.partition(".")[0]
                yield (alias.asname, module) if alias.asname else (root, sys.modules.get(root))
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                yield alias.asname or alias.name, getattr(_module(node.module), alias.name, None)


def _module(name: str) -> ModuleType | None:
    root = name.partition(".")[0]
    if root in _WATCHED_ROOTS and root in sys.stdlib_module_names:
        return importlib.import_module(name)
    return sys.modules.get(name)


def _local_names(tree: ast.AST) -> set[str]:
    """Names bound in the function: parameters, assignments, loop variables, nested definitions."""
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    names |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    return names | {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}


def _full_name(target: Any) -> str:
    """`module.qualname`, by the name under which people know the module."""
    owner: Any = getattr(target, "__self__", None)
    owner_type: type = type(owner)  # pyright: ignore[reportUnknownVariableType]
    module: str = getattr(target, "__module__", None) or getattr(owner_type, "__module__", None) or ""
    if isinstance(owner, ModuleType):
        module = owner.__name__
    qualname = getattr(target, "__qualname__", "") or getattr(target, "__name__", "")
    objclass = getattr(target, "__objclass__", None)
    if objclass is not None:
        module = objclass.__module__
    module = _MODULE_NAMES.get(module, module)
    if module in ("posix", "nt"):
        module = "os"
    if module in ("io", "_io") and qualname == "open":
        return "builtins.open"
    return f"{module}.{qualname}" if qualname else ""


def _remedy(name: str) -> str:
    if name in _CALLS:
        return _CALLS[name]
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        remedy = _MODULES.get(".".join(parts[:length]))
        if remedy:
            return remedy
    return ""
