"""Convolutions and pooling: functions of windows that slide over channels-last data."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..graph import SymbolicTensor, apply
from ..layers.arguments import Sizes, integers, one_of
from ..layers.conv_transpose import crops
from ..layers.data_format import is_channels_last, pad_same, pad_to_same, to_first, to_last
from ..layers.pooling import average_without_padding
from .conversion import tensor

__all__ = [
    "adaptive_average_pool", "adaptive_max_pool", "average_pool", "conv", "conv_transpose",
    "depth_to_space", "depthwise_conv", "fold", "max_pool", "separable_conv", "space_to_depth",
    "unfold",
]  # fmt: skip

_CONVOLUTIONS: dict[int, Any] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED: dict[int, Any] = {
    1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d,
}  # fmt: skip
_MAX: dict[int, Any] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE: dict[int, Any] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_ADAPTIVE_MAX: dict[int, Any] = {
    1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d,
}  # fmt: skip
_ADAPTIVE_AVERAGE: dict[int, Any] = {
    1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d,
}  # fmt: skip


def _first(name: str, inputs: Any, data_format: str | None) -> tuple[Any, bool]:
    """Return inputs with channels first, and whether they were last.

    Raises:
        ValueError: There are not one to three spatial axes.
    """
    x = tensor(inputs)
    if x.ndim not in (3, 4, 5):
        raise ValueError(f"{name} expects 3, 4 or 5 axes, batch and channels included: {x.shape}")
    channels_last = is_channels_last(name, data_format)
    return to_first(x, channels_last), channels_last


def _same(x: Any, kernel: Any, strides: Any, dilation: Any, value: float = 0.0) -> Any:
    pad = pad_same if isinstance(x, SymbolicTensor) else pad_to_same
    return pad(x, kernel, strides, dilation, value)


def conv(
    inputs: Any,
    kernel: Any,
    strides: Sizes = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: Sizes = 1,
) -> Tensor:
    """Return a convolution of one, two or three dimensions.

    Args:
        inputs: Values, `(batch, ..., channels)`.
        kernel: Weights, `(*kernel_size, channels / groups, filters)`.
        strides: Step of the window: a number, or one for each axis.
        padding: `"valid"`, none, or `"same"`: zeros so that the output has `ceil(size / stride)`.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        dilation_rate: Distance between neighbors in the window.

    Raises:
        ValueError: The number of axes or a setting is not known.
    """
    x, channels_last = _first("conv", inputs, data_format)
    rank, kernel = x.ndim - 2, tensor(kernel)
    steps = integers("conv", "strides", strides, rank)
    dilation = integers("conv", "dilation_rate", dilation_rate, rank)
    if one_of("conv", "padding", padding, ("valid", "same")) == "same":
        x = _same(x, tuple(kernel.shape[:rank]), steps, dilation)
    weight = kernel.permute(rank + 1, rank, *range(rank))
    groups = x.shape[1] // kernel.shape[rank]
    made = _CONVOLUTIONS[rank](x, weight, stride=steps, dilation=dilation, groups=groups)
    return to_last(made, channels_last)  # type: ignore[no-any-return]


def depthwise_conv(
    inputs: Any,
    kernel: Any,
    strides: Sizes = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: Sizes = 1,
) -> Tensor:
    """Return a convolution of each channel by itself.

    Args:
        inputs: Values, `(batch, ..., channels)`.
        kernel: Weights, `(*kernel_size, channels, multiplier)`.
        strides, padding, data_format, dilation_rate: As for `conv`.
    """
    kernel = tensor(kernel)
    flat = kernel.flatten(kernel.ndim - 2).unsqueeze(-2)
    return conv(inputs, flat, strides, padding, data_format, dilation_rate)


def separable_conv(
    inputs: Any,
    depthwise_kernel: Any,
    pointwise_kernel: Any,
    strides: Sizes = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: Sizes = 1,
) -> Tensor:
    """Return a depthwise convolution, followed by one that mixes the channels.

    Args:
        inputs: Values, `(batch, ..., channels)`.
        depthwise_kernel: Weights, `(*kernel_size, channels, multiplier)`.
        pointwise_kernel: Weights, `(1, ..., channels * multiplier, filters)`.
        strides, padding, data_format, dilation_rate: As for `conv`.
    """
    made = depthwise_conv(inputs, depthwise_kernel, strides, padding, data_format, dilation_rate)
    return conv(made, pointwise_kernel, data_format=data_format)


def conv_transpose(
    inputs: Any,
    kernel: Any,
    strides: Sizes = 1,
    padding: str = "valid",
    output_padding: Sizes | None = None,
    data_format: str | None = None,
    dilation_rate: Sizes = 1,
) -> Tensor:
    """Return the transpose of a convolution.

    Args:
        inputs: Values, `(batch, ..., channels)`.
        kernel: Weights, `(*kernel_size, filters, channels)`.
        strides: Step of the window: a number, or one for each axis.
        padding: `"valid"`, none, or `"same"`: the output has `size * stride`.
        output_padding: Steps added at the end. Defaults to what `padding` needs.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        dilation_rate: Distance between neighbors in the window.
    """
    x, channels_last = _first("conv_transpose", inputs, data_format)
    rank, kernel = x.ndim - 2, tensor(kernel)
    name = "conv_transpose"
    steps = integers(name, "strides", strides, rank)
    dilation = integers(name, "dilation_rate", dilation_rate, rank)
    one_of(name, "padding", padding, ("valid", "same"))
    extra = (None,) * rank
    if output_padding is not None:
        extra = integers(name, "output_padding", output_padding, rank, least=0)
    cut = crops(tuple(kernel.shape[:rank]), steps, dilation, extra, padding)
    weight = kernel.permute(rank + 1, rank, *range(rank))
    made = _TRANSPOSED[rank](
        x,
        weight,
        stride=steps,
        padding=tuple(before for before, _ in cut),
        output_padding=tuple(max(before - after, 0) for before, after in cut),
        dilation=dilation,
    )
    more = [max(after - before, 0) for before, after in cut]
    if any(more):
        made = made[(..., *(slice(None, -n if n else None) for n in more))]
    return to_last(made, channels_last)  # type: ignore[no-any-return]


def max_pool(
    inputs: Any,
    pool_size: Sizes,
    strides: Sizes | None = None,
    padding: str = "valid",
    data_format: str | None = None,
) -> Tensor:
    """Return the maximum of windows.

    Args:
        inputs: Values, `(batch, ..., channels)`.
        pool_size: Size of the window: a number, or one for each axis.
        strides: Step of the window. Defaults to `pool_size`.
        padding: `"valid"`, none, or `"same"`: the output has `ceil(size / stride)`.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
    """
    x, channels_last, window, steps = _window("max_pool", inputs, pool_size, strides, data_format)
    if one_of("max_pool", "padding", padding, ("valid", "same")) == "same":
        x = _same(x, window, steps, (1,) * len(window), -float("inf"))
    return to_last(_MAX[len(window)](x, window, steps), channels_last)  # type: ignore[no-any-return]


def average_pool(
    inputs: Any,
    pool_size: Sizes,
    strides: Sizes | None = None,
    padding: str = "valid",
    data_format: str | None = None,
) -> Tensor:
    """Return the mean of windows, padding left out of it.

    Args:
        inputs: Values, `(batch, ..., channels)`.
        pool_size: Size of the window: a number, or one for each axis.
        strides: Step of the window. Defaults to `pool_size`.
        padding: `"valid"`, none, or `"same"`: the output has `ceil(size / stride)`.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
    """
    name = "average_pool"
    x, channels_last, window, steps = _window(name, inputs, pool_size, strides, data_format)
    if one_of(name, "padding", padding, ("valid", "same")) == "same":
        settings = (x, window, steps)
        symbolic = isinstance(x, SymbolicTensor)
        made = (
            apply(average_without_padding, *settings)
            if symbolic
            else average_without_padding(*settings)
        )
    else:
        made = _AVERAGE[len(window)](x, window, steps)
    return to_last(made, channels_last)  # type: ignore[no-any-return]


def _window(
    name: str, inputs: Any, pool_size: Sizes, strides: Sizes | None, data_format: str | None
) -> tuple[Any, bool, tuple[int, ...], tuple[int, ...]]:
    x, channels_last = _first(name, inputs, data_format)
    window = integers(name, "pool_size", pool_size, x.ndim - 2)
    steps = window if strides is None else integers(name, "strides", strides, x.ndim - 2)
    return x, channels_last, window, steps


def adaptive_average_pool(
    inputs: Any, output_size: Sizes, data_format: str | None = None
) -> Tensor:
    """Return the mean of as many windows as `output_size` says, which cover everything.

    Args:
        inputs: Values, `(batch, ..., channels)`.
        output_size: Size of the output: a number, or one for each axis.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
    """
    return _adaptive("adaptive_average_pool", _ADAPTIVE_AVERAGE, inputs, output_size, data_format)


def adaptive_max_pool(inputs: Any, output_size: Sizes, data_format: str | None = None) -> Tensor:
    """Return the maximum of as many windows as `output_size` says, which cover everything.

    Args:
        inputs: Values, `(batch, ..., channels)`.
        output_size: Size of the output: a number, or one for each axis.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
    """
    return _adaptive("adaptive_max_pool", _ADAPTIVE_MAX, inputs, output_size, data_format)


def _adaptive(
    name: str, functions: dict[int, Any], inputs: Any, size: Sizes, data_format: str | None
) -> Tensor:
    x, channels_last = _first(name, inputs, data_format)
    wanted = integers(name, "output_size", size, x.ndim - 2)
    return to_last(functions[x.ndim - 2](x, wanted), channels_last)  # type: ignore[no-any-return]


def unfold(
    x: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """Return the windows of channels-first images, `(batch, channels * window, number)`."""
    return F.unfold(tensor(x), kernel_size, dilation, padding, stride)


def fold(
    x: Any,
    output_size: Any,
    kernel_size: Any,
    dilation: Any = 1,
    padding: Any = 0,
    stride: Any = 1,
) -> Tensor:
    """Return channels-first images that are the sums of windows, the transpose of `unfold`."""
    return F.fold(tensor(x), output_size, kernel_size, dilation, padding, stride)


def depth_to_space(x: Any, block_size: int, data_format: str = "channels_last") -> Tensor:
    """Return images whose channels are laid out as blocks of pixels.

    Args:
        x: Images, `(batch, height, width, channels)`.
        block_size: Height and width of a block; the channels are its square times those returned.
        data_format: `"channels_last"` or `"channels_first"`.
    """
    x, b = tensor(x), block_size
    if is_channels_last("depth_to_space", data_format):
        n, height, width, channels = x.shape
        kept = channels // (b * b)
        blocks = x.reshape(n, height, width, b, b, kept).permute(0, 1, 3, 2, 4, 5)
        return blocks.reshape(n, height * b, width * b, kept)
    return torch.pixel_shuffle(x, b)


def space_to_depth(x: Any, block_size: int, data_format: str = "channels_last") -> Tensor:
    """Return images whose blocks of pixels are laid out as channels.

    Args:
        x: Images, `(batch, height, width, channels)`.
        block_size: Height and width of a block.
        data_format: `"channels_last"` or `"channels_first"`.
    """
    x, b = tensor(x), block_size
    if is_channels_last("space_to_depth", data_format):
        n, height, width, channels = x.shape
        blocks = x.reshape(n, height // b, b, width // b, b, channels).permute(0, 1, 3, 2, 4, 5)
        return blocks.reshape(n, height // b, width // b, channels * b * b)
    return torch.pixel_unshuffle(x, b)
