"""Operations made of several torch calls, which count as one where Keras counts operations."""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch

from ..nested import iter_leaves
from ..node import Operation, current_operation, recording
from .record import Symbol, module_calls

_P = ParamSpec("_P")
_R = TypeVar("_R")


def one_operation(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Return a function like `function` whose calls count as one operation each."""

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        if (
            torch.compiler.is_compiling()
            or not module_calls.is_on
            or current_operation() is not None
        ):
            return function(*args, **kwargs)
        given = [x.ref for x in iter_leaves((args, kwargs)) if isinstance(x, Symbol)]
        with recording(Operation(given), "operation"):
            return function(*args, **kwargs)

    vars(call)["is_one_operation"] = True
    return call


def as_written(function: Any) -> Any:
    """Return the function that `one_operation` was given; anything else as it is."""
    return function.__wrapped__ if hasattr(function, "is_one_operation") else function


def as_operations(package: str, *inner: types.ModuleType) -> None:
    """Replace the public functions of a package by `one_operation` of them.

    Args:
        package: the name of the package.
        inner: its modules in which they are public, too.
    """
    made: dict[Any, Any] = {}
    for module in (sys.modules[package], *inner):
        for name, value in [*vars(module).items()]:
            if isinstance(value, types.FunctionType) and not name.startswith("_"):
                if value.__module__.startswith(package):
                    if value not in made:
                        made[value] = one_operation(value)
                    setattr(module, name, made[value])
