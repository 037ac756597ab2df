"""The dtypes that code read while a graph was built, compared with those of a call.

Code that reads `x.dtype` gets a plain `torch.dtype`: torch takes no other object in its place.
So the graph holds what the code made of it, and is right for that dtype alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from ..graph import Ref
from ..graph.graph import describe
from ..graph.inference.dtypes import dtypes_at
from ..graph.modes import autocast_now


class DtypeReads:
    """The dtypes that code read while a graph was built.

    Args:
        owner: how the model is called in messages.
        inputs: the inputs of the graph.
        refs: the values of which code read the dtype.
    """

    def __init__(self, owner: str, inputs: list[Ref], refs: list[Ref]) -> None:
        self._owner, self._inputs, self._refs = owner, inputs, refs
        self._declared = [getattr(ref.spec, "dtype", None) for ref in inputs]
        self._compared: set[Any] = set()

    def check(self, values: Sequence[Any], converted: bool) -> None:
        """Raise an error if a dtype that was read is another one in this call.

        Args:
            values: the inputs.
            converted: whether the weights have other dtypes than when the graph was built.

        Raises:
            TypeError: a dtype is another one, or may be since the weights were converted.
        """
        given = [getattr(value, "dtype", None) for value in values]
        autocast = autocast_now()
        if given == self._declared and not autocast and not converted:
            return
        if converted:
            self._refuse(self._refs[0], "the weights were converted since")
        key = (*given, autocast)
        if key in self._compared:
            return
        found = dtypes_at(self._refs, dict(zip(self._inputs, values, strict=True)), autocast)
        for ref, dtype in found.items():
            if dtype != ref.spec.dtype:
                self._refuse(ref, f"in this call it is {dtype}")
        self._compared.add(key)

    def _refuse(self, ref: Ref, but: str) -> NoReturn:
        raise TypeError(
            f"{self._owner}: the dtype of {describe(ref.node)} was read while the graph was "
            f"built, as {ref.spec.dtype}; {but}, and the graph holds what the code made of the "
            "dtype of then. Build the graph as it is to run: convert the modules before, give "
            "`Input(..., dtype=...)`, open `torch.autocast` around the calls; or put the code "
            "that reads the dtype into `fgraph.apply(fn, x)`"
        )
