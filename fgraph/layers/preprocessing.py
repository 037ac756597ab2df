"""Preprocessing that belongs inside a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ..errors import BuildError
from ..graph import apply
from .arguments import Expects, one_of, whole
from .base import Layer
from .channels import image, is_channels_last, to_first, to_last
from .modules.preprocessing import Standardize, count_codes, crop_to_ratio, pad_to_ratio

_INTERPOLATIONS = {"nearest": "nearest-exact", "bilinear": "bilinear", "bicubic": "bicubic"}


class Rescaling(Layer):
    """`x * scale + offset`, as Keras's `Rescaling`.

    Args:
        scale: a number, or one for each channel.
        offset: likewise.
        **options: those of every `Layer`.

    Input and output shape: any, equal; whole numbers become floating-point.
    """

    supports_masking = True

    def __init__(self, scale: Any, offset: Any = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.scale = scale
        self.offset = offset

    def call(self, x: Any) -> Any:
        """Record the scaling."""
        x = _floating(x)
        scale, offset = (
            torch.tensor(v, dtype=x.dtype) if isinstance(v, (list, tuple, np.ndarray)) else float(v)
            for v in (self.scale, self.offset)
        )
        scaled = x * scale
        return scaled if isinstance(offset, float) and offset == 0 else scaled + offset


def _floating(x: Any) -> Any:
    return x if x.dtype.is_floating_point else x.to(torch.get_default_dtype())


class Resizing(Layer):
    """Images of another size, as Keras's `Resizing`.

    Args:
        height: the new height.
        width: the new width.
        interpolation: `"bilinear"`, `"nearest"` or `"bicubic"`.
        crop_to_aspect_ratio: whether images are cropped first, so that nothing is distorted.
        pad_to_aspect_ratio: whether they are padded first instead.
        fill_value: what is padded with.
        antialias: whether pixels are averaged where the image gets smaller.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        **options: those of every `Layer`.

    Input shape: `(batch, old height, old width, channels)`.
    Output shape: `(batch, height, width, channels)`.

    Raises:
        ValueError: a size is not positive, a name is not known, or both of crop and pad are given.
    """

    def __init__(
        self,
        height: int,
        width: int,
        interpolation: str = "bilinear",
        crop_to_aspect_ratio: bool = False,
        pad_to_aspect_ratio: bool = False,
        fill_value: float = 0.0,
        antialias: bool = False,
        data_format: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.size = (whole("Resizing", "height", height), whole("Resizing", "width", width))
        names = tuple(_INTERPOLATIONS)
        self.interpolation = one_of("Resizing", "interpolation", interpolation, names)
        if crop_to_aspect_ratio and pad_to_aspect_ratio:
            raise ValueError("Resizing: give crop_to_aspect_ratio or pad_to_aspect_ratio, not both")
        self.crop_to_aspect_ratio = crop_to_aspect_ratio
        self.pad_to_aspect_ratio = pad_to_aspect_ratio
        self.fill_value = fill_value
        self.antialias = antialias
        self.channels_last = is_channels_last("Resizing", data_format)
        self.expects = Expects(image(2, self.channels_last).axes)

    def call(self, x: Any) -> Any:
        """Record the interpolation."""
        x = to_first(_floating(x), self.channels_last)
        if self.crop_to_aspect_ratio:
            x = apply(crop_to_ratio, x, self.size)
        elif self.pad_to_aspect_ratio:
            x = apply(pad_to_ratio, x, self.size, self.fill_value)
        mode = _INTERPOLATIONS[self.interpolation]
        antialias = self.antialias and mode != "nearest-exact"
        made = F.interpolate(x, size=self.size, mode=mode, antialias=antialias)
        return to_last(made, self.channels_last)


class CenterCrop(Layer):
    """The middle of images, as Keras's `CenterCrop`; smaller images are scaled up to fit.

    Args:
        height: the height of the middle.
        width: its width.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        **options: those of every `Layer`.

    Input shape: `(batch, old height, old width, channels)`, sizes known.
    Output shape: `(batch, height, width, channels)`.

    Raises:
        ValueError: a size is not positive.
        BuildError: the old sizes are not known.
    """

    def __init__(
        self, height: int, width: int, data_format: str | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self.size = (whole("CenterCrop", "height", height), whole("CenterCrop", "width", width))
        self.channels_last = is_channels_last("CenterCrop", data_format)
        self.expects = Expects(image(2, self.channels_last).axes)

    def call(self, x: Any) -> Any:
        """Record one slice, or a cut to the wanted proportions and an interpolation."""
        first = to_first(_floating(x), self.channels_last)
        old = first.shape[2:]
        if None in old:
            raise BuildError(f"CenterCrop needs to know the sizes of its images, got {x.shape}")
        if all(size >= wanted for size, wanted in zip(old, self.size, strict=True)):
            top, left = ((size - n) // 2 for size, n in zip(old, self.size, strict=True))
            made = first[:, :, top : top + self.size[0], left : left + self.size[1]]
        else:
            cut = apply(crop_to_ratio, first, self.size)
            made = F.interpolate(cut, size=self.size, mode="bilinear")
        return to_last(made, self.channels_last)


class Normalization(Layer):
    """`(x - mean) / sqrt(variance)`, as Keras's `Normalization`.

    Args:
        axis: the axes that have a mean of their own; `None` for one mean of everything.
        mean: the mean, a number or an array of the sizes of the axes; from `adapt` by default.
        variance: the variance, likewise.
        invert: whether `x * sqrt(variance) + mean` is recorded instead.
        **options: those of every `Layer`.

    Input and output shape: `(batch, ...)`, equal.

    Raises:
        ValueError: only one of mean and variance is given.
    """

    supports_masking = True

    def __init__(
        self,
        axis: int | Sequence[int] | None = -1,
        mean: Any = None,
        variance: Any = None,
        invert: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if (mean is None) != (variance is None):
            raise ValueError("Normalization expects both of mean= and variance=, or neither")
        self.axis = () if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
        self.mean = mean
        self.variance = variance
        self.invert = invert

    def adapt(self, data: Any) -> None:
        """Take mean and variance from data; call it before the layer is called.

        Args:
            data: an array or tensor, `(samples, ...)`.
        """
        values = torch.as_tensor(data).to(torch.get_default_dtype())
        kept = {axis % values.dim() for axis in self.axis}
        axes = tuple(axis for axis in range(values.dim()) if axis not in kept)
        self.mean = values.mean(axes) if axes else values
        self.variance = values.var(axes, correction=0) if axes else torch.zeros_like(values)
        if isinstance(self.module, Standardize):
            self.module.set_statistics(self.mean, self.variance)

    def build(self, input_shape: Any) -> nn.Module:
        """Make the module that holds the statistics."""
        rank = len(input_shape)
        kept = {axis % rank for axis in self.axis}
        shape = [input_shape[axis] if axis in kept else 1 for axis in range(rank)]
        if None in shape:
            raise BuildError(
                f"Normalization needs to know the sizes of axes {self.axis} of {input_shape}"
            )
        made = Standardize(shape, self.invert)
        if self.mean is not None:
            made.set_statistics(torch.as_tensor(self.mean), torch.as_tensor(self.variance))
        return made

    def call(self, x: Any) -> Any:
        """Record the module."""
        return self._module(_floating(x))


class _Encoding(Layer):
    """Base of the layers that turn whole numbers into vectors."""

    output_mode: str

    def encode(self, x: Any, depth: int, weights: Any = None) -> Any:
        """Record the encoding of whole numbers below `depth`."""
        if self.output_mode == "one_hot":
            if x.shape[-1] == 1 and x.ndim > 1:
                x = x.squeeze(-1)
            return F.one_hot(x.long(), depth).to(torch.get_default_dtype())
        if x.ndim == 1:
            x = x.unsqueeze(1)
        return apply(count_codes, x.long(), depth, self.output_mode == "count", weights)


class CategoryEncoding(_Encoding):
    """Whole numbers as vectors, as Keras's `CategoryEncoding`.

    Args:
        num_tokens: the number of categories.
        output_mode: `"one_hot"`, a vector for each number; `"multi_hot"`, one for each sample, with
            ones for the numbers in it; `"count"`, likewise, with how often each occurs.
        **options: those of every `Layer`.

    Input shape: `(batch, numbers)`, whole numbers; with `"count"` also `count_weights=` of this
    shape at the call. Output shape: `(batch, num_tokens)`; for `"one_hot"` `(batch, numbers,
    num_tokens)`.

    Raises:
        ValueError: the number is not positive, or the mode is not known.
    """

    expects = Expects(("batch", "..."), "integer")

    def __init__(self, num_tokens: int, output_mode: str = "multi_hot", **options: Any) -> None:
        super().__init__(**options)
        self.num_tokens = whole("CategoryEncoding", "num_tokens", num_tokens)
        known = ("multi_hot", "one_hot", "count")
        self.output_mode = one_of("CategoryEncoding", "output_mode", output_mode, known)
        self.input_dtype = torch.int64

    def call(self, x: Any, count_weights: Any = None) -> Any:
        """Record the encoding."""
        if count_weights is not None and self.output_mode != "count":
            raise ValueError('CategoryEncoding: count_weights= goes with output_mode="count"')
        return self.encode(x, self.num_tokens, count_weights)


class Discretization(_Encoding):
    """Which of some ranges each value falls into, as Keras's `Discretization`.

    Args:
        bin_boundaries: the values between ranges, ascending.
        num_bins: the number of ranges, whose boundaries `adapt` takes from data.
        output_mode: `"int"`, the number of the range; the others as for `CategoryEncoding`.
        **options: those of every `Layer`.

    Input shape: `(batch, ...)`. Output shape: the same for `"int"`, else as `CategoryEncoding`.

    Raises:
        ValueError: not exactly one of boundaries and number is given, or the mode is not known.
    """

    def __init__(
        self,
        bin_boundaries: Sequence[float] | None = None,
        num_bins: int | None = None,
        *,
        output_mode: str = "int",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if (bin_boundaries is None) == (num_bins is None):
            raise ValueError("Discretization expects either bin_boundaries= or num_bins=")
        self.bin_boundaries = None if bin_boundaries is None else [float(b) for b in bin_boundaries]
        self.num_bins = None if num_bins is None else whole("Discretization", "num_bins", num_bins)
        known = ("int", "multi_hot", "one_hot", "count")
        self.output_mode = one_of("Discretization", "output_mode", output_mode, known)

    def adapt(self, data: Any) -> None:
        """Take the boundaries from data, at equal shares; call it before the layer is called.

        Args:
            data: an array or tensor of any shape.

        Raises:
            ValueError: the layer was made with boundaries.
        """
        if self.num_bins is None:
            raise ValueError("Discretization: adapt goes with num_bins=, not with bin_boundaries=")
        values = torch.as_tensor(data).to(torch.float64).flatten()
        shares = torch.arange(1, self.num_bins, dtype=torch.float64) / self.num_bins
        self.bin_boundaries = torch.quantile(values, shares).tolist()

    def call(self, x: Any) -> Any:
        """Record the search and the encoding."""
        if self.bin_boundaries is None:
            raise BuildError("Discretization: call adapt(data), or give bin_boundaries=, first")
        boundaries = torch.tensor(self.bin_boundaries, dtype=torch.get_default_dtype())
        found = torch.bucketize(_floating(x), boundaries, right=True)
        if self.output_mode == "int":
            return found.to(torch.int32)
        return self.encode(found, len(self.bin_boundaries) + 1)
