"""The source of functions and classes with their dependencies, for another file."""

from __future__ import annotations

import ast
import builtins
import functools
import importlib
import inspect
import sys
import textwrap
import types
from collections.abc import Iterator
from typing import Any

from ..errors import SaveError
from ..graph.recording.one_operation import as_written


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

    @property
    def names(self) -> set[str]:
        """The names that the file defines or imports."""
        return {*self._names}

    def need_import(self, statement: str) -> None:
        """Add an import statement."""
        if statement not in self.imports:
            self.imports.append(statement)

    def need(self, target: Any) -> str:
        """Return the name under which the file has a function or class.

        Raises:
            SaveError: its source is not available, or depends on its surroundings.
        """
        target = as_written(target)
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

    def _need_globals(self, target: Any, tree: ast.AST) -> None:
        module = sys.modules[inspect.unwrap(target).__module__]
        for name in dict.fromkeys(_loaded_names(tree)):
            if name in vars(module):
                self._need_global(module, name)

    def _need_global(self, module: types.ModuleType, name: str) -> None:
        """Define or import the global `name` of `module`."""
        value = vars(module)[name]
        if name in self._names and self._names[name] is as_written(value):
            return
        origin = _origin(module, name)
        if isinstance(value, types.ModuleType):
            self._names[name] = value
            self.need_import(_import_of(value, name))
        elif _is_defined_in_own_source(value):
            if (known_as := self.need(value)) != name:
                self._names[name] = value
                self.definitions.append(f"{name} = {known_as}")
        elif origin is None:
            self._need_assignment(module, name, value)
        elif origin[0].__name__.partition(".")[0] == module.__name__.partition(".")[0]:
            self._need_global(*origin)
        else:
            self._names[name] = value
            self.need_import(_from_import(origin[0].__name__, origin[1], name))

    def _need_assignment(self, module: types.ModuleType, name: str, value: Any) -> None:
        found = _assignment(module, name)
        if found is None:
            raise SaveError(f"{name} = {value!r:.80} of {module.__name__} has no source")
        source, node = found
        self._names[name] = value
        for used in dict.fromkeys(_loaded_names(node)):
            if used in vars(module) and used != name:
                self._need_global(module, used)
        self.definitions.append(source)


def _is_defined_in_own_source(value: Any) -> bool:
    """Return whether a value is a function or class that is neither torch's nor Python's."""
    is_definition = isinstance(value, (type, types.FunctionType))
    return is_definition and not _is_library(value)


def _is_library(target: Any) -> bool:
    """Return whether a function or class can be imported from torch or the standard library."""
    package = str(getattr(target, "__module__", "")).partition(".")[0]
    return package in ("torch", "numpy") or (
        package in sys.stdlib_module_names and package != "__main__"
    )


def _assignment(module: types.ModuleType, name: str) -> tuple[str, ast.AST] | None:
    """Return the statement of a module that assigns a name."""
    text, tree = _module_source(module)
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else (
            [node.target] if isinstance(node, ast.AnnAssign) else []
        )  # fmt: skip
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return ast.get_source_segment(text, node) or "", node
    return None


def _origin(module: types.ModuleType, name: str) -> tuple[types.ModuleType, str] | None:
    """Return the module that a name is imported from, and its name there."""
    _, tree = _module_source(module)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    package = module.__package__ if node.level else None
                    relative = "." * node.level + (node.module or "")
                    return importlib.import_module(relative, package), alias.name
    return None


@functools.lru_cache(maxsize=256)
def _module_source(module: types.ModuleType) -> tuple[str, ast.Module]:
    try:
        text = inspect.getsource(module)
    except (OSError, TypeError):
        return "", ast.Module([], [])
    return text, ast.parse(text)


def _from_import(module: str, name: str, known_as: str) -> str:
    return f"from {module} import {name}" + ("" if name == known_as else f" as {known_as}")


def _source(target: Any) -> tuple[str, ast.Module]:
    """Return the source of a definition, without this package's decorators."""
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
    kept = [d for d in node.decorator_list if not _is_for_us(ast.unparse(d))]
    if len(kept) == len(node.decorator_list) and kept:
        first = kept[0].lineno - 1
    node.decorator_list = kept
    return "\n".join(lines[first : node.end_lineno]), tree


def _is_for_us(decorator: str) -> bool:
    return "register" in decorator or decorator == "one_operation"


def _loaded_names(tree: ast.AST) -> Iterator[str]:
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
