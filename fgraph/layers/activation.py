"""Activation functions as layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Unpack

import torch
from torch import nn

from .. import activations
from ..activations import ActivationLike
from ..constraints import ConstraintLike
from ..initializers import InitializerLike
from ..regularizers import RegularizerLike
from .arguments import LayerOptions
from .base import Layer
from .input_checks import Expects
from .modules.activation import PReLUByAxes
from .weight_layout import Weight


class Activation(Layer):
    """Apply an activation function, given by name or as a function.

    Equivalent to Keras's `Activation`; the function is recorded as it is.

    Args:
        activation: Name that `fgraph.activations` knows, or a function.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: any.

    Output shape: that of the input.

    Differs from Keras: `sparsemax` sums to one in every rank; Keras on torch is wrong there.

    Raises:
        ValueError: The name is not known.

    Example:
        >>> x = Input((10,))
        >>> layers.Activation("softplus")(x).shape
        (None, 10)
    """

    supports_masking = True

    def __init__(self, activation: ActivationLike, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.activation = activations.get(activation)

    def call(self, inputs: Any) -> Any:
        """Record the function."""
        return self.activation(inputs)


class ReLU(Layer):
    """Compute `max(x, 0)`, or its general form with a slope, a limit and a threshold.

    Equivalent to Keras's `ReLU`; the function is `fgraph.activations.relu`.

    Args:
        max_value: The largest value of the result. Defaults to none.
        negative_slope: Slope below the threshold.
        threshold: Where the slope of one begins.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: any.

    Output shape: that of the input.

    Raises:
        ValueError: An argument is negative.

    Example:
        >>> x = Input((10,))
        >>> layers.ReLU(max_value=6.0)(x).shape
        (None, 10)
    """

    supports_masking = True

    def __init__(
        self,
        max_value: float | None = None,
        negative_slope: float = 0.0,
        threshold: float = 0.0,
        **options: Unpack[LayerOptions],
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
        self.negative_slope = negative_slope or 0.0
        self.threshold = threshold or 0.0

    def call(self, inputs: Any) -> Any:
        """Record the function."""
        return activations.relu(inputs, self.negative_slope, self.max_value, self.threshold)


class LeakyReLU(Layer):
    """Compute `x`, times a slope where it is negative.

    Equivalent to Keras's `LeakyReLU`; the function is `torch.nn.functional.leaky_relu`.

    Args:
        negative_slope: Slope of negative values.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: any.

    Output shape: that of the input.

    Example:
        >>> x = Input((10,))
        >>> layers.LeakyReLU(0.1)(x).shape
        (None, 10)
    """

    supports_masking = True
    unsupported: ClassVar = {"alpha": "Keras 3 calls it negative_slope="}

    def __init__(self, negative_slope: float = 0.3, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.negative_slope = negative_slope

    def call(self, inputs: Any) -> Any:
        """Record the function."""
        return activations.leaky_relu(inputs, self.negative_slope)


class ELU(Layer):
    """Compute `x`, or `alpha * (exp(x) - 1)` where it is negative.

    Equivalent to Keras's `ELU`; the function is `torch.nn.functional.elu`.

    Args:
        alpha: The limit below zero, negated.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: any.

    Output shape: that of the input.

    Example:
        >>> x = Input((10,))
        >>> layers.ELU()(x).shape
        (None, 10)
    """

    supports_masking = True

    def __init__(self, alpha: float = 1.0, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.alpha = alpha

    def call(self, inputs: Any) -> Any:
        """Record the function."""
        return activations.elu(inputs, self.alpha)


class Softmax(Layer):
    """Compute exponentials divided by their sum; masked entries get zero.

    Equivalent to Keras's `Softmax`; the function is `torch.softmax`.

    Args:
        axis: Axis, or axes, to sum over.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: any; `mask=` at the call has the shape of the input.

    Output shape: that of the input.

    Example:
        >>> x = Input((10,))
        >>> layers.Softmax()(x).shape
        (None, 10)
    """

    supports_masking = True
    expects = Expects(("batch", "..."), "floating")

    def __init__(self, axis: int | Sequence[int] = -1, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.axis = axis

    def call(self, inputs: Any, mask: Any = None) -> Any:
        """Record the softmax over one axis, or by logarithms over several."""
        if mask is not None:
            inputs = inputs.masked_fill(torch.logical_not(mask), torch.finfo(inputs.dtype).min)
        if isinstance(self.axis, int):
            made = torch.softmax(inputs, dim=self.axis)
        else:
            made = torch.exp(inputs - torch.logsumexp(inputs, tuple(self.axis), keepdim=True))
        return made if mask is None else made * mask


class PReLU(Layer):
    """Compute `x`, times a learned slope where it is negative.

    Equivalent to Keras's `PReLU`: each position has a slope of its own, except along
    `shared_axes`. torch's `nn.PReLU` has one slope for each channel.

    Args:
        alpha_initializer: Initial slopes, by name, object or function.
        alpha_regularizer: Penalty on the slopes.
        alpha_constraint: Function applied to the slopes after each step.
        shared_axes: Axes, counted from 1, along which the slope is shared. Defaults to none.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, ...)`, floating-point.

    Output shape: that of the input.

    Raises:
        ValueError: A size along an axis that is not shared is not known.

    Example:
        >>> x = Input((28, 28, 3))
        >>> layers.PReLU(shared_axes=[1, 2])(x).shape
        (None, 28, 28, 3)
    """

    keras_weights = (Weight("alpha", ("weight",)),)
    expects = Expects(("batch", "..."), "floating")
    supports_masking = True

    def __init__(
        self,
        alpha_initializer: InitializerLike = "zeros",
        alpha_regularizer: RegularizerLike = None,
        alpha_constraint: ConstraintLike = None,
        shared_axes: int | Sequence[int] | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self._set_weight_options(locals())
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

    def call(self, inputs: Any) -> Any:
        """Record the module."""
        return self._module(inputs)
