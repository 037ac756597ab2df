"""Convolutions of one, two and three dimensions, on torch's own modules."""

from __future__ import annotations

from typing import Any, ClassVar, Unpack

from torch import nn
from torch.nn import functional as F

from .. import activations
from ..activations import ActivationLike
from ..constraints import ConstraintLike
from ..errors import BuildError
from ..initializers import InitializerLike
from ..regularizers import RegularizerLike
from .arguments import BaseOptions, Sizes, integer, integers, one_of
from .base import Layer
from .data_format import (
    CONVOLUTIONS,
    image,
    in_memory_format,
    is_channels_last,
    pad_same,
    to_first,
    to_last,
)
from .weight_layout import KERNEL, kernel_and_bias


class BaseConv(Layer):
    """Base of all convolutions: their window, the data format and the activation."""

    rank: ClassVar[int]

    def __init__(
        self,
        kernel_size: Sizes,
        strides: Sizes,
        padding: str,
        data_format: str | None,
        dilation_rate: Sizes,
        activation: ActivationLike,
        use_bias: bool,
        *,
        causal: bool = False,
        activity_regularizer: RegularizerLike,
        **options: Unpack[BaseOptions],
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **options)
        kind = type(self).__name__
        self.kernel_size = integers(kind, "kernel_size", kernel_size, self.rank)
        self.strides = integers(kind, "strides", strides, self.rank)
        self.dilation_rate = integers(kind, "dilation_rate", dilation_rate, self.rank)
        paddings = ("valid", "same", "causal") if causal and self.rank == 1 else ("valid", "same")
        self.padding = one_of(kind, "padding", padding, paddings)
        self.channels_last = is_channels_last(kind, data_format)
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.expects = image(self.rank, self.channels_last, features=True)

    def build(self, input_shape: Any) -> nn.Module:
        """Make the module, its kernel in the memory format of the data."""
        channels = input_shape[-1 if self.channels_last else 1]
        return in_memory_format(self.convolution(channels), self.rank, self.channels_last)

    def convolution(self, channels: int) -> nn.Module:
        """Make the module for this number of input channels."""
        raise NotImplementedError

    def call(self, inputs: Any) -> Any:
        """Record the padding, the convolution and the activation."""
        made = self.convolve(to_first(inputs, self.channels_last))
        if activations.is_elementwise(self.activation):
            return to_last(self.activation(made), self.channels_last)
        return self.activation(to_last(made, self.channels_last))

    def convolve(self, x: Any) -> Any:
        """Record what happens to a channels-first tensor."""
        return self._module(self._padded(x))

    def _conv(self, channels: int, filters: int, groups: int, bias: bool) -> nn.Module:
        """Make a convolution with this layer's window, and torch's own padding if it fits."""
        made: nn.Module = CONVOLUTIONS[self.rank](
            channels,
            filters,
            self.kernel_size,
            stride=self.strides,
            padding="same" if self._torch_pads else 0,
            dilation=self.dilation_rate,
            groups=groups,
            bias=bias,
        )
        return made

    @property
    def _torch_pads(self) -> bool:
        """Whether the padding is equal on both sides for any size of the input."""
        reach = zip(self.kernel_size, self.dilation_rate, strict=True)
        even = all(dilation * (kernel - 1) % 2 == 0 for kernel, dilation in reach)
        return self.padding == "same" and set(self.strides) == {1} and even

    def _padded(self, x: Any) -> Any:
        """Record the padding that torch's modules do not do themselves."""
        if self.padding == "causal":
            return F.pad(x, (self.dilation_rate[0] * (self.kernel_size[0] - 1), 0))
        if self.padding == "same" and not self._torch_pads:
            return pad_same(x, self.kernel_size, self.strides, self.dilation_rate)
        self._refuse_small(x)
        return x

    def _refuse_small(self, x: Any) -> None:
        """Refuse an unpadded input that is smaller than the window."""
        reach = [d * (k - 1) + 1 for k, d in zip(self.kernel_size, self.dilation_rate, strict=True)]
        small = any(
            size is not None and size < window
            for size, window in zip(x.spec.shape[2:], reach, strict=True)
        )
        if self.padding == "valid" and small:
            raise BuildError(
                f"{type(self).__name__}: a window of {tuple(reach)} does not fit into an input of "
                f'{x.shape[2:]}; use a smaller kernel or padding="same"'
            )


