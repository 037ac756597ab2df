"""Transposed convolutions."""

from __future__ import annotations

from typing import Any, Unpack

from torch import nn

from ..activations import ActivationLike
from ..constraints import ConstraintLike
from ..initializers import InitializerLike
from ..regularizers import RegularizerLike
from .arguments import BaseOptions, Sizes, integer, integers
from .conv import BaseConv
from .weight_layout import KERNEL, kernel_and_bias

_TRANSPOSED: dict[int, type[nn.Module]] = {
    1: nn.ConvTranspose1d,
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}


def crops(
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilation: tuple[int, ...],
    output_padding: tuple[int | None, ...],
    padding: str,
) -> list[tuple[int, int]]:
    """Return what to cut off before and after each axis; a negative number adds steps."""
    axes = zip(kernel, strides, dilation, output_padding, strict=True)
    return [_crop(*axis, padding) for axis in axes]


def _crop(
    kernel: int, stride: int, dilation: int, output_padding: int | None, padding: str
) -> tuple[int, int]:
    reach = dilation * (kernel - 1) + 1
    if output_padding is not None:
        total = (0 if padding == "valid" else 2 * (reach // 2)) - output_padding
    elif padding == "valid":
        total = -max(stride - reach, 0)
    else:
        total = reach - stride
    before = max(total, 0) // 2  # so that it is the transpose of a padded convolution
    return before, total - before


class _ConvTranspose(BaseConv):
    """Base of `Conv1DTranspose`, `Conv2DTranspose` and `Conv3DTranspose`."""

    keras_weights = kernel_and_bias(KERNEL)

    def __init__(
        self,
        filters: int,
        kernel_size: Sizes,
        strides: Sizes = 1,
        padding: str = "valid",
        output_padding: Sizes | None = None,
        data_format: str | None = None,
        dilation_rate: Sizes = 1,
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
            activity_regularizer=activity_regularizer, **options,
        )  # fmt: skip
        self._set_weight_options(locals())
        kind = type(self).__name__
        self.filters = integer(kind, "filters", filters)
        self.output_padding = (
            None
            if output_padding is None
            else integers(kind, "output_padding", output_padding, self.rank, least=0)
        )
        extra = self.output_padding or (None,) * self.rank
        self._crops = crops(self.kernel_size, self.strides, self.dilation_rate, extra, self.padding)

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
    """Apply the transpose of a convolution to sequences.

    Equivalent to Keras's `Conv1DTranspose`; the module is an `nn.ConvTranspose1d`.

    Args:
        filters: Number of output channels.
        kernel_size: Size of the window.
        strides: Step of the window.
        padding: `"valid"`, none, or `"same"`: the output has `steps * strides` steps.
        output_padding: Steps added at the end, which fixes the output's size. Defaults to the size
            that
            `padding` says.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        dilation_rate: Distance between neighbors in the window.
        activation: Name or function. Defaults to none, a linear layer.
        use_bias: Whether to add a bias.
        kernel_initializer, bias_initializer: Initial values by name, object or function.
        kernel_regularizer, bias_regularizer: Penalties on the weights.
        activity_regularizer: Penalty on the output.
        kernel_constraint, bias_constraint: Functions applied to the weights after each step.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`.

    Input shape: `(batch, steps, channels)`, floating-point.

    Output shape: `(batch, new steps, filters)`.

    Differs from Keras: uneven `same` padding is cut as Keras on TensorFlow and JAX does.

    Raises:
        ValueError: A size is not positive, or a name is not known.
        BuildError: The input does not fit, or its number of channels is not known.

    Example:
        >>> x = Input((32, 8))
        >>> layers.Conv1DTranspose(16, 4, strides=2, padding="same")(x).shape
        (None, 64, 16)
    """

    rank = 1


class Conv2DTranspose(_ConvTranspose):
    """Apply the transpose of a convolution to images.

    Equivalent to Keras's `Conv2DTranspose`; the module is an `nn.ConvTranspose2d`.

    Args:
        filters: Number of output channels.
        kernel_size: Size of the window: 2 numbers, or one for all axes.
        strides: Step of the window, likewise.
        padding: `"valid"`, none, or `"same"`: the output has `size * stride` steps along each axis.
        output_padding: Steps added at the end of each axis, which fixes the output's size. Defaults
            to the size that
            `padding` says.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        dilation_rate: Distance between neighbors in the window, likewise.
        activation: Name or function. Defaults to none, a linear layer.
        use_bias: Whether to add a bias.
        kernel_initializer, bias_initializer: Initial values by name, object or function.
        kernel_regularizer, bias_regularizer: Penalties on the weights.
        activity_regularizer: Penalty on the output.
        kernel_constraint, bias_constraint: Functions applied to the weights after each step.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`.

    Input shape: `(batch, height, width, channels)`, floating-point.

    Output shape: `(batch, new height, new width, filters)`.

    Differs from Keras: uneven `same` padding is cut as Keras on TensorFlow and JAX does.

    Raises:
        ValueError: A size is not positive, or a name is not known.
        BuildError: The input does not fit, or its number of channels is not known.

    Example:
        >>> x = Input((28, 28, 3))
        >>> layers.Conv2DTranspose(16, 4, strides=2, padding="same")(x).shape
        (None, 56, 56, 16)
    """

    rank = 2


class Conv3DTranspose(_ConvTranspose):
    """Apply the transpose of a convolution to volumes.

    Equivalent to Keras's `Conv3DTranspose`; the module is an `nn.ConvTranspose3d`.

    Args:
        filters: Number of output channels.
        kernel_size: Size of the window: 3 numbers, or one for all axes.
        strides: Step of the window, likewise.
        padding: `"valid"`, none, or `"same"`: the output has `size * stride` steps along each axis.
        output_padding: Steps added at the end of each axis, which fixes the output's size. Defaults
            to the size that
            `padding` says.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        dilation_rate: Distance between neighbors in the window, likewise.
        activation: Name or function. Defaults to none, a linear layer.
        use_bias: Whether to add a bias.
        kernel_initializer, bias_initializer: Initial values by name, object or function.
        kernel_regularizer, bias_regularizer: Penalties on the weights.
        activity_regularizer: Penalty on the output.
        kernel_constraint, bias_constraint: Functions applied to the weights after each step.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`.

    Input shape: `(batch, depth, height, width, channels)`, floating-point.

    Output shape: `(batch, new depth, new height, new width, filters)`.

    Differs from Keras: uneven `same` padding is cut as Keras on TensorFlow and JAX does.

    Raises:
        ValueError: A size is not positive, or a name is not known.
        BuildError: The input does not fit, or its number of channels is not known.

    Example:
        >>> x = Input((8, 16, 16, 3))
        >>> layers.Conv3DTranspose(16, 4, strides=2, padding="same")(x).shape
        (None, 16, 32, 32, 16)
    """

    rank = 3


# the other names that Keras has for these classes
Convolution1DTranspose = Conv1DTranspose
Convolution2DTranspose = Conv2DTranspose
Convolution3DTranspose = Conv3DTranspose
