"""`InputLayer`: an input of a model, as one of its layers."""

from __future__ import annotations

from typing import Any

from ..graph import Input, Ref, symbol
from .base import Layer


class InputLayer(Layer):
    """An input, as the first layer of a `Sequential`.

    Equivalent to Keras's `InputLayer`; `Input` makes the symbolic tensor itself. `model.layers` and
    `model.get_layer` also return an `InputLayer` for each input.

    Args:
        shape: The sizes without the batch dimension, `None` where unknown.
        batch_size: The batch size. Defaults to unknown.
        dtype: A torch dtype or its name. Defaults to torch's default dtype.
        sparse, ragged: Accepted for compatibility with Keras; must be false.
        batch_shape: All sizes, the batch dimension included, in place of `shape`.
        input_tensor: A symbolic tensor made by `Input`, in place of a shape.
        optional: Accepted for compatibility with Keras; must be false.
        name: The name of the input.
        input_shape: Keras 2's name of `shape`.

    Raises:
        TypeError: As `Input`.
        ValueError: As `Input`.

    Example:
        >>> Sequential([layers.InputLayer(shape=(3,)), layers.Dense(2)]).output_shape
        (None, 2)
    """

    def __init__(
        self,
        shape: Any = None,
        batch_size: int | None = None,
        dtype: Any = None,
        sparse: bool | None = None,
        ragged: bool | None = None,
        batch_shape: Any = None,
        input_tensor: Any = None,
        optional: bool = False,
        name: str | None = None,
        input_shape: Any = None,
    ) -> None:
        if input_tensor is None:
            input_tensor = Input(
                input_shape if shape is None else shape,
                batch_size,
                dtype,
                name,
                batch_shape=batch_shape,
                optional=optional,
                sparse=sparse,
                ragged=ragged,
            )
        self._show(input_tensor.source, name)

    @classmethod
    def of(cls, ref: Ref, name: str | None) -> InputLayer:
        """Return the layer that represents an input of a graph in its model's `layers`."""
        layer = cls.__new__(cls)
        layer._show(ref, name)
        return layer

    def _show(self, ref: Ref, name: str | None) -> None:
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
