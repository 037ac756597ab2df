"""`InputLayer`: an input of a model, seen as one of its layers."""

from __future__ import annotations

from typing import Any

from ..graph import Ref, symbol
from .base import Layer


class InputLayer(Layer):
    """What `model.layers` and `model.get_layer` show for an input; made by `Input`.

    Args:
        ref: the input in the graph.
        name: its name in the model.
    """

    def __init__(self, ref: Ref, name: str | None) -> None:
        super().__init__(name=name)
        self.built = True
        self._ref = ref

    @property
    def input(self) -> Any:
        """The symbolic tensor."""
        return symbol(self._ref)

    output = input

    @property
    def input_shape(self) -> Any:
        """Its shape, batch dimension included."""
        return self._ref.spec.shape

    output_shape = input_shape
    batch_shape = input_shape

    def __repr__(self) -> str:
        return f"InputLayer({self.name!r}, shape={self.input_shape})"