class _Conv(BaseConv):
    """Base of `Conv1D`, `Conv2D` and `Conv3D`."""

    keras_weights = kernel_and_bias(KERNEL)

    def __init__(
        self,
        filters: int,
        kernel_size: Sizes,
        strides: Sizes = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Sizes = 1,
        groups: int = 1,
        activation: ActivationLike = None,
        use_bias: bool = True,
        kernel_initializer: InitializerLike = "glorot_uniform",
        bias_initializer: InitializerLike = "zeros",
        kernel_regularizer: RegularizerLike = None,
        bias_regularizer: RegularizerLike = None,
        activity_regularizer: RegularizerLike = None,
        kernel_constraint: ConstraintLike = None,
        bias_constraint: ConstraintLike = None,
        **options: Unpack[BaseOptions],
    ) -> None:
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias,
            causal=True, activity_regularizer=activity_regularizer, **options,
        )  # fmt: skip
        self._set_weight_options(locals())
        kind = type(self).__name__
        self.filters = integer(kind, "filters", filters)
        self.groups = integer(kind, "groups", groups)
        if filters % groups:
            raise ValueError(f"{kind}: filters={filters} is not divisible by groups={groups}")

    def convolution(self, channels: int) -> nn.Module:
        """Make the `nn.Conv`."""
        if channels % self.groups:
            kind = type(self).__name__
            raise BuildError(
                f"{kind}: {channels} channels are not divisible by {self.groups} groups"
            )
        return self._conv(channels, self.filters, self.groups, self.use_bias)


class Conv1D(_Conv):
    """Convolve sequences.

    Equivalent to Keras's `Conv1D`; the module is an `nn.Conv1d`.

    Args:
        filters: Number of output channels.
        kernel_size: Size of the window.
        strides: Step of the window.
        padding: `"valid"`, none, or `"same"`: zeros at both ends so that the output has
            `ceil(steps / strides)` steps, or `"causal"`, with all zeros before the first step.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        dilation_rate: Distance between neighbors in the window.
        groups: Number of groups that channels and filters are split into.
        activation: Name or function. Defaults to none, a linear layer.
        use_bias: Whether to add a bias.
        kernel_initializer, bias_initializer: Initial values by name, object or function.
        kernel_regularizer, bias_regularizer: Penalties on the weights.
        activity_regularizer: Penalty on the output.
        kernel_constraint, bias_constraint: Functions applied to the weights after each step.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`.

    Input shape: `(batch, steps, channels)`, floating-point.

    Output shape: `(batch, new steps, filters)`.

    Raises:
        ValueError: A size is not positive, or a name is not known.
        BuildError: The input does not fit, or its number of channels is not known.

    Example:
        >>> x = Input((32, 8))
        >>> layers.Conv1D(16, 3, padding="same", activation="relu")(x).shape
        (None, 32, 16)
    """

    rank = 1


class Conv2D(_Conv):
    """Convolve images.

    Equivalent to Keras's `Conv2D`; the module is an `nn.Conv2d`.

    Args:
        filters: Number of output channels.
        kernel_size: Size of the window: 2 numbers, or one for all axes.
        strides: Step of the window, likewise.
        padding: `"valid"`, none, or `"same"`: zeros around the input so that the output has
            `ceil(size / stride)` steps along each axis.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        dilation_rate: Distance between neighbors in the window, likewise.
        groups: Number of groups that channels and filters are split into.
        activation: Name or function. Defaults to none, a linear layer.
        use_bias: Whether to add a bias.
        kernel_initializer, bias_initializer: Initial values by name, object or function.
        kernel_regularizer, bias_regularizer: Penalties on the weights.
        activity_regularizer: Penalty on the output.
        kernel_constraint, bias_constraint: Functions applied to the weights after each step.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`.

    Input shape: `(batch, height, width, channels)`, floating-point.

    Output shape: `(batch, new height, new width, filters)`.

    Raises:
        ValueError: A size is not positive, or a name is not known.
        BuildError: The input does not fit, or its number of channels is not known.

    Example:
        >>> x = Input((28, 28, 3))
        >>> layers.Conv2D(16, 3, padding="same", activation="relu")(x).shape
        (None, 28, 28, 16)
    """

    rank = 2


class Conv3D(_Conv):
    """Convolve volumes.

    Equivalent to Keras's `Conv3D`; the module is an `nn.Conv3d`.

    Args:
        filters: Number of output channels.
        kernel_size: Size of the window: 3 numbers, or one for all axes.
        strides: Step of the window, likewise.
        padding: `"valid"`, none, or `"same"`: zeros around the input so that the output has
            `ceil(size / stride)` steps along each axis.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        dilation_rate: Distance between neighbors in the window, likewise.
        groups: Number of groups that channels and filters are split into.
        activation: Name or function. Defaults to none, a linear layer.
        use_bias: Whether to add a bias.
        kernel_initializer, bias_initializer: Initial values by name, object or function.
        kernel_regularizer, bias_regularizer: Penalties on the weights.
        activity_regularizer: Penalty on the output.
        kernel_constraint, bias_constraint: Functions applied to the weights after each step.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`.

    Input shape: `(batch, depth, height, width, channels)`, floating-point.

    Output shape: `(batch, new depth, new height, new width, filters)`.

    Raises:
        ValueError: A size is not positive, or a name is not known.
        BuildError: The input does not fit, or its number of channels is not known.

    Example:
        >>> x = Input((8, 16, 16, 3))
        >>> layers.Conv3D(16, 3, padding="same", activation="relu")(x).shape
        (None, 8, 16, 16, 16)
    """

    rank = 3


# the other names that Keras has for these classes
Convolution1D = Conv1D
Convolution2D = Conv2D
Convolution3D = Conv3D
