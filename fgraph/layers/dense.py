"""`Dense`, and `EinsumDense`, whose product is an einsum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Unpack

from torch import Tensor, nn

from .. import activations
from ..activations import ActivationLike
from ..constraints import ConstraintLike
from ..errors import BuildError
from ..initializers import InitializerLike
from ..regularizers import RegularizerLike
from .arguments import BaseOptions, LayerOptions, integer
from .base import Layer
from .input_checks import Expects
from .modules.einsum import EinsumLinear
from .weight_layout import SAME, TRANSPOSED, Weight, kernel_and_bias

# arguments of several of Keras's layers that belong to other packages here
LORA = "adapt the torch module of a model by the package peft"
QUANTIZATION = "quantize the torch modules of a model by torch.ao or the package torchao"
UNSUPPORTED_IN_DENSE = {
    "lora_alpha": LORA,
    "lora_rank": LORA,
    "quantization_config": QUANTIZATION,
}


class Dense(Layer):
    """Compute `activation(inputs @ kernel + bias)`.

    Equivalent to Keras's `Dense`; the module is an `nn.Linear`.

    Args:
        units: Number of outputs.
        activation: Name or function. Defaults to none, a linear layer.
        use_bias: Whether to add a bias.
        kernel_initializer, bias_initializer: Initial values by name, object or function.
        kernel_regularizer, bias_regularizer: Penalties on the weights.
        activity_regularizer: Penalty on the output.
        kernel_constraint, bias_constraint: Functions applied to the weights after each step.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`.

    Input shape: `(batch, ..., features)`, floating-point.

    Output shape: `(batch, ..., units)`.

    Differs from Keras: integer input is refused; no LoRA, no quantization.

    Raises:
        ValueError: `units` is not positive, or a name is not known.

    Example:
        >>> x = Input((16,))
        >>> layers.Dense(4, activation="relu")(x).shape
        (None, 4)
    """

    keras_weights = kernel_and_bias(TRANSPOSED)
    expects = Expects(("batch", "...", "features"), "floating", features=-1)
    supports_masking = True
    unsupported: ClassVar = UNSUPPORTED_IN_DENSE

    def __init__(
        self,
        units: int,
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
        super().__init__(activity_regularizer=activity_regularizer, **options)
        self._set_weight_options(locals())
        self.units = integer("Dense", "units", units)
        self.activation = activations.get(activation)
        self.use_bias = use_bias

    def build(self, input_shape: Any) -> nn.Module:
        """Make the `nn.Linear`."""
        return nn.Linear(input_shape[-1], self.units, self.use_bias)

    def call(self, inputs: Any) -> Any:
        """Record the product and the activation."""
        return self.activation(self._module(inputs))


def _fans(tensor: Tensor, module: nn.Module) -> tuple[int, int]:
    """Return the product of the sizes that are summed over, and that of the others."""
    operand, kernel = str(module.equation).partition("->")[0].split(",")
    summed = [size for at, size in zip(kernel, tensor.shape, strict=True) if at in operand]
    fan_in = math.prod(summed)
    return fan_in, tensor.numel() // fan_in


class EinsumDense(Layer):
    """Compute `activation(einsum(equation, inputs, kernel) + bias)`.

    Equivalent to Keras's `EinsumDense`; the module computes `torch.einsum`.

    Args:
        equation: Equation of input and kernel, such as `"abc,cd->abd"`; an ellipsis stands for any
            axes.
        output_shape: Shape of the output without the batch, `None` for sizes that follow from the
            input.
        activation: Name or function. Defaults to none, a linear layer.
        bias_axes: Letters of the output axes along which the bias varies. Defaults to no bias.
        kernel_initializer, bias_initializer: Initial values by name, object or function.
        kernel_regularizer, bias_regularizer: Penalties on the weights.
        kernel_constraint, bias_constraint: Functions applied to the weights after each step.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: that of the first operand of the equation, floating-point.

    Output shape: that of the result of the equation.

    Differs from Keras: no LoRA, no quantization.

    Raises:
        ValueError: The equation or the bias axes cannot be read.

    Example:
        >>> x = Input((5, 16))
        >>> layers.EinsumDense("abc,cd->abd", (None, 4), bias_axes="d")(x).shape
        (None, 5, 4)
    """

    keras_weights = (
        Weight("kernel", ("weight",), SAME, "glorot_uniform", fans=_fans),
        Weight("bias", ("bias",)),
    )
    expects = Expects(("batch", "..."), "floating")
    unsupported: ClassVar = {**UNSUPPORTED_IN_DENSE, "gptq_unpacked_column_size": QUANTIZATION}

    def __init__(
        self,
        equation: str,
        output_shape: int | Sequence[int | None],
        activation: ActivationLike = None,
        bias_axes: str | None = None,
        kernel_initializer: InitializerLike = "glorot_uniform",
        bias_initializer: InitializerLike = "zeros",
        kernel_regularizer: RegularizerLike = None,
        bias_regularizer: RegularizerLike = None,
        kernel_constraint: ConstraintLike = None,
        bias_constraint: ConstraintLike = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self._set_weight_options(locals())
        self.equation = equation.replace(" ", "")
        shape = (output_shape,) if isinstance(output_shape, int) else tuple(output_shape)
        self.partial_output_shape = shape
        self.activation = activations.get(activation)
        self.bias_axes = bias_axes
        operands, arrow, self._result = self.equation.partition("->")
        self._operand, comma, self._kernel = operands.partition(",")
        if not (arrow and comma) or "," in self._kernel or "." in self._kernel:
            raise ValueError(
                f"EinsumDense: equation= expects one such as 'abc,cd->abd', got {equation!r}"
            )
        for letter in bias_axes or "":
            if letter not in self._result:
                raise ValueError(
                    f"EinsumDense: bias_axes={bias_axes!r} names {letter!r}, which is not an axis "
                    f"of the output {self._result!r}"
                )

    def build(self, input_shape: Any) -> nn.Module:
        """Make kernel and bias of the sizes that input and output have."""
        known = self._sizes(self._result, (input_shape[0], *self.partial_output_shape))
        known |= self._sizes(self._operand, input_shape)
        unknown = [letter for letter in self._kernel if letter not in known]
        if unknown:
            raise BuildError(
                f"EinsumDense({self.equation!r}): the sizes of {unknown} follow neither from the "
                f"input {input_shape} nor from output_shape={self.partial_output_shape}"
            )
        kernel = [known[letter] for letter in self._kernel]
        return EinsumLinear(self.equation, kernel, self._bias_shape(known))

    def _sizes(self, spec: str, shape: Sequence[int | None]) -> dict[str, int]:
        """Return the known size of each letter, those behind an ellipsis counted from the end."""
        front, dots, back = spec.partition("...")
        if len(front) + len(back) > len(shape) or (not dots and len(front) != len(shape)):
            raise BuildError(
                f"EinsumDense({self.equation!r}): {spec!r} does not fit {tuple(shape)}"
            )
        pairs = [
            *zip(front, shape, strict=False),
            *zip(reversed(back), reversed(shape), strict=False),
        ]
        return {letter: size for letter, size in pairs if size is not None}

    def _bias_shape(self, known: dict[str, int]) -> list[int] | None:
        """Return the sizes along the bias axes and ones between, from the first of them on."""
        if not self.bias_axes:
            return None
        letters = self._result.replace("...", "")
        first = min(letters.index(letter) for letter in self.bias_axes)
        return [known[at] if at in self.bias_axes else 1 for at in letters[first:]]

    def call(self, inputs: Any) -> Any:
        """Record the einsum and the activation."""
        return self.activation(self._module(inputs))
