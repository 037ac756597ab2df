"""Random changes of where the pixels of images are: `RandomFlip`, `RandomRotation` and others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

from torch import nn

from .arguments import LayerOptions, fraction, integer, one_of
from .modules.augmentation import (
    Crop,
    Elastic,
    Erasing,
    Flip,
    Perspective,
    Rotation,
    Shear,
    Translation,
    Zoom,
)
from .random_image import RandomImageLayer, bounds, values
from .random_image import outside as _outside


class RandomFlip(RandomImageLayer):
    """Mirror half of the images during training.

    Equivalent to Keras's `RandomFlip`.

    Args:
        mode: `"horizontal"`, left and right change places, `"vertical"`, top and bottom do,
            or `"horizontal_and_vertical"`, both.
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
        >>> layers.RandomFlip("horizontal")(x).shape
        (None, 28, 28, 3)
    """

    def __init__(
        self,
        mode: str = "horizontal_and_vertical",
        seed: int | None = None,
        data_format: str | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(data_format, **options)
        known = ("horizontal", "vertical", "horizontal_and_vertical")
        self.mode = one_of("RandomFlip", "mode", mode, known)
        self.seed = seed

    def build(self, input_shape: Any) -> nn.Module:
        """Make the module, which has no weights."""
        return Flip(
            "horizontal" in self.mode, "vertical" in self.mode, self.channels_last, self.seed
        )


class RandomCrop(RandomImageLayer):
    """Cut a part out of images: at a random place during training, else the middle.

    Equivalent to Keras's `RandomCrop`; smaller images are cut to the part's proportions, and
    scaled.

    Args:
        height: Height of the part.
        width: Width of the part.
        seed: Gives the layer random numbers of its own, which begin there.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, height, width, channels)`; integers become floating-point.
    Pass `training=True` or `False` at a call to fix the mode of that call.

    Output shape: `(batch, height, width, channels)`.

    Differs from Keras: The random numbers are torch's; evaluation cuts out the middle, where
    Keras returns whole images of another size.

    Raises:
        ValueError: A setting is out of range, or a name is not known.

    Example:
        >>> x = Input((28, 28, 3))
        >>> layers.RandomCrop(24, 24)(x).shape
        (None, 24, 24, 3)
    """

    def __init__(
        self,
        height: int,
        width: int,
        seed: int | None = None,
        data_format: str | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(data_format, **options)
        self.size = (integer("RandomCrop", "height", height), integer("RandomCrop", "width", width))
        self.seed = seed

    def build(self, input_shape: Any) -> nn.Module:
        """Make the module, which has no weights."""
        return Crop(self.size, self.channels_last, self.seed)


class RandomRotation(RandomImageLayer):
    """Turn images around their middle during training.

    Equivalent to Keras's `RandomRotation`.

    Args:
        factor: Largest fraction of a turn in either direction, or the least and the
            largest.
        fill_mode: What is outside: `"reflect"`, `"constant"`, `"wrap"` or `"nearest"`.
        interpolation: `"bilinear"` or `"nearest"`.
        seed: Gives the layer random numbers of its own, which begin there.
        fill_value: Value outside, for `"constant"`.
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
        >>> layers.RandomRotation(0.1)(x).shape
        (None, 28, 28, 3)
    """

    def __init__(
        self,
        factor: float | Sequence[float],
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(data_format, **options)
        self.factor = bounds("RandomRotation", "factor", factor)
        self.interpolation, self.fill_mode, self.fill_value = _outside(
            self, interpolation, fill_mode, fill_value
        )
        self.seed = seed

    def build(self, input_shape: Any) -> nn.Module:
        """Make the module, which has no weights."""
        return Rotation(
            self.factor,
            self.interpolation,
            self.fill_mode,
            self.fill_value,
            self.channels_last,
            self.seed,
        )


class RandomTranslation(RandomImageLayer):
    """Move images during training.

    Equivalent to Keras's `RandomTranslation`.

    Args:
        height_factor: Largest fraction of the height that images are moved up or down, or
            the least and the largest downwards.
        width_factor: Likewise of the width, to the right.
        fill_mode: What is outside: `"reflect"`, `"constant"`, `"wrap"` or `"nearest"`.
        interpolation: `"bilinear"` or `"nearest"`.
        seed: Gives the layer random numbers of its own, which begin there.
        fill_value: Value outside, for `"constant"`.
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
        >>> layers.RandomTranslation(0.1, 0.1)(x).shape
        (None, 28, 28, 3)
    """

    def __init__(
        self,
        height_factor: float | Sequence[float],
        width_factor: float | Sequence[float],
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(data_format, **options)
        kind = "RandomTranslation"
        self.height_factor = bounds(kind, "height_factor", height_factor)
        self.width_factor = bounds(kind, "width_factor", width_factor)
        self.interpolation, self.fill_mode, self.fill_value = _outside(
            self, interpolation, fill_mode, fill_value
        )
        self.seed = seed

    def build(self, input_shape: Any) -> nn.Module:
        """Make the module, which has no weights."""
        return Translation(
            self.height_factor,
            self.width_factor,
            self.interpolation,
            self.fill_mode,
            self.fill_value,
            self.channels_last,
            self.seed,
        )


class RandomZoom(RandomImageLayer):
    """Show more or less of images during training.

    Equivalent to Keras's `RandomZoom`.

    Args:
        height_factor: Largest change of the height that is shown, as a fraction, or the
            least and the largest: positive numbers show more.
        width_factor: Likewise of the width. Defaults to the change of the height, which
            keeps proportions.
        fill_mode: What is outside: `"reflect"`, `"constant"`, `"wrap"` or `"nearest"`.
        interpolation: `"bilinear"` or `"nearest"`.
        seed: Gives the layer random numbers of its own, which begin there.
        fill_value: Value outside, for `"constant"`.
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
        >>> layers.RandomZoom(0.2)(x).shape
        (None, 28, 28, 3)
    """

    def __init__(
        self,
        height_factor: float | Sequence[float],
        width_factor: float | Sequence[float] | None = None,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(data_format, **options)
        kind = "RandomZoom"
        self.height_factor = bounds(kind, "height_factor", height_factor)
        self.width_factor = (
            None if width_factor is None else bounds(kind, "width_factor", width_factor)
        )
        self.interpolation, self.fill_mode, self.fill_value = _outside(
            self, interpolation, fill_mode, fill_value
        )
        self.seed = seed

    def build(self, input_shape: Any) -> nn.Module:
        """Make the module, which has no weights."""
        return Zoom(
            self.height_factor,
            self.width_factor,
            self.interpolation,
            self.fill_mode,
            self.fill_value,
            self.channels_last,
            self.seed,
        )


class RandomShear(RandomImageLayer):
    """Shear images during training.

    Equivalent to Keras's `RandomShear`.

    Args:
        x_factor: Largest shear along the width, or the least and the largest; the direction
            is random.
        y_factor: Likewise along the height.
        interpolation: `"bilinear"` or `"nearest"`.
        fill_mode: What is outside: `"reflect"`, `"constant"`, `"wrap"` or `"nearest"`.
        fill_value: Value outside, for `"constant"`.
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
        >>> layers.RandomShear(0.2)(x).shape
        (None, 28, 28, 3)
    """

    def __init__(
        self,
        x_factor: float | Sequence[float] = 0.0,
        y_factor: float | Sequence[float] = 0.0,
        interpolation: str = "bilinear",
        fill_mode: str = "reflect",
        fill_value: float = 0.0,
        data_format: str | None = None,
        seed: int | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(data_format, **options)
        self.x_factor = bounds("RandomShear", "x_factor", x_factor, 0.0, floor=-1.0)
        self.y_factor = bounds("RandomShear", "y_factor", y_factor, 0.0, floor=-1.0)
        self.interpolation, self.fill_mode, self.fill_value = _outside(
            self, interpolation, fill_mode, fill_value
        )
        self.seed = seed

    def build(self, input_shape: Any) -> nn.Module:
        """Make the module, which has no weights."""
        return Shear(
            self.x_factor,
            self.y_factor,
            self.interpolation,
            self.fill_mode,
            self.fill_value,
            self.channels_last,
            self.seed,
        )


class RandomPerspective(RandomImageLayer):
    """Project images as if seen from the side during training.

    Equivalent to Keras's `RandomPerspective`.

    Args:
        factor: Probability that an image is changed is drawn up to this number, or between
            two.
        scale: How far corners move, between 0 and 1.
        interpolation: `"bilinear"` or `"nearest"`.
        fill_value: Value outside.
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
        >>> layers.RandomPerspective(scale=0.3)(x).shape
        (None, 28, 28, 3)
    """

    def __init__(
        self,
        factor: float | Sequence[float] = 1.0,
        scale: float = 1.0,
        interpolation: str = "bilinear",
        fill_value: float = 0.0,
        seed: int | None = None,
        data_format: str | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(data_format, **options)
        self.factor = bounds("RandomPerspective", "factor", factor, 0.0)
        self.scale = fraction("RandomPerspective", "scale", scale)
        self.interpolation, _, self.fill_value = _outside(
            self, interpolation, "constant", fill_value
        )
        self.seed = seed

    def build(self, input_shape: Any) -> nn.Module:
        """Make the module, which has no weights."""
        return Perspective(
            self.factor,
            self.scale,
            self.interpolation,
            self.fill_value,
            self.channels_last,
            self.seed,
        )


class RandomElasticTransform(RandomImageLayer):
    """Move pixels by smooth random amounts during training.

    Equivalent to Keras's `RandomElasticTransform` (Simard et al., 2003).

    Args:
        factor: Probability that an image is changed is drawn up to this number, or between
            two.
        scale: Strength is drawn up to this number, or between two.
        interpolation: `"bilinear"` or `"nearest"`.
        fill_mode: What is outside: `"reflect"`, `"constant"`, `"wrap"` or `"nearest"`.
        fill_value: Value outside, for `"constant"`.
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
        ValueError: A setting is out of range, or a name is not known.

    Example:
        >>> x = Input((28, 28, 3))
        >>> layers.RandomElasticTransform(scale=0.5)(x).shape
        (None, 28, 28, 3)
    """

    def __init__(
        self,
        factor: float | Sequence[float] = 1.0,
        scale: float | Sequence[float] = 1.0,
        interpolation: str = "bilinear",
        fill_mode: str = "reflect",
        fill_value: float = 0.0,
        value_range: Sequence[float] = (0, 255),
        seed: int | None = None,
        data_format: str | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(data_format, **options)
        kind = "RandomElasticTransform"
        self.factor = bounds(kind, "factor", factor, 0.0)
        self.scale = bounds(kind, "scale", scale, 0.0)
        self.value_range = values(kind, value_range)
        self.interpolation, self.fill_mode, self.fill_value = _outside(
            self, interpolation, fill_mode, fill_value
        )
        self.seed = seed

    def build(self, input_shape: Any) -> nn.Module:
        """Make the module, which has no weights."""
        return Elastic(
            self.factor, self.scale, self.interpolation, self.fill_mode, self.fill_value,
            self.value_range, self.channels_last, self.seed,
        )  # fmt: skip


class RandomErasing(RandomImageLayer):
    """Fill a rectangle of images during training.

    Equivalent to Keras's `RandomErasing` (Zhong et al., 2020).

    Args:
        factor: Probability that an image is changed is drawn up to this number, or between
            two.
        scale: Fraction of the area is drawn up to this number, or between two.
        fill_value: Value of the rectangle, or one for each channel. Defaults to noise.
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
        ValueError: A setting is out of range, or a name is not known.

    Example:
        >>> x = Input((28, 28, 3))
        >>> layers.RandomErasing(scale=(0.1, 0.2))(x).shape
        (None, 28, 28, 3)
    """

    def __init__(
        self,
        factor: float | Sequence[float] = 1.0,
        scale: float | Sequence[float] = (0.02, 0.33),
        fill_value: float | Sequence[float] | None = None,
        value_range: Sequence[float] = (0, 255),
        seed: int | None = None,
        data_format: str | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(data_format, **options)
        self.factor = bounds("RandomErasing", "factor", factor, 0.0)
        self.scale = bounds("RandomErasing", "scale", scale, 0.0)
        self.fill_value = fill_value
        self.value_range = values("RandomErasing", value_range)
        self.seed = seed

    def build(self, input_shape: Any) -> nn.Module:
        """Make the module, which has no weights."""
        return Erasing(
            self.factor,
            self.scale,
            self.fill_value,
            self.value_range,
            self.channels_last,
            self.seed,
        )
