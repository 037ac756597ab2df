"""`Pipeline`: layers one after the other, as one layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

from .arguments import LayerOptions
from .base import Layer


class Pipeline(Layer):
    """Call layers one after the other.

    Equivalent to Keras's `Pipeline`; a model registers the modules of the layers.

    Args:
        layers: The layers, each with one input and one output.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: that of the first layer. `training=True` or `False` at a call fixes the mode of all
    layers there.

    Output shape: that of the last layer.

    Raises:
        TypeError: `layers` is not a list of layers.

    Example:
        >>> x = Input((28, 28, 3))
        >>> layers.Pipeline([layers.RandomFlip(), layers.RandomRotation(0.1)])(x).shape
        (None, 28, 28, 3)
    """

    supports_masking = True

    def __init__(self, layers: Sequence[Layer], **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.layers = list(layers) if isinstance(layers, Sequence) else [layers]
        if not self.layers or not all(isinstance(layer, Layer) for layer in self.layers):
            raise TypeError(f"Pipeline expects a list of layers, got {layers!r}")

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Record the layers."""
        options = {} if training is None else {"training": training}
        made = inputs
        for layer in self.layers:
            made = layer(made, **options)
        return made

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        """Return `None`: the output keeps the mask that the last layer gave it."""
        return None
