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
from .weights import DEPTHWISE, KERNEL, Weight, kernel_and_bias

_TRANSPOSED: dict[int, type[nn.Module]] = {
    1: nn.ConvTranspose1d,
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}


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


class _ConvTranspose(BaseConv):
    """Base of `Conv1DTranspose`, `Conv2DTranspose` and `Conv3DTranspose`."""

    keras_weights = kernel_and_bias(KERNEL)

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        output_padding: Any = None,
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
        kind = type(self).__name__
        self.filters = whole(kind, "filters", filters)
        self.output_padding = (
            None
            if output_padding is None
            else sizes(kind, "output_padding", output_padding, self.rank, least=0)
        )
        axes = zip(
            self.kernel_size, self.strides, self.dilation_rate,
            self.output_padding or (None,) * self.rank,
            strict=True,
        )  # fmt: skip
        self._crops = [self._crop(*axis) for axis in axes]

    def _crop(
        self, kernel: int, stride: int, dilation: int, output_padding: int | None
    ) -> tuple[int, int]:
        """Return what to cut off before and after; a negative number adds steps."""
        reach = dilation * (kernel - 1) + 1
        if output_padding is not None:
            total = (0 if self.padding == "valid" else 2 * (reach // 2)) - output_padding
        elif self.padding == "valid":
            total = -max(stride - reach, 0)
        else:
            total = reach - stride
        before = max(total, 0) // 2  # so that it is the transpose of a padded convolution
        return before, total - before

    def convolution(self, channels: int) -> nn.Module:
        """Make the `nn.ConvTranspose`, which cuts off equally much on both sides."""
        return _TRANSPOSED[self.rank](
            channels,
            self.filters,
            self.kernel_size,
            stride=self.strides,
            padding=tuple(before for before, _ in self._crops),
            output_padding=tuple(max(before - after, 0) for before, after in self._crops),
            dilation=self.dilation_rate,
            bias=self.use_bias,
        )

    def convolve(self, x: Any) -> Any:
        """Record the module, and a slice where more is to be cut off after than before."""
        made = self._module(x)
        extra = [max(after - before, 0) for before, after in self._crops]
        if not any(extra):
            return made
        return made[(..., *(slice(None, -n if n else None) for n in extra))]


class Conv1DTranspose(_ConvTranspose):
    """The transpose of a convolution over steps, as Keras's `Conv1DTranspose`.

    The module is an `nn.ConvTranspose1d`.

    Args: `filters`, the number of output channels; `output_padding`, steps added at the end, which
        settles the output's size; the others are those of `BaseConv`.

    Input shape: `(batch, steps, channels)`. Output shape: `(batch, new steps, filters)`.
    """

    rank = 1


class Conv2DTranspose(_ConvTranspose):
    """The transpose of a convolution over images, as Keras's `Conv2DTranspose`.

    The module is an `nn.ConvTranspose2d`.

    Args: `filters`, the number of output channels; `output_padding`, rows and columns added at the
        end, which settles the output's size; the others are those of `BaseConv`.

    Input shape: `(batch, height, width, channels)`.
    Output shape: `(batch, new height, new width, filters)`.
    """

    rank = 2


class Conv3DTranspose(_ConvTranspose):
    """The transpose of a convolution over volumes, as Keras's `Conv3DTranspose`.

    The module is an `nn.ConvTranspose3d`.

    Args: `filters`, the number of output channels; `output_padding`, steps added at the end, which
        settles the output's size; the others are those of `BaseConv`.

    Input shape: `(batch, depth, height, width, channels)`.
    Output shape: the same axes, `filters` channels.
    """

    rank = 3
