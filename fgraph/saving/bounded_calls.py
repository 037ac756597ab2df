"""Bounds on the work of recording the graph of a file, before any call on real values."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ..errors import LoadError
from ..graph.nested import iter_leaves
from ..graph.node import Ref
from ..graph.specs import NumberSpec

_MOST_CALLS = 20_000  # torch calls for the shapes of a graph, and more for each node
_CALLS_OF_A_NODE = 1000
_MOST_PARTS = 4096  # the number of tensors that one call may return
_MOST_FACTORS = 256  # torch looks for the best order of a product in cubic time
_WHOLE = 2**63
_MOST_EXPONENT = 1024

_ATEN = torch.ops.aten
_APART = {_ATEN.unbind.int, _ATEN.split.Tensor, _ATEN.unsafe_split.Tensor}


class BoundedCalls(TorchDispatchMode):
    """Counts the operations inside torch's functions, and refuses calls that would take too long.

    Args:
        nodes: the number of calls in the graph.
    """

    def __init__(self, nodes: int) -> None:
        super().__init__()
        self._most = _MOST_CALLS + _CALLS_OF_A_NODE * nodes
        self._calls = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one of torch's basic operations."""
        kwargs = kwargs or {}
        self._calls += 1
        if self._calls > self._most:
            raise LoadError(f"its graph calls more than {self._most} operations, the limit")
        if func in _APART:
            _check_parts(func, *args, **kwargs)
        return func(*args, **kwargs)


def _check_parts(func: Any, tensor: Tensor, size: int = 0, dim: int = 0) -> None:
    """Refuse a call that gives too many tensors."""
    if func is _ATEN.unbind.int:
        size, dim = 1, size or dim
    if tensor.ndim and tensor.shape[dim] > _MOST_PARTS * max(size, 1):
        raise LoadError(
            f"it takes an axis of {tensor.shape[dim]} apart into more than {_MOST_PARTS} tensors, "
            "the limit"
        )


def check_call(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Refuse a call in a file that is not a computation on tensors, or would never end.

    Args:
        function: the called function.
        args, kwargs: its arguments, with a `Ref` for each value of the graph.

    Raises:
        LoadError: Python's operators are called on texts, containers or large numbers.
    """
    while isinstance(function, functools.partial):
        args, kwargs = (*function.args, *args), {**function.keywords, **kwargs}
        function = function.func
    name = str(getattr(function, "__name__", ""))
    if name.endswith(("multi_dot", "chain_matmul")):
        if sum(1 for _ in iter_leaves(args)) > _MOST_FACTORS:
            raise LoadError(f"it multiplies more than {_MOST_FACTORS} matrices at once, the limit")
    if name in ("tensor_split", "hsplit", "vsplit", "dsplit"):
        counts = [n for leaf in iter_leaves((args, kwargs)) for n in _numbers(leaf)]
        if any(isinstance(count, int) and abs(count) > _MOST_PARTS for count in counts):
            raise LoadError(f"it takes a tensor apart into more than {_MOST_PARTS}, the limit")
    if getattr(function, "__module__", "") not in ("_operator", "math", "builtins"):
        return
    if name == "getitem" and _is_choice(*args):
        return
    operands = args[:1] if name == "getitem" else args
    if kwargs or not any(isinstance(operand, (Ref, Tensor)) for operand in operands):
        raise LoadError(f"a node calls {name!r} on no value of the graph")
    for operand in operands:
        if not (isinstance(operand, (Ref, Tensor, np.generic)) or _numbers(operand)):
            raise LoadError(f"a node calls {name!r} on {operand!r:.80}, which is no number")
    numbers = list(map(_numbers, operands))
    if all(numbers):  # no tensor is among them
        most = [
            _MOST_EXPONENT if at and name in ("pow", "lshift", "round") else _WHOLE for at in (0, 1)
        ]
        pairs = zip(numbers, most, strict=False)
        if any(isinstance(n, int) and abs(n) > limit for found, limit in pairs for n in found):
            raise LoadError(f"a node calls {name!r} on numbers that are too large")


def _is_choice(values: Any, index: Any) -> bool:
    """Return whether a value is one of a few numbers, such as `(0.0, 0.1)[training]`."""
    plain = type(values) is tuple and all(type(value) in (bool, int, float) for value in values)
    return plain and type(index) is Ref


def _numbers(operand: Any) -> tuple[Any, ...]:
    """Return the values of a number in both main lanes; empty for other values."""
    spec = operand.spec if type(operand) is Ref else None
    found = (spec.first, spec.second) if isinstance(spec, NumberSpec) else (operand,)
    return tuple(number for number in found if isinstance(number, (int, float, complex)))
