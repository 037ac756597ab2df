"""Color conversions of images: gray values; hue, saturation and value.

The functions take and return one tensor for each channel, real or symbolic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


def grayscale(planes: Sequence[Any]) -> Any:
    """Return gray values of red, green and blue."""
    red, green, blue = planes
    return 0.2989 * red + 0.587 * green + 0.114 * blue


def hsv_planes(planes: Sequence[Any]) -> tuple[Any, Any, Any]:
    """Return hue, saturation and value of red, green and blue."""
    tiny = torch.finfo(planes[0].dtype).eps
    red, green, blue = (torch.where(plane.abs() < tiny, 0.0, plane) for plane in planes)
    value = torch.maximum(torch.maximum(red, green), blue)
    spread = value - torch.minimum(torch.minimum(red, green), blue)
    saturation = torch.where(value > 0, spread / torch.where(value > 0, value, 1.0), 0.0)
    step = 1 / (6 * torch.where(spread > 0, spread, 1.0))
    hue = torch.where(value == green, step * (blue - red) + 2 / 6, step * (red - green) + 4 / 6)
    hue = torch.where(value == red, step * (green - blue), hue)
    hue = torch.where(spread > 0, hue, 0.0)
    return hue + (hue < 0).to(hue.dtype), saturation, value


def rgb_planes(planes: Sequence[Any]) -> tuple[Any, ...]:
    """Return red, green and blue of hue, saturation and value."""
    hue, saturation, value = planes
    turn = hue % 1.0 * 6.0
    shares = (
        ((turn - 3.0).abs() - 1.0).clamp(0.0, 1.0),
        (2.0 - (turn - 2.0).abs()).clamp(0.0, 1.0),
        (2.0 - (turn - 4.0).abs()).clamp(0.0, 1.0),
    )
    return tuple(value * (1.0 - saturation + saturation * share) for share in shares)
