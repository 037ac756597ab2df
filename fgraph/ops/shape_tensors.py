"""Shapes and counts that are given as tensors: the numbers that such a tensor is made of."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import SymbolicError
from ..graph import SymbolicTensor, to_symbols
from ..graph.nested import map_leaves
from ..graph.node import Ref
from ..graph.specs import TensorSpec

Objects = Any  # a numpy array of numbers, symbolic ones among them


def numbers(value: Any, what: str) -> Any:
    """Return a shape or counts as a number or a list of them.

    A symbolic tensor that was made of sizes, as Keras code joins those of `ops.shape(x)`, gives
    these sizes.

    Args:
        value: a number, a sequence of numbers, or a tensor.
        what: what it is, for the message: `"ops.tile: repeats"`.

    Raises:
        SymbolicError: the values of a symbolic tensor are known only at run time.
    """
    if isinstance(value, SymbolicTensor):
        found = _evaluated(value.ref)
        if found is None:
            raise SymbolicError(
                f"{what} is a tensor whose values are known only at run time, and a graph needs "
                "them before: give a tuple of numbers and sizes, such as (ops.shape(x)[0], 1)"
            )
        return found.tolist()
    if isinstance(value, (Tensor, np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [numbers(item, what) for item in value]
    return value


def _evaluated(value: Any) -> Objects | None:
    """Return the numbers in a tensor of the graph; `None` if they come from values of inputs."""
    if isinstance(value, Tensor):
        return np.asarray(value.tolist(), dtype=object)
    if not (isinstance(value, Ref) and isinstance(value.spec, TensorSpec)):
        return _object(to_symbols(value) if isinstance(value, Ref) else value)
    rule = _RULES.get(value.node.target) if value.node.op == "function" else None
    if rule is None:
        return None
    unknown = []

    def argument(leaf: Any) -> Any:
        if not isinstance(leaf, (Ref, Tensor)):
            return leaf
        found = _evaluated(leaf)
        unknown.append(found is None)
        return found

    args = map_leaves(argument, value.node.args)
    given = {"dim": 0, **value.node.kwargs}
    return None if any(unknown) else rule(*args, **{"dim": given["dim"]})


def _object(number: Any) -> Objects:
    made = np.empty((), dtype=object)  # numpy would ask a symbolic number for an array
    made[()] = number
    return made


def _full(shape: Any, value: Any, dim: int = 0) -> Objects:
    made = np.empty(tuple(shape), dtype=object)
    made[...] = value
    return made


def _joined(join: Callable[..., Any]) -> Callable[..., Objects]:
    return lambda parts, axis=None, *, dim=0: join(parts, axis=dim if axis is None else axis)


def _unsqueezed(x: Objects, axis: int | None = None, *, dim: int = 0) -> Objects:
    return np.expand_dims(x, dim if axis is None else axis)


def _flat(x: Objects, *others: Any, dim: int = 0) -> Objects:
    return x.reshape(-1)


def _same(x: Objects, *others: Any, dim: int = 0) -> Objects:
    return x


def _element(x: Objects, index: Any, dim: int = 0) -> Objects | None:
    try:
        made = x[index]
    except (IndexError, TypeError):
        return None
    return made if isinstance(made, np.ndarray) else _object(made)


def _arithmetic(operation: Callable[[Any, Any], Any]) -> Callable[..., Objects]:
    def computed(a: Any, b: Any, dim: int = 0) -> Objects:
        made = operation(a, b)
        return made if isinstance(made, np.ndarray) else _object(made)

    return computed


_RULES: dict[Any, Callable[..., Objects | None]] = {
    torch.full: _full,
    torch.cat: _joined(np.concatenate),
    torch.stack: _joined(np.stack),
    torch.Tensor.unsqueeze: _unsqueezed,
    torch.unsqueeze: _unsqueezed,
    torch.flatten: _flat,
    torch.Tensor.flatten: _flat,
    torch.Tensor.to: _same,
    torch.Tensor.long: _same,
    torch.Tensor.int: _same,
    operator.getitem: _element,
    **{
        function: _arithmetic(operation)
        for names, operation in (
            ("add", operator.add), ("sub", operator.sub), ("mul", operator.mul),
            ("floordiv floor_divide", operator.floordiv),
        )
        for name in names.split()
        for room in (torch, torch.Tensor, operator)
        if (function := getattr(room, name, None)) is not None
    },
}  # fmt: skip
