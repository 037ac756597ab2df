"""Activation functions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .. import activations
from .conversion import Axis, axis_list, tensor

__all__ = [
    "celu", "elu", "gelu", "glu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_swish",
    "hard_tanh", "leaky_relu", "log_sigmoid", "log_softmax", "relu", "relu6", "selu", "sigmoid",
    "silu", "soft_shrink", "softmax", "softplus", "softsign", "sparse_plus", "sparse_sigmoid",
    "sparsemax", "squareplus", "swish", "tanh_shrink", "threshold",
]  # fmt: skip


def relu(x: Any) -> Tensor:
    """Return `max(x, 0)`."""
    return torch.relu(tensor(x))


def relu6(x: Any) -> Tensor:
    """Return `x` clipped to [0, 6]."""
    return F.relu6(tensor(x))


def leaky_relu(x: Any, negative_slope: float = 0.2) -> Tensor:
    """Return `x`, times `negative_slope` where it is negative."""
    return F.leaky_relu(tensor(x), negative_slope)


def elu(x: Any, alpha: float = 1.0) -> Tensor:
    """Return `x`, or `alpha * (exp(x) - 1)` where it is negative."""
    return F.elu(tensor(x), alpha)


def celu(x: Any, alpha: float = 1.0) -> Tensor:
    """Return `x`, or `alpha * (exp(x / alpha) - 1)` where it is negative."""
    return F.celu(tensor(x), alpha)


def selu(x: Any) -> Tensor:
    """Return the scaled `elu` that keeps mean 0 and variance 1."""
    return torch.selu(tensor(x))


def gelu(x: Any, approximate: bool = True) -> Tensor:
    """Return `x * Phi(x)`, by its tanh approximation if `approximate`."""
    return F.gelu(tensor(x), approximate="tanh" if approximate else "none")


def glu(x: Any, axis: int = -1) -> Tensor:
    """Return the first half along an axis times the sigmoid of the second half."""
    return F.glu(tensor(x), axis)


def sigmoid(x: Any) -> Tensor:
    """Return `1 / (1 + exp(-x))`."""
    return torch.sigmoid(tensor(x))


def log_sigmoid(x: Any) -> Tensor:
    """Return the logarithm of the sigmoid."""
    return F.logsigmoid(tensor(x))


def hard_sigmoid(x: Any) -> Tensor:
    """Return `x / 6 + 1 / 2` clipped to [0, 1]."""
    return F.hardsigmoid(tensor(x))


def silu(x: Any) -> Tensor:
    """Return `x * sigmoid(x)`."""
    return F.silu(tensor(x))


def hard_silu(x: Any) -> Tensor:
    """Return `x * hard_sigmoid(x)`."""
    return F.hardswish(tensor(x))


def hard_tanh(x: Any) -> Tensor:
    """Return `x` clipped to [-1, 1]."""
    return F.hardtanh(tensor(x))


def hard_shrink(x: Any, threshold: float = 0.5) -> Tensor:
    """Return `x`, and 0 where it is within `threshold` of 0."""
    return F.hardshrink(tensor(x), threshold)


def soft_shrink(x: Any, threshold: float = 0.5) -> Tensor:
    """Return `x` moved by `threshold` towards 0, and 0 where it is within."""
    return F.softshrink(tensor(x), threshold)


def tanh_shrink(x: Any) -> Tensor:
    """Return `x - tanh(x)`."""
    return F.tanhshrink(tensor(x))


def threshold(x: Any, threshold: float, default_value: float) -> Tensor:
    """Return `x` where it is above `threshold`, else `default_value`."""
    return F.threshold(tensor(x), threshold, default_value)


def softplus(x: Any) -> Tensor:
    """Return `log(1 + exp(x))`."""
    return F.softplus(tensor(x))


def softsign(x: Any) -> Tensor:
    """Return `x / (1 + |x|)`."""
    return F.softsign(tensor(x))


def sparse_plus(x: Any) -> Tensor:
    """Return 0 below -1, `x` above 1, and the parabola `(x + 1)² / 4` between."""
    return activations.sparse_plus(tensor(x))


def sparse_sigmoid(x: Any) -> Tensor:
    """Return `(x + 1) / 2` clipped to [0, 1]."""
    return activations.sparse_sigmoid(tensor(x))


def sparsemax(x: Any, axis: int = -1) -> Tensor:
    """Return the projection onto the simplex along an axis (Martins and Astudillo, 2016)."""
    return activations.sparsemax(tensor(x), axis)


def squareplus(x: Any, b: float = 4) -> Tensor:
    """Return `(x + sqrt(x² + b)) / 2`."""
    return activations.squareplus(tensor(x), b)


def softmax(x: Any, axis: Axis = -1) -> Tensor:
    """Return the exponentials, divided by their sum along axes; over all axes for `None`."""
    return _along(torch.softmax, x, axis)


def log_softmax(x: Any, axis: Axis = -1) -> Tensor:
    """Return the logarithm of the softmax along axes; over all axes for `None`."""
    return _along(torch.log_softmax, x, axis)


def _along(function: Any, x: Any, axis: Axis) -> Tensor:
    """Call a function of torch for one axis on several, put last and flattened for it."""
    x = tensor(x)
    if isinstance(axis, int):
        return function(x, dim=axis)  # type: ignore[no-any-return]
    dims = axis_list(axis, x.ndim)
    last = list(range(x.ndim - len(dims), x.ndim))
    moved = x.movedim(dims, last)
    made = function(moved.flatten(last[0]), dim=-1).reshape(moved.shape)
    return made.movedim(last, dims)  # type: ignore[no-any-return]


swish = silu
hard_swish = hard_silu
