"""Convolutional long short-term memories."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from .. import activations
from ..errors import BuildError
from .arguments import Expects, fraction, one_of, sizes, whole
from .channels import CONVOLUTIONS, image, is_channels_last
from .modules.conv_lstm import ConvLSTM
from .recurrent import Recurrent
from .weight_spec import KERNEL, Weight


class BaseConvLSTM(Recurrent):
    """What `ConvLSTM1D`, `2D` and `3D` share.

    Args:
        filters: the number of output channels.
        kernel_size: the size of the window, a number for each spatial axis or one for all.
        strides: its step over the input, likewise.
        padding: `"valid"` or `"same"`, for the input; states keep their size.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        dilation_rate: the distance of neighbours in the input's window.
        activation: what the cell's input and output go through.
        recurrent_activation: what the gates go through.
        use_bias: whether a bias is added.
        unit_forget_bias: whether the bias of the forget gate begins at one.
        dropout: the share of input values that training drops, the same ones at every step.
        recurrent_dropout: likewise of the state.
        seed: gives the dropouts random numbers of their own.
        **options: initializers, regularizers and constraints of `kernel`, `recurrent` and `bias`;
            those of `Recurrent` and of every `Layer`.
    """

    rank: ClassVar[int]
    keras_weights = (
        Weight("kernel", ("input_conv.weight",), KERNEL, "glorot_uniform"),
        Weight(
            "recurrent_kernel", ("recurrent_conv.weight",), KERNEL, "orthogonal", True, "recurrent"
        ),
        Weight("bias", ("input_conv.bias",)),
    )

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        *,
        unit_forget_bias: bool = True,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        kind = type(self).__name__
        self.filters = whole(kind, "filters", filters)
        self.kernel_size = sizes(kind, "kernel_size", kernel_size, self.rank)
        self.strides = sizes(kind, "strides", strides, self.rank)
        self.padding = one_of(kind, "padding", padding, ("valid", "same"))
        self.channels_last = is_channels_last(kind, data_format)
        self.dilation_rate = sizes(kind, "dilation_rate", dilation_rate, self.rank)
        self.activation = activations.get(activation)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.use_bias = use_bias
        self.unit_forget_bias = unit_forget_bias
        self.dropout = fraction(kind, "dropout", dropout)
        self.recurrent_dropout = fraction(kind, "recurrent_dropout", recurrent_dropout)
        self.seed = seed
        one = image(self.rank, self.channels_last)
        batch, *axes = one.axes or ()
        self.expects = Expects((batch, "steps", *axes), "floating", -1 if self.channels_last else 2)

    def build(self, *input_shapes: Any) -> nn.Module:
        """Make both convolutions and the loop."""
        shape = input_shapes[0]
        channels = shape[-1 if self.channels_last else 2]
        spatial = shape[2:-1] if self.channels_last else shape[3:]
        if None in spatial:
            raise BuildError(
                f"{type(self).__name__} keeps states of the size of its images, which have to be "
                f"known; got {shape}"
            )
        batch = self.kept_batch_size(shape)
        return ConvLSTM(
            self._conv(channels, self.strides, self.dilation_rate, self.use_bias),
            self._conv(self.filters, (1,) * self.rank, (1,) * self.rank, False),
            self.activation,
            self.recurrent_activation,
            same=self.padding == "same",
            dropout=self.dropout,
            recurrent_dropout=self.recurrent_dropout,
            state_shape=None if batch is None else (batch, self.filters, *self._sizes(spatial)),
            seed=self.seed,
        )

    def _conv(self, channels: int, strides: Any, dilation: Any, bias: bool) -> nn.Module:
        """Make a convolution to the four gates, without padding."""
        made: nn.Module = CONVOLUTIONS[self.rank](
            channels, 4 * self.filters, self.kernel_size, strides, dilation=dilation, bias=bias
        )
        return made

    def _sizes(self, spatial: tuple[int, ...]) -> tuple[int, ...]:
        """Return the sizes of the states."""
        axes = zip(spatial, self.kernel_size, self.strides, self.dilation_rate, strict=True)
        if self.padding == "same":
            return tuple(-(-size // stride) for size, _, stride, _ in axes)
        return tuple((size - d * (k - 1) - 1) // stride + 1 for size, k, stride, d in axes)

    def _initialize(self) -> None:
        super()._initialize()
        if self.use_bias and self.unit_forget_bias:
            with torch.no_grad():
                self._module.input_conv.bias[self.filters : 2 * self.filters].fill_(1.0)

    def run(self, x: Any, states: Any, mask: Any, training: bool | None) -> tuple[Any, list[Any]]:
        """Record the module on a tensor whose channels come after the steps."""
        outputs, last = self._module(
            self._first(x, 2), None if states is None else [self._first(s, 1) for s in states],
            mask, training,
        )  # fmt: skip
        made = self._last(outputs, 2) if self.return_sequences else self._last(outputs[:, -1], 1)
        return made, [self._last(state, 1) for state in last]

    def _first(self, x: Any, axis: int) -> Any:
        return x.movedim(-1, axis) if self.channels_last else x

    def _last(self, x: Any, axis: int) -> Any:
        return x.movedim(axis, -1) if self.channels_last else x


class ConvLSTM1D(BaseConvLSTM):
    """A convolutional LSTM over rows, as Keras's `ConvLSTM1D`.

    Args: those of `BaseConvLSTM`.

    Input shape: `(batch, steps, rows, channels)`. Output shape: `(batch, new rows, filters)`, or
    `(batch, steps, new rows, filters)` with `return_sequences`.
    """

    rank = 1


class ConvLSTM2D(BaseConvLSTM):
    """A convolutional LSTM over images, as Keras's `ConvLSTM2D`.

    Args: those of `BaseConvLSTM`.

    Input shape: `(batch, steps, height, width, channels)`. Output shape: `(batch, new height, new
    width, filters)`, or with the steps after the batch with `return_sequences`.
    """

    rank = 2


class ConvLSTM3D(BaseConvLSTM):
    """A convolutional LSTM over volumes, as Keras's `ConvLSTM3D`.

    Args: those of `BaseConvLSTM`.

    Input shape: `(batch, steps, depth, height, width, channels)`. Output shape: `(batch, new
    depth, new height, new width, filters)`, or with the steps after the batch with
    `return_sequences`.
    """

    rank = 3
