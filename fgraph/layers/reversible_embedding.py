"""`ReversibleEmbedding`: an embedding whose table also maps vectors to scores."""

from __future__ import annotations

from typing import Any, Unpack

import torch
from torch import nn

from ..constraints import ConstraintLike
from ..graph.recording.input import as_dtype
from ..initializers import InitializerLike
from ..regularizers import RegularizerLike
from .arguments import EmbeddingOptions
from .embedding import Embedding
from .input_checks import Expects
from .modules.embedding import TwoWayEmbedding
from .weight_layout import TRANSPOSED, Weight


class ReversibleEmbedding(Embedding):
    """Look up a vector for each integer, or score all integers for a vector.

    Equivalent to Keras's `ReversibleEmbedding` (Press and Wolf, 2016); the module holds an
    `nn.Embedding`.

    Args:
        input_dim: Number of vectors: the largest index plus one.
        output_dim: Length of a vector.
        tie_weights: Whether scores use the table; otherwise they use a separate kernel.
        embeddings_initializer: Initial values by name, object or function.
        embeddings_regularizer: Penalty on the table.
        embeddings_constraint: Function applied to the table after each step.
        mask_zero: Whether index 0 is padding; the output then has a mask.
        reverse_dtype: Data type in which scores are computed. Defaults to that of the input.
        logit_soft_cap: Soft bound on the scores, by a hyperbolic tangent. Defaults to none.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, ...)`, integers; with `reverse=True` at the call `(batch, ...,
    output_dim)`, floating-point.

    Output shape: `(batch, ..., output_dim)`; with `reverse=True` `(batch, ..., input_dim)`.

    Differs from Keras: no LoRA, no quantization.

    Raises:
        ValueError: A size is not positive, or a name is not known.

    Example:
        >>> tokens = Input((10,), dtype="int64")
        >>> embedding = layers.ReversibleEmbedding(1000, 64)
        >>> embedding(embedding(tokens), reverse=True).shape
        (None, 10, 1000)
    """

    keras_weights: tuple[Weight, ...]
    expects = Expects(("batch", "..."))

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        tie_weights: bool = True,
        embeddings_initializer: InitializerLike = "uniform",
        embeddings_regularizer: RegularizerLike = None,
        embeddings_constraint: ConstraintLike = None,
        mask_zero: bool = False,
        reverse_dtype: torch.dtype | str | None = None,
        logit_soft_cap: float | None = None,
        **options: Unpack[EmbeddingOptions],
    ) -> None:
        table = Weight("embeddings", ("embedding.weight",), initializer="uniform")
        self.keras_weights = (table,)
        if not tie_weights:
            kernel = Weight("reverse_embeddings", ("reverse.weight",), TRANSPOSED, "uniform")
            self.keras_weights = (table, kernel)
        super().__init__(
            input_dim, output_dim, embeddings_initializer, embeddings_regularizer,
            embeddings_constraint, mask_zero, **options,
        )  # fmt: skip
        if not tie_weights:
            self._set_weight_options({"reverse_embeddings_initializer": embeddings_initializer})
        self.tie_weights = tie_weights
        self.reverse_dtype = None if reverse_dtype is None else as_dtype(reverse_dtype)
        self.logit_soft_cap = logit_soft_cap

    def build(self, input_shape: Any) -> nn.Module:
        """Make the module that holds the table, and the kernel if there is one."""
        return TwoWayEmbedding(self.input_dim, self.output_dim, self.tie_weights)

    def call(self, inputs: Any, reverse: bool = False) -> Any:
        """Record the look-up, or the scores."""
        if not reverse:
            return self._module(inputs)
        made = self._module(inputs, reverse=True, dtype=self.reverse_dtype)
        cap = self.logit_soft_cap
        return made if cap is None else torch.tanh(made / cap) * cap

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        """Return where the index is not 0, if that is padding; scores have none."""
        if inputs.dtype.is_floating_point:
            return None
        return super().compute_mask(inputs, mask)
