"""Filters of images, mostly random: sharpness, blur, inversion, equalization and others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import torch
from torch import nn

from .arguments import LayerOptions, integer, integers
from .base import Layer
from .data_format import image
from .input_checks import Expects
from .modules.color_augmentation import (
    Blur,
    Equalize,
    Invert,
    Posterization,
    Sharpness,
    Solarize,
)
from .preprocessing import _floating
from .random_image import RandomImageLayer, bounds, values


class RandomSharpness(RandomImageLayer):
    """Sharpen or soften images during training.

    Equivalent to Keras's `RandomSharpness`.

    Args:
        factor: Sharpness is drawn up to this number, or between two; 0.5 changes nothing.
        value_range: Least and largest value of pixels.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        seed: Gives the layer random numbers of its own, which begin there.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, height, width, channels)`; integers become floating-point.
    Pass `training=True` or `False` at a call to fix the mode of that call.

    Output shape: that of the input.

    Differs from Keras: The random numbers are torch's.

    Raises:
        ValueError: A setting is out of range.

    Example:
        >>> x = Input((28, 28, 3))
        >>> layers.RandomSharpness((0.3, 0.7))(x).shape
        (None, 28, 28, 3)
    """

    def __init__(
        self,
        factor: float | Sequence[float],
        value_range: Sequence[float] = (0, 255),
        data_format: str | None = None,
        seed: int | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(data_format, **options)
        self.factor = bounds("RandomSharpness", "factor", factor, 0.0)
        self.value_range = values("RandomSharpness", value_range)
        self.seed = seed

    def build(self, input_shape: Any) -> nn.Module:
        """Make the module, which has no weights."""
        return Sharpness(self.factor, self.value_range, self.channels_last, self.seed)


class RandomInvert(RandomImageLayer):
    """Make negatives of some images during training.

    Equivalent to Keras's `RandomInvert`.

    Args:
        factor: Probability that an image is inverted is drawn up to this number, or between
            two.
        value_range: Least and largest value of pixels.
        seed: Gives the layer random numbers of its own, which begin there.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, height, width, channels)`; integers become floating-point.
    Pass `training=True` or `False` at a call to fix the mode of that call.

    Output shape: that of the input.

    Differs from Keras: The random numbers are torch's.

    Raises:
        ValueError: A setting is out of range.

    Example:
        >>> x = Input((28, 28, 3))
        >>> layers.RandomInvert(0.3)(x).shape
        (None, 28, 28, 3)
    """

    def __init__(
        self,
        factor: float | Sequence[float] = 1.0,
        value_range: Sequence[float] = (0, 255),
        seed: int | None = None,
        data_format: str | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(data_format, **options)
        self.factor = bounds("RandomInvert", "factor", factor, 0.0)
        self.value_range = values("RandomInvert", value_range)
        self.seed = seed

    def build(self, input_shape: Any) -> nn.Module:
        """Make the module, which has no weights."""
        return Invert(self.factor, self.value_range, self.channels_last, self.seed)


class RandomPosterization(RandomImageLayer):
    """Keep only some bits of each value during training.

    Equivalent to Keras's `RandomPosterization`.

    Args:
        factor: Number of bits to keep, from 1 to 8, or the least and the one above the
            largest.
        value_range: Least and largest value of pixels.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        seed: Gives the layer random numbers of its own, which begin there.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, height, width, channels)`; integers become floating-point.
    Pass `training=True` or `False` at a call to fix the mode of that call.

    Output shape: that of the input.

    Differs from Keras: The random numbers are torch's.

    Raises:
        ValueError: A setting is out of range, or a name is not known.

    Example:
        >>> x = Input((28, 28, 3))
        >>> layers.RandomPosterization(3)(x).shape
        (None, 28, 28, 3)
    """

    def __init__(
        self,
        factor: int | Sequence[int],
        value_range: Sequence[float] = (0, 255),
        data_format: str | None = None,
        seed: int | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(data_format, **options)
        given = factor if isinstance(factor, (list, tuple)) else (factor, factor)
        self.factor = tuple(integer("RandomPosterization", "factor", bits) for bits in given)
        if len(self.factor) != 2 or max(self.factor) > 8:
            raise ValueError(
                f"RandomPosterization: factor= expects 1 to 8, once or twice, got {factor!r}"
            )
        self.value_range = values("RandomPosterization", value_range)
        self.seed = seed

    def build(self, input_shape: Any) -> nn.Module:
        """Make the module, which has no weights."""
        return Posterization(self.factor, self.value_range, self.channels_last, self.seed)


class RandomGaussianBlur(RandomImageLayer):
    """Blur some images during training.

    Equivalent to Keras's `RandomGaussianBlur`.

    Args:
        factor: Probability that an image is changed is drawn up to this number, or between
            two.
        kernel_size: Height and width of the window, odd.
        sigma: Standard deviation is drawn up to this number, or between two, in pixels.
        value_range: Least and largest value of pixels.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        seed: Gives the layer random numbers of its own, which begin there.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, height, width, channels)`; integers become floating-point.
    Pass `training=True` or `False` at a call to fix the mode of that call.

    Output shape: that of the input.

    Differs from Keras: The random numbers are torch's.

    Raises:
        ValueError: A setting is out of range, or a name is not known.

    Example:
        >>> x = Input((28, 28, 3))
        >>> layers.RandomGaussianBlur(kernel_size=5)(x).shape
        (None, 28, 28, 3)
    """

    def __init__(
        self,
        factor: float | Sequence[float] = 1.0,
        kernel_size: int | Sequence[int] = 3,
        sigma: float | Sequence[float] = 1.0,
        value_range: Sequence[float] = (0, 255),
        data_format: str | None = None,
        seed: int | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(data_format, **options)
        kind = "RandomGaussianBlur"
        self.factor = bounds(kind, "factor", factor, 0.0)
        self.kernel_size = integers(kind, "kernel_size", kernel_size, 2)
        if any(size % 2 == 0 for size in self.kernel_size):
            raise ValueError(f"{kind}: kernel_size= expects odd numbers, got {kernel_size!r}")
        self.sigma = bounds(kind, "sigma", sigma, 0.0)
        self.value_range = values(kind, value_range)
        self.seed = seed

    def build(self, input_shape: Any) -> nn.Module:
        """Make the module, which has no weights."""
        return Blur(
            self.factor,
            self.value_range,
            self.channels_last,
            self.seed,
            self.kernel_size,
            self.sigma,
        )


class Solarization(RandomImageLayer):
    """Add to values, and invert those above a threshold, during training.

    Equivalent to Keras's `Solarization`.

    Args:
        addition_factor: What is added is drawn up to this fraction of 255, or between two.
        threshold_factor: Threshold is drawn up to this fraction of 255, or between two.
        value_range: Least and largest value of pixels.
        seed: Gives the layer random numbers of its own, which begin there.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, height, width, channels)`; integers become floating-point.
    Pass `training=True` or `False` at a call to fix the mode of that call.

    Output shape: that of the input.

    Differs from Keras: The random numbers are torch's.

    Raises:
        ValueError: A setting is out of range, or a name is not known.

    Example:
        >>> x = Input((28, 28, 3))
        >>> layers.Solarization(threshold_factor=0.5)(x).shape
        (None, 28, 28, 3)
    """

    def __init__(
        self,
        addition_factor: float | Sequence[float] = 0.0,
        threshold_factor: float | Sequence[float] = 0.0,
        value_range: Sequence[float] = (0, 255),
        seed: int | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(None, **options)
        kind = "Solarization"
        added = bounds(kind, "addition_factor", addition_factor, 0.0)
        threshold = bounds(kind, "threshold_factor", threshold_factor, 0.0)
        # as in Keras the lower bound is not a fraction of 255
        self.additions = (added[0], added[1] * 255)
        self.thresholds = (threshold[0], threshold[1] * 255)
        self.value_range = values(kind, value_range)
        self.seed = seed

    def build(self, input_shape: Any) -> nn.Module:
        """Make the module, which has no weights."""
        return Solarize(
            self.additions, self.thresholds, self.value_range, self.channels_last, self.seed
        )


class Equalization(RandomImageLayer):
    """Spread the values of each channel evenly during training.

    Equivalent to Keras's `Equalization`.

    Args:
        value_range: Least and largest value of pixels.
        bins: Number of values that are told apart.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, height, width, channels)`; integers become floating-point.
    Pass `training=True` or `False` at a call to fix the mode of that call.

    Output shape: that of the input.

    Differs from Keras: none of importance.

    Raises:
        ValueError: A setting is out of range, or a name is not known.

    Example:
        >>> x = Input((28, 28, 3))
        >>> layers.Equalization()(x).shape
        (None, 28, 28, 3)
    """

    def __init__(
        self,
        value_range: Sequence[float] = (0, 255),
        bins: int = 256,
        data_format: str | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(data_format, **options)
        self.value_range = values("Equalization", value_range)
        self.bins = integer("Equalization", "bins", bins, least=2)

    def build(self, input_shape: Any) -> nn.Module:
        """Make the module, which has no weights."""
        return Equalize(self.value_range, self.bins, self.channels_last)


class AutoContrast(Layer):
    """Stretch the values of each channel of each image over the whole range.

    Equivalent to Keras's `AutoContrast`.

    Args:
        value_range: Least and largest value of pixels.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, height, width, channels)`; integers become floating-point.

    Output shape: that of the input.

    Raises:
        ValueError: The range is not two numbers.

    Example:
        >>> x = Input((28, 28, 3))
        >>> layers.AutoContrast()(x).shape
        (None, 28, 28, 3)
    """

    expects = Expects(image(2, True).axes)

    def __init__(
        self, value_range: Sequence[float] = (0, 255), **options: Unpack[LayerOptions]
    ) -> None:
        super().__init__(**options)
        self.value_range = values("AutoContrast", value_range)

    def call(self, inputs: Any) -> Any:
        """Record the scaling; a channel of one value stays as it is."""
        x = _floating(inputs)
        low, high = self.value_range
        least, most = x.amin((1, 2), keepdim=True), x.amax((1, 2), keepdim=True)
        made = (x - least) / (most - least) * (high - low) + low
        return torch.where(most > least, made.clamp(low, high), x)
