"""`apply`: record any Python callable as one node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from ..inference import shapes
from ..nested import iter_leaves
from ..node import Inferred
from ..specs import Effects, TensorSpec
from .build_errors import function_name
from .record import Symbol, record


def apply(
    target: Callable[..., Any],
    *args: Any,
    name: str | None = None,
    output_shape: Any = None,
    output_dtype: torch.dtype | None = None,
    **kwargs: Any,
) -> Any:
    """Record any Python callable as one node, a leaf that is called as it is at run time.

    Args:
        target: a function, or a `torch.nn.Module`.
        *args: its positional arguments; symbolic tensors may be nested in containers.
        name: a name for the node.
        output_shape: the shape of the result, batch dimension included, `None` where a size is
            unknown: `(None, 10)`. A list of shapes stands for a tuple of tensors. By default the
            callable is run on meta tensors to find out.
        output_dtype: the dtype that goes with `output_shape`; by default that of the first
            symbolic tensor among the arguments.
        **kwargs: its keyword arguments.

    Returns:
        The symbolic result, in the structure that `target` returns.

    Raises:
        TypeError: `target` is not callable, or no argument is symbolic.
        BuildError: the result's shape cannot be inferred and `output_shape` is missing.
    """
    if not callable(target):
        raise TypeError(f"fgraph.apply expects a callable first, got {target!r}")
    symbols = [leaf for leaf in iter_leaves((args, kwargs)) if isinstance(leaf, Symbol)]
    if not symbols:
        given = [type(leaf).__name__ for leaf in iter_leaves((args, kwargs))]
        raise TypeError(
            f"fgraph.apply({function_name(target)}, ...) expects at least one symbolic tensor "
            f"among its arguments, got {given}"
        )
    inferred = None
    if output_shape is not None:
        dtypes = [s.ref.spec.dtype for s in symbols if type(s.ref.spec) is TensorSpec]
        inferred = _declared(
            output_shape, output_dtype or (dtypes or [torch.get_default_dtype()])[0], symbols
        )
    op = "module" if isinstance(target, nn.Module) else "function"
    return record(op, target, args, kwargs, name=name, inferred=inferred)


def _declared(output_shape: Any, dtype: torch.dtype, taken: list[Symbol]) -> Inferred:
    """Make specs of what the caller says of the result, which may share memory with anything."""
    several = isinstance(output_shape, list)
    given = output_shape if several else [output_shape]
    _, structure = pytree.tree_flatten((0,) * len(given))
    tensors = [i for i, value in enumerate(taken) if type(value._ref.spec) is TensorSpec]
    effects = Effects((), tuple((index, i) for index in range(len(given)) for i in tensors))
    specs = [shapes.spec_of(tuple(shape), dtype) for shape in given]
    return list(specs), structure if several else None, effects
