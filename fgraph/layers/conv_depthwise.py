"""Convolutions of each channel separately, and those followed by one over channels."""

from __future__ import annotations

from typing import Unpack

from torch import nn

from ..activations import ActivationLike
from ..constraints import ConstraintLike
from ..initializers import InitializerLike
from ..regularizers import RegularizerLike
from .arguments import BaseOptions, Sizes, integer
from .conv import BaseConv
from .data_format import CONVOLUTIONS
from .weight_layout import DEPTHWISE, KERNEL, Weight


class _DepthwiseConv(BaseConv):
    """Base of `DepthwiseConv1D` and `DepthwiseConv2D`."""

    keras_weights = (
        Weight("kernel", ("weight",), DEPTHWISE, "glorot_uniform", option="depthwise"),
        Weight("bias", ("bias",)),
    )

    def __init__(
        self,
        kernel_size: Sizes,
        strides: Sizes = 1,
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: Sizes = 1,
        activation: ActivationLike = None,
        use_bias: bool = True,
        depthwise_initializer: InitializerLike = "glorot_uniform",
        bias_initializer: InitializerLike = "zeros",
        depthwise_regularizer: RegularizerLike = None,
        bias_regularizer: RegularizerLike = None,
        activity_regularizer: RegularizerLike = None,
        depthwise_constraint: ConstraintLike = None,
        bias_constraint: ConstraintLike = None,
        **options: Unpack[BaseOptions],
    ) -> None:
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias,
            activity_regularizer=activity_regularizer, **options,
        )  # fmt: skip
        self._set_weight_options(locals())
        kind = type(self).__name__
        self.depth_multiplier = integer(kind, "depth_multiplier", depth_multiplier)

    def convolution(self, channels: int) -> nn.Module:
        """Make the `nn.Conv` with as many groups as channels."""
        return self._conv(channels, channels * self.depth_multiplier, channels, self.use_bias)


class DepthwiseConv1D(_DepthwiseConv):
    """Convolve each channel of sequences separately.

    Equivalent to Keras's `DepthwiseConv1D`; the module is an `nn.Conv1d` with a group for each
        channel.

    Args:
        kernel_size: Size of the window.
        strides: Step of the window.
        padding: `"valid"`, none, or `"same"`: zeros at both ends so that the output has
            `ceil(steps / strides)` steps.
        depth_multiplier: Number of output channels for each input channel.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        dilation_rate: Distance between neighbors in the window.
        activation: Name or function. Defaults to none, a linear layer.
        use_bias: Whether to add a bias.
        depthwise_initializer, bias_initializer: Initial values by name, object or function.
        depthwise_regularizer, bias_regularizer: Penalties on the weights.
        activity_regularizer: Penalty on the output.
        depthwise_constraint, bias_constraint: Functions applied to the weights after each step.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`.

    Input shape: `(batch, steps, channels)`, floating-point.

    Output shape: `(batch, new steps, channels * depth_multiplier)`.

    Raises:
        ValueError: A size is not positive, or a name is not known.
        BuildError: The input does not fit, or its number of channels is not known.

    Example:
        >>> x = Input((32, 8))
        >>> layers.DepthwiseConv1D(3, padding="same", depth_multiplier=2)(x).shape
        (None, 32, 16)
    """

    rank = 1


class DepthwiseConv2D(_DepthwiseConv):
    """Convolve each channel of images separately.

    Equivalent to Keras's `DepthwiseConv2D`; the module is an `nn.Conv2d` with a group for each
        channel.

    Args:
        kernel_size: Size of the window: 2 numbers, or one for all axes.
        strides: Step of the window, likewise.
        padding: `"valid"`, none, or `"same"`: zeros around the input so that the output has
            `ceil(size / stride)` steps along each axis.
        depth_multiplier: Number of output channels for each input channel.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        dilation_rate: Distance between neighbors in the window, likewise.
        activation: Name or function. Defaults to none, a linear layer.
        use_bias: Whether to add a bias.
        depthwise_initializer, bias_initializer: Initial values by name, object or function.
        depthwise_regularizer, bias_regularizer: Penalties on the weights.
        activity_regularizer: Penalty on the output.
        depthwise_constraint, bias_constraint: Functions applied to the weights after each step.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`.

    Input shape: `(batch, height, width, channels)`, floating-point.

    Output shape: `(batch, new height, new width, channels * depth_multiplier)`.

    Raises:
        ValueError: A size is not positive, or a name is not known.
        BuildError: The input does not fit, or its number of channels is not known.

    Example:
        >>> x = Input((28, 28, 3))
        >>> layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x).shape
        (None, 28, 28, 6)
    """

    rank = 2


