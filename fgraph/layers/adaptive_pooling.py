"""Pooling to a given size, whatever the size of the input; torch functions only."""

from __future__ import annotations

from typing import Any, ClassVar, Unpack

from torch.nn import functional as F

from .arguments import LayerOptions, Sizes, integers
from .base import Layer
from .data_format import image, is_channels_last, to_first, to_last


class _AdaptivePooling(Layer):
    """Base of the poolings to a given size."""

    rank: ClassVar[int]
    function: ClassVar[Any]

    def __init__(
        self, output_size: Sizes, data_format: str | None = None, **options: Unpack[LayerOptions]
    ) -> None:
        super().__init__(**options)
        kind = type(self).__name__
        self.output_size = integers(kind, "output_size", output_size, self.rank)
        self.channels_last = is_channels_last(kind, data_format)
        self.expects = image(self.rank, self.channels_last)

    def call(self, inputs: Any) -> Any:
        """Record the pooling."""
        made = type(self).function(to_first(inputs, self.channels_last), self.output_size)
        return to_last(made, self.channels_last)


class AdaptiveAveragePooling1D(_AdaptivePooling):
    """Average over windows of sequences, for an output of a given size.

    Equivalent to Keras's `AdaptiveAveragePooling1D`; the function is `adaptive_avg_pool1d` of
    `torch.nn.functional`.

    Args:
        output_size: Size of the output.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, steps, channels)`, floating-point.

    Output shape: `(batch, new steps, channels)`.

    Raises:
        ValueError: A size is not positive, or a name is not known.

    Example:
        >>> x = Input((32, 8))
        >>> layers.AdaptiveAveragePooling1D(4)(x).shape
        (None, 4, 8)
    """

    rank = 1
    function = staticmethod(F.adaptive_avg_pool1d)


class AdaptiveAveragePooling2D(_AdaptivePooling):
    """Average over windows of images, for an output of a given size.

    Equivalent to Keras's `AdaptiveAveragePooling2D`; the function is `adaptive_avg_pool2d` of
    `torch.nn.functional`.

    Args:
        output_size: Size of the output: 2 numbers, or one for all axes.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, height, width, channels)`, floating-point.

    Output shape: `(batch, new height, new width, channels)`.

    Raises:
        ValueError: A size is not positive, or a name is not known.

    Example:
        >>> x = Input((28, 28, 3))
        >>> layers.AdaptiveAveragePooling2D(4)(x).shape
        (None, 4, 4, 3)
    """

    rank = 2
    function = staticmethod(F.adaptive_avg_pool2d)


class AdaptiveAveragePooling3D(_AdaptivePooling):
    """Average over windows of volumes, for an output of a given size.

    Equivalent to Keras's `AdaptiveAveragePooling3D`; the function is `adaptive_avg_pool3d` of
    `torch.nn.functional`.

    Args:
        output_size: Size of the output: 3 numbers, or one for all axes.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, depth, height, width, channels)`, floating-point.

    Output shape: `(batch, new depth, new height, new width, channels)`.

    Raises:
        ValueError: A size is not positive, or a name is not known.

    Example:
        >>> x = Input((8, 16, 16, 3))
        >>> layers.AdaptiveAveragePooling3D(4)(x).shape
        (None, 4, 4, 4, 3)
    """

    rank = 3
    function = staticmethod(F.adaptive_avg_pool3d)


class AdaptiveMaxPooling1D(_AdaptivePooling):
    """Take the maximum over windows of sequences, for an output of a given size.

    Equivalent to Keras's `AdaptiveMaxPooling1D`; the function is `adaptive_max_pool1d` of
    `torch.nn.functional`.

    Args:
        output_size: Size of the output.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, steps, channels)`, floating-point.

    Output shape: `(batch, new steps, channels)`.

    Raises:
        ValueError: A size is not positive, or a name is not known.

    Example:
        >>> x = Input((32, 8))
        >>> layers.AdaptiveMaxPooling1D(4)(x).shape
        (None, 4, 8)
    """

    rank = 1
    function = staticmethod(F.adaptive_max_pool1d)


class AdaptiveMaxPooling2D(_AdaptivePooling):
    """Take the maximum over windows of images, for an output of a given size.

    Equivalent to Keras's `AdaptiveMaxPooling2D`; the function is `adaptive_max_pool2d` of
    `torch.nn.functional`.

    Args:
        output_size: Size of the output: 2 numbers, or one for all axes.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, height, width, channels)`, floating-point.

    Output shape: `(batch, new height, new width, channels)`.

    Raises:
        ValueError: A size is not positive, or a name is not known.

    Example:
        >>> x = Input((28, 28, 3))
        >>> layers.AdaptiveMaxPooling2D(4)(x).shape
        (None, 4, 4, 3)
    """

    rank = 2
    function = staticmethod(F.adaptive_max_pool2d)


class AdaptiveMaxPooling3D(_AdaptivePooling):
    """Take the maximum over windows of volumes, for an output of a given size.

    Equivalent to Keras's `AdaptiveMaxPooling3D`; the function is `adaptive_max_pool3d` of
    `torch.nn.functional`.

    Args:
        output_size: Size of the output: 3 numbers, or one for all axes.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, depth, height, width, channels)`, floating-point.

    Output shape: `(batch, new depth, new height, new width, channels)`.

    Raises:
        ValueError: A size is not positive, or a name is not known.

    Example:
        >>> x = Input((8, 16, 16, 3))
        >>> layers.AdaptiveMaxPooling3D(4)(x).shape
        (None, 4, 4, 4, 3)
    """

    rank = 3
    function = staticmethod(F.adaptive_max_pool3d)
