"""Layers that act during training only, and penalties on activations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.nn import functional as F

from .. import regularizers
from .arguments import Expects, fraction
from .base import Layer
from .channels import image, is_channels_last
from .modules.noise import AlphaNoise, GaussianFactor, GaussianTerm, SharedDropout


class Dropout(Layer):
    """Sets a share of the values to zero during training, as Keras's `Dropout`.

    The module is an `nn.Dropout`; with `noise_shape` or `seed`, which torch has not, one of
    fgraph's own.

    Args:
        rate: the share, between 0 and 1; the others are scaled up by `1 / (1 - rate)`.
        noise_shape: the shape of the random choice, 1 along axes that share one; `None` entries
            stand for the input's sizes.
        seed: makes the choice repeatable, independent of torch's own random numbers.
        **options: those of every `Layer`.

    Input and output shape: any, equal. `training=True` or `False` at a call fixes the mode there.

    Raises:
        ValueError: the rate is not between 0 and 1.
    """

    supports_masking = True

    def __init__(
        self,
        rate: float,
        noise_shape: Sequence[int | None] | None = None,
        seed: int | None = None,
        **options: Any,
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

    def call(self, x: Any, training: bool | None = None) -> Any:
        """Record the module, or the function where the mode is fixed."""
        if not isinstance(self.module, nn.Dropout):
            return self._module(x, **_fixed(training))
        return self.module(x) if training is None else F.dropout(x, self.rate, training=training)


class _Noise(Layer):
    """Base of the layers whose module is one of `modules.noise`."""

    expects = Expects(("batch", "..."), "floating")
    supports_masking = True

    def call(self, x: Any, training: bool | None = None) -> Any:
        """Record the module."""
        return self._module(x, **_fixed(training))


class _SpatialDropout(_Noise):
    """Base of `SpatialDropout1D`, `2D` and `3D`."""

    rank: int

    def __init__(
        self, rate: float, data_format: str | None = None, seed: int | None = None, **options: Any
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
    """Sets whole channels of sequences to zero during training, as Keras's `SpatialDropout1D`.

    Args:
        rate: the share of channels, between 0 and 1.
        seed: makes the choice repeatable.
        **options: those of every `Layer`.

    Input and output shape: `(batch, steps, channels)`.
    """

    rank = 1

    def __init__(self, rate: float, seed: int | None = None, **options: Any) -> None:
        super().__init__(rate, "channels_last", seed, **options)


class SpatialDropout2D(_SpatialDropout):
    """Sets whole channels of images to zero during training, as Keras's `SpatialDropout2D`.

    Args:
        rate: the share of channels, between 0 and 1.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        seed: makes the choice repeatable.
        **options: those of every `Layer`.

    Input and output shape: `(batch, height, width, channels)`.
    """

    rank = 2


class SpatialDropout3D(_SpatialDropout):
    """Sets whole channels of volumes to zero during training, as Keras's `SpatialDropout3D`.

    Args:
        rate: the share of channels, between 0 and 1.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        seed: makes the choice repeatable.
        **options: those of every `Layer`.

    Input and output shape: `(batch, depth, height, width, channels)`.
    """

    rank = 3


class GaussianNoise(_Noise):
    """Adds normal noise during training, as Keras's `GaussianNoise`.

    Args:
        stddev: the standard deviation of the noise.
        seed: makes the noise repeatable.
        **options: those of every `Layer`.

    Input and output shape: any, equal.

    Raises:
        ValueError: the standard deviation is not between 0 and 1, as Keras demands.
    """

    def __init__(self, stddev: float, seed: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.stddev = fraction("GaussianNoise", "stddev", stddev)
        self.seed = seed

    def build(self, input_shape: Any) -> nn.Module:
        """Make the module."""
        return GaussianTerm(self.stddev, self.seed)


class GaussianDropout(_Noise):
    """Multiplies by normal noise around one during training, as Keras's `GaussianDropout`.

    Args:
        rate: the noise has the standard deviation `sqrt(rate / (1 - rate))`.
        seed: makes the noise repeatable.
        **options: those of every `Layer`.

    Input and output shape: any, equal.

    Raises:
        ValueError: the rate is not between 0 and 1.
    """

    def __init__(self, rate: float, seed: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.rate = fraction("GaussianDropout", "rate", rate)
        self.seed = seed

    def build(self, input_shape: Any) -> nn.Module:
        """Make the module."""
        return GaussianFactor(self.rate, self.seed)


class AlphaDropout(_Noise):
    """Dropout that keeps mean and variance of SELU activations, as Keras's `AlphaDropout`.

    Args:
        rate: the share of dropped values, between 0 and 1.
        noise_shape: the shape of the random choice, as for `Dropout`.
        seed: makes the choice repeatable.
        **options: those of every `Layer`.

    Input and output shape: any, equal.

    Raises:
        ValueError: the rate is not between 0 and 1.
    """

    def __init__(
        self,
        rate: float,
        noise_shape: Sequence[int | None] | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.rate = fraction("AlphaDropout", "rate", rate)
        self.noise_shape = None if noise_shape is None else tuple(noise_shape)
        self.seed = seed

    def build(self, input_shape: Any) -> nn.Module:
        """Make the module."""
        return AlphaNoise(self.rate, self.noise_shape, self.seed)


class ActivityRegularization(Layer):
    """Passes its input on and penalises it, as Keras's `ActivityRegularization`.

    Args:
        l1: the factor of the absolute values.
        l2: the factor of the squares.
        **options: those of every `Layer`.

    Input and output shape: any, equal.
    """

    supports_masking = True

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **options: Any) -> None:
        super().__init__(activity_regularizer=regularizers.L1L2(l1=l1, l2=l2), **options)

    def call(self, x: Any) -> Any:
        """Return the input; the penalty is that of every layer's `activity_regularizer`."""
        return x


def _fixed(training: bool | None) -> dict[str, bool]:
    """Return the keyword argument that fixes the mode, none where it follows the model."""
    return {} if training is None else {"training": training}
