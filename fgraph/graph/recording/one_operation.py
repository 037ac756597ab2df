"""Operations made of several torch calls, which count as one where Keras counts operations."""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable
from typing import Any

import torch

from ..node import current_operation, recording
from .record import module_calls


def one_operation(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function like `function`; the nodes that one call of it records have one mark."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if (
            torch.compiler.is_compiling()
            or not module_calls.is_on
            or current_operation() is not None
        ):
            return function(*args, **kwargs)
        with recording(object(), "operation"):
            return function(*args, **kwargs)

    return call


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
                    setattr(module, name, made.setdefault(value, one_operation(value)))
