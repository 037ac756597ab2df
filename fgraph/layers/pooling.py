"""Pooling: the maximum or mean of windows, or of everything; torch functions only."""

from __future__ import annotations

from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import BuildError
from ..graph import apply
from .arguments import LayerOptions, Sizes, integers, one_of
from .base import Layer
from .data_format import (
    image,
    is_channels_last,
    pad_same,
    pad_to_same,
    spatial_axes,
    to_first,
    to_last,
)
from .input_checks import Expects

_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


class _Pooling(Layer):
    """Base of the poolings of windows."""

    rank: ClassVar[int]

    def __init__(
        self,
        pool_size: Sizes = 2,
        strides: Sizes | None = None,
        padding: str = "valid",
        data_format: str | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        kind = type(self).__name__
        self.pool_size = integers(kind, "pool_size", pool_size, self.rank)
        strides = pool_size if strides is None else strides
        self.strides = integers(kind, "strides", strides, self.rank)
        self.padding = one_of(kind, "padding", padding, ("valid", "same"))
        self.channels_last = is_channels_last(kind, data_format)
        self.expects = image(self.rank, self.channels_last)

    def call(self, inputs: Any) -> Any:
        """Record the pooling."""
        first = to_first(inputs, self.channels_last)
        small = any(
            size is not None and size < window
            for size, window in zip(first.spec.shape[2:], self.pool_size, strict=True)
        )
        if self.padding == "valid" and small:
            raise BuildError(
                f"{type(self).__name__}: a window of {self.pool_size} does not fit into an input "
                f'of {first.shape[2:]}; use a smaller pool_size or padding="same"'
            )
        return to_last(self.pool(first), self.channels_last)

    def pool(self, x: Any) -> Any:
        """Record what happens to a channels-first tensor."""
        raise NotImplementedError


class _MaxPooling(_Pooling):
    """Base of `MaxPooling1D`, `2D` and `3D`."""

    def pool(self, x: Any) -> Any:
        """Record the maximum; `"same"` pads by values below all others."""
        if self.padding == "same":
            ones = (1,) * self.rank
            x = pad_same(x, self.pool_size, self.strides, ones, -float("inf"))
        return _MAX[self.rank](x, self.pool_size, self.strides)


class _AveragePooling(_Pooling):
    """Base of `AveragePooling1D`, `2D` and `3D`."""

    def pool(self, x: Any) -> Any:
        """Record the mean; `"same"` leaves the padding out of it."""
        if self.padding == "same":
            return apply(average_without_padding, x, self.pool_size, self.strides)
        return _AVERAGE[self.rank](x, self.pool_size, self.strides)


def average_without_padding(
    x: Tensor, pool_size: tuple[int, ...], strides: tuple[int, ...]
) -> Tensor:
    """Pool a channels-first tensor by means with `padding="same"`, over the values of `x` only."""
    rank = len(pool_size)
    ones = torch.ones_like(x[:1, :1])
    total, count = (
        _AVERAGE[rank](pad_to_same(part, pool_size, strides, (1,) * rank, 0.0), pool_size, strides)
        for part in (x, ones)
    )
    return total / count


class MaxPooling1D(_MaxPooling):
    """Take the maximum of windows of sequences.

    Equivalent to Keras's `MaxPooling1D`; the function is `max_pool1d` of `torch.nn.functional`.

    Args:
        pool_size: Size of the window.
        strides: Step of the window. Defaults to `pool_size`.
        padding: `"valid"`, none, or `"same"`: the output has `ceil(steps / strides)` steps.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, steps, channels)`, floating-point.

    Output shape: `(batch, new steps, channels)`.

    Raises:
        ValueError: A size is not positive, or a name is not known.
        BuildError: The window does not fit into the input.

    Example:
        >>> x = Input((32, 8))
        >>> layers.MaxPooling1D(2)(x).shape
        (None, 16, 8)
    """

    rank = 1


class MaxPooling2D(_MaxPooling):
    """Take the maximum of windows of images.

    Equivalent to Keras's `MaxPooling2D`; the function is `max_pool2d` of `torch.nn.functional`.

    Args:
        pool_size: Size of the window: 2 numbers, or one for all axes.
        strides: Step of the window. Defaults to `pool_size`.
        padding: `"valid"`, none, or `"same"`: the output has `ceil(size / stride)` steps along each
            axis.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, height, width, channels)`, floating-point.

    Output shape: `(batch, new height, new width, channels)`.

    Raises:
        ValueError: A size is not positive, or a name is not known.
        BuildError: The window does not fit into the input.

    Example:
        >>> x = Input((28, 28, 3))
        >>> layers.MaxPooling2D(2)(x).shape
        (None, 14, 14, 3)
    """

    rank = 2


class MaxPooling3D(_MaxPooling):
    """Take the maximum of windows of volumes.

    Equivalent to Keras's `MaxPooling3D`; the function is `max_pool3d` of `torch.nn.functional`.

    Args:
        pool_size: Size of the window: 3 numbers, or one for all axes.
        strides: Step of the window. Defaults to `pool_size`.
        padding: `"valid"`, none, or `"same"`: the output has `ceil(size / stride)` steps along each
            axis.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, depth, height, width, channels)`, floating-point.

    Output shape: `(batch, new depth, new height, new width, channels)`.

    Raises:
        ValueError: A size is not positive, or a name is not known.
        BuildError: The window does not fit into the input.

    Example:
        >>> x = Input((8, 16, 16, 3))
        >>> layers.MaxPooling3D(2)(x).shape
        (None, 4, 8, 8, 3)
    """

    rank = 3


class AveragePooling1D(_AveragePooling):
    """Take the mean of windows of sequences.

    Equivalent to Keras's `AveragePooling1D`; the function is `avg_pool1d` of `torch.nn.functional`.
        Padding is left out of the mean.

    Args:
        pool_size: Size of the window.
        strides: Step of the window. Defaults to `pool_size`.
        padding: `"valid"`, none, or `"same"`: the output has `ceil(steps / strides)` steps.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, steps, channels)`, floating-point.

    Output shape: `(batch, new steps, channels)`.

    Raises:
        ValueError: A size is not positive, or a name is not known.
        BuildError: The window does not fit into the input.

    Example:
        >>> x = Input((32, 8))
        >>> layers.AveragePooling1D(2)(x).shape
        (None, 16, 8)
    """

    rank = 1


class AveragePooling2D(_AveragePooling):
    """Take the mean of windows of images.

    Equivalent to Keras's `AveragePooling2D`; the function is `avg_pool2d` of `torch.nn.functional`.
        Padding is left out of the mean.

    Args:
        pool_size: Size of the window: 2 numbers, or one for all axes.
        strides: Step of the window. Defaults to `pool_size`.
        padding: `"valid"`, none, or `"same"`: the output has `ceil(size / stride)` steps along each
            axis.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, height, width, channels)`, floating-point.

    Output shape: `(batch, new height, new width, channels)`.

    Raises:
        ValueError: A size is not positive, or a name is not known.
        BuildError: The window does not fit into the input.

    Example:
        >>> x = Input((28, 28, 3))
        >>> layers.AveragePooling2D(2)(x).shape
        (None, 14, 14, 3)
    """

    rank = 2


class AveragePooling3D(_AveragePooling):
    """Take the mean of windows of volumes.

    Equivalent to Keras's `AveragePooling3D`; the function is `avg_pool3d` of `torch.nn.functional`.
        Padding is left out of the mean.

    Args:
        pool_size: Size of the window: 3 numbers, or one for all axes.
        strides: Step of the window. Defaults to `pool_size`.
        padding: `"valid"`, none, or `"same"`: the output has `ceil(size / stride)` steps along each
            axis.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, depth, height, width, channels)`, floating-point.

    Output shape: `(batch, new depth, new height, new width, channels)`.

    Raises:
        ValueError: A size is not positive, or a name is not known.
        BuildError: The window does not fit into the input.

    Example:
        >>> x = Input((8, 16, 16, 3))
        >>> layers.AveragePooling3D(2)(x).shape
        (None, 4, 8, 8, 3)
    """

    rank = 3


class _GlobalPooling(Layer):
    """Base of the poolings of everything."""

    rank: ClassVar[int]
    takes: ClassVar[str | None] = None

    def __init__(
        self,
        data_format: str | None = None,
        keepdims: bool = False,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.channels_last = is_channels_last(type(self).__name__, data_format)
        self.keepdims = keepdims
        self.expects = Expects(image(self.rank, self.channels_last).axes, self.takes)
        self._axes = spatial_axes(self.rank, self.channels_last)


class _GlobalMaxPooling(_GlobalPooling):
    """Base of `GlobalMaxPooling1D`, `2D` and `3D`."""

    def call(self, inputs: Any) -> Any:
        """Record the maximum over the spatial axes."""
        return torch.amax(inputs, self._axes, keepdim=self.keepdims)


class _GlobalAveragePooling(_GlobalPooling):
    """Base of `GlobalAveragePooling1D`, `2D` and `3D`."""

    takes = "floating"

    def call(self, inputs: Any) -> Any:
        """Record the mean over the spatial axes."""
        return torch.mean(inputs, self._axes, keepdim=self.keepdims)


class GlobalMaxPooling1D(_GlobalMaxPooling):
    """Take the maximum over all steps.

    Equivalent to Keras's `GlobalMaxPooling1D`; the function is `torch.amax`.

    Args:
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        keepdims: Whether to keep the pooled axes, with size one.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, steps, channels)`.

    Output shape: `(batch, channels)`.

    Raises:
        ValueError: The data format is not known.

    Example:
        >>> x = Input((32, 8))
        >>> layers.GlobalMaxPooling1D()(x).shape
        (None, 8)
    """

    rank = 1


class GlobalMaxPooling2D(_GlobalMaxPooling):
    """Take the maximum over each image.

    Equivalent to Keras's `GlobalMaxPooling2D`; the function is `torch.amax`.

    Args:
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        keepdims: Whether to keep the pooled axes, with size one.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, height, width, channels)`.

    Output shape: `(batch, channels)`.

    Raises:
        ValueError: The data format is not known.

    Example:
        >>> x = Input((28, 28, 3))
        >>> layers.GlobalMaxPooling2D()(x).shape
        (None, 3)
    """

    rank = 2


class GlobalMaxPooling3D(_GlobalMaxPooling):
    """Take the maximum over each volume.

    Equivalent to Keras's `GlobalMaxPooling3D`; the function is `torch.amax`.

    Args:
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        keepdims: Whether to keep the pooled axes, with size one.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, depth, height, width, channels)`.

    Output shape: `(batch, channels)`.

    Raises:
        ValueError: The data format is not known.

    Example:
        >>> x = Input((8, 16, 16, 3))
        >>> layers.GlobalMaxPooling3D()(x).shape
        (None, 3)
    """

    rank = 3


class GlobalAveragePooling1D(_GlobalAveragePooling):
    """Take the mean over all steps.

    Equivalent to Keras's `GlobalAveragePooling1D`; the function is `torch.mean`. Masked steps are
        left out of the mean.

    Args:
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        keepdims: Whether to keep the pooled axes, with size one.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, steps, channels)`.

    Output shape: `(batch, channels)`.

    Raises:
        ValueError: The data format is not known.

    Example:
        >>> x = Input((32, 8))
        >>> layers.GlobalAveragePooling1D()(x).shape
        (None, 8)
    """

    rank = 1
    supports_masking = True

    def call(self, inputs: Any, mask: Any = None) -> Any:
        """Record the mean, over the steps that count if there is a mask."""
        if mask is None:
            return super().call(inputs)
        weights = mask.to(inputs.dtype).unsqueeze(2 if self.channels_last else 1)
        axis = self._axes[0]
        total = torch.sum(inputs * weights, axis, keepdim=self.keepdims)
        return total / torch.sum(weights, axis, keepdim=self.keepdims)

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        """Return no mask: the steps are gone."""
        return None


class GlobalAveragePooling2D(_GlobalAveragePooling):
    """Take the mean over each image.

    Equivalent to Keras's `GlobalAveragePooling2D`; the function is `torch.mean`.

    Args:
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        keepdims: Whether to keep the pooled axes, with size one.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, height, width, channels)`.

    Output shape: `(batch, channels)`.

    Raises:
        ValueError: The data format is not known.

    Example:
        >>> x = Input((28, 28, 3))
        >>> layers.GlobalAveragePooling2D()(x).shape
        (None, 3)
    """

    rank = 2


class GlobalAveragePooling3D(_GlobalAveragePooling):
    """Take the mean over each volume.

    Equivalent to Keras's `GlobalAveragePooling3D`; the function is `torch.mean`.

    Args:
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        keepdims: Whether to keep the pooled axes, with size one.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, depth, height, width, channels)`.

    Output shape: `(batch, channels)`.

    Raises:
        ValueError: The data format is not known.

    Example:
        >>> x = Input((8, 16, 16, 3))
        >>> layers.GlobalAveragePooling3D()(x).shape
        (None, 3)
    """

    rank = 3


# the other names that Keras has for these classes
AvgPool1D = AveragePooling1D
AvgPool2D = AveragePooling2D
AvgPool3D = AveragePooling3D
GlobalAvgPool1D = GlobalAveragePooling1D
GlobalAvgPool2D = GlobalAveragePooling2D
GlobalAvgPool3D = GlobalAveragePooling3D
GlobalMaxPool1D = GlobalMaxPooling1D
GlobalMaxPool2D = GlobalMaxPooling2D
GlobalMaxPool3D = GlobalMaxPooling3D
MaxPool1D = MaxPooling1D
MaxPool2D = MaxPooling2D
MaxPool3D = MaxPooling3D
