"""Random changes of the colors of images: `RandomBrightness`, `RandomHue` and others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

from torch import nn

from .arguments import LayerOptions, fraction
from .modules.color_augmentation import (
    Brightness,
    Contrast,
    Degeneration,
    Grayscale,
    Hue,
    Jitter,
    Saturation,
)
from .random_image import RandomImageLayer, bounds, values


class RandomBrightness(RandomImageLayer):
    """Make images brighter or darker during training.

    Equivalent to Keras's `RandomBrightness`.

    Args:
        factor: Largest change in either direction, as a fraction of the range of values, or
            the least and the largest.
        value_range: Least and largest value of pixels.
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
        >>> layers.RandomBrightness(0.2)(x).shape
        (None, 28, 28, 3)
    """

    def __init__(
        self,
        factor: float | Sequence[float],
        value_range: Sequence[float] = (0, 255),
        seed: int | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(None, **options)
        self.factor = bounds("RandomBrightness", "factor", factor, -1.0)
        self.value_range = values("RandomBrightness", value_range)
        self.seed = seed

    def build(self, input_shape: Any) -> nn.Module:
        """Make the module, which has no weights."""
        return Brightness(self.factor, self.value_range, self.channels_last, self.seed)


class RandomContrast(RandomImageLayer):
    """Change the contrast of images during training.

    Equivalent to Keras's `RandomContrast`.

    Args:
        factor: Two numbers, `lower` and `upper`: the contrast is multiplied by a number
            between `1 - lower` and `1 + upper`; one number is the upper one.
        value_range: Least and largest value of pixels.
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
        >>> layers.RandomContrast((0.2, 0.2))(x).shape
        (None, 28, 28, 3)
    """

    def __init__(
        self,
        factor: float | Sequence[float],
        value_range: Sequence[float] = (0, 255),
        seed: int | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(None, **options)
        self.factor = bounds("RandomContrast", "factor", factor, 0.0)
        self.value_range = values("RandomContrast", value_range)
        self.seed = seed

    def build(self, input_shape: Any) -> nn.Module:
        """Make the module, which has no weights."""
        return Contrast(self.factor, self.value_range, self.channels_last, self.seed)


class RandomHue(RandomImageLayer):
    """Turn the circle of colors during training.

    Equivalent to Keras's `RandomHue`.

    Args:
        factor: Half turns are drawn up to this number, or between two, in either direction.
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
        >>> layers.RandomHue(0.2)(x).shape
        (None, 28, 28, 3)
    """

    colors = (3,)

    def __init__(
        self,
        factor: float | Sequence[float],
        value_range: Sequence[float] = (0, 255),
        data_format: str | None = None,
        seed: int | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(data_format, **options)
        self.factor = bounds("RandomHue", "factor", factor, 0.0)
        self.value_range = values("RandomHue", value_range)
        self.seed = seed

    def build(self, input_shape: Any) -> nn.Module:
        """Make the module, which has no weights."""
        return Hue(self.factor, self.value_range, self.channels_last, self.seed)


class RandomSaturation(RandomImageLayer):
    """Change how strong colors are during training.

    Equivalent to Keras's `RandomSaturation`.

    Args:
        factor: A number `f` is drawn up to this one, in either direction, or between two,
            and the saturation multiplied by `f / (1 - f)`: 0.5 changes nothing.
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
        >>> layers.RandomSaturation((0.4, 0.6))(x).shape
        (None, 28, 28, 3)
    """

    colors = (3,)

    def __init__(
        self,
        factor: float | Sequence[float],
        value_range: Sequence[float] = (0, 255),
        data_format: str | None = None,
        seed: int | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(data_format, **options)
        self.factor = bounds("RandomSaturation", "factor", factor, -1.0)
        self.value_range = values("RandomSaturation", value_range)
        self.seed = seed

    def build(self, input_shape: Any) -> nn.Module:
        """Make the module, which has no weights."""
        return Saturation(self.factor, self.value_range, self.channels_last, self.seed)


class RandomGrayscale(RandomImageLayer):
    """Make some images gray during training; they keep their channels.

    Equivalent to Keras's `RandomGrayscale`.

    Args:
        factor: Probability that an image becomes gray.
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
        >>> layers.RandomGrayscale(0.3)(x).shape
        (None, 28, 28, 3)
    """

    colors = (1, 3)

    def __init__(
        self,
        factor: float = 0.5,
        data_format: str | None = None,
        seed: int | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(data_format, **options)
        chance = fraction("RandomGrayscale", "factor", factor)
        self.factor = (chance, chance)
        self.seed = seed

    def build(self, input_shape: Any) -> nn.Module:
        """Make the module, which has no weights."""
        return Grayscale(self.factor, (0, 255), self.channels_last, self.seed)


class RandomColorDegeneration(RandomImageLayer):
    """Mix images with their gray ones during training.

    Equivalent to Keras's `RandomColorDegeneration`.

    Args:
        factor: Share of the gray image is drawn up to this number, in either direction, or
            between two.
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
        >>> layers.RandomColorDegeneration((0.0, 0.5))(x).shape
        (None, 28, 28, 3)
    """

    colors = (1, 3)

    def __init__(
        self,
        factor: float | Sequence[float],
        value_range: Sequence[float] = (0, 255),
        data_format: str | None = None,
        seed: int | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(data_format, **options)
        self.factor = bounds("RandomColorDegeneration", "factor", factor, -1.0)
        self.value_range = values("RandomColorDegeneration", value_range)
        self.seed = seed

    def build(self, input_shape: Any) -> nn.Module:
        """Make the module, which has no weights."""
        return Degeneration(self.factor, self.value_range, self.channels_last, self.seed)


class RandomColorJitter(RandomImageLayer):
    """Change brightness, contrast, saturation and hue during training.

    Equivalent to Keras's `RandomColorJitter`.

    Args:
        value_range: Least and largest value of pixels.
        brightness_factor: As for `RandomBrightness`. Defaults to no change.
        contrast_factor: As for `RandomContrast`. Defaults to no change.
        saturation_factor: As for `RandomSaturation`. Defaults to no change.
        hue_factor: As for `RandomHue`. Defaults to no change.
        seed: Gives the layer random numbers of its own, which begin there.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
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
        >>> layers.RandomColorJitter(brightness_factor=0.2, hue_factor=0.1)(x).shape
        (None, 28, 28, 3)
    """

    def __init__(
        self,
        value_range: Sequence[float] = (0, 255),
        brightness_factor: float | Sequence[float] | None = None,
        contrast_factor: float | Sequence[float] | None = None,
        saturation_factor: float | Sequence[float] | None = None,
        hue_factor: float | Sequence[float] | None = None,
        seed: int | None = None,
        data_format: str | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(data_format, **options)
        kind = "RandomColorJitter"
        self.value_range = values(kind, value_range)
        given = (
            (Brightness, "brightness_factor", brightness_factor, -1.0),
            (Contrast, "contrast_factor", contrast_factor, 0.0),
            (Saturation, "saturation_factor", saturation_factor, -1.0),
            (Hue, "hue_factor", hue_factor, 0.0),
        )
        self._changes = [
            (change, bounds(kind, name, factor, low))
            for change, name, factor, low in given
            if factor is not None
        ]
        if saturation_factor is not None or hue_factor is not None:
            self.colors = (3,)
        self.seed = seed

    def build(self, input_shape: Any) -> nn.Module:
        """Make the module, which has no weights."""
        return Jitter(
            [
                change(factor, self.value_range, self.channels_last, self.seed)
                for change, factor in self._changes
            ]
        )
