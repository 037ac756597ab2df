"""Layers without weights of their own: `Masking`, `Identity` and `Lambda`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Unpack

import torch

from ..graph import apply
from ..graph.nested import map_leaves
from .arguments import LayerOptions
from .base import Layer
from .input_checks import Expects


class Masking(Layer):
    """Mask the steps at which all features equal a given value, and set them to zero.

    Equivalent to Keras's `Masking`.

    Args:
        mask_value: Value of masked steps.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, steps, ..., features)`.

    Output shape: that of the input; the mask is `(batch, steps, ...)`.

    Example:
        >>> x = Input((10, 8))
        >>> layers.LSTM(16)(layers.Masking()(x)).shape
        (None, 16)
    """

    expects = Expects(("batch", "..."))
    supports_masking = True

    def __init__(self, mask_value: float = 0.0, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.mask_value = mask_value

    def call(self, inputs: Any) -> Any:
        """Record the input with masked steps set to zero."""
        return inputs * torch.ne(inputs, self.mask_value).any(-1, keepdim=True)

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        """Return a mask that is true where any feature differs from the value."""
        return torch.ne(inputs, self.mask_value).any(-1)


class Identity(Layer):
    """Return the input.

    Equivalent to Keras's `Identity`.

    Args:
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: any.

    Output shape: that of the input.

    Example:
        >>> x = Input((10,))
        >>> layers.Identity(name="features")(x).shape
        (None, 10)
    """

    supports_masking = True

    def call(self, inputs: Any) -> Any:
        """Return the input."""
        return inputs


class Lambda(Layer):
    """Call a function as a layer.

    Equivalent to Keras's `Lambda`. A torch function needs no layer: call it in the graph.

    Args:
        function: Function of symbolic tensors, whose torch calls are recorded. With `output_shape`
            it is recorded as one node, and called at run time.
        output_shape: Shape of the result without the batch, for functions that cannot be recorded.
            Defaults to recording the function.
        mask: Function of `(inputs, mask)` that returns the mask of the output. Defaults to none.
        arguments: Keyword arguments for the function.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: any.

    Output shape: that of the function's result.

    Raises:
        TypeError: `function` cannot be called.

    Example:
        >>> x = Input((10,))
        >>> layers.Lambda(lambda t: t ** 2)(x).shape
        (None, 10)
    """

    def __init__(
        self,
        function: Callable[..., Any],
        output_shape: Any = None,
        mask: Callable[..., Any] | None = None,
        arguments: Mapping[str, Any] | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        if not callable(function):
            raise TypeError(f"Lambda: function= expects a function, got {function!r}")
        self.function = function
        self.result_shape = output_shape
        self.mask_function = mask
        self.arguments = dict(arguments or {})

    def call(self, inputs: Any) -> Any:
        """Record the calls in the function or, with `output_shape`, one node."""
        if self.result_shape is None:
            return self.function(inputs, **self.arguments)
        batch = map_leaves(lambda leaf: leaf.spec.shape[0], inputs)
        batch = batch if batch is None or isinstance(batch, int) else batch[0]
        shape = (batch, *self.result_shape)
        return apply(self.function, inputs, output_shape=shape, **self.arguments)

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        """Return what the mask function returns."""
        return None if self.mask_function is None else self.mask_function(inputs, mask)