class _SeparableConv(BaseConv):
    """Base of `SeparableConv1D` and `SeparableConv2D`."""

    keras_weights = (
        Weight("depthwise_kernel", ("0.weight",), DEPTHWISE, "glorot_uniform", option="depthwise"),
        Weight("pointwise_kernel", ("1.weight",), KERNEL, "glorot_uniform", option="pointwise"),
        Weight("bias", ("1.bias",)),
    )

    def __init__(
        self,
        filters: int,
        kernel_size: Sizes,
        strides: Sizes = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Sizes = 1,
        depth_multiplier: int = 1,
        activation: ActivationLike = None,
        use_bias: bool = True,
        depthwise_initializer: InitializerLike = "glorot_uniform",
        pointwise_initializer: InitializerLike = "glorot_uniform",
        bias_initializer: InitializerLike = "zeros",
        depthwise_regularizer: RegularizerLike = None,
        pointwise_regularizer: RegularizerLike = None,
        bias_regularizer: RegularizerLike = None,
        activity_regularizer: RegularizerLike = None,
        depthwise_constraint: ConstraintLike = None,
        pointwise_constraint: ConstraintLike = None,
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
        self.depth_multiplier = integer(kind, "depth_multiplier", depth_multiplier)

    def convolution(self, channels: int) -> nn.Module:
        """Make the pair of convolutions."""
        wide = channels * self.depth_multiplier
        return nn.Sequential(
            self._conv(channels, wide, channels, False),
            CONVOLUTIONS[self.rank](wide, self.filters, 1, bias=self.use_bias),
        )


class SeparableConv1D(_SeparableConv):
    """Convolve each channel of sequences separately, then combine the channels.

    Equivalent to Keras's `SeparableConv1D`; the module is an `nn.Sequential` of two `nn.Conv1d`.

    Args:
        filters: Number of output channels.
        kernel_size: Size of the window.
        strides: Step of the window.
        padding: `"valid"`, none, or `"same"`: zeros at both ends so that the output has
            `ceil(steps / strides)` steps, or `"causal"`, with all zeros before the first step.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        dilation_rate: Distance between neighbors in the window.
        depth_multiplier: Number of channels in between for each input channel.
        activation: Name or function. Defaults to none, a linear layer.
        use_bias: Whether to add a bias.
        depthwise_initializer, pointwise_initializer, bias_initializer: Initial values by name,
            object or function.
        depthwise_regularizer, pointwise_regularizer, bias_regularizer: Penalties on the weights.
        activity_regularizer: Penalty on the output.
        depthwise_constraint, pointwise_constraint, bias_constraint: Functions applied to the
            weights after each
            step.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`.

    Input shape: `(batch, steps, channels)`, floating-point.

    Output shape: `(batch, new steps, filters)`.

    Raises:
        ValueError: A size is not positive, or a name is not known.
        BuildError: The input does not fit, or its number of channels is not known.

    Example:
        >>> x = Input((32, 8))
        >>> layers.SeparableConv1D(16, 3, padding="same")(x).shape
        (None, 32, 16)
    """

    rank = 1


class SeparableConv2D(_SeparableConv):
    """Convolve each channel of images separately, then combine the channels.

    Equivalent to Keras's `SeparableConv2D`; the module is an `nn.Sequential` of two `nn.Conv2d`.

    Args:
        filters: Number of output channels.
        kernel_size: Size of the window: 2 numbers, or one for all axes.
        strides: Step of the window, likewise.
        padding: `"valid"`, none, or `"same"`: zeros around the input so that the output has
            `ceil(size / stride)` steps along each axis.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        dilation_rate: Distance between neighbors in the window, likewise.
        depth_multiplier: Number of channels in between for each input channel.
        activation: Name or function. Defaults to none, a linear layer.
        use_bias: Whether to add a bias.
        depthwise_initializer, pointwise_initializer, bias_initializer: Initial values by name,
            object or function.
        depthwise_regularizer, pointwise_regularizer, bias_regularizer: Penalties on the weights.
        activity_regularizer: Penalty on the output.
        depthwise_constraint, pointwise_constraint, bias_constraint: Functions applied to the
            weights after each
            step.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`.

    Input shape: `(batch, height, width, channels)`, floating-point.

    Output shape: `(batch, new height, new width, filters)`.

    Raises:
        ValueError: A size is not positive, or a name is not known.
        BuildError: The input does not fit, or its number of channels is not known.

    Example:
        >>> x = Input((28, 28, 3))
        >>> layers.SeparableConv2D(16, 3, padding="same")(x).shape
        (None, 28, 28, 16)
    """

    rank = 2


# the other names that Keras has for these classes
SeparableConvolution1D = SeparableConv1D
SeparableConvolution2D = SeparableConv2D
