"""Attention of several heads."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..errors import BuildError
from .arguments import Expects, fraction, whole
from .base import Layer
from .modules.attention import HeadAttention
from .weight_spec import SAME, Layout, Weight

_GLOROT = "glorot_uniform"


def _projection(heads: str) -> tuple[Layout, Layout]:
    """Return the layouts of a projection into heads: `(features, heads, size)` in Keras."""
    kernel = Layout(
        lambda tensors, module: tensors[0].mT.unflatten(1, (getattr(module, heads), -1)),
        lambda value, module: [value.flatten(1).mT],
    )
    bias = Layout(
        lambda tensors, module: tensors[0].unflatten(0, (getattr(module, heads), -1)),
        lambda value, module: [value.flatten()],
    )
    return kernel, bias


_OUTPUT = Layout(
    lambda tensors, module: tensors[0].mT.unflatten(0, (getattr(module, "heads"), -1)),  # noqa: B009
    lambda value, module: [value.flatten(0, 1).mT],
)


def _fans(tensor: Tensor, module: nn.Module) -> tuple[int, int]:
    """Return the numbers of inputs and outputs of an `nn.Linear`."""
    return tensor.shape[1], tensor.shape[0]


def _head_weights() -> tuple[Weight, ...]:
    """Declare kernel and bias of each projection; all take the arguments of `kernel` and `bias`."""
    layouts = {
        "query": _projection("heads"),
        "key": _projection("shared_heads"),
        "gate": _projection("heads"),
        "value": _projection("shared_heads"),
        "output": (_OUTPUT, SAME),
    }
    found: list[Weight] = []
    for part, (kernel, bias) in layouts.items():
        found += [
            Weight(f"{part}_kernel", (f"{part}.weight",), kernel, _GLOROT, True, "kernel", _fans),
            Weight(f"{part}_bias", (f"{part}.bias",), bias, option="bias"),
        ]
    return tuple(found)


class _Heads(Layer):
    """Base of `MultiHeadAttention` and `GroupQueryAttention`."""

    keras_weights = _head_weights()
    expects = Expects(("batch", "steps", "features"), "floating")
    supports_masking = True

    def __init__(
        self,
        *,
        dropout: float,
        use_bias: bool,
        sliding_window: int | None,
        use_gate: bool,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        kind = type(self).__name__
        self.dropout = fraction(kind, "dropout", dropout)
        self.use_bias = use_bias
        self.use_gate = use_gate
        self.sliding_window = (
            None if sliding_window is None else whole(kind, "sliding_window", sliding_window)
        )

    def sizes(self, query_features: int) -> tuple[tuple[int, int], tuple[int, int], int]:
        """Return the numbers of heads, the sizes of heads, and that of the output."""
        raise NotImplementedError

    def build(self, query: Any, value: Any, key: Any = None) -> nn.Module:
        """Make the four projections."""
        features = (query[-1], (key or value)[-1], value[-1])
        if None in features:
            raise BuildError(
                f"{type(self).__name__} needs to know the numbers of features, got {query}, {value}"
            )
        heads, head_sizes, output = self.sizes(query[-1])
        return HeadAttention(
            features, heads, head_sizes, output,
            bias=self.use_bias, dropout=self.dropout, gate=self.use_gate,
        )  # fmt: skip

    def call(
        self,
        query: Any,
        value: Any,
        key: Any = None,
        query_mask: Any = None,
        value_mask: Any = None,
        key_mask: Any = None,
        attention_mask: Any = None,
        return_attention_scores: bool = False,
        training: bool | None = None,
        use_causal_mask: bool = False,
    ) -> Any:
        """Record the attention.

        Args:
            query: `(batch, steps, features)`.
            value: `(batch, others, features)`.
            key: likewise; the value by default.
            query_mask, value_mask, key_mask: which steps count; those of the inputs by default.
            attention_mask: `(batch, steps, others)`, true where a step may attend.
            return_attention_scores: whether the weights, `(batch, heads, steps, others)`, are
                returned, too.
            training: fixes the mode of the dropout.
            use_causal_mask: whether a step attends to no later one.
        """
        masks = [
            None if query_mask is None else query_mask.unsqueeze(2),
            None if value_mask is None else value_mask.unsqueeze(1),
            None if key is None or key_mask is None else key_mask.unsqueeze(1),
            None if self.sliding_window is None else _near(query, value, self.sliding_window),
            attention_mask,
        ]
        given = [mask for mask in masks if mask is not None]
        options: dict[str, Any] = {}
        if given:
            mask = given[0]
            for other in given[1:]:
                mask = torch.logical_and(mask, other)
            options["mask"] = mask
        if use_causal_mask:
            options["causal"] = True
        if return_attention_scores:
            options["scores"] = True
        if training is not None:
            options["training"] = training
        return self._module(query, value, value if key is None else key, **options)

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        """Return the mask of the query."""
        return mask


def _near(query: Any, value: Any, window: int) -> Any:
    """Record which pairs of steps are less than `window` apart: `(1, steps, others)`."""
    rows = torch.ones_like(query[:1, :, :1]).cumsum(1)
    columns = torch.ones_like(value[:1, :, :1]).cumsum(1).mT
    return (rows - columns).abs() < window


class MultiHeadAttention(_Heads):
    """Attention of several heads, as Keras's `MultiHeadAttention`.

    The module holds four `nn.Linear`s, `query`, `key`, `value` and `output`, around torch's
    `scaled_dot_product_attention`.

    Args:
        num_heads: the number of heads.
        key_dim: the size of a head of query and key.
        value_dim: the size of a head of the value; `key_dim` by default.
        dropout: the share of attention weights that training drops.
        use_bias: whether the projections have biases.
        output_shape: the size of the output; that of the query by default.
        sliding_window: how far away a step is attended to; any distance by default.
        use_gate: whether the heads' output is gated by the query.
        seed: taken for the sake of Keras's argument; torch's own random numbers are used.
        **options: initializers, regularizers and constraints of all `kernel`s and `bias`es, and
            those of every `Layer`.

    Input shape: query `(batch, steps, features)`, value, and key, `(batch, others, features)`.
    Output shape: `(batch, steps, output)`.

    Raises:
        ValueError: a number is not positive.
    """

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_shape: Any = None,
        *,
        sliding_window: int | None = None,
        use_gate: bool = False,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(
            dropout=dropout, use_bias=use_bias, sliding_window=sliding_window, use_gate=use_gate,
            **options,
        )  # fmt: skip
        kind = "MultiHeadAttention"
        self.num_heads = whole(kind, "num_heads", num_heads)
        self.key_dim = whole(kind, "key_dim", key_dim)
        self.value_dim = self.key_dim if value_dim is None else whole(kind, "value_dim", value_dim)
        if isinstance(output_shape, (list, tuple)) and len(output_shape) == 1:
            output_shape = output_shape[0]
        self.output_dim = (
            None if output_shape is None else whole(kind, "output_shape", output_shape)
        )

    def sizes(self, query_features: int) -> tuple[tuple[int, int], tuple[int, int], int]:
        """Return the numbers of heads, the sizes of heads, and that of the output."""
        heads = (self.num_heads, self.num_heads)
        return heads, (self.key_dim, self.value_dim), self.output_dim or query_features


class GroupQueryAttention(_Heads):
    """Attention whose query heads share heads of key and value, as Keras's `GroupQueryAttention`.

    Args:
        head_dim: the size of a head.
        num_query_heads: the number of query heads.
        num_key_value_heads: the number of heads of key and value.
        dropout: the share of attention weights that training drops.
        use_bias: whether the projections have biases.
        sliding_window: how far away a step is attended to; any distance by default.
        use_gate: whether the heads' output is gated by the query.
        seed: taken for the sake of Keras's argument; torch's own random numbers are used.
        **options: initializers, regularizers and constraints of all `kernel`s and `bias`es, and
            those of every `Layer`.

    Input shape: query `(batch, steps, features)`, value, and key, `(batch, others, features)`.
    Output shape: `(batch, steps, query features)`.

    Raises:
        ValueError: a number is not positive, or the query heads cannot be shared out.
    """

    def __init__(
        self,
        head_dim: int,
        num_query_heads: int,
        num_key_value_heads: int,
        dropout: float = 0.0,
        use_bias: bool = True,
        *,
        sliding_window: int | None = None,
        use_gate: bool = False,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(
            dropout=dropout, use_bias=use_bias, sliding_window=sliding_window, use_gate=use_gate,
            **options,
        )  # fmt: skip
        kind = "GroupQueryAttention"
        self.head_dim = whole(kind, "head_dim", head_dim)
        self.num_query_heads = whole(kind, "num_query_heads", num_query_heads)
        self.num_key_value_heads = whole(kind, "num_key_value_heads", num_key_value_heads)
        if num_query_heads % num_key_value_heads:
            raise ValueError(
                f"{kind}: num_query_heads={num_query_heads} is not divisible by "
                f"num_key_value_heads={num_key_value_heads}"
            )

    def sizes(self, query_features: int) -> tuple[tuple[int, int], tuple[int, int], int]:
        """Return the numbers of heads, the sizes of heads, and that of the output."""
        heads = (self.num_query_heads, self.num_key_value_heads)
        return heads, (self.head_dim, self.head_dim), query_features
