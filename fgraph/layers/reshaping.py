"""Layers that change the shape of their input and nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional as F

from ..errors import BuildError
from .arguments import Expects, one_of, pairs, sizes, whole
from .base import Layer
from .channels import image, is_channels_last, spatial_axes, to_first, to_last


class Flatten(Layer):
    """Makes one axis of all but the batch, as Keras's `Flatten`.

    Args:
        data_format: with `"channels_first"`, channels are put last before flattening.
        **options: those of every `Layer`.

    Input shape: `(batch, ...)`. Output shape: `(batch, product of the other sizes)`.
    """

    def __init__(self, data_format: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.channels_last = is_channels_last("Flatten", data_format)

    def call(self, x: Any) -> Any:
        """Record the flattening."""
        if x.ndim == 1:
            return x.unsqueeze(1)
        return torch.flatten(to_last(x, not self.channels_last and x.ndim > 2), 1)


class Reshape(Layer):
    """Gives each sample another shape, as Keras's `Reshape`.

    Args:
        target_shape: the sizes without the batch; one may be -1, to be worked out.
        **options: those of every `Layer`.

    Input shape: `(batch, ...)`. Output shape: `(batch, *target_shape)`.

    Raises:
        BuildError: the number of values is not that of the target shape.
    """

    def __init__(self, target_shape: Sequence[int], **options: Any) -> None:
        super().__init__(**options)
        self.target_shape = tuple(whole("Reshape", "target_shape", n, -1) for n in target_shape)

    def call(self, x: Any) -> Any:
        """Record the reshaping, with -1 for the batch where the other sizes are known."""
        target = list(self.target_shape)
        if None not in x.shape[1:]:
            count = math.prod(x.shape[1:])
            known = math.prod(size for size in target if size != -1)
            if -1 in target and known and count % known == 0:
                target[target.index(-1)] = count // known
            if math.prod(target) != count:
                raise BuildError(
                    f"Reshape: a sample of shape {x.shape[1:]} has {count} values and cannot have "
                    f"the shape {self.target_shape}"
                )
        batch = x.size(0) if -1 in target or x.shape[0] is not None else -1
        return torch.reshape(x, (batch, *target))


class Permute(Layer):
    """Puts the axes of each sample in another order, as Keras's `Permute`.

    Args:
        dims: the axes in their new order, counted from 1.
        **options: those of every `Layer`.

    Input shape: `(batch, ...)`. Output shape: the same sizes in the new order.

    Raises:
        ValueError: `dims` does not name each axis once.
    """

    def __init__(self, dims: Sequence[int], **options: Any) -> None:
        super().__init__(**options)
        self.dims = tuple(dims)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise ValueError(
                f"Permute: dims= expects each of the axes 1 to {len(self.dims)} once, got {dims!r}"
            )
        self.expects = Expects(("batch", *(f"axis {i + 1}" for i in range(len(self.dims)))))

    def call(self, x: Any) -> Any:
        """Record the permutation."""
        return x.permute(0, *self.dims)


class RepeatVector(Layer):
    """Repeats each sample along a new axis, as Keras's `RepeatVector`.

    Args:
        n: the number of repetitions.
        **options: those of every `Layer`.

    Input shape: `(batch, features)`. Output shape: `(batch, n, features)`.

    Raises:
        ValueError: `n` is not positive.
    """

    expects = Expects(("batch", "features"))

    def __init__(self, n: int, **options: Any) -> None:
        super().__init__(**options)
        self.n = whole("RepeatVector", "n", n)

    def call(self, x: Any) -> Any:
        """Record the repetition; no copy is made."""
        return x.unsqueeze(1).expand(-1, self.n, -1)


class _Cropping(Layer):
    """Base of `Cropping1D`, `2D` and `3D`."""

    rank: int

    def __init__(self, cropping: Any, data_format: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        kind = type(self).__name__
        self.cropping = pairs(kind, "cropping", cropping, self.rank)
        self.channels_last = is_channels_last(kind, data_format)
        self.expects = Expects(image(self.rank, self.channels_last).axes)

    def call(self, x: Any) -> Any:
        """Record one slice of the spatial axes."""
        axes = spatial_axes(self.rank, self.channels_last)
        for axis, (before, after) in zip(axes, self.cropping, strict=True):
            if x.shape[axis] is not None and before + after >= x.shape[axis]:
                raise BuildError(
                    f"{type(self).__name__}: cropping ({before}, {after}) leaves nothing of axis "
                    f"{axis} of {x.shape}"
                )
        cut = tuple(slice(before, -after if after else None) for before, after in self.cropping)
        return x[(slice(None), *(() if self.channels_last else (slice(None),)), *cut)]


class Cropping1D(_Cropping):
    """Cuts steps off both ends of sequences, as Keras's `Cropping1D`.

    Args:
        cropping: the number of steps, or a pair: at the start, at the end.
        **options: those of every `Layer`.

    Input shape: `(batch, steps, features)`. Output shape: fewer steps.
    """

    rank = 1

    def __init__(self, cropping: Any = (1, 1), **options: Any) -> None:
        super().__init__(cropping, **options)


class Cropping2D(_Cropping):
    """Cuts rows and columns off images, as Keras's `Cropping2D`.

    Args:
        cropping: one number, `(height, width)`, or a pair for each.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        **options: those of every `Layer`.

    Input shape: `(batch, height, width, channels)`. Output shape: smaller height and width.
    """

    rank = 2

    def __init__(
        self, cropping: Any = ((0, 0), (0, 0)), data_format: str | None = None, **options: Any
    ) -> None:
        super().__init__(cropping, data_format, **options)


class Cropping3D(_Cropping):
    """Cuts the borders off volumes, as Keras's `Cropping3D`.

    Args:
        cropping: one number, one for each spatial axis, or a pair for each.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        **options: those of every `Layer`.

    Input shape: `(batch, depth, height, width, channels)`. Output shape: smaller spatial sizes.
    """

    rank = 3

    def __init__(
        self,
        cropping: Any = ((1, 1), (1, 1), (1, 1)),
        data_format: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(cropping, data_format, **options)


class _ZeroPadding(Layer):
    """Base of `ZeroPadding1D`, `2D` and `3D`."""

    rank: int

    def __init__(self, padding: Any = 1, data_format: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        kind = type(self).__name__
        self.padding = pairs(kind, "padding", padding, self.rank)
        self.channels_last = is_channels_last(kind, data_format)
        self.expects = Expects(image(self.rank, self.channels_last).axes)

    def call(self, x: Any) -> Any:
        """Record the padding."""
        widths = [width for pair in reversed(self.padding) for width in pair]
        return F.pad(x, (0, 0, *widths) if self.channels_last else tuple(widths))


class ZeroPadding1D(_ZeroPadding):
    """Puts zeros at both ends of sequences, as Keras's `ZeroPadding1D`.

    Args:
        padding: the number of zeros, or a pair: at the start, at the end.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        **options: those of every `Layer`.

    Input shape: `(batch, steps, features)`. Output shape: more steps.
    """

    rank = 1


class ZeroPadding2D(_ZeroPadding):
    """Puts zeros around images, as Keras's `ZeroPadding2D`.

    Args:
        padding: one number, `(height, width)`, or a pair for each.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        **options: those of every `Layer`.

    Input shape: `(batch, height, width, channels)`. Output shape: greater height and width.
    """

    rank = 2


class ZeroPadding3D(_ZeroPadding):
    """Puts zeros around volumes, as Keras's `ZeroPadding3D`.

    Args:
        padding: one number, one for each spatial axis, or a pair for each.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        **options: those of every `Layer`.

    Input shape: `(batch, depth, height, width, channels)`. Output shape: greater spatial sizes.
    """

    rank = 3


class _UpSampling(Layer):
    """Base of `UpSampling1D`, `2D` and `3D`."""

    rank: int

    def __init__(self, size: Any = 2, data_format: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        kind = type(self).__name__
        self.size = sizes(kind, "size", size, self.rank)
        self.channels_last = is_channels_last(kind, data_format)
        self.expects = Expects(image(self.rank, self.channels_last).axes)

    def call(self, x: Any) -> Any:
        """Record one repetition for each spatial axis."""
        for axis, times in zip(spatial_axes(self.rank, self.channels_last), self.size, strict=True):
            x = torch.repeat_interleave(x, times, axis)
        return x


class UpSampling1D(_UpSampling):
    """Repeats each step, as Keras's `UpSampling1D`.

    Args:
        size: the number of repetitions.
        **options: those of every `Layer`.

    Input shape: `(batch, steps, features)`. Output shape: `(batch, size * steps, features)`.
    """

    rank = 1

    def __init__(self, size: int = 2, **options: Any) -> None:
        super().__init__(size, **options)


class UpSampling2D(_UpSampling):
    """Makes images larger, as Keras's `UpSampling2D`.

    Args:
        size: the factor, or one for `(height, width)`.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        interpolation: `"nearest"`, `"bilinear"` or `"bicubic"`.
        **options: those of every `Layer`.

    Input shape: `(batch, height, width, channels)`. Output shape: height and width multiplied.

    Raises:
        ValueError: the interpolation is not known.
    """

    rank = 2

    def __init__(
        self,
        size: Any = (2, 2),
        data_format: str | None = None,
        interpolation: str = "nearest",
        **options: Any,
    ) -> None:
        super().__init__(size, data_format, **options)
        known = ("nearest", "bilinear", "bicubic")
        self.interpolation = one_of("UpSampling2D", "interpolation", interpolation, known)

    def call(self, x: Any) -> Any:
        """Record the interpolation; torch's kernels take floating-point images only."""
        if self.interpolation == "nearest":
            return super().call(x)
        x = to_first(x, self.channels_last)
        factors = tuple(float(factor) for factor in self.size)
        made = F.interpolate(x, scale_factor=factors, mode=self.interpolation)
        return to_last(made, self.channels_last)


class UpSampling3D(_UpSampling):
    """Repeats the values of volumes, as Keras's `UpSampling3D`.

    Args:
        size: the factor, or one for each spatial axis.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        **options: those of every `Layer`.

    Input shape: `(batch, depth, height, width, channels)`. Output shape: spatial sizes multiplied.
    """

    rank = 3
