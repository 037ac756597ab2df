"""Dense layers, look-ups, and layers that pass their input on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from .. import activations
from ..graph import apply
from ..graph.nested import map_leaves
from .arguments import Expects, whole
from .base import Layer
from .weight_spec import TRANSPOSED, Weight, kernel_and_bias


class Dense(Layer):
    """`activation(x @ kernel + bias)`, as Keras's `Dense`; the module is an `nn.Linear`.

    Args:
        units: the number of outputs.
        activation: a name or function; linear by default.
        use_bias: whether a bias is added.
        **options: `kernel_initializer` and the like, and those of every `Layer`.

    Input shape: `(batch, ..., features)`, floating-point. Output shape: `(batch, ..., units)`.

    Raises:
        ValueError: `units` is not positive, or a name is not known.
    """

    keras_weights = kernel_and_bias(TRANSPOSED)
    expects = Expects(("batch", "...", "features"), "floating", features=-1)
    supports_masking = True

    def __init__(
        self, units: int, activation: Any = None, use_bias: bool = True, **options: Any
    ) -> None:
        super().__init__(**options)
        self.units = whole("Dense", "units", units)
        self.activation = activations.get(activation)
        self.use_bias = use_bias

    def build(self, input_shape: Any) -> nn.Module:
        """Make the `nn.Linear`."""
        return nn.Linear(input_shape[-1], self.units, self.use_bias)

    def call(self, x: Any) -> Any:
        """Record the product and the activation."""
        return self.activation(self._module(x))


class Embedding(Layer):
    """A table of vectors, looked up by whole numbers, as Keras's `Embedding`.

    The module is an `nn.Embedding`, which refuses indices outside the table.

    Args:
        input_dim: the number of rows: the largest index plus one.
        output_dim: the length of a vector.
        input_length: the length of the sequences, taken for the sake of older code: it follows
            from the input.
        mask_zero: whether index 0 is padding; the output then has a mask.
        weights: an array for the table to begin with, `(input_dim, output_dim)`.
        **options: `embeddings_initializer` and the like, and those of every `Layer`.

    Input shape: `(batch, ...)`, whole numbers. Output shape: `(batch, ..., output_dim)`.

    Raises:
        ValueError: a size is not positive, or a name is not known.
    """

    keras_weights = (Weight("embeddings", ("weight",), initializer="uniform"),)
    expects = Expects(("batch", "..."), "integer")

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        input_length: int | None = None,
        *,
        mask_zero: bool = False,
        weights: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.input_dim = whole("Embedding", "input_dim", input_dim)
        self.output_dim = whole("Embedding", "output_dim", output_dim)
        if input_length is not None and self.first_input_shape is None:
            self.first_input_shape = (whole("Embedding", "input_length", input_length),)
        self.input_dtype = torch.int64
        self.mask_zero = mask_zero
        self._initial = weights

    def build(self, input_shape: Any) -> nn.Module:
        """Make the `nn.Embedding`."""
        return nn.Embedding(self.input_dim, self.output_dim)

    def _initialize(self) -> None:
        super()._initialize()
        if self._initial is not None:
            table = self._initial[0] if isinstance(self._initial, list) else self._initial
            self.keras_weights[0].write(self._module, torch.as_tensor(table))

    def call(self, x: Any) -> Any:
        """Record the look-up."""
        return self._module(x)

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        """Return where the index is not 0, if that is padding."""
        return torch.ne(inputs, 0) if self.mask_zero else None


class Masking(Layer):
    """Masks the steps at which all features have one value, as Keras's `Masking`.

    Args:
        mask_value: the value; such steps come out as zeros.
        **options: those of every `Layer`.

    Input and output shape: `(batch, steps, ...)`.
    """

    supports_masking = True

    def __init__(self, mask_value: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.mask_value = mask_value

    def call(self, x: Any) -> Any:
        """Record the input with masked steps set to zero."""
        return x * torch.ne(x, self.mask_value).any(-1, keepdim=True)

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        """Return the steps that have some other value."""
        return torch.ne(inputs, self.mask_value).any(-1)


class Identity(Layer):
    """Passes its input on, as Keras's `Identity`.

    Input and output shape: any.
    """

    supports_masking = True

    def call(self, x: Any) -> Any:
        """Return the input."""
        return x


class Lambda(Layer):
    """A function as a layer, as Keras's `Lambda`; torch functions need none in a graph.

    Args:
        function: called on symbolic tensors, so that every torch call in it is recorded; with
            `output_shape` it is called as it is, at run time.
        output_shape: the shape of the result without the batch, for functions that cannot be
            recorded.
        mask: the mask of the output: a function of `(inputs, mask)`; none by default.
        arguments: keyword arguments for the function.
        **options: those of every `Layer`.

    Input shape: any. Output shape: the function's.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        output_shape: Any = None,
        mask: Callable[..., Any] | None = None,
        arguments: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if not callable(function):
            raise TypeError(f"Lambda: function= expects a function, got {function!r}")
        self.function = function
        self.result_shape = output_shape
        self.mask_function = mask
        self.arguments = dict(arguments or {})

    def call(self, x: Any) -> Any:
        """Record the function, in parts or, with `output_shape`, as a whole."""
        if self.result_shape is None:
            return self.function(x, **self.arguments)
        batch = map_leaves(lambda leaf: leaf.shape[0], x)
        batch = batch if batch is None or isinstance(batch, int) else batch[0]
        shape = (batch, *self.result_shape)
        return apply(self.function, x, output_shape=shape, **self.arguments)

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        """Return what the mask function says."""
        return None if self.mask_function is None else self.mask_function(inputs, mask)
