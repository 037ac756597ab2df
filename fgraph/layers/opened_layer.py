"""`OpenedLayer`: a part of a module that `unfold` opened, as a layer of the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from .base import Layer


class OpenedLayer(Layer):
    """The layer that `model.get_layer` returns for a part of an unfolded module: a block, or a
    leaf.

    It has nodes like a layer. If the part is called several times, `output` is the output of the
    last call, the one that a forward hook would see last; `get_output_at(i)` returns the others.

    Args:
        name: its qualified name.
        module: the torch module.
        calls: its calls, in order.
    """

    def __init__(self, name: str, module: nn.Module, calls: Sequence[Any]) -> None:
        super().__init__(name=name)
        self.built = True
        self.module = module
        self._spans = list(calls)

    @property
    def inbound_nodes(self) -> list[Any]:
        """The calls, in order."""
        return self._spans

    @property
    def output(self) -> Any:
        """The symbolic output of the last call."""
        return self.get_output_at(-1)

    @property
    def output_shape(self) -> Any:
        """The shape of the output of the last call."""
        return self.get_output_shape_at(-1)

    def __repr__(self) -> str:
        return f"OpenedLayer({self.name!r}, {type(self.module).__name__})"
