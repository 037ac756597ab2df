"""Pooling: the maximum or mean of windows, or of everything; nothing but torch functions."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import BuildError
from ..graph import apply
from .arguments import Expects, one_of, sizes
from .base import Layer
from .channels import (
    image,
    is_channels_last,
    pad_same,
    pad_to_same,
    spatial_axes,
    to_first,
    to_last,
)

_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


class BasePooling(Layer):
    """What all poolings of windows share.

    Args:
        pool_size: the size of the window, a number for each spatial axis or one for all.
        strides: its step, likewise; the size of the window by default.
        padding: `"valid"`, none, or `"same"`: the output has `ceil(size / stride)` steps.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        **options: those of every `Layer`.

    Raises:
        ValueError: a size is not positive, or a name is not known.
    """

    rank: ClassVar[int]

    def __init__(
        self,
        pool_size: Any = 2,
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        kind = type(self).__name__
        self.pool_size = sizes(kind, "pool_size", pool_size, self.rank)
        strides = pool_size if strides is None else strides
        self.strides = sizes(kind, "strides", strides, self.rank)
        self.padding = one_of(kind, "padding", padding, ("valid", "same"))
        self.channels_last = is_channels_last(kind, data_format)
        self.expects = image(self.rank, self.channels_last)

    def call(self, x: Any) -> Any:
        """Record the pooling."""
        first = to_first(x, self.channels_last)
        small = any(
            size is not None and size < window
            for size, window in zip(first.shape[2:], self.pool_size, strict=True)
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


class _MaxPooling(BasePooling):
    """Base of `MaxPooling1D`, `2D` and `3D`."""

    def pool(self, x: Any) -> Any:
        """Record the maximum; `"same"` pads by values below all others."""
        if self.padding == "same":
            ones = (1,) * self.rank
            x = pad_same(x, self.pool_size, self.strides, ones, -float("inf"))
        return _MAX[self.rank](x, self.pool_size, self.strides)


class _AveragePooling(BasePooling):
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
    """The maximum of windows of steps, as Keras's `MaxPooling1D`.

    Args: those of `BasePooling`.

    Input shape: `(batch, steps, channels)`. Output shape: `(batch, new steps, channels)`.
    """

    rank = 1


class MaxPooling2D(_MaxPooling):
    """The maximum of windows of images, as Keras's `MaxPooling2D`.

    Args: those of `BasePooling`.

    Input shape: `(batch, height, width, channels)`.
    Output shape: `(batch, new height, new width, channels)`.
    """

    rank = 2


class MaxPooling3D(_MaxPooling):
    """The maximum of windows of volumes, as Keras's `MaxPooling3D`.

    Args: those of `BasePooling`.

    Input shape: `(batch, depth, height, width, channels)`. Output shape: the same axes.
    """

    rank = 3


class AveragePooling1D(_AveragePooling):
    """The mean of windows of steps, as Keras's `AveragePooling1D`.

    Args: those of `BasePooling`.

    Input shape: `(batch, steps, channels)`. Output shape: `(batch, new steps, channels)`.
    """

    rank = 1


class AveragePooling2D(_AveragePooling):
    """The mean of windows of images, as Keras's `AveragePooling2D`.

    Args: those of `BasePooling`.

    Input shape: `(batch, height, width, channels)`.
    Output shape: `(batch, new height, new width, channels)`.
    """

    rank = 2


class AveragePooling3D(_AveragePooling):
    """The mean of windows of volumes, as Keras's `AveragePooling3D`.

    Args: those of `BasePooling`.

    Input shape: `(batch, depth, height, width, channels)`. Output shape: the same axes.
    """

    rank = 3


class BaseGlobalPooling(Layer):
    """What all poolings of everything share.

    Args:
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        keepdims: whether the spatial axes stay, with size one.
        **options: those of every `Layer`.

    Raises:
        ValueError: the data format is not known.
    """

    rank: ClassVar[int]

    def __init__(
        self, data_format: str | None = None, keepdims: bool = False, **options: Any
    ) -> None:
        super().__init__(**options)
        self.channels_last = is_channels_last(type(self).__name__, data_format)
        self.keepdims = keepdims
        self.expects = Expects(image(self.rank, self.channels_last).axes)
        self._axes = spatial_axes(self.rank, self.channels_last)


class _GlobalMaxPooling(BaseGlobalPooling):
    """Base of `GlobalMaxPooling1D`, `2D` and `3D`."""

    def call(self, x: Any) -> Any:
        """Record the maximum over the spatial axes."""
        return torch.amax(x, self._axes, keepdim=self.keepdims)


class _GlobalAveragePooling(BaseGlobalPooling):
    """Base of `GlobalAveragePooling1D`, `2D` and `3D`."""

    def call(self, x: Any) -> Any:
        """Record the mean over the spatial axes."""
        return torch.mean(x, self._axes, keepdim=self.keepdims)


class GlobalMaxPooling1D(_GlobalMaxPooling):
    """The maximum over all steps, as Keras's `GlobalMaxPooling1D`.

    Args: those of `BaseGlobalPooling`.

    Input shape: `(batch, steps, channels)`. Output shape: `(batch, channels)`.
    """

    rank = 1


class GlobalMaxPooling2D(_GlobalMaxPooling):
    """The maximum over whole images, as Keras's `GlobalMaxPooling2D`.

    Args: those of `BaseGlobalPooling`.

    Input shape: `(batch, height, width, channels)`. Output shape: `(batch, channels)`.
    """

    rank = 2


class GlobalMaxPooling3D(_GlobalMaxPooling):
    """The maximum over whole volumes, as Keras's `GlobalMaxPooling3D`.

    Args: those of `BaseGlobalPooling`.

    Input shape: `(batch, depth, height, width, channels)`. Output shape: `(batch, channels)`.
    """

    rank = 3


class GlobalAveragePooling1D(_GlobalAveragePooling):
    """The mean over all steps that are not masked, as Keras's `GlobalAveragePooling1D`.

    Args: those of `BaseGlobalPooling`.

    Input shape: `(batch, steps, channels)`. Output shape: `(batch, channels)`.
    """

    rank = 1

    def call(self, x: Any, mask: Any = None) -> Any:
        """Record the mean, over the steps that count where there is a mask."""
        if mask is None:
            return super().call(x)
        weights = mask.to(x.dtype).unsqueeze(2 if self.channels_last else 1)
        axis = self._axes[0]
        total = torch.sum(x * weights, axis, keepdim=self.keepdims)
        return total / torch.sum(weights, axis, keepdim=self.keepdims)

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        """Return no mask: the steps are gone."""
        return None


class GlobalAveragePooling2D(_GlobalAveragePooling):
    """The mean over whole images, as Keras's `GlobalAveragePooling2D`.

    Args: those of `BaseGlobalPooling`.

    Input shape: `(batch, height, width, channels)`. Output shape: `(batch, channels)`.
    """

    rank = 2


class GlobalAveragePooling3D(_GlobalAveragePooling):
    """The mean over whole volumes, as Keras's `GlobalAveragePooling3D`.

    Args: those of `BaseGlobalPooling`.

    Input shape: `(batch, depth, height, width, channels)`. Output shape: `(batch, channels)`.
    """

    rank = 3
