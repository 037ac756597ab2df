"""Layers that act during training only, and penalties on activations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

from torch import nn
from torch.nn import functional as F

from .. import regularizers
from .arguments import BaseOptions, LayerOptions, fraction
from .base import Layer
from .data_format import image, is_channels_last
from .input_checks import Expects
from .modules.noise import AlphaNoise, GaussianFactor, GaussianTerm, SharedDropout
from .training_mode import fixed_mode


class Dropout(Layer):
    """Set a fraction of the values to zero during training.

    Equivalent to Keras's `Dropout`; the module is an `nn.Dropout`, or one of fgraph's own with
    `noise_shape` or `seed`, which torch does not have.

    Args:
        rate: Fraction to drop, between 0 and 1; the others are scaled up by `1 / (1 - rate)`.
        noise_shape: Shape of the random choice: 1 along axes that share one, `None` for the
            input's sizes. Defaults to the shape of the input.
        seed: Seed of the layer's own random generator. Defaults to torch's global generator.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: any. Pass `training=True` or `False` at a call to fix the mode of that call.

    Output shape: that of the input.

    Differs from Keras: the random numbers differ.

    Raises:
        ValueError: The rate is not between 0 and 1.

    Example:
        >>> x = Input((10,))
        >>> layers.Dropout(0.5)(x).shape
        (None, 10)
    """

    supports_masking = True

    def __init__(
        self,
        rate: float,
        noise_shape: Sequence[int | None] | None = None,
        seed: int | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.rate = fraction(type(self).__name__, "rate", rate)
        self.noise_shape = None if noise_shape is None else tuple(noise_shape)
        self.seed = seed

    def build(self, input_shape: Any) -> nn.Module:
        """Make the module."""
        if self.noise_shape is None and self.seed is None:
            return nn.Dropout(self.rate)
        return SharedDropout(self.rate, self.noise_shape, self.seed)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Record the module, or the function where the mode is fixed."""
        if not isinstance(self.module, nn.Dropout):
            return self._module(inputs, **fixed_mode(training))
        if training is None:
            return self._module(inputs)
        return F.dropout(inputs, self.rate, training=training)


