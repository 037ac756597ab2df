"""Keras's activation functions, written in torch; they work on real and symbolic tensors alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .absent.missing_names import missing_names
from .common.named_objects import look_up, serialized
from .graph.recording.one_operation import one_operation

Activation = Callable[[Tensor], Tensor]
ActivationLike = str | Activation | Mapping[str, Any] | None


def linear(x: Tensor) -> Tensor:
    """Return `x` itself."""
    return x


@one_operation
def relu(
    x: Tensor, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0
) -> Tensor:
    """Return `max(x, 0)`, in its general form `x` where it is at least `threshold`.

    Args:
        x: a tensor of any shape.
        negative_slope: the slope below the threshold.
        max_value: the largest value of the result; none by default.
        threshold: where the slope of one begins.
    """
    if threshold:
        positive = torch.where(x > threshold, x, 0.0)
        x = (
            positive + negative_slope * (x - threshold).clamp(max=0.0)
            if negative_slope
            else positive
        )
    else:
        x = F.leaky_relu(x, negative_slope) if negative_slope else torch.relu(x)
    return x if max_value is None else torch.clamp(x, max=max_value)


def leaky_relu(x: Tensor, negative_slope: float = 0.2) -> Tensor:
    """Return `x`, times `negative_slope` where it is negative."""
    return F.leaky_relu(x, negative_slope)


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """Return `x`, or `alpha * (exp(x) - 1)` where it is negative."""
    return F.elu(x, alpha)


def celu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """Return `x`, or `alpha * (exp(x / alpha) - 1)` where it is negative."""
    return F.celu(x, alpha)


def gelu(x: Tensor, approximate: bool = False) -> Tensor:
    """Return `x * Phi(x)`, by its tanh approximation if `approximate`."""
    return F.gelu(x, approximate="tanh") if approximate else F.gelu(x)


def glu(x: Tensor, axis: int = -1) -> Tensor:
    """Return the first half along `axis` times the sigmoid of the second half."""
    return F.glu(x, axis)


def softmax(x: Tensor, axis: int = -1) -> Tensor:
    """Return the exponentials, divided by their sum along `axis`."""
    return torch.softmax(x, dim=axis)


def log_softmax(x: Tensor, axis: int = -1) -> Tensor:
    """Return the logarithm of the softmax along `axis`."""
    return torch.log_softmax(x, dim=axis)


@one_operation
def sparsemax(x: Tensor, axis: int = -1) -> Tensor:
    """Return the projection onto the simplex along `axis` (Martins and Astudillo, 2016)."""
    x = x.movedim(axis, -1)
    ordered = torch.sort(x, dim=-1, descending=True).values
    above = torch.cumsum(ordered, -1) - 1.0
    rank = torch.cumsum(torch.ones_like(x), -1)
    support = (rank * ordered > above).sum(-1, keepdim=True)
    threshold = torch.gather(above, -1, support - 1) / support
    return torch.relu(x - threshold).movedim(-1, axis)


@one_operation
def sparse_plus(x: Tensor) -> Tensor:
    """Return 0 below -1, `x` above 1, and the parabola `(x + 1)² / 4` between."""
    return torch.where(x < 1.0, (x + 1.0).clamp(min=0.0).square() / 4.0, x)


@one_operation
def sparse_sigmoid(x: Tensor) -> Tensor:
    """Return `(x + 1) / 2` clipped to [0, 1]."""
    return torch.clamp((x + 1.0) / 2.0, 0.0, 1.0)


@one_operation
def legacy_hard_sigmoid(x: Tensor) -> Tensor:
    """Return `0.2 * x + 0.5`, cut off at 0 and 1: what Keras 2 called `hard_sigmoid`."""
    return torch.clamp(0.2 * x + 0.5, 0.0, 1.0)


@one_operation
def squareplus(x: Tensor, b: float = 4.0) -> Tensor:
    """Return `(x + sqrt(x² + b)) / 2`."""
    return (x + torch.sqrt(x.square() + b)) / 2.0


def threshold(x: Tensor, threshold: float, default_value: float) -> Tensor:
    """Return `x` where it is above `threshold`, else `default_value`."""
    return F.threshold(x, threshold, default_value)


sigmoid = torch.sigmoid
tanh = torch.tanh
exponential = torch.exp
softplus = F.softplus
softsign = F.softsign
silu = swish = F.silu
selu = torch.selu
mish = F.mish
relu6 = F.relu6
log_sigmoid = F.logsigmoid
hard_sigmoid = F.hardsigmoid
hard_silu = hard_swish = F.hardswish
hard_tanh = F.hardtanh
hard_shrink = F.hardshrink
soft_shrink = F.softshrink
tanh_shrink = F.tanhshrink

_ELEMENTWISE: dict[str, Activation] = {
    "linear": linear, "relu": relu, "leaky_relu": leaky_relu, "elu": elu, "celu": celu,
    "gelu": gelu, "sparse_plus": sparse_plus, "sparse_sigmoid": sparse_sigmoid,
    "squareplus": squareplus, "sigmoid": sigmoid, "tanh": tanh, "exponential": exponential,
    "softplus": softplus, "softsign": softsign, "silu": silu, "swish": swish, "selu": selu,
    "mish": mish, "relu6": relu6, "log_sigmoid": log_sigmoid, "hard_sigmoid": hard_sigmoid,
    "legacy_hard_sigmoid": legacy_hard_sigmoid, "hard_silu": hard_silu,
    "hard_swish": hard_swish, "hard_tanh": hard_tanh,
    "hard_shrink": hard_shrink, "soft_shrink": soft_shrink, "tanh_shrink": tanh_shrink,
}  # fmt: skip
_ALONG_AN_AXIS: dict[str, Activation] = {
    "softmax": softmax, "log_softmax": log_softmax, "glu": glu, "sparsemax": sparsemax,
}  # fmt: skip
_KNOWN: dict[str, Activation] = {**_ELEMENTWISE, **_ALONG_AN_AXIS}


def get(identifier: ActivationLike) -> Activation:
    """Return the activation of that name, or the given function itself; `linear` for `None`.

    Raises:
        ValueError: There is no such name.
    """
    return deserialize(identifier)


def serialize(activation: Any) -> Any:
    """Return an activation as plain data, which `get` and `deserialize` take, for `get_config`.

    Args:
        activation: A function or an object.

    Returns:
        The name of a function, class and configuration of an object, `None` for `None`.

    Raises:
        TypeError: It has neither a name nor a configuration.
    """
    return serialized("activation", _KNOWN, activation)


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Activation:
    """Return the activation that `serialize` wrote.

    Args:
        config: A name, or class and configuration.
        custom_objects: Classes and functions of your own by name.

    Raises:
        ValueError: There is no such name.
    """
    if config is None:
        return linear
    return look_up("activation", _KNOWN, config, custom_objects)  # type: ignore[no-any-return]


def is_elementwise(activation: Activation) -> bool:
    """Return whether the function is known to be elementwise."""
    return any(activation is known for known in _ELEMENTWISE.values())


if not TYPE_CHECKING:
    __getattr__ = missing_names(__name__, {})
