"""Modules and functions behind the preprocessing layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Standardize(nn.Module):
    """`(x - mean) / sqrt(variance)`, or its inverse.

    Args:
        shape: the shape of the statistics, with ones where they are shared.
        invert: whether the inverse is meant.
        kept: the sizes of the axes that have statistics of their own.
    """

    def __init__(self, shape: Sequence[int], invert: bool, kept: Sequence[int] = ()) -> None:
        super().__init__()
        self.shape = shape
        self.invert = invert
        self.kept = kept
        self.register_buffer("mean", torch.zeros(*shape))
        self.register_buffer("variance", torch.ones(*shape))
        self.register_buffer("count", torch.zeros((), dtype=torch.int32))  # in files of Keras

    def set_statistics(self, mean: Tensor, variance: Tensor) -> None:
        """Take over statistics: numbers, or tensors of the sizes that are not one."""
        for name, value in (("mean", mean), ("variance", variance)):
            buffer = self.get_buffer(name)
            alike = value.numel() == buffer.numel()
            buffer.copy_(value.reshape(buffer.shape) if alike else value)

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the shape of `x`, `(batch, ...)`."""
        mean = self.get_buffer("mean")
        deviation = self.get_buffer("variance").sqrt().clamp(min=1e-7)
        return x * deviation + mean if self.invert else (x - mean) / deviation


def count_codes(codes: Tensor, depth: int, count: bool, weights: Tensor | None) -> Tensor:
    """Count the integers along the last axis, or mark which ones occur.

    Args:
        codes: `(..., numbers)`, each below `depth`.
        depth: the size of the new last axis.
        count: whether to count, instead of marking by a one.
        weights: how much each number counts; one by default.
    """
    ones = torch.ones_like(codes, dtype=torch.get_default_dtype()) if weights is None else weights
    made = ones.new_zeros(*codes.shape[:-1], depth).scatter_add(-1, codes, ones)
    return made if count else made.clamp(max=1.0)


def crop_to_ratio(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Crop channels-first images around the middle to the aspect ratio of `size`."""
    height, width = x.shape[2:]
    new_height = max(min(height, int(width * size[0] / size[1])), 1)
    new_width = max(min(width, int(height * size[1] / size[0])), 1)
    top, left = (height - new_height) // 2, (width - new_width) // 2
    return x[:, :, top : top + new_height, left : left + new_width]


def pad_to_ratio(x: Tensor, size: tuple[int, int], value: float) -> Tensor:
    """Pad channels-first images equally on both sides, up to the aspect ratio of `size`."""
    height, width = x.shape[2:]
    rows = (max(height, int(width * size[0] / size[1])) - height) // 2
    columns = (max(width, int(height * size[1] / size[0])) - width) // 2
    return F.pad(x, (columns, columns, rows, rows), value=value)
