"""Attention layers."""

from __future__ import annotations

from typing import Any, Unpack

import torch
from torch import nn
from torch.nn import functional as F

from ..errors import BuildError
from ..graph import SymbolicTensor
from .arguments import LayerOptions, fraction, one_of
from .base import Layer
from .input_checks import Expects
from .modules.attention import Scale
from .weight_layout import Weight

_EACH = Expects(("batch", "...", "steps", "features"))


class Attention(Layer):
    """Attend by the dot products of queries and keys.

    Equivalent to Keras's `Attention`; torch functions, and a module for what is learned
    (Luong et al., 2015).

    Args:
        use_scale: Whether to multiply scores by a learned number.
        score_mode: `"dot"`, or `"concat"`: the sum of `tanh(query + key)`.
        dropout: Fraction of the attention weights to drop during training.
        seed: Accepted for compatibility with Keras; ignored: torch's global generator is used.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: a list `[query, value]` or `[query, value, key]` of `(batch, steps, features)` and
    `(batch, others, features)`, floating-point.

    Output shape: `(batch, steps, value features)`; with `return_attention_scores=True` at the call,
    a tuple of the output and `(batch, steps, others)`.

    Differs from Keras: `seed` is ignored: torch's random numbers.

    Raises:
        ValueError: A name is not known, or `dropout` is not between 0 and 1.
        BuildError: The input is not a list of two or three tensors.

    Example:
        >>> query, value = Input((10, 16)), Input((20, 16))
        >>> layers.Attention()([query, value]).shape
        (None, 10, 16)
    """

    keras_weights: tuple[Weight, ...] = (
        Weight("scale", ("scale.weight",), initializer="ones"),
        Weight("concat_score_weight", ("concat.weight",), initializer="ones"),
    )
    supports_masking = True
    expects = Expects(dtype="floating")

    def __init__(
        self,
        use_scale: bool = False,
        score_mode: str = "dot",
        dropout: float = 0.0,
        seed: int | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        kind = type(self).__name__
        self.use_scale = use_scale
        self.score_mode = one_of(kind, "score_mode", score_mode, ("dot", "concat"))
        self.dropout = fraction(kind, "dropout", dropout)
        self.seed = seed

    def build(self, shapes: Any) -> nn.Module | None:
        """Make the learned factors and the dropout."""
        parts: dict[str, nn.Module] = {}
        if self.use_scale:
            parts["scale"] = self.factor(shapes)
        if self.score_mode == "concat":
            parts["concat"] = Scale()
        if self.dropout:
            parts["dropout"] = nn.Dropout(self.dropout)
        return nn.ModuleDict(parts) if parts else None

    def factor(self, shapes: Any) -> nn.Module:
        """Make the learned factor."""
        return Scale()

    def _check_inputs(self, inputs: tuple[Any, ...]) -> None:
        kind, given = type(self).__name__, inputs[0]
        if not isinstance(given, (list, tuple)) or len(given) not in (2, 3):
            raise BuildError(
                f"{kind} expects a list [query, value] or [query, value, key], got {given!r}"
            )
        for tensor in given:
            if isinstance(tensor, SymbolicTensor):
                _EACH.check(kind, tensor.spec.shape)

    def scores(self, query: Any, key: Any) -> Any:
        """Record the score of each pair: `(batch, steps, others)`."""
        parts: Any = self.module
        if self.score_mode == "dot":
            made = query @ key.mT
            return parts["scale"](made) if self.use_scale else made
        both = query.unsqueeze(-2) + key.unsqueeze(-3)
        if self.use_scale:
            both = parts["scale"](both)
        return parts["concat"](torch.tanh(both).sum(-1))

    def call(
        self,
        inputs: Any,
        mask: Any = None,
        training: bool | None = None,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        """Record scores, their softmax, and the mean of values."""
        query, value = inputs[0], inputs[1]
        key = inputs[2] if len(inputs) > 2 else value
        query_mask, value_mask = (mask[0], mask[1]) if mask else (None, None)
        scores = self.scores(query, key)
        allowed = None if value_mask is None else value_mask.unsqueeze(-2)
        if use_causal_mask:
            causal = torch.ones_like(scores, dtype=torch.bool).tril()
            allowed = causal if allowed is None else torch.logical_and(allowed, causal)
        if allowed is not None:
            scores = scores - 1e9 * torch.logical_not(allowed)
        weights = torch.softmax(scores, dim=-1)
        kept = weights
        if self.dropout and training is None:
            kept = self._module["dropout"](weights)
        elif self.dropout:
            kept = F.dropout(weights, self.dropout, training=bool(training))
        made = kept @ value
        if query_mask is not None:
            made = made * query_mask.unsqueeze(-1)
        return (made, weights) if return_attention_scores else made

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        """Return the mask of the query."""
        return mask[0] if mask else None


class AdditiveAttention(Attention):
    """Attend by a learned sum of `tanh(query + key)`.

    Equivalent to Keras's `AdditiveAttention` (Bahdanau et al., 2015).

    Args:
        use_scale: Whether each feature has a learned factor.
        dropout: Fraction of the attention weights to drop during training.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: a list `[query, value]` or `[query, value, key]` of `(batch, steps, features)` and
    `(batch, others, features)`, floating-point.

    Output shape: `(batch, steps, value features)`; with `return_attention_scores=True` at the call,
    a tuple of the output and `(batch, steps, others)`.

    Raises:
        ValueError: `dropout` is not between 0 and 1.
        BuildError: The input is not a list of two or three tensors.

    Example:
        >>> query, value = Input((10, 16)), Input((20, 16))
        >>> layers.AdditiveAttention()([query, value]).shape
        (None, 10, 16)
    """

    keras_weights: tuple[Weight, ...] = (
        Weight("scale", ("scale.weight",), initializer="glorot_uniform"),
    )

    def __init__(
        self, use_scale: bool = True, dropout: float = 0.0, **options: Unpack[LayerOptions]
    ) -> None:
        super().__init__(use_scale, dropout=dropout, **options)

    def factor(self, shapes: Any) -> nn.Module:
        """Make one factor for each feature."""
        return Scale((shapes[0][-1],))

    def scores(self, query: Any, key: Any) -> Any:
        """Record the score of each pair: `(batch, steps, others)`."""
        both = torch.tanh(query.unsqueeze(-2) + key.unsqueeze(-3))
        return (self._module["scale"](both) if self.use_scale else both).sum(-1)
