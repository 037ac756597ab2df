"""Layers that change the shape of their input and nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Unpack

import torch
from torch.nn import functional as F

from ..errors import BuildError
from .arguments import LayerOptions, Pairs, Sizes, integer, integers, one_of, pairs
from .base import Layer
from .data_format import image, is_channels_last, spatial_axes, to_first, to_last
from .input_checks import Expects


class Flatten(Layer):
    """Flatten each sample to one axis.

    Equivalent to Keras's `Flatten`; the function is `torch.flatten`.

    Args:
        data_format: With `"channels_first"` channels are moved last before flattening. Defaults to
            `"channels_last"`.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, ...)`.

    Output shape: `(batch, product of the other sizes)`.

    Example:
        >>> x = Input((28, 28, 3))
        >>> layers.Flatten()(x).shape
        (None, 2352)
    """

    def __init__(self, data_format: str | None = None, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.channels_last = is_channels_last("Flatten", data_format)

    def call(self, inputs: Any) -> Any:
        """Record the flattening."""
        if inputs.ndim == 1:
            return inputs.unsqueeze(1)
        return torch.flatten(to_last(inputs, not self.channels_last and inputs.ndim > 2), 1)


class Reshape(Layer):
    """Give each sample another shape.

    Equivalent to Keras's `Reshape`; the function is `torch.reshape`.

    Args:
        target_shape: Shape without the batch; one size may be -1, which is worked out.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, ...)`.

    Output shape: `(batch, *target_shape)`.

    Raises:
        BuildError: The number of values is not that of the target shape.

    Example:
        >>> x = Input((12,))
        >>> layers.Reshape((3, -1))(x).shape
        (None, 3, 4)
    """

    def __init__(self, target_shape: Sequence[int], **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.target_shape = tuple(integer("Reshape", "target_shape", n, -1) for n in target_shape)

    def call(self, inputs: Any) -> Any:
        """Record the reshaping, with -1 for the batch where the other sizes are known."""
        target = list(self.target_shape)
        if None not in inputs.spec.shape[1:]:
            count = math.prod(inputs.spec.shape[1:])
            known = math.prod(size for size in target if size != -1)
            if -1 in target and known and count % known == 0:
                target[target.index(-1)] = count // known
            if math.prod(target) != count:
                raise BuildError(
                    f"Reshape: a sample of shape {inputs.shape[1:]} has {count} values and cannot "
                    f"have the shape {self.target_shape}"
                )
        batch = inputs.size(0) if -1 in target or inputs.spec.shape[0] is not None else -1
        return torch.reshape(inputs, (batch, *target))


class Permute(Layer):
    """Put the axes of each sample in another order.

    Equivalent to Keras's `Permute`; the function is `torch.permute`.

    Args:
        dims: The axes in their new order, counted from 1.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, ...)`.

    Output shape: `(batch, ...)`, the same sizes in the new order.

    Raises:
        ValueError: `dims` does not name each axis once.

    Example:
        >>> x = Input((10, 64))
        >>> layers.Permute((2, 1))(x).shape
        (None, 64, 10)
    """

    def __init__(self, dims: Sequence[int], **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.dims = tuple(dims)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise ValueError(
                f"Permute: dims= expects each of the axes 1 to {len(self.dims)} once, got {dims!r}"
            )
        self.expects = Expects(("batch", *(f"axis {i + 1}" for i in range(len(self.dims)))))

    def call(self, inputs: Any) -> Any:
        """Record the permutation."""
        return inputs.permute(0, *self.dims)


class RepeatVector(Layer):
    """Repeat each sample along a new axis.

    Equivalent to Keras's `RepeatVector`; no copy is made.

    Args:
        n: Number of repetitions.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, features)`.

    Output shape: `(batch, n, features)`.

    Raises:
        ValueError: `n` is not positive.

    Example:
        >>> x = Input((32,))
        >>> layers.RepeatVector(3)(x).shape
        (None, 3, 32)
    """

    expects = Expects(("batch", "features"))

    def __init__(self, n: int, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.n = integer("RepeatVector", "n", n)

    def call(self, inputs: Any) -> Any:
        """Record the repetition; no copy is made."""
        return inputs.unsqueeze(1).expand(-1, self.n, -1)


class _Cropping(Layer):
    """Base of `Cropping1D`, `2D` and `3D`."""

    rank: int

    def __init__(
        self, cropping: Pairs, data_format: str | None = None, **options: Unpack[LayerOptions]
    ) -> None:
        super().__init__(**options)
        kind = type(self).__name__
        self.cropping = pairs(kind, "cropping", cropping, self.rank)
        self.channels_last = is_channels_last(kind, data_format)
        self.expects = Expects(image(self.rank, self.channels_last).axes)

    def call(self, inputs: Any) -> Any:
        """Record one slice of the spatial axes."""
        axes = spatial_axes(self.rank, self.channels_last)
        for axis, (before, after) in zip(axes, self.cropping, strict=True):
            if inputs.spec.shape[axis] is not None and before + after >= inputs.spec.shape[axis]:
                raise BuildError(
                    f"{type(self).__name__}: cropping ({before}, {after}) leaves nothing of axis "
                    f"{axis} of {inputs.shape}"
                )
        cut = tuple(slice(before, -after if after else None) for before, after in self.cropping)
        return inputs[(slice(None), *(() if self.channels_last else (slice(None),)), *cut)]


class Cropping1D(_Cropping):
    """Cut steps off both ends of sequences.

    Equivalent to Keras's `Cropping1D`; a slice, of which no copy is made.

    Args:
        cropping: Number of steps to cut off at both ends, or a pair: at the start, at the end.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, steps, channels)`.

    Output shape: `(batch, new steps, channels)`.

    Raises:
        ValueError: A number is negative, or a name is not known.
        BuildError: Nothing is left.

    Example:
        >>> x = Input((32, 8))
        >>> layers.Cropping1D(1)(x).shape
        (None, 30, 8)
    """

    rank = 1

    def __init__(self, cropping: Pairs = (1, 1), **options: Unpack[LayerOptions]) -> None:
        super().__init__(cropping, **options)


class Cropping2D(_Cropping):
    """Cut rows and columns off images.

    Equivalent to Keras's `Cropping2D`; a slice, of which no copy is made.

    Args:
        cropping: One number, `(height, width)`, or a pair (before, after) for each.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, height, width, channels)`.

    Output shape: `(batch, new height, new width, channels)`.

    Raises:
        ValueError: A number is negative, or a name is not known.
        BuildError: Nothing is left.

    Example:
        >>> x = Input((28, 28, 3))
        >>> layers.Cropping2D(1)(x).shape
        (None, 26, 26, 3)
    """

    rank = 2

    def __init__(
        self,
        cropping: Pairs = ((0, 0), (0, 0)),
        data_format: str | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(cropping, data_format, **options)


class Cropping3D(_Cropping):
    """Cut the borders off volumes.

    Equivalent to Keras's `Cropping3D`; a slice, of which no copy is made.

    Args:
        cropping: One number, one for each spatial axis, or a pair (before, after) for each.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, depth, height, width, channels)`.

    Output shape: `(batch, new depth, new height, new width, channels)`.

    Raises:
        ValueError: A number is negative, or a name is not known.
        BuildError: Nothing is left.

    Example:
        >>> x = Input((8, 16, 16, 3))
        >>> layers.Cropping3D(1)(x).shape
        (None, 6, 14, 14, 3)
    """

    rank = 3

    def __init__(
        self,
        cropping: Pairs = ((1, 1), (1, 1), (1, 1)),
        data_format: str | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(cropping, data_format, **options)


class _ZeroPadding(Layer):
    """Base of `ZeroPadding1D`, `2D` and `3D`."""

    rank: int

    def __init__(
        self, padding: Pairs = 1, data_format: str | None = None, **options: Unpack[LayerOptions]
    ) -> None:
        super().__init__(**options)
        kind = type(self).__name__
        self.padding = pairs(kind, "padding", padding, self.rank)
        self.channels_last = is_channels_last(kind, data_format)
        self.expects = Expects(image(self.rank, self.channels_last).axes)

    def call(self, inputs: Any) -> Any:
        """Record the padding."""
        widths = [width for pair in reversed(self.padding) for width in pair]
        return F.pad(inputs, (0, 0, *widths) if self.channels_last else tuple(widths))


class ZeroPadding1D(_ZeroPadding):
    """Put zeros at both ends of sequences.

    Equivalent to Keras's `ZeroPadding1D`; the function is `torch.nn.functional.pad`.

    Args:
        padding: Number of zeros at both ends, or a pair: at the start, at the end.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, steps, channels)`.

    Output shape: `(batch, new steps, channels)`.

    Raises:
        ValueError: A number is negative, or a name is not known.

    Example:
        >>> x = Input((32, 8))
        >>> layers.ZeroPadding1D(1)(x).shape
        (None, 34, 8)
    """

    rank = 1


class ZeroPadding2D(_ZeroPadding):
    """Put zeros around images.

    Equivalent to Keras's `ZeroPadding2D`; the function is `torch.nn.functional.pad`.

    Args:
        padding: One number, `(height, width)`, or a pair (before, after) for each.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, height, width, channels)`.

    Output shape: `(batch, new height, new width, channels)`.

    Raises:
        ValueError: A number is negative, or a name is not known.

    Example:
        >>> x = Input((28, 28, 3))
        >>> layers.ZeroPadding2D(1)(x).shape
        (None, 30, 30, 3)
    """

    rank = 2


class ZeroPadding3D(_ZeroPadding):
    """Put zeros around volumes.

    Equivalent to Keras's `ZeroPadding3D`; the function is `torch.nn.functional.pad`.

    Args:
        padding: One number, one for each spatial axis, or a pair (before, after) for each.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, depth, height, width, channels)`.

    Output shape: `(batch, new depth, new height, new width, channels)`.

    Raises:
        ValueError: A number is negative, or a name is not known.

    Example:
        >>> x = Input((8, 16, 16, 3))
        >>> layers.ZeroPadding3D(1)(x).shape
        (None, 10, 18, 18, 3)
    """

    rank = 3


class _UpSampling(Layer):
    """Base of `UpSampling1D`, `2D` and `3D`."""

    rank: int

    def __init__(
        self, size: Sizes = 2, data_format: str | None = None, **options: Unpack[LayerOptions]
    ) -> None:
        super().__init__(**options)
        kind = type(self).__name__
        self.size = integers(kind, "size", size, self.rank)
        self.channels_last = is_channels_last(kind, data_format)
        self.expects = Expects(image(self.rank, self.channels_last).axes)

    def call(self, inputs: Any) -> Any:
        """Record one repetition for each spatial axis."""
        for axis, times in zip(spatial_axes(self.rank, self.channels_last), self.size, strict=True):
            inputs = torch.repeat_interleave(inputs, times, axis)
        return inputs


class UpSampling1D(_UpSampling):
    """Repeat each step.

    Equivalent to Keras's `UpSampling1D`.

    Args:
        size: Number of repetitions.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, steps, channels)`.

    Output shape: `(batch, size * steps, channels)`.

    Raises:
        ValueError: `size` is not positive.

    Example:
        >>> x = Input((32, 8))
        >>> layers.UpSampling1D(2)(x).shape
        (None, 64, 8)
    """

    rank = 1

    def __init__(self, size: int = 2, **options: Unpack[LayerOptions]) -> None:
        super().__init__(size, **options)


class UpSampling2D(_UpSampling):
    """Make images larger.

    Equivalent to Keras's `UpSampling2D`; the function is `torch.nn.functional.interpolate`.

    Args:
        size: Factor, or one each for height and width.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        interpolation: `"nearest"`, `"bilinear"` or `"bicubic"`.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, height, width, channels)`, floating-point unless `"nearest"`.

    Output shape: the input's, with height and width multiplied.

    Differs from Keras: no `lanczos` interpolations; `bicubic` as Keras on torch.

    Raises:
        ValueError: A size is not positive, or a name is not known.

    Example:
        >>> x = Input((28, 28, 3))
        >>> layers.UpSampling2D(2, interpolation="bilinear")(x).shape
        (None, 56, 56, 3)
    """

    rank = 2

    def __init__(
        self,
        size: Sizes = (2, 2),
        data_format: str | None = None,
        interpolation: str = "nearest",
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(size, data_format, **options)
        known = ("nearest", "bilinear", "bicubic")
        self.interpolation = one_of("UpSampling2D", "interpolation", interpolation, known)

    def call(self, inputs: Any) -> Any:
        """Record the interpolation; torch's kernels take floating-point images only."""
        if self.interpolation == "nearest":
            return super().call(inputs)
        x = to_first(inputs, self.channels_last)
        factors = tuple(float(factor) for factor in self.size)
        made = F.interpolate(x, scale_factor=factors, mode=self.interpolation)
        return to_last(made, self.channels_last)


class UpSampling3D(_UpSampling):
    """Repeat the values of volumes along each axis.

    Equivalent to Keras's `UpSampling3D`.

    Args:
        size: Factor, or one for each spatial axis.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, depth, height, width, channels)`.

    Output shape: the input's, with the spatial sizes multiplied.

    Raises:
        ValueError: A size is not positive, or a name is not known.

    Example:
        >>> x = Input((8, 16, 16, 3))
        >>> layers.UpSampling3D(2)(x).shape
        (None, 16, 32, 32, 3)
    """

    rank = 3
