"""Convolutional long short-term memories."""

from __future__ import annotations

from typing import Any, ClassVar, Unpack

import torch
from torch import nn

from .. import activations
from ..activations import ActivationLike
from ..constraints import ConstraintLike
from ..errors import BuildError
from ..initializers import InitializerLike
from ..regularizers import RegularizerLike
from .arguments import BaseOptions, Sizes, fraction, integer, integers, one_of
from .data_format import CONVOLUTIONS, image, is_channels_last
from .input_checks import Expects
from .modules.conv_lstm import ConvLSTM
from .recurrent import Recurrent
from .weight_layout import KERNEL, Weight


class _ConvLSTM(Recurrent):
    """Base of `ConvLSTM1D`, `2D` and `3D`."""

    rank: ClassVar[int]
    keras_weights = (
        Weight("kernel", ("input_conv.weight",), KERNEL, "glorot_uniform"),
        Weight(
            "recurrent_kernel", ("recurrent_conv.weight",), KERNEL, "orthogonal", option="recurrent"
        ),
        Weight("bias", ("input_conv.bias",)),
    )

    def __init__(
        self,
        filters: int,
        kernel_size: Sizes,
        strides: Sizes = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Sizes = 1,
        activation: ActivationLike = "tanh",
        recurrent_activation: ActivationLike = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: InitializerLike = "glorot_uniform",
        recurrent_initializer: InitializerLike = "orthogonal",
        bias_initializer: InitializerLike = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: RegularizerLike = None,
        recurrent_regularizer: RegularizerLike = None,
        bias_regularizer: RegularizerLike = None,
        activity_regularizer: RegularizerLike = None,
        kernel_constraint: ConstraintLike = None,
        recurrent_constraint: ConstraintLike = None,
        bias_constraint: ConstraintLike = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        **options: Unpack[BaseOptions],
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **options)
        self._set_weight_options(locals())
        self._set_sequences(return_sequences, return_state, go_backwards, stateful)
        kind = type(self).__name__
        self.filters = integer(kind, "filters", filters)
        self.kernel_size = integers(kind, "kernel_size", kernel_size, self.rank)
        self.strides = integers(kind, "strides", strides, self.rank)
        self.padding = one_of(kind, "padding", padding, ("valid", "same"))
        self.channels_last = is_channels_last(kind, data_format)
        self.dilation_rate = integers(kind, "dilation_rate", dilation_rate, self.rank)
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


class ConvLSTM1D(_ConvLSTM):
    """Run a convolutional LSTM over sequences of rows.

    Equivalent to Keras's `ConvLSTM1D` (Shi et al., 2015); the module holds two `nn.Conv1d`.

    Args:
        filters: Number of output channels.
        kernel_size: Size of the window.
        strides: Step of the window over the input.
        padding: `"valid"`, none, or `"same"`, for the input; states always keep their size.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        dilation_rate: Distance between neighbors in the input's window.
        activation: Activation of the cell's input and output, name or function.
        recurrent_activation: Activation of the gates, name or function.
        use_bias: Whether to add a bias.
        kernel_initializer, recurrent_initializer, bias_initializer: Initial values, by name, object
            or function.
        unit_forget_bias: Whether the bias of the forget gate begins at one.
        kernel_regularizer, recurrent_regularizer, bias_regularizer: Penalties on the weights.
        activity_regularizer: Penalty on the output.
        kernel_constraint, recurrent_constraint, bias_constraint: Functions applied to the weights
            after each step of training.
        dropout: Fraction of the input to drop during training, the same at each step.
        recurrent_dropout: Fraction of the state to drop during training, the same at each step.
        seed: Seed of the layer's own random generator. Defaults to torch's global generator.
        return_sequences: Whether to return the output of every step, not only of the last.
        return_state: Whether to return the states after the last step as well.
        go_backwards: Whether to run from the last step to the first.
        stateful: Whether the states after one batch are the initial states of the next;
            `reset_state()` sets them to zero.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`.

    Input shape: `(batch, steps, rows, channels)`, floating-point;
    `initial_state=`, `mask=` and `training=` at the call. With `initial_state=`, only a mask passed
    at the call is used, as in Keras.

    Output shape: `(batch, new rows, filters)`, with the steps after the
    batch if `return_sequences`; with `return_state` a list of it and the two states.

    Differs from Keras: one dropout mask for all gates.

    Raises:
        ValueError: A size is not positive, or a name is not known.
        BuildError: A size of the input is not known.

    Example:
        >>> x = Input((5, 32, 3))
        >>> layers.ConvLSTM1D(4, 3, padding="same")(x).shape
        (None, 32, 4)
    """

    rank = 1