class _Noise(Layer):
    """Base of the layers whose module is one of `modules.noise`."""

    expects = Expects(("batch", "..."), "floating")
    supports_masking = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Record the module."""
        return self._module(inputs, **fixed_mode(training))


class _SpatialDropout(_Noise):
    """Base of `SpatialDropout1D`, `2D` and `3D`."""

    rank: int

    def __init__(
        self,
        rate: float,
        data_format: str | None = None,
        seed: int | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.rate = fraction(type(self).__name__, "rate", rate)
        self.channels_last = is_channels_last(type(self).__name__, data_format)
        self.expects = image(self.rank, self.channels_last)
        self.seed = seed

    def build(self, input_shape: Any) -> nn.Module:
        """Make the module: one choice for each channel of each sample."""
        ones = (1,) * self.rank
        shape = (None, *ones, None) if self.channels_last else (None, None, *ones)
        return SharedDropout(self.rate, shape, self.seed)


class SpatialDropout1D(_SpatialDropout):
    """Set whole channels of sequences to zero during training.

    Equivalent to Keras's `SpatialDropout1D`.

    Args:
        rate: Fraction of channels to drop, between 0 and 1; the others are scaled up by
            `1 / (1 - rate)`.
        seed: Seed of the layer's own random generator. Defaults to torch's global generator.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, steps, channels)`, floating-point.
    Pass `training=True` or `False` at a call to fix the mode of that call.

    Output shape: that of the input.

    Differs from Keras: the random numbers differ.

    Raises:
        ValueError: The rate is not between 0 and 1.

    Example:
        >>> x = Input((32, 8))
        >>> layers.SpatialDropout1D(0.5)(x).shape
        (None, 32, 8)
    """

    rank = 1

    def __init__(
        self, rate: float, seed: int | None = None, **options: Unpack[LayerOptions]
    ) -> None:
        super().__init__(rate, "channels_last", seed, **options)


class SpatialDropout2D(_SpatialDropout):
    """Set whole channels of images to zero during training.

    Equivalent to Keras's `SpatialDropout2D`.

    Args:
        rate: Fraction of channels to drop, between 0 and 1; the others are scaled up by
            `1 / (1 - rate)`.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        seed: Seed of the layer's own random generator. Defaults to torch's global generator.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, height, width, channels)`, floating-point.
    Pass `training=True` or `False` at a call to fix the mode of that call.

    Output shape: that of the input.

    Differs from Keras: the random numbers differ.

    Raises:
        ValueError: The rate is not between 0 and 1.

    Example:
        >>> x = Input((28, 28, 3))
        >>> layers.SpatialDropout2D(0.5)(x).shape
        (None, 28, 28, 3)
    """

    rank = 2


class SpatialDropout3D(_SpatialDropout):
    """Set whole channels of volumes to zero during training.

    Equivalent to Keras's `SpatialDropout3D`.

    Args:
        rate: Fraction of channels to drop, between 0 and 1; the others are scaled up by
            `1 / (1 - rate)`.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        seed: Seed of the layer's own random generator. Defaults to torch's global generator.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, depth, height, width, channels)`, floating-point.
    Pass `training=True` or `False` at a call to fix the mode of that call.

    Output shape: that of the input.

    Differs from Keras: the random numbers differ.

    Raises:
        ValueError: The rate is not between 0 and 1.

    Example:
        >>> x = Input((8, 16, 16, 3))
        >>> layers.SpatialDropout3D(0.5)(x).shape
        (None, 8, 16, 16, 3)
    """

    rank = 3


class GaussianNoise(_Noise):
    """Add normal noise during training.

    Equivalent to Keras's `GaussianNoise`.

    Args:
        stddev: Standard deviation of the noise, between 0 and 1.
        seed: Seed of the layer's own random generator. Defaults to torch's global generator.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: any, floating-point. Pass `training=True` or `False` at a call to fix the mode of
    that call.

    Output shape: that of the input.

    Differs from Keras: the random numbers differ.

    Raises:
        ValueError: The standard deviation is not between 0 and 1.

    Example:
        >>> x = Input((10,))
        >>> layers.GaussianNoise(0.1)(x).shape
        (None, 10)
    """

    def __init__(
        self, stddev: float, seed: int | None = None, **options: Unpack[LayerOptions]
    ) -> None:
        super().__init__(**options)
        self.stddev = fraction("GaussianNoise", "stddev", stddev)
        self.seed = seed

    def build(self, input_shape: Any) -> nn.Module:
        """Make the module."""
        return GaussianTerm(self.stddev, self.seed)


class GaussianDropout(_Noise):
    """Multiply by normal noise around one during training.

    Equivalent to Keras's `GaussianDropout`.

    Args:
        rate: Between 0 and 1; the noise has the standard deviation `sqrt(rate / (1 - rate))`.
        seed: Seed of the layer's own random generator. Defaults to torch's global generator.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: any, floating-point. Pass `training=True` or `False` at a call to fix the mode of
    that call.

    Output shape: that of the input.

    Differs from Keras: the random numbers differ.

    Raises:
        ValueError: The rate is not between 0 and 1.

    Example:
        >>> x = Input((10,))
        >>> layers.GaussianDropout(0.1)(x).shape
        (None, 10)
    """

    def __init__(
        self, rate: float, seed: int | None = None, **options: Unpack[LayerOptions]
    ) -> None:
        super().__init__(**options)
        self.rate = fraction("GaussianDropout", "rate", rate)
        self.seed = seed

    def build(self, input_shape: Any) -> nn.Module:
        """Make the module."""
        return GaussianFactor(self.rate, self.seed)


class AlphaDropout(_Noise):
    """Drop values, keeping mean and variance of SELU activations, during training.

    Equivalent to Keras's `AlphaDropout` (Klambauer et al., 2017).

    Args:
        rate: Fraction to drop, between 0 and 1.
        noise_shape: Shape of the random choice: 1 along axes that share one, `None` for the
            input's sizes. Defaults to the shape of the input.
        seed: Seed of the layer's own random generator. Defaults to torch's global generator.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: any, floating-point. Pass `training=True` or `False` at a call to fix the mode of
    that call.

    Output shape: that of the input.

    Differs from Keras: the random numbers differ.

    Raises:
        ValueError: The rate is not between 0 and 1.

    Example:
        >>> x = Input((10,))
        >>> layers.AlphaDropout(0.1)(x).shape
        (None, 10)
    """

    def __init__(
        self,
        rate: float,
        noise_shape: Sequence[int | None] | None = None,
        seed: int | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.rate = fraction("AlphaDropout", "rate", rate)
        self.noise_shape = None if noise_shape is None else tuple(noise_shape)
        self.seed = seed

    def build(self, input_shape: Any) -> nn.Module:
        """Make the module."""
        return AlphaNoise(self.rate, self.noise_shape, self.seed)


class ActivityRegularization(Layer):
    """Return the input, and add a penalty on it to the loss.

    Equivalent to Keras's `ActivityRegularization`.

    Args:
        l1: Factor of the absolute values.
        l2: Factor of the squares.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`.

    Input shape: any.

    Output shape: that of the input.

    Example:
        >>> x = Input((10,))
        >>> layers.ActivityRegularization(l2=0.01)(x).shape
        (None, 10)
    """

    supports_masking = True

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **options: Unpack[BaseOptions]) -> None:
        super().__init__(activity_regularizer=regularizers.L1L2(l1=l1, l2=l2), **options)

    def call(self, inputs: Any) -> Any:
        """Return the input; the penalty is that of every layer's `activity_regularizer`."""
        return inputs
