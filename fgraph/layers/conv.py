"""Convolutions of one, two and three dimensions, on torch's own modules."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn
from torch.nn import functional as F

from .. import activations
from ..errors import BuildError
from .arguments import one_of, sizes, whole
from .base import Layer
from .channels import (
    CONVOLUTIONS,
    image,
    in_memory_format,
    is_channels_last,
    pad_same,
    to_first,
    to_last,
)
from .weight_spec import KERNEL, kernel_and_bias


class BaseConv(Layer):
    """What all convolutions share: their arguments, the data format and the activation.

    Args:
        kernel_size: the size of the window, a number for each spatial axis or one for all.
        strides: its step, likewise.
        padding: `"valid"`, none; `"same"`, so much that the output has `ceil(size / stride)`
            steps; in one dimension also `"causal"`, all of it before the first step.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        dilation_rate: the distance of neighbours in the window.
        activation: a name or function; linear by default.
        use_bias: whether a bias is added.
        **options: initializers, regularizers and constraints of the weights, and those of every
            `Layer`.

    Raises:
        ValueError: a size is not positive, or a name is not known.
    """

    rank: ClassVar[int]

    def __init__(
        self,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = None,
        use_bias: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        kind = type(self).__name__
        self.kernel_size = sizes(kind, "kernel_size", kernel_size, self.rank)
        self.strides = sizes(kind, "strides", strides, self.rank)
        self.dilation_rate = sizes(kind, "dilation_rate", dilation_rate, self.rank)
        self.padding = one_of(kind, "padding", padding, self._paddings())
        self.channels_last = is_channels_last(kind, data_format)
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.expects = image(self.rank, self.channels_last, features=True)

    def _paddings(self) -> tuple[str, ...]:
        return ("valid", "same")

    def build(self, input_shape: Any) -> nn.Module:
        """Make the module, its kernel in the memory format of the data."""
        channels = input_shape[-1 if self.channels_last else 1]
        return in_memory_format(self.convolution(channels), self.rank, self.channels_last)

    def convolution(self, channels: int) -> nn.Module:
        """Make the module for this number of input channels."""
        raise NotImplementedError

    def call(self, x: Any) -> Any:
        """Record the padding, the convolution and the activation."""
        made = self.convolve(to_first(x, self.channels_last))
        if activations.is_elementwise(self.activation):
            return to_last(self.activation(made), self.channels_last)
        return self.activation(to_last(made, self.channels_last))

    def convolve(self, x: Any) -> Any:
        """Record what happens to a channels-first tensor."""
        return self._module(self._padded(x))

    def _conv(self, channels: int, filters: int, groups: int, bias: bool) -> nn.Module:
        """Make a convolution with this layer's window, and torch's own padding where it has it."""
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
        """Whether the same padding goes on both sides, whatever the size of the input."""
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
            for size, window in zip(x.shape[2:], reach, strict=True)
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
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        groups: int = 1,
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
        self.groups = whole(kind, "groups", groups)
        if filters % groups:
            raise ValueError(f"{kind}: filters={filters} is not divisible by groups={groups}")

    def _paddings(self) -> tuple[str, ...]:
        return ("valid", "same", "causal") if self.rank == 1 else ("valid", "same")

    def convolution(self, channels: int) -> nn.Module:
        """Make the `nn.Conv`."""
        if channels % self.groups:
            kind = type(self).__name__
            raise BuildError(
                f"{kind}: {channels} channels are not divisible by {self.groups} groups"
            )
        return self._conv(channels, self.filters, self.groups, self.use_bias)


class Conv1D(_Conv):
    """A convolution over steps, as Keras's `Conv1D`; the module is an `nn.Conv1d`.

    Args: `filters`, the number of output channels; `groups`, into which channels are split; the
        others are those of `BaseConv`, `padding="causal"` among them.

    Input shape: `(batch, steps, channels)`. Output shape: `(batch, new steps, filters)`.
    """

    rank = 1


class Conv2D(_Conv):
    """A convolution over images, as Keras's `Conv2D`; the module is an `nn.Conv2d`.

    Args: `filters`, the number of output channels; `groups`, into which channels are split; the
        others are those of `BaseConv`.

    Input shape: `(batch, height, width, channels)`.
    Output shape: `(batch, new height, new width, filters)`.
    """

    rank = 2


class Conv3D(_Conv):
    """A convolution over volumes, as Keras's `Conv3D`; the module is an `nn.Conv3d`.

    Args: `filters`, the number of output channels; `groups`, into which channels are split; the
        others are those of `BaseConv`.

    Input shape: `(batch, depth, height, width, channels)`.
    Output shape: the same axes, `filters` channels.
    """

    rank = 3
