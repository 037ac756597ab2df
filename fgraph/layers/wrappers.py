"""Layers around other layers."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..errors import BuildError
from .arguments import Expects
from .base import Layer


class TimeDistributed(Layer):
    """Applies a layer to every step, as Keras's `TimeDistributed`.

    Steps are folded into the batch: the inner layer is called once, and not step by step.

    Args:
        layer: a layer, a model or a torch module. The module of this layer is its module.
        **options: those of every `Layer`.

    Input shape: `(batch, steps, ...)`. Output shape: `(batch, steps, ...)`, the last axes being
    those of the inner layer's output.

    Raises:
        TypeError: `layer` is none of these.
    """

    expects = Expects(("batch", "steps", "..."))
    supports_masking = True

    def __init__(self, layer: Any, **options: Any) -> None:
        super().__init__(**options)
        if not isinstance(layer, (Layer, nn.Module)):
            raise TypeError(
                f"TimeDistributed expects a layer, a model or a torch module, got {layer!r}"
            )
        self.layer = layer

    def inner_layers(self) -> list[Layer]:
        """Return the inner layer, unless that is a module."""
        return [self.layer] if isinstance(self.layer, Layer) else []

    def build(self, input_shape: Any) -> nn.Module | None:
        """Build the inner layer for the shape of one step."""
        if isinstance(self.layer, Layer):
            return self.layer.make_module((None, *input_shape[2:]))
        return self.layer  # type: ignore[no-any-return]

    def call(self, x: Any, mask: Any = None, training: bool | None = None) -> Any:
        """Record the folding, the inner layer and the unfolding."""
        options: dict[str, Any] = {}
        if isinstance(self.layer, Layer):
            if training is not None:
                options["training"] = training
            if mask is not None and mask.ndim > 2:
                options["mask"] = mask.flatten(0, 1)
        steps = x.size(1) if x.shape[1] is None else x.shape[1]
        batch = -1 if x.shape[1] is not None else x.size(0)
        made = self.layer(x.flatten(0, 1), **options)
        if isinstance(made, (list, tuple, dict)):
            raise BuildError(f"TimeDistributed expects a layer of one output, got {made!r}")
        return made.unflatten(0, (batch, steps))
