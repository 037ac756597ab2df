"""Activation functions as layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from .. import activations
from .arguments import Expects
from .base import Layer
from .modules.activation import PReLUByAxes
from .weight_spec import Weight


class Activation(Layer):
    """An activation function by name or as a function, as Keras's `Activation`.

    Args:
        activation: a name that `fgraph.activations` knows, or a function.
        **options: those of every `Layer`.

    Input and output shape: any, equal.

    Raises:
        ValueError: the name is not known.
    """

    supports_masking = True

    def __init__(self, activation: Any, **options: Any) -> None:
        super().__init__(**options)
        self.activation = activations.get(activation)

    def call(self, x: Any) -> Any:
        """Record the function."""
        return self.activation(x)


class ReLU(Layer):
    """`max(x, 0)` in its general form, as Keras's `ReLU`.

    Args:
        max_value: the largest value of the result; none by default.
        negative_slope: the slope below the threshold.
        threshold: where the slope of one begins.
        **options: those of every `Layer`.

    Input and output shape: any, equal.

    Raises:
        ValueError: an argument is negative.
    """

    supports_masking = True

    def __init__(
        self,
        max_value: float | None = None,
        negative_slope: float = 0.0,
        threshold: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        for argument, value in (
            ("max_value", max_value),
            ("negative_slope", negative_slope),
            ("threshold", threshold),
        ):
            if value is not None and value < 0:
                raise ValueError(f"ReLU: {argument}= expects no negative number, got {value!r}")
        self.max_value = max_value
        self.negative_slope = negative_slope
        self.threshold = threshold

    def call(self, x: Any) -> Any:
        """Record the function."""
        return activations.relu(x, self.negative_slope, self.max_value, self.threshold)


class LeakyReLU(Layer):
    """`x`, times a slope where it is negative, as Keras's `LeakyReLU`.

    Args:
        negative_slope: the slope.
        **options: those of every `Layer`.

    Input and output shape: any, equal.
    """

    supports_masking = True

    def __init__(self, negative_slope: float = 0.3, **options: Any) -> None:
        super().__init__(**options)
        self.negative_slope = negative_slope

    def call(self, x: Any) -> Any:
        """Record the function."""
        return activations.leaky_relu(x, self.negative_slope)


class ELU(Layer):
    """`x`, or `alpha * (exp(x) - 1)` where it is negative, as Keras's `ELU`.

    Args:
        alpha: the limit below zero.
        **options: those of every `Layer`.

    Input and output shape: any, equal.
    """

    supports_masking = True

    def __init__(self, alpha: float = 1.0, **options: Any) -> None:
        super().__init__(**options)
        self.alpha = alpha

    def call(self, x: Any) -> Any:
        """Record the function."""
        return activations.elu(x, self.alpha)


class Softmax(Layer):
    """Exponentials divided by their sum, as Keras's `Softmax`; masked entries get zero.

    Args:
        axis: the axis, or axes, to sum over.
        **options: those of every `Layer`.

    Input and output shape: any, equal.
    """

    supports_masking = True

    def __init__(self, axis: int | Sequence[int] = -1, **options: Any) -> None:
        super().__init__(**options)
        self.axis = axis

    def call(self, x: Any, mask: Any = None) -> Any:
        """Record the softmax over one axis, or by logarithms over several."""
        if mask is not None:
            x = x.masked_fill(torch.logical_not(mask), torch.finfo(x.dtype).min)
        if isinstance(self.axis, int):
            made = torch.softmax(x, dim=self.axis)
        else:
            made = torch.exp(x - torch.logsumexp(x, tuple(self.axis), keepdim=True))
        return made if mask is None else made * mask


class PReLU(Layer):
    """`x`, times a learned slope where it is negative, as Keras's `PReLU`.

    Every position has a slope of its own, but along `shared_axes`. One slope for each feature of
    the last axis is torch's `nn.PReLU` after a transpose; the module here keeps Keras's layout.

    Args:
        shared_axes: the axes, from 1, along which the slope is shared.
        **options: `alpha_initializer` and the like, and those of every `Layer`.

    Input and output shape: `(batch, ...)`, equal.
    """

    keras_weights = (Weight("alpha", ("weight",)),)
    expects = Expects(("batch", "..."), "floating")
    supports_masking = True

    def __init__(self, *, shared_axes: int | Sequence[int] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.shared_axes = (
            [shared_axes] if isinstance(shared_axes, int) else list(shared_axes or ())
        )

    def build(self, input_shape: Any) -> nn.Module:
        """Make the slopes."""
        shared = {axis % len(input_shape) for axis in self.shared_axes}
        shape = [1 if axis in shared else size for axis, size in enumerate(input_shape)][1:]
        if None in shape:
            raise ValueError(
                f"PReLU has a slope for each position, but sizes of {input_shape} are not known: "
                "name those axes in shared_axes="
            )
        return PReLUByAxes(shape)

    def call(self, x: Any) -> Any:
        """Record the module."""
        return self._module(x)
