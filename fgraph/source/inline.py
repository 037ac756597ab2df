"""The source of functions and classes, with all that they need, to stand in another file."""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import sys
import textwrap
import types
from collections.abc import Iterator
from typing import Any

from ..saving.errors import SaveError


class Inliner:
    """Collects definitions and imports for one file.

    Attributes:
        imports: the import statements, in the order in which they were needed.
        definitions: the source of functions, classes and constants, each after what it needs.
    """

    def __init__(self) -> None:
        self.imports: list[str] = []
        self.definitions: list[str] = []
        self._names: dict[str, Any] = {}
        self._owners: list[Any] = []

    def need_import(self, statement: str) -> None:
        """Add an import statement."""
        if statement not in self.imports:
            self.imports.append(statement)

    def need(self, target: Any) -> str:
        """Return the name under which the file has a function or class.

        Raises:
            SaveError: its source is not to be had, or does not stand by itself.
        """
        name = str(getattr(target, "__name__", ""))
        if self._names.get(name) is target:
            return name
        if name in self._names:
            raise SaveError(f"{target!r} and {self._names[name]!r} have the same name {name!r}")
        if _is_library(target):
            self._names[name] = target
            self.need_import(f"from {target.__module__} import {name}")
            return name
        if not name.isidentifier() or getattr(target, "__closure__", None):
            raise SaveError(f"{target!r} does not stand by itself: define it by `def`, in a module")
        source, tree = _source(target)
        self._names[name] = target
        self._need_globals(target, tree)
        self.definitions.append(source)
        return name

    def _need_globals(self, target: Any, tree: ast.Module) -> None:
        namespace = _globals(target)
        for name in dict.fromkeys(_loaded_names(tree)):
            if name not in namespace or self._names.get(name) is namespace[name]:
                continue
            value = namespace[name]
            if isinstance(value, types.ModuleType):
                self.need_import(_import_of(value, name))
            elif isinstance(value, type) or callable(value):
                self._need_callable(name, value)
            elif name not in self._names and not name.startswith("__"):
                self._need_constant(name, value)

    def _need_callable(self, name: str, value: Any) -> None:
        owner = getattr(value, "__module__", None)
        if getattr(value, "__name__", None) == name and (owner in sys.modules):
            self.need(value)
        elif hasattr(sys.modules.get("typing"), name):  # `Any`, `cast` and their like
            self.need_import(f"from typing import {name}")
        else:
            raise SaveError(f"{name} = {value!r} cannot be written as source")

    def _need_constant(self, name: str, value: Any) -> None:
        text = repr(value)
        try:
            ast.literal_eval(text)
        except (ValueError, SyntaxError):
            if hasattr(sys.modules.get("typing"), name):
                self.need_import(f"from typing import {name}")
                return
            raise SaveError(f"{name} = {text:.80} cannot be written as source") from None
        self._names[name] = value
        self.definitions.append(f"{name} = {text}")


def _is_library(target: Any) -> bool:
    """Whether a function or class is imported from torch or another installed package."""
    package = str(getattr(target, "__module__", "")).partition(".")[0]
    if package in ("fgraph", "__main__", ""):
        return False
    if package in sys.stdlib_module_names or package in ("torch", "numpy"):
        return True
    return False


def _source(target: Any) -> tuple[str, ast.Module]:
    """Return the source of a definition, without the decorator that registers it."""
    try:
        text = textwrap.dedent(inspect.getsource(target))
        tree = ast.parse(text)
    except (OSError, TypeError, SyntaxError) as error:
        raise SaveError(f"the source of {target!r} is not to be had: {error}") from error
    node = tree.body[0]
    if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        raise SaveError(f"{target!r} is not defined by `def` or `class`")
    lines = text.splitlines()
    first = node.lineno - 1
    kept = [d for d in node.decorator_list if "register" not in ast.unparse(d)]
    if len(kept) == len(node.decorator_list) and kept:
        first = kept[0].lineno - 1
    node.decorator_list = kept
    return "\n".join(lines[first : node.end_lineno]), tree


def _globals(target: Any) -> dict[str, Any]:
    if isinstance(target, type):
        module = sys.modules.get(target.__module__) or importlib.import_module(target.__module__)
        return vars(module)
    found: dict[str, Any] = inspect.unwrap(target).__globals__
    return found


def _loaded_names(tree: ast.Module) -> Iterator[str]:
    """Yield the names that a definition reads from outside, in order."""
    bound = {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    } | {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id not in bound:
            if not hasattr(builtins, node.id):
                yield node.id


def _import_of(module: types.ModuleType, name: str) -> str:
    full = module.__name__
    if full == name:
        return f"import {full}"
    parent, _, last = full.rpartition(".")
    if last == name:
        return f"from {parent} import {name}"
    return f"import {full} as {name}"
