"""`EinsumDense`: a dense layer whose product is an einsum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from .. import activations
from ..errors import BuildError
from .arguments import Expects
from .base import Layer
from .modules.einsum import EinsumLinear
from .weight_spec import SAME, Weight

Letters = dict[str, int]


def _fans(tensor: Tensor, module: nn.Module) -> tuple[int, int]:
    """Return the product of the sizes that are summed over, and that of the others."""
    operand, kernel = str(module.equation).partition("->")[0].split(",")
    summed = [size for at, size in zip(kernel, tensor.shape, strict=True) if at in operand]
    fan_in = math.prod(summed)
    return fan_in, tensor.numel() // fan_in


class EinsumDense(Layer):
    """`activation(einsum(equation, x, kernel) + bias)`, as Keras's `EinsumDense`.

    Args:
        equation: of input and kernel, such as `"abc,cd->abd"`; an ellipsis stands for any axes.
        output_shape: the sizes of the output without the batch, `None` where they follow from the
            input.
        activation: a name or function; linear by default.
        bias_axes: the axes of the output, by their letters, along which the bias varies; no bias by
            default.
        **options: `kernel_initializer` and the like, and those of every `Layer`.

    Input and output shape: those of the equation.

    Raises:
        ValueError: the equation or the bias axes cannot be read.
    """

    keras_weights = (
        Weight("kernel", ("weight",), SAME, "glorot_uniform", fans=_fans),
        Weight("bias", ("bias",)),
    )
    expects = Expects(("batch", "..."), "floating")

    def __init__(
        self,
        equation: str,
        output_shape: int | Sequence[int | None],
        activation: Any = None,
        bias_axes: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
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

    def _sizes(self, spec: str, shape: Sequence[int | None]) -> Letters:
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

    def _bias_shape(self, known: Letters) -> list[int] | None:
        """Return the sizes along the bias axes and ones between, from the first of them on."""
        if not self.bias_axes:
            return None
        letters = self._result.replace("...", "")
        first = min(letters.index(letter) for letter in self.bias_axes)
        return [known[at] if at in self.bias_axes else 1 for at in letters[first:]]

    def call(self, x: Any) -> Any:
        """Record the einsum and the activation."""
        return self.activation(self._module(x))
