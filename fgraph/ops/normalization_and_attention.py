"""Normalizations, and attention."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..losses.base import EPSILON
from .conversion import Axis, axis_list, beside, floating, promoted, tensor
from .reduction import moments, var

__all__ = [
    "batch_normalization", "dot_product_attention", "layer_normalization", "normalize",
    "rms_normalization",
]  # fmt: skip


def normalize(x: Any, axis: Axis = -1, order: int = 2, epsilon: float | None = None) -> Tensor:
    """Return `x` divided by its norm along axes.

    Args:
        x: Values, of any shape.
        axis: Axis, or several.
        order: The order of the norm, at least 1.
        epsilon: The smallest denominator. Defaults to 1e-7.

    Raises:
        ValueError: The order is not a whole number of at least 1.
    """
    if not isinstance(order, int) or order < 1:
        raise ValueError(f"normalize expects an order of at least 1, got {order!r}")
    x = floating(x)
    x = x.unsqueeze(0) if x.ndim == 0 else x
    dims = axis_list(axis, x.ndim)
    length = torch.linalg.vector_norm(x, order, dim=dims, keepdim=True)
    return x / length.clamp(min=EPSILON if epsilon is None else epsilon)


def batch_normalization(
    x: Any,
    mean: Any,
    variance: Any,
    axis: int,
    offset: Any = None,
    scale: Any = None,
    epsilon: float = 1e-3,
) -> Tensor:
    """Return `(x - mean) / sqrt(variance + epsilon) * scale + offset`.

    Args:
        x: Values, of any shape.
        mean, variance: Statistics, one for each place along the axis.
        axis: The axis.
        offset, scale: Added and multiplied, of the same shape; none by default.
        epsilon: Added to the variance.
    """
    x = tensor(x)
    shape = [-1 if dim == axis % x.ndim else 1 for dim in range(x.ndim)]
    factor = torch.rsqrt(beside(x, variance) + epsilon)
    if scale is not None:
        factor = factor * beside(x, scale)
    made = (x - beside(x, mean).reshape(shape)) * factor.reshape(shape)
    return made if offset is None else made + beside(x, offset).reshape(shape)


def _continuous(axis: Axis, rank: int) -> list[int] | None:
    """Return axes that are the last ones of a tensor, `None` for others."""
    dims = axis_list(axis, rank)
    return dims if dims == list(range(rank - len(dims), rank)) else None


def _like_axes(value: Any, x: Tensor, axis: Axis) -> Any:
    """Return a weight for these axes in a shape that broadcasts with `x`."""
    if value is None or tensor(value).ndim == x.ndim:
        return value
    dims = axis_list(axis, x.ndim)
    return tensor(value).reshape([x.shape[i] if i in dims else 1 for i in range(x.ndim)])


def layer_normalization(
    x: Any,
    gamma: Any = None,
    beta: Any = None,
    axis: Axis = -1,
    epsilon: float | None = None,
    **kwargs: Any,
) -> Tensor:
    """Return `x` less its mean, divided by its standard deviation along axes.

    Args:
        x: Values, of any shape.
        gamma, beta: Multiplied and added, of the sizes of the axes; none by default.
        axis: Axis, or several.
        epsilon: Added to the variance. Defaults to 1e-7.
        **kwargs: `rms_scaling=True`: divide by the standard deviation only, as in Keras 2; to
            divide by the root of the mean square, use `rms_normalization`.

    Raises:
        TypeError: A keyword is not known.
    """
    rms_scaling = kwargs.pop("rms_scaling", False)
    if kwargs:
        raise TypeError(f"layer_normalization got an unknown argument {sorted(kwargs)[0]!r}")
    x = floating(x)
    epsilon = EPSILON if epsilon is None else epsilon
    dims = _continuous(axis, x.ndim)
    flat = all(value is None or tensor(value).ndim == len(dims or ()) for value in (gamma, beta))
    if dims and flat and not rms_scaling:
        sizes = tuple(x.shape[dim] for dim in dims)
        given = [None if value is None else tensor(value, x.dtype) for value in (gamma, beta)]
        return F.layer_norm(x, sizes, given[0], given[1], epsilon)
    gamma, beta = (_like_axes(value, x, axis) for value in (gamma, beta))
    if rms_scaling:
        made = x * torch.rsqrt(var(x, axis, True) + epsilon)
        return made if gamma is None else made * gamma
    mean, variance = moments(x, axis, True)
    made = (x - mean) * torch.rsqrt(variance + epsilon)
    made = made if gamma is None else made * gamma
    return made if beta is None else made + beta


def rms_normalization(
    x: Any, scale: Any = None, axis: Axis = -1, epsilon: float | None = None
) -> Tensor:
    """Return `x` divided by the root of its mean square along axes (Zhang and Sennrich, 2019).

    Args:
        x: Values, of any shape.
        scale: Multiplied, of the sizes of the axes; none by default.
        axis: Axis, or several.
        epsilon: Added to the mean square. Defaults to 1e-7.
    """
    x = floating(x)
    epsilon = EPSILON if epsilon is None else epsilon
    dims = _continuous(axis, x.ndim)
    if dims and (scale is None or tensor(scale).ndim == len(dims)):
        weight = None if scale is None else tensor(scale, x.dtype)
        return F.rms_norm(x, tuple(x.shape[dim] for dim in dims), weight, epsilon)
    mean_square = x.square().mean(axis_list(axis, x.ndim), keepdim=True)
    made = x * torch.rsqrt(mean_square + epsilon)
    return made if scale is None else made * _like_axes(scale, x, axis)


def dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    bias: Any = None,
    mask: Any = None,
    scale: float | None = None,
    is_causal: bool = False,
    flash_attention: bool | None = None,
    attn_logits_soft_cap: float | None = None,
) -> Tensor:
    """Return scaled dot-product attention (Vaswani et al., 2017).

    Args:
        query: Queries, `(batch, query steps, heads, size)`.
        key: Keys, `(batch, key steps, key heads, size)`, whose number of heads divides `heads`.
        value: Values, of the shape of `key`.
        bias: Added to the scores, of a shape that broadcasts with `(batch, heads, query steps, key
            steps)`.
        mask: True where a query sees a key, likewise.
        scale: Factor of the scores. Defaults to `1 / sqrt(size)`.
        is_causal: Whether no query sees the keys after it.
        flash_attention: Accepted for compatibility with Keras; torch chooses the kernel.
        attn_logits_soft_cap: Soft bound on the scores, by a hyperbolic tangent.

    Returns:
        Weighted values, of the shape of `query`.

    Raises:
        ValueError: There are not four axes, or both of bias and mask are given.
    """
    q, k, v = promoted(query, key, value)
    if not q.ndim == k.ndim == v.ndim == 4:
        raise ValueError(
            f"dot_product_attention expects (batch, steps, heads, size), got {q.shape}, {k.shape} "
            f"and {v.shape}"
        )
    if bias is not None and mask is not None:
        raise ValueError("dot_product_attention expects either bias= or mask=, not both")
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    if k.shape[1] != q.shape[1]:
        k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for x in (k, v))
    shown: Any = None if mask is None else beside(q, mask, torch.bool)
    if is_causal and (shown is not None or bias is not None or attn_logits_soft_cap is not None):
        steps = torch.ones((q.shape[2], k.shape[2]), dtype=torch.bool, device=q.device).tril()
        shown = steps if shown is None else shown & steps
    if attn_logits_soft_cap is None and (bias is None or shown is None):
        seen = shown if bias is None else beside(q, bias, q.dtype)
        causal = is_causal and seen is None
        made = F.scaled_dot_product_attention(q, k, v, seen, is_causal=causal, scale=scale)
        return made.transpose(1, 2)
    scores = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    if attn_logits_soft_cap is not None:
        scores = attn_logits_soft_cap * torch.tanh(scores / attn_logits_soft_cap)
    scores = scores if bias is None else scores + beside(q, bias, q.dtype)
    if shown is not None:
        scores = scores.masked_fill(~shown, torch.finfo(q.dtype).min)
    return (torch.softmax(scores, -1) @ v).transpose(1, 2)
