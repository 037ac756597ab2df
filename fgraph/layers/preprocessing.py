"""Preprocessing of images, numbers and categories inside the graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ..errors import BuildError
from ..graph import apply
from .arguments import LayerOptions, integer, one_of
from .base import Layer
from .data_format import image, is_channels_last, to_first, to_last
from .input_checks import Expects
from .modules.preprocessing import Standardize, count_codes, crop_to_ratio, pad_to_ratio
from .weight_layout import Layout, Weight

_INTERPOLATIONS = {"nearest": "nearest-exact", "bilinear": "bilinear", "bicubic": "bicubic"}


class Rescaling(Layer):
    """Compute `x * scale + offset`.

    Equivalent to Keras's `Rescaling`.

    Args:
        scale: Factor, a number or one for each channel.
        offset: Summand, likewise.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: any; integers become floating-point.

    Output shape: that of the input.

    Example:
        >>> x = Input((28, 28, 3), dtype="uint8")
        >>> layers.Rescaling(1 / 255)(x).shape
        (None, 28, 28, 3)
    """

    supports_masking = True

    def __init__(self, scale: Any, offset: Any = 0.0, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.scale = scale
        self.offset = offset

    def call(self, inputs: Any) -> Any:
        """Record the scaling."""
        x = _floating(inputs)
        scale, offset = (
            torch.tensor(v, dtype=x.dtype) if isinstance(v, (list, tuple, np.ndarray)) else float(v)
            for v in (self.scale, self.offset)
        )
        scaled = x * scale
        return scaled if isinstance(offset, float) and offset == 0 else scaled + offset


def _refuse_sparse(owner: str, sparse: bool) -> None:
    if sparse:
        raise ValueError(f"{owner}: sparse=True is not supported: the output is a dense tensor")


def _floating(x: Any) -> Any:
    return x if x.dtype.is_floating_point else x.to(torch.get_default_dtype())


class Resizing(Layer):
    """Resize images.

    Equivalent to Keras's `Resizing`; the function is `torch.nn.functional.interpolate`.

    Args:
        height: New height.
        width: New width.
        interpolation: `"bilinear"`, `"nearest"` or `"bicubic"`.
        crop_to_aspect_ratio: Whether to crop images first, so that nothing is distorted.
        pad_to_aspect_ratio: Whether to pad them first instead.
        fill_mode: How to pad: `"constant"`.
        fill_value: Value to pad with.
        antialias: Whether to average pixels if the image gets smaller.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, old height, old width, channels)`.

    Output shape: `(batch, height, width, channels)`, floating-point.

    Differs from Keras: `bicubic` as Keras on torch; no `lanczos`, `fill_mode` is `constant`.

    Raises:
        ValueError: A size is not positive, a name is not known, or both of crop and pad are given.

    Example:
        >>> x = Input((64, 48, 3))
        >>> layers.Resizing(32, 32)(x).shape
        (None, 32, 32, 3)
    """

    def __init__(
        self,
        height: int,
        width: int,
        interpolation: str = "bilinear",
        crop_to_aspect_ratio: bool = False,
        pad_to_aspect_ratio: bool = False,
        fill_mode: str = "constant",
        fill_value: float = 0.0,
        antialias: bool = False,
        data_format: str | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.size = (integer("Resizing", "height", height), integer("Resizing", "width", width))
        names = tuple(_INTERPOLATIONS)
        self.interpolation = one_of("Resizing", "interpolation", interpolation, names)
        if crop_to_aspect_ratio and pad_to_aspect_ratio:
            raise ValueError("Resizing: give crop_to_aspect_ratio or pad_to_aspect_ratio, not both")
        self.crop_to_aspect_ratio = crop_to_aspect_ratio
        self.pad_to_aspect_ratio = pad_to_aspect_ratio
        self.fill_mode = one_of("Resizing", "fill_mode", fill_mode, ("constant",))
        self.fill_value = fill_value
        self.antialias = antialias
        self.channels_last = is_channels_last("Resizing", data_format)
        self.expects = Expects(image(2, self.channels_last).axes)

    def call(self, inputs: Any) -> Any:
        """Record the interpolation."""
        x = to_first(_floating(inputs), self.channels_last)
        if self.crop_to_aspect_ratio:
            x = apply(crop_to_ratio, x, self.size)
        elif self.pad_to_aspect_ratio:
            x = apply(pad_to_ratio, x, self.size, self.fill_value)
        mode = _INTERPOLATIONS[self.interpolation]
        antialias = self.antialias and mode != "nearest-exact"
        made = F.interpolate(x, size=self.size, mode=mode, antialias=antialias)
        return to_last(made, self.channels_last)


class CenterCrop(Layer):
    """Cut the middle out of images; scale smaller images up first.

    Equivalent to Keras's `CenterCrop`; a slice, of which no copy is made.

    Args:
        height: Height of the middle.
        width: Width of the middle.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, old height, old width, channels)`, sizes known.

    Output shape: `(batch, height, width, channels)`, floating-point.

    Differs from Keras: sizes of the input have to be known.

    Raises:
        ValueError: A size is not positive.
        BuildError: The old sizes are not known.

    Example:
        >>> x = Input((64, 48, 3))
        >>> layers.CenterCrop(32, 32)(x).shape
        (None, 32, 32, 3)
    """

    def __init__(
        self,
        height: int,
        width: int,
        data_format: str | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.size = (integer("CenterCrop", "height", height), integer("CenterCrop", "width", width))
        self.channels_last = is_channels_last("CenterCrop", data_format)
        self.expects = Expects(image(2, self.channels_last).axes)

    def call(self, inputs: Any) -> Any:
        """Record one slice, or a cut to the wanted proportions and an interpolation."""
        first = to_first(_floating(inputs), self.channels_last)
        old = first.spec.shape[2:]
        if None in old:
            raise BuildError(
                f"CenterCrop needs to know the sizes of its images, got {inputs.shape}"
            )
        if all(size >= wanted for size, wanted in zip(old, self.size, strict=True)):
            top, left = ((size - n) // 2 for size, n in zip(old, self.size, strict=True))
            made = first[:, :, top : top + self.size[0], left : left + self.size[1]]
        else:
            cut = apply(crop_to_ratio, first, self.size)
            made = F.interpolate(cut, size=self.size, mode="bilinear")
        return to_last(made, self.channels_last)


_KEPT = Layout(
    lambda tensors, module: tensors[0].reshape(getattr(module, "kept")),  # noqa: B009
    lambda value, module: [value.reshape(getattr(module, "shape"))],  # noqa: B009
)


class Normalization(Layer):
    """Compute `(x - mean) / sqrt(variance)`.

    Equivalent to Keras's `Normalization`; the module holds the statistics.

    Args:
        axis: Axis, or axes, that have statistics of their own; `None` for one mean of everything.
        mean: Mean, a number or an array of the sizes of the axes. Defaults to that of `adapt`.
        variance: Variance, likewise.
        invert: Whether to compute `x * sqrt(variance) + mean` instead.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, ...)`; integers become floating-point.

    Output shape: that of the input.

    Differs from Keras: `adapt` takes arrays and tensors.

    Raises:
        ValueError: Only one of mean and variance is given.
        BuildError: A size along the axes is not known.

    Example:
        >>> x = Input((3,))
        >>> layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.0, 4.0, 9.0])(x).shape
        (None, 3)
    """

    keras_weights: tuple[Weight, ...] = (
        Weight("mean", ("mean",), _KEPT, trainable=False),
        Weight("variance", ("variance",), _KEPT, "ones", trainable=False),
        Weight("count", ("count",), trainable=False),
    )
    supports_masking = True

    def __init__(
        self,
        axis: int | Sequence[int] | None = -1,
        mean: Any = None,
        variance: Any = None,
        invert: bool = False,
        **options: Unpack[LayerOptions],
    ) -> None:
        if mean is not None:
            self.keras_weights = ()  # as in Keras, where they are settings then
        super().__init__(**options)
        if (mean is None) != (variance is None):
            raise ValueError("Normalization expects both of mean= and variance=, or neither")
        self.axis = () if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
        self.mean = mean
        self.variance = variance
        self.invert = invert

    def adapt(self, data: Any) -> None:
        """Compute mean and variance from data; call it before the layer is called.

        Args:
            data: Array or tensor, `(samples, ...)`.
        """
        values = torch.as_tensor(data).to(torch.get_default_dtype())
        kept = {axis % values.dim() for axis in self.axis}
        axes = tuple(axis for axis in range(values.dim()) if axis not in kept)
        self.mean = values.mean(axes) if axes else values
        self.variance = values.var(axes, correction=0) if axes else torch.zeros_like(values)
        self._take_statistics()

    def _take_statistics(self) -> None:
        if isinstance(self.module, Standardize) and self.mean is not None:
            exact = (torch.as_tensor(v, dtype=torch.float64) for v in (self.mean, self.variance))
            self.module.set_statistics(*exact)

    def _initialize(self) -> None:
        super()._initialize()
        self._take_statistics()

    def build(self, input_shape: Any) -> nn.Module:
        """Make the module that holds the statistics."""
        rank = len(input_shape)
        kept = {axis % rank for axis in self.axis}
        shape = [input_shape[axis] if axis in kept else 1 for axis in range(rank)]
        if None in shape:
            raise BuildError(
                f"Normalization needs to know the sizes of axes {self.axis} of {input_shape}"
            )
        sizes = [input_shape[axis] for axis in sorted(kept)]
        return Standardize(shape, self.invert, sizes)

    def call(self, inputs: Any) -> Any:
        """Record the module."""
        return self._module(_floating(inputs))


class _Encoding(Layer):
    """Base of the layers that turn integers into vectors."""

    output_mode: str

    def encode(self, x: Any, depth: int, weights: Any = None) -> Any:
        """Record the encoding of integers below `depth`."""
        if self.output_mode == "one_hot":
            if x.spec.shape[-1] == 1 and x.ndim > 1:
                x = x.squeeze(-1)
            return F.one_hot(x.long(), depth).to(torch.get_default_dtype())
        if x.ndim == 1:
            x = x.unsqueeze(1)
        return apply(count_codes, x.long(), depth, self.output_mode in ("count", "tf_idf"), weights)


class CategoryEncoding(_Encoding):
    """Turn integers into vectors of zeros and ones, or of counts.

    Equivalent to Keras's `CategoryEncoding`.

    Args:
        num_tokens: Number of categories.
        output_mode: `"one_hot"`, a vector for each integer; `"multi_hot"`, one for each sample,
            with ones for the integers in it; `"count"`, likewise, with how often each occurs.
        sparse: Accepted for compatibility with Keras; must be false: the output is dense.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, numbers)`, integers; with `"count"` also `count_weights=` of this shape at
    the call.

    Output shape: `(batch, num_tokens)`; for `"one_hot"` `(batch, numbers, num_tokens)`.

    Differs from Keras: no `sparse`.

    Raises:
        ValueError: The number is not positive, or the mode is not known.

    Example:
        >>> x = Input((10,), dtype="int64")
        >>> layers.CategoryEncoding(num_tokens=5)(x).shape
        (None, 5)
    """

    expects = Expects(("batch", "..."), "integer")

    def __init__(
        self,
        num_tokens: int | None = None,
        output_mode: str = "multi_hot",
        sparse: bool = False,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        _refuse_sparse("CategoryEncoding", sparse)
        self.num_tokens = integer("CategoryEncoding", "num_tokens", num_tokens)
        known = ("multi_hot", "one_hot", "count")
        self.output_mode = one_of("CategoryEncoding", "output_mode", output_mode, known)
        self.input_dtype = torch.int64

    def call(self, inputs: Any, count_weights: Any = None) -> Any:
        """Record the encoding."""
        if count_weights is not None and self.output_mode != "count":
            raise ValueError('CategoryEncoding: count_weights= goes with output_mode="count"')
        return self.encode(inputs, self.num_tokens, count_weights)


class Discretization(_Encoding):
    """Map each value to the index of the range that contains it.

    Equivalent to Keras's `Discretization`; the function is `torch.bucketize`.

    Args:
        bin_boundaries: Values between the ranges, ascending.
        num_bins: Number of ranges whose boundaries `adapt` computes from data.
        epsilon: Accepted for compatibility with Keras; ignored: `adapt` computes exact quantiles.
        output_mode: `"int"`, the number of the range; `"one_hot"`, `"multi_hot"` or `"count"`, as
            for `CategoryEncoding`.
        sparse: Accepted for compatibility with Keras; must be false: the output is dense.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, ...)`; integers become floating-point.

    Output shape: that of the input for `"int"`, else as for `CategoryEncoding`.

    Differs from Keras: no `sparse`; `adapt` takes exact quantiles.

    Raises:
        ValueError: Not exactly one of boundaries and number is given, or the mode is not known.

    Example:
        >>> x = Input((4,))
        >>> layers.Discretization([0.0, 0.5, 1.0])(x).shape
        (None, 4)
    """

    def __init__(
        self,
        bin_boundaries: Sequence[float] | None = None,
        num_bins: int | None = None,
        epsilon: float = 0.01,
        output_mode: str = "int",
        sparse: bool = False,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        _refuse_sparse("Discretization", sparse)
        if (bin_boundaries is None) == (num_bins is None):
            raise ValueError("Discretization expects either bin_boundaries= or num_bins=")
        self.bin_boundaries = None if bin_boundaries is None else [float(b) for b in bin_boundaries]
        self.num_bins = (
            None if num_bins is None else integer("Discretization", "num_bins", num_bins)
        )
        known = ("int", "multi_hot", "one_hot", "count")
        self.output_mode = one_of("Discretization", "output_mode", output_mode, known)

    def adapt(self, data: Any) -> None:
        """Compute boundaries from data, for ranges of equal counts; call it before the layer is
        called.

        Args:
            data: Array or tensor of any shape.

        Raises:
            ValueError: The layer was made with boundaries.
        """
        if self.num_bins is None:
            raise ValueError("Discretization: adapt goes with num_bins=, not with bin_boundaries=")
        values = torch.as_tensor(data).to(torch.float64).flatten()
        shares = torch.arange(1, self.num_bins, dtype=torch.float64) / self.num_bins
        self.bin_boundaries = torch.quantile(values, shares).tolist()

    def call(self, inputs: Any) -> Any:
        """Record the search and the encoding."""
        if self.bin_boundaries is None:
            raise BuildError("Discretization: call adapt(data), or give bin_boundaries=, first")
        boundaries = torch.tensor(self.bin_boundaries, dtype=torch.get_default_dtype())
        found = torch.bucketize(_floating(inputs), boundaries, right=True)
        if self.output_mode == "int":
            return found.to(torch.int32)
        return self.encode(found, len(self.bin_boundaries) + 1)
