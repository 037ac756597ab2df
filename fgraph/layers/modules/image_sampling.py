"""Interpolation between pixels of images, by the conventions of scipy's `map_coordinates`.

The functions are written in torch calls alone, for real and symbolic tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Indices = list[tuple[Any, Any]]  # indices along an axis, and the weight of what is there


def _mirrored(index: Tensor, size: Any) -> Tensor:
    """Return indices mirrored at the centers of the first and last pixel."""
    if isinstance(size, int) and size == 1:
        return torch.zeros_like(index)
    reach = 2 * (size - 1)
    folded = index.abs() % reach
    return torch.minimum(folded, reach - folded)


def _reflected(index: Tensor, size: Any) -> Tensor:
    """Return indices mirrored at the outer edges of the first and last pixel."""
    folded = torch.where(index < 0, -index - 1, index) % (2 * size)
    return torch.minimum(folded, 2 * size - 1 - folded)


def _nearest(index: Tensor, size: Any) -> Tensor:
    return torch.clamp(index, min=0, max=size - 1)


INSIDE: dict[str, Callable[[Tensor, Any], Tensor]] = {
    "constant": _nearest,
    "nearest": _nearest,
    "wrap": lambda index, size: index % size,
    "mirror": _mirrored,
    "reflect": _reflected,
}
ORDERS = {"nearest": 0, "bilinear": 1}


def sample(
    x: Any,
    coordinates: Sequence[Any],
    order: int,
    fill_mode: str,
    fill_value: float,
    leading: Sequence[Any] = (),
) -> Any:
    """Return the values of a tensor at coordinates between its elements.

    Args:
        x: values, `(*leading axes, *axes of the coordinates, ...)`.
        coordinates: a tensor for each axis, of equal shapes.
        order: 0 for the nearest element, 1 for linear interpolation.
        fill_mode: how to fill outside of the image: a key of `INSIDE`.
        fill_value: that value, for `"constant"`.
        leading: indices along leading axes, which broadcast with the coordinates.

    Returns:
        Values in the shape of the coordinates, and the other axes of `x`.
    """
    floating = x.dtype.is_floating_point
    sizes = x.shape[len(leading) : len(leading) + len(coordinates)]
    nodes = [_nodes(c, order) for c in coordinates]
    extra = (1,) * (x.ndim - len(leading) - len(coordinates))
    total: Any = 0.0
    for corner in product(*nodes):
        fixed = [INSIDE[fill_mode](index, n) for (index, _), n in zip(corner, sizes, strict=True)]
        found = x[(*leading, *fixed)]
        if fill_mode == "constant":
            inside = [
                (index >= 0) & (index < n) for (index, _), n in zip(corner, sizes, strict=True)
            ]
            valid = inside[0]
            for other in inside[1:]:
                valid = valid & other
            found = torch.where(valid.reshape(*valid.shape, *extra), found, fill_value)
        weight: Any = None
        for _, part in corner:
            if part is not None:
                weight = part if weight is None else weight * part
        total = total + (found if weight is None else found * weight.reshape(*weight.shape, *extra))
    return total.to(x.dtype) if floating else torch.round(total).to(x.dtype)


def _nodes(coordinate: Any, order: int) -> Indices:
    """Return the elements that a value between them is made of."""
    if not coordinate.dtype.is_floating_point:
        return [(coordinate.long(), None)]
    if order == 0:
        return [(torch.round(coordinate).long(), None)]
    lower = torch.floor(coordinate)
    above = coordinate - lower
    return [(lower.long(), 1 - above), (lower.long() + 1, above)]


def sample_images(
    images: Any, rows: Any, columns: Any, interpolation: str, fill_mode: str, fill_value: float
) -> Any:
    """Return the values of channels-last images at rows and columns, each `(batch, ...)`."""
    batch = torch.arange(images.shape[0], device=images.device).reshape(-1, 1, 1)
    return sample(images, [rows, columns], ORDERS[interpolation], fill_mode, fill_value, [batch])


def grid(images: Any, dtype: torch.dtype) -> tuple[Any, Any]:
    """Return the rows `(height, 1)` and columns `(width,)` of channels-last images."""
    rows = torch.arange(images.shape[1], dtype=dtype, device=images.device).unsqueeze(1)
    return rows, torch.arange(images.shape[2], dtype=dtype, device=images.device)


def affine(
    images: Any, transform: Any, interpolation: str, fill_mode: str, fill_value: float
) -> Any:
    """Transform channels-last images by the coefficients `(a0, a1, a2, b0, b1, b2, ...)`.

    Args:
        images: `(batch, height, width, channels)`.
        transform: `(batch, 8)`, or 1 for all: the pixel at `(x, y)` comes from
            `(a0 x + a1 y + a2, b0 x + b1 y + b2)`.
        interpolation: `"bilinear"` or `"nearest"`.
        fill_mode: how to fill outside of the image: a key of `INSIDE`.
        fill_value: that value, for `"constant"`.
    """
    a0, a1, a2, b0, b1, b2 = (transform[:, i].reshape(-1, 1, 1) for i in range(6))
    rows, columns = grid(images, transform.dtype)
    return sample_images(
        images, b0 * columns + b1 * rows + b2, a0 * columns + a1 * rows + a2, interpolation,
        fill_mode, fill_value,
    )  # fmt: skip


def homography(start: Any, end: Any) -> Any:
    """Return the 8 numbers of the projections that take the end points to the start points.

    Args:
        start, end: four points `(x, y)` each, `(batch, 4, 2)`.
    """
    x, y, u, v = end[..., 0], end[..., 1], start[..., 0], start[..., 1]
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    first = torch.stack([x, y, one, zero, zero, zero, -u * x, -u * y], dim=-1)
    second = torch.stack([zero, zero, zero, x, y, one, -v * x, -v * y], dim=-1)
    return torch.linalg.solve(torch.cat([first, second], dim=1), torch.cat([u, v], dim=1))


def perspective(images: Any, numbers: Any, interpolation: str, fill_value: float) -> Any:
    """Transform channels-last images by the coefficients of `homography`, `(batch or 1, 8)`."""
    a0, a1, a2, b0, b1, b2, c0, c1 = (numbers[:, i].reshape(-1, 1, 1) for i in range(8))
    rows, columns = grid(images, numbers.dtype)
    scale = c0 * columns + c1 * rows + 1
    x, y = (a0 * columns + a1 * rows + a2) / scale, (b0 * columns + b1 * rows + b2) / scale
    return sample_images(images, y, x, interpolation, "constant", fill_value)


def gaussian(size: int, sigma: Any, like: Any) -> Any:
    """Return the weights of a Gaussian window, which add up to one."""
    places = torch.arange(size, dtype=like.dtype, device=like.device) - (size - 1) / 2
    weights = torch.exp(-0.5 * (places / sigma) ** 2)
    return weights / weights.sum()


def blur(images: Any, kernel_size: Sequence[int], sigma: Sequence[Any]) -> Any:
    """Return channels-first images blurred by a Gaussian, zero outside.

    Args:
        images: `(batch, channels, height, width)`.
        kernel_size: the height and width of the window, odd.
        sigma: the standard deviations along width and height.
    """
    height, width = kernel_size
    flat = images.flatten(0, 1).unsqueeze(1)
    rows = gaussian(height, sigma[1], images).reshape(1, 1, -1, 1)
    columns = gaussian(width, sigma[0], images).reshape(1, 1, 1, -1)
    made = F.conv2d(flat, rows, padding=(height // 2, 0))
    made = F.conv2d(made, columns, padding=(0, width // 2))
    return made.reshape(images.shape)


def rotation(height: Any, width: Any, angle: Any) -> Any:
    """Return affine transforms, `(batch, 8)`, that turn images around their middle.

    Args:
        height, width: the size of the images.
        angle: radians, `(batch,)`.
    """
    cos, sin = torch.cos(angle), torch.sin(angle)
    x = ((width - 1) - (cos * (width - 1) - sin * (height - 1))) / 2
    y = ((height - 1) - (sin * (width - 1) + cos * (height - 1))) / 2
    zero = torch.zeros_like(cos)
    return torch.stack([cos, -sin, x, sin, cos, y, zero, zero], dim=-1)


def radians(fraction: Any) -> Any:
    """Return the angle of a fraction of a turn."""
    return fraction * (2 * math.pi)
