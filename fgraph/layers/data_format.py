"""Data formats: Keras puts channels last, torch's kernels take them first."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..graph import apply
from .arguments import one_of
from .input_checks import Expects

CONVOLUTIONS: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_SPATIAL = {1: ("steps",), 2: ("height", "width"), 3: ("depth", "height", "width")}
_MEMORY_FORMATS = {2: torch.channels_last, 3: torch.channels_last_3d}


def is_channels_last(owner: str, data_format: str | None) -> bool:
    """Return whether the data format, `None` for Keras's default, has channels last.

    Raises:
        ValueError: the name is not known.
    """
    known = ("channels_last", "channels_first")
    return one_of(owner, "data_format", data_format or known[0], known) == known[0]


def image(rank: int, channels_last: bool, *, features: bool = False) -> Expects:
    """Return the input specification of a layer that works on sequences, images or volumes.

    Args:
        rank: the number of spatial axes.
        channels_last: where the channels are.
        features: whether the number of channels has to be known.
    """
    spatial = _SPATIAL[rank]
    axes = (*spatial, "channels") if channels_last else ("channels", *spatial)
    axis = (-1 if channels_last else 1) if features else None
    return Expects(("batch", *axes), "floating", axis)


def to_first(x: Any, channels_last: bool = True) -> Any:
    """Return `x` with the last axis second; no copy is made.

    A contiguous `(batch, height, width, channels)` tensor viewed this way is in torch's
    channels_last memory format; `to_last` restores the original strides.
    """
    return x.permute(0, x.ndim - 1, *range(1, x.ndim - 1)) if channels_last else x


def to_last(x: Any, channels_last: bool = True) -> Any:
    """Return `x` with the second axis last; no copy is made."""
    return x.permute(0, *range(2, x.ndim), 1) if channels_last else x


def spatial_axes(rank: int, channels_last: bool) -> tuple[int, ...]:
    """Return the spatial axes of a batch."""
    return tuple(range(1, rank + 1) if channels_last else range(2, rank + 2))


def in_memory_format(module: nn.Module, rank: int, channels_last: bool) -> nn.Module:
    """Convert kernels to the memory format of the data once, so that no call has to."""
    if channels_last and rank in _MEMORY_FORMATS:
        return module.to(memory_format=_MEMORY_FORMATS[rank])  # type: ignore[call-overload, no-any-return]
    return module


def same_padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Return what `padding="same"` adds before and after: the output has `ceil(size / stride)`."""
    reach = dilation * (kernel - 1) + 1
    total = max((-(-size // stride) - 1) * stride + reach - size, 0)
    return total // 2, total - total // 2


def pad_same(
    x: Any,
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilation: tuple[int, ...],
    value: float = 0.0,
) -> Any:
    """Pad a channels-first tensor as `padding="same"` does, at run time where sizes are unknown."""
    if None in x.spec.shape[2:]:
        return apply(pad_to_same, x, kernel, strides, dilation, value)
    widths = _widths(x.spec.shape[2:], kernel, strides, dilation)
    return F.pad(x, widths, value=value) if any(widths) else x


def pad_to_same(
    x: Tensor,
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilation: tuple[int, ...],
    value: float,
) -> Tensor:
    """Pad a real channels-first tensor as `padding="same"` does."""
    return F.pad(x, _widths(x.shape[2:], kernel, strides, dilation), value=value)


def _widths(shape: Any, *settings: tuple[int, ...]) -> tuple[int, ...]:
    """Return the paddings in the order of `F.pad`: the last axis first."""
    found = [same_padding(*axis) for axis in zip(shape, *settings, strict=True)]
    return tuple(width for pair in reversed(found) for width in pair)