class ConvLSTM2D(_ConvLSTM):
    """Run a convolutional LSTM over sequences of images.

    Equivalent to Keras's `ConvLSTM2D` (Shi et al., 2015); the module holds two `nn.Conv2d`.

    Args:
        filters: Number of output channels.
        kernel_size: Size of the window: 2 numbers, or one for all axes.
        strides: Step of the window over the input, likewise.
        padding: `"valid"`, none, or `"same"`, for the input; states always keep their size.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        dilation_rate: Distance between neighbors in the input's window, likewise.
        activation: Activation of the cell's input and output, name or function.
        recurrent_activation: Activation of the gates, name or function.
        use_bias: Whether to add a bias.
        kernel_initializer, recurrent_initializer, bias_initializer: Initial values, by name, object
            or function.
        unit_forget_bias: Whether the bias of the forget gate begins at one.
        kernel_regularizer, recurrent_regularizer, bias_regularizer: Penalties on the weights.
        activity_regularizer: Penalty on the output.
        kernel_constraint, recurrent_constraint, bias_constraint: Functions applied to the weights
            after each step of training.
        dropout: Fraction of the input to drop during training, the same at each step.
        recurrent_dropout: Fraction of the state to drop during training, the same at each step.
        seed: Seed of the layer's own random generator. Defaults to torch's global generator.
        return_sequences: Whether to return the output of every step, not only of the last.
        return_state: Whether to return the states after the last step as well.
        go_backwards: Whether to run from the last step to the first.
        stateful: Whether the states after one batch are the initial states of the next;
            `reset_state()` sets them to zero.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`.

    Input shape: `(batch, steps, height, width, channels)`, floating-point;
    `initial_state=`, `mask=` and `training=` at the call. With `initial_state=`, only a mask passed
    at the call is used, as in Keras.

    Output shape: `(batch, new height, new width, filters)`, with the steps after the batch if
    `return_sequences`; with `return_state` a list of it and the two states.

    Differs from Keras: one dropout mask for all gates.

    Raises:
        ValueError: A size is not positive, or a name is not known.
        BuildError: A size of the input is not known.

    Example:
        >>> x = Input((5, 16, 16, 3))
        >>> layers.ConvLSTM2D(4, 3, padding="same")(x).shape
        (None, 16, 16, 4)
    """

    rank = 2


class ConvLSTM3D(_ConvLSTM):
    """Run a convolutional LSTM over sequences of volumes.

    Equivalent to Keras's `ConvLSTM3D` (Shi et al., 2015); the module holds two `nn.Conv3d`.

    Args:
        filters: Number of output channels.
        kernel_size: Size of the window: 3 numbers, or one for all axes.
        strides: Step of the window over the input, likewise.
        padding: `"valid"`, none, or `"same"`, for the input; states always keep their size.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        dilation_rate: Distance between neighbors in the input's window, likewise.
        activation: Activation of the cell's input and output, name or function.
        recurrent_activation: Activation of the gates, name or function.
        use_bias: Whether to add a bias.
        kernel_initializer, recurrent_initializer, bias_initializer: Initial values, by name, object
            or function.
        unit_forget_bias: Whether the bias of the forget gate begins at one.
        kernel_regularizer, recurrent_regularizer, bias_regularizer: Penalties on the weights.
        activity_regularizer: Penalty on the output.
        kernel_constraint, recurrent_constraint, bias_constraint: Functions applied to the weights
            after each step of training.
        dropout: Fraction of the input to drop during training, the same at each step.
        recurrent_dropout: Fraction of the state to drop during training, the same at each step.
        seed: Seed of the layer's own random generator. Defaults to torch's global generator.
        return_sequences: Whether to return the output of every step, not only of the last.
        return_state: Whether to return the states after the last step as well.
        go_backwards: Whether to run from the last step to the first.
        stateful: Whether the states after one batch are the initial states of the next;
            `reset_state()` sets them to zero.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`.

    Input shape: `(batch, steps, depth, height, width, channels)`, floating-point;
    `initial_state=`, `mask=` and `training=` at the call. With `initial_state=`, only a mask passed
    at the call is used, as in Keras.

    Output shape: `(batch, new depth, new height, new width, filters)`, with the steps after the
    batch if `return_sequences`; with `return_state` a list of it and the two states.

    Differs from Keras: one dropout mask for all gates.

    Raises:
        ValueError: A size is not positive, or a name is not known.
        BuildError: A size of the input is not known.

    Example:
        >>> x = Input((2, 8, 8, 8, 3))
        >>> layers.ConvLSTM3D(4, 3, padding="same")(x).shape
        (None, 8, 8, 8, 4)
    """

    rank = 3
