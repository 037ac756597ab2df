"""The sizes and dtypes that code read while a graph was built, compared with those of a call.

A size that was read was found to be the same for all sizes that were tried. Code that reads
`x.dtype` gets a plain `torch.dtype`: torch takes no other object in its place. So the graph holds
what the code made of it, and is right for that dtype alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor

from ..graph import Ref, Symbol
from ..graph.ancestry import DTYPE
from ..graph.graph import describe
from ..graph.inference.dtypes import dtypes_at
from ..graph.inference.lanes import sizes_at
from ..graph.modes import autocast_now

_MOST = 4096  # combinations of sizes, or of dtypes, that are remembered


class ReadChecks:
    """Compares what was read while a graph was built.

    Args:
        owner: how the model is called in messages.
        inputs: the inputs of the graph.
        reads: what was read, as values and axes; `DTYPE` in place of an axis for a dtype.
    """

    def __init__(self, owner: str, inputs: list[Ref], reads: Iterable[tuple[Ref, int]]) -> None:
        self._owner, self._inputs = owner, inputs
        self._sizes = [(ref, axis) for ref, axis in reads if axis != DTYPE]
        self._dtypes = [ref for ref, axis in reads if axis == DTYPE]
        self._declared = tuple(getattr(ref.spec, "dtype", None) for ref in inputs)
        self._compared: set[Any] = set()

    def check(self, values: Sequence[Any], converted: bool) -> None:
        """Compare what was read with what it is for these inputs.

        What was compared once is remembered. While torch compiles or exports the model, nothing
        is compared.

        Args:
            values: the inputs.
            converted: whether the weights have other dtypes than when the graph was built.

        Raises:
            ValueError: a size is another one, so that the graph holds a wrong number.
            TypeError: a dtype is another one, or may be since the weights were converted.
        """
        if torch.compiler.is_compiling() or torch._C._get_tracing_state():
            return
        if any(isinstance(value, Symbol) for value in values):
            return
        if len(self._compared) >= _MOST:
            self._compared.clear()
        if self._dtypes:
            self._check_dtypes(values, converted)
        if self._sizes:
            self._check_sizes(values)

    def _check_dtypes(self, values: Sequence[Any], converted: bool) -> None:
        given = tuple(getattr(value, "dtype", None) for value in values)
        autocast = autocast_now()
        if converted:
            self._refuse_dtype(self._dtypes[0], "the weights were converted since")
        if (given == self._declared and not autocast) or (given, autocast) in self._compared:
            return
        found = dtypes_at(self._dtypes, dict(zip(self._inputs, values, strict=True)), autocast)
        for ref, dtype in found.items():
            if dtype != ref.spec.dtype:
                self._refuse_dtype(ref, f"in this call it is {dtype}")
        self._compared.add((given, autocast))

    def _refuse_dtype(self, ref: Ref, but: str) -> NoReturn:
        raise TypeError(
            f"{self._owner}: the dtype of {describe(ref.node)} was read while the graph was "
            f"built, as {ref.spec.dtype}; {but}, and the graph holds what the code made of the "
            "dtype of then. Build the graph as it is to run: convert the modules before, give "
            "`Input(..., dtype=...)`, open `torch.autocast` around the calls; or put the code "
            "that reads the dtype into `fgraph.apply(fn, x)`"
        )

    def _check_sizes(self, values: Sequence[Any]) -> None:
        shapes = tuple(tuple(v.shape) if isinstance(v, Tensor) else v for v in values)
        try:
            known = shapes in self._compared
        except TypeError:  # data that cannot be a key is compared at each call
            known = None
        if known:
            return
        for ref, axis in self._sizes:
            found = sizes_at(ref, dict(zip(self._inputs, shapes, strict=True)))
            expected = ref.spec.shape[axis]
            if found is not None and found[axis] != expected:
                raise ValueError(
                    f"{self._owner}: the size of axis {axis} of {describe(ref.node)} was read "
                    f"while the graph was built, as {expected}, which it was for all sizes that "
                    f"were tried; for inputs of shapes {list(shapes)} it is {found[axis]}. Compute "
                    "what depends on it in `fgraph.apply(fn, x)`"
                )
        if known is False:
            self._compared.add(shapes)
