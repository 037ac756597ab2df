"""`Embedding`: vectors looked up by integers."""

from __future__ import annotations

from typing import Any, ClassVar, Unpack

import torch
from torch import nn

from ..constraints import ConstraintLike
from ..initializers import InitializerLike
from ..regularizers import RegularizerLike
from .arguments import EmbeddingOptions, integer
from .base import Layer
from .dense import UNSUPPORTED_IN_DENSE
from .input_checks import Expects
from .weight_layout import Weight


class Embedding(Layer):
    """Look up a vector for each integer.

    Equivalent to Keras's `Embedding`; the module is an `nn.Embedding`, which refuses indices
    outside the table.

    Args:
        input_dim: Number of vectors: the largest index plus one.
        output_dim: Length of a vector.
        embeddings_initializer: Initial values by name, object or function.
        embeddings_regularizer: Penalty on the table.
        embeddings_constraint: Function applied to the table after each step.
        mask_zero: Whether index 0 is padding; the output then has a mask.
        weights: Initial table, an array `(input_dim, output_dim)`, or a list that holds it.
        input_length: Keras 2's number of indices in a sample; ignored.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, ...)`, integers; floating-point numbers are truncated, as in Keras.

    Output shape: `(batch, ..., output_dim)`.

    Differs from Keras: no LoRA, no quantization.

    Raises:
        ValueError: A size is not positive, or a name is not known.

    Example:
        >>> tokens = Input((10,), dtype="int64")
        >>> layers.Embedding(1000, 64, mask_zero=True)(tokens).shape
        (None, 10, 64)
    """

    keras_weights: tuple[Weight, ...] = (Weight("embeddings", ("weight",), initializer="uniform"),)
    expects = Expects(("batch", "..."), "integer")
    unsupported: ClassVar = UNSUPPORTED_IN_DENSE

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: InitializerLike = "uniform",
        embeddings_regularizer: RegularizerLike = None,
        embeddings_constraint: ConstraintLike = None,
        mask_zero: bool = False,
        weights: Any = None,
        *,
        input_length: int | None = None,
        **options: Unpack[EmbeddingOptions],
    ) -> None:
        super().__init__(**options)
        self._set_weight_options(locals())
        self.input_dim = integer("Embedding", "input_dim", input_dim)
        self.output_dim = integer("Embedding", "output_dim", output_dim)
        if input_length is not None and self.first_input_shape is None:
            self.first_input_shape = (integer("Embedding", "input_length", input_length),)
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

    def call(self, inputs: Any) -> Any:
        """Record the look-up."""
        return self._module(inputs)

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        """Return where the index is not 0, if that is padding."""
        return torch.ne(inputs, 0) if self.mask_zero else None
