"""Whether two settings are equal."""

from __future__ import annotations

import functools
import types
from typing import Any

import torch
from torch import Tensor, nn


def same(first: Any, second: Any) -> bool:
    """Whether two settings are equal: numbers, texts, tensors, functions, containers, objects."""
    if first is second:
        return True
    kind = type(first)
    if kind is not type(second):
        return False
    if isinstance(first, Tensor):
        return _same_tensor(first, second)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, types.FunctionType):
        parts = (first.__code__, first.__closure__), (second.__code__, second.__closure__)
        return bool(parts[0] == parts[1])
    if isinstance(first, functools.partial):
        return same(first.__reduce__()[2], second.__reduce__()[2])
    if any("__eq__" in vars(base) for base in kind.__mro__[:-1]):
        return bool(first == second)
    if isinstance(first, nn.Module) or not hasattr(first, "__dict__"):
        return False
    return same(vars(first), vars(second))


def _same_tensor(first: Tensor, second: Tensor) -> bool:
    return (
        first.shape == second.shape
        and first.dtype == second.dtype
        and first.device == second.device
        and first.device.type != "meta"
        and torch.equal(first, second)
    )
