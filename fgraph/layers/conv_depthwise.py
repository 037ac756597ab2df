"""Convolutions of each channel by itself, and those followed by one over channels."""

from __future__ import annotations

from typing import Any

from torch import nn

from .arguments import whole
from .channels import CONVOLUTIONS
from .conv import BaseConv
from .weight_spec import DEPTHWISE, KERNEL, Weight, kernel_and_bias


class _DepthwiseConv(BaseConv):
    """Base of `DepthwiseConv1D` and `DepthwiseConv2D`."""

    keras_weights = kernel_and_bias(DEPTHWISE, "depthwise")

    def __init__(
        self,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = None,
        use_bias: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias,
            **options,
        )  # fmt: skip
        self.depth_multiplier = whole(type(self).__name__, "depth_multiplier", depth_multiplier)

    def convolution(self, channels: int) -> nn.Module:
        """Make the `nn.Conv` with as many groups as channels."""
        return self._conv(channels, channels * self.depth_multiplier, channels, self.use_bias)


class DepthwiseConv1D(_DepthwiseConv):
    """A convolution of each channel by itself, as Keras's `DepthwiseConv1D`.

    The module is an `nn.Conv1d` whose groups are the channels.

    Args: `depth_multiplier`, the number of outputs of each channel; the others are those of
        `BaseConv`; `depthwise_initializer` and the like.

    Input shape: `(batch, steps, channels)`.
    Output shape: `(batch, new steps, channels * depth_multiplier)`.
    """

    rank = 1


class DepthwiseConv2D(_DepthwiseConv):
    """A convolution of each channel by itself, as Keras's `DepthwiseConv2D`.

    The module is an `nn.Conv2d` whose groups are the channels.

    Args: `depth_multiplier`, the number of outputs of each channel; the others are those of
        `BaseConv`; `depthwise_initializer` and the like.

    Input shape: `(batch, height, width, channels)`.
    Output shape: `(batch, new height, new width, channels * depth_multiplier)`.
    """

    rank = 2


class _SeparableConv(BaseConv):
    """Base of `SeparableConv1D` and `SeparableConv2D`."""

    keras_weights = (
        Weight("depthwise", ("0.weight",), DEPTHWISE, "glorot_uniform"),
        Weight("pointwise", ("1.weight",), KERNEL, "glorot_uniform"),
        Weight("bias", ("1.bias",)),
    )

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias,
            **options,
        )  # fmt: skip
        kind = type(self).__name__
        self.filters = whole(kind, "filters", filters)
        self.depth_multiplier = whole(kind, "depth_multiplier", depth_multiplier)

    def _paddings(self) -> tuple[str, ...]:
        return ("valid", "same", "causal") if self.rank == 1 else ("valid", "same")

    def convolution(self, channels: int) -> nn.Module:
        """Make the pair of convolutions."""
        wide = channels * self.depth_multiplier
        return nn.Sequential(
            self._conv(channels, wide, channels, False),
            CONVOLUTIONS[self.rank](wide, self.filters, 1, bias=self.use_bias),
        )


class SeparableConv1D(_SeparableConv):
    """A depthwise convolution, then one over channels, as Keras's `SeparableConv1D`.

    The module is an `nn.Sequential` of two `nn.Conv1d`.

    Args: `filters`, the number of output channels; `depth_multiplier`, the number of outputs of
        each channel in between; the others are those of `BaseConv`; `depthwise_initializer`,
        `pointwise_initializer` and the like.

    Input shape: `(batch, steps, channels)`. Output shape: `(batch, new steps, filters)`.
    """

    rank = 1


class SeparableConv2D(_SeparableConv):
    """A depthwise convolution, then one over channels, as Keras's `SeparableConv2D`.

    The module is an `nn.Sequential` of two `nn.Conv2d`.

    Args: `filters`, the number of output channels; `depth_multiplier`, the number of outputs of
        each channel in between; the others are those of `BaseConv`; `depthwise_initializer`,
        `pointwise_initializer` and the like.

    Input shape: `(batch, height, width, channels)`.
    Output shape: `(batch, new height, new width, filters)`.
    """

    rank = 2
