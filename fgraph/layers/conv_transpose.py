"""Transposed convolutions."""

from __future__ import annotations

from typing import Any

from torch import nn

from .arguments import sizes, whole
from .conv import BaseConv
from .weight_spec import KERNEL, kernel_and_bias

_TRANSPOSED: dict[int, type[nn.Module]] = {
    1: nn.ConvTranspose1d,
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}


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
