"""Layers of residual branches, used by `keras.applications`: `LayerScale` and others."""

from __future__ import annotations

from typing import Any, Unpack

import torch
from torch import nn

from .arguments import LayerOptions, fraction, integer
from .base import Layer
from .input_checks import Expects
from .modules.attention import Scale
from .modules.noise import DropPath
from .training_mode import fixed_mode
from .weight_layout import Weight


class LayerScale(Layer):
    """Multiply each feature by a learned number (Touvron et al., 2021).

    Equivalent to Keras's `LayerScale`, which is part of its ConvNeXt.

    Args:
        init_values: Initial value of all factors.
        projection_dim: Number of features.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, ..., projection_dim)`.

    Output shape: that of the input.

    Raises:
        ValueError: The number of features is not positive.

    Example:
        >>> x = Input((7, 7, 96))
        >>> layers.LayerScale(1e-6, 96)(x).shape
        (None, 7, 7, 96)
    """

    keras_weights = (Weight("gamma", ("weight",)),)

    def __init__(
        self, init_values: float, projection_dim: int, **options: Unpack[LayerOptions]
    ) -> None:
        super().__init__(**options)
        self.init_values = float(init_values)
        self.projection_dim = integer("LayerScale", "projection_dim", projection_dim)
        self.expects = Expects(("batch", "..."), "floating", features=-1)

    def build(self, input_shape: Any) -> nn.Module:
        """Make the module that holds the factors."""
        return Scale((self.projection_dim,))

    def _initialize(self) -> None:
        nn.init.constant_(self._module.weight, self.init_values)

    def call(self, inputs: Any) -> Any:
        """Record the product."""
        return self._module(inputs)


class StochasticDepth(Layer):
    """Set whole samples to zero during training, and scale the others up (Huang et al., 2016).

    Equivalent to Keras's `StochasticDepth`, which is part of its ConvNeXt.

    Args:
        drop_path_rate: Fraction of the samples to drop, below 1.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, ...)`, floating-point. Pass `training=True` or `False` at a call to fix
    the mode of that call.

    Output shape: that of the input.

    Raises:
        ValueError: The fraction is not between 0 and 1.

    Example:
        >>> x = Input((7, 7, 96))
        >>> layers.StochasticDepth(0.1)(x).shape
        (None, 7, 7, 96)
    """

    expects = Expects(("batch", "..."), "floating")

    def __init__(self, drop_path_rate: float, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.drop_path_rate = fraction("StochasticDepth", "drop_path_rate", drop_path_rate)

    def build(self, input_shape: Any) -> nn.Module:
        """Make the module, which has no weights."""
        return DropPath(self.drop_path_rate)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Record the module."""
        return self._module(inputs, **fixed_mode(training))


class CustomScaleLayer(Layer):
    """Add a scaled branch: `inputs[0] + inputs[1] * scale`.

    Equivalent to Keras's `CustomScaleLayer`, which is part of its InceptionResNetV2.

    Args:
        scale: The factor.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: a list of two tensors of shapes that broadcast.

    Output shape: that of the sum.

    Example:
        >>> x, branch = Input((7, 7, 96)), Input((7, 7, 96))
        >>> layers.CustomScaleLayer(0.1)([x, branch]).shape
        (None, 7, 7, 96)
    """

    def __init__(self, scale: float, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.scale = scale

    def call(self, inputs: Any) -> Any:
        """Record the sum."""
        first, branch = inputs
        return torch.add(first, branch, alpha=self.scale)
