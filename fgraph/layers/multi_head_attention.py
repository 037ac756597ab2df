"""Attention of several heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Unpack

import torch
from torch import Tensor, nn

from ..constraints import ConstraintLike
from ..errors import BuildError
from ..initializers import InitializerLike
from ..regularizers import RegularizerLike
from .arguments import BaseOptions, fraction, integer
from .base import Layer
from .input_checks import Expects
from .modules.attention import HeadAttention
from .training_mode import fixed_mode
from .weight_layout import SAME, Layout, Weight

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
    """Declare kernel and bias of each projection; all share `kernel_...` and `bias_...` options."""
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
            Weight(
                f"{part}_kernel", (f"{part}.weight",), kernel, _GLOROT, option="kernel", fans=_fans
            ),
            Weight(f"{part}_bias", (f"{part}.bias",), bias, option="bias"),
        ]
    return tuple(found)


class _Heads(Layer):
    """Base of `MultiHeadAttention` and `GroupQueryAttention`."""

    keras_weights = _head_weights()
    expects = Expects(("batch", "steps", "features"), "floating")
    supports_masking = True

    def _set_attention(
        self, dropout: float, use_bias: bool, sliding_window: int | None, use_gate: bool
    ) -> None:
        """Check and keep the arguments that both classes take."""
        kind = type(self).__name__
        self.dropout = fraction(kind, "dropout", dropout)
        self.use_bias = use_bias
        self.use_gate = use_gate
        self.sliding_window = (
            None if sliding_window is None else integer(kind, "sliding_window", sliding_window)
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
            bias=self.use_bias, dropout=self.dropout, gated=self.use_gate,
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
            key: Likewise. Defaults to the value.
            query_mask, value_mask, key_mask: Which steps count. Defaults to those of the inputs.
            attention_mask: `(batch, steps, others)`, true where a step may attend.
            return_attention_scores: Whether to return the weights as well, `(batch, heads, steps,
                others)`.
            training: Fixes the mode of the dropout.
            use_causal_mask: Whether no step attends to a later one.
        """
        masks = [
            None if query_mask is None else query_mask.unsqueeze(2),
            None if value_mask is None else value_mask.unsqueeze(1),
            None if key_mask is None else key_mask.unsqueeze(1),
            None if self.sliding_window is None else _near(query, value, self.sliding_window),
            attention_mask,
        ]
        if inputs_fold := self._fold(query, value, masks[:-1], use_causal_mask):
            return inputs_fold.attend(
                self._module, query, value, key, attention_mask, return_attention_scores, training
            )
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
        options |= fixed_mode(training)
        return self._module(query, value, value if key is None else key, **options)

    def _fold(self, query: Any, value: Any, masks: list[Any], causal: bool) -> StepAxes | None:
        """Return how to fold inputs of several axes of steps into one; `None` if there is one."""
        return None

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        """Return the mask of the query."""
        return mask


def _near(query: Any, value: Any, window: int) -> Any:
    """Record which pairs of steps are less than `window` apart: `(1, steps, others)`."""
    rows = torch.ones_like(query[:1, :, :1]).cumsum(1)
    columns = torch.ones_like(value[:1, :, :1]).cumsum(1).mT
    return (rows - columns).abs() < window


class StepAxes(NamedTuple):
    """Several axes of steps: some attend, the others are treated like the batch."""

    attending: tuple[int, ...]
    others: tuple[int, ...]

    def attend(
        self,
        module: Any,
        query: Any,
        value: Any,
        key: Any,
        mask: Any,
        scores: bool,
        training: bool | None,
    ) -> Any:
        """Record the module on inputs with one axis of steps, and its output with all of them."""
        options: dict[str, Any] = fixed_mode(training)
        if mask is not None:
            options["mask"] = self._folded_mask(mask, query)
        if scores:
            options["scores"] = True
        inputs = [self._folded(x) for x in (query, value, value if key is None else key)]
        made = module(*inputs, **options)
        if not scores:
            return self._unfolded(made, query)
        leading = [query.shape[axis] for axis in (0, *self.others)]
        steps = [x.shape[axis] for x in (query, value) for axis in self.attending]
        return self._unfolded(made[0], query), made[1].reshape(*leading, made[1].shape[1], *steps)

    def _folded(self, x: Any) -> Any:
        order = (0, *self.others, *self.attending, x.ndim - 1)
        kept = 1 + len(self.others)
        return x.permute(order).flatten(kept, x.ndim - 2).flatten(0, kept - 1)

    def _folded_mask(self, mask: Any, query: Any) -> Any:
        """Return `(batch and other axes, steps, others)` for `(batch, steps..., others...)`."""
        count = len(self.attending)
        flat = mask.flatten(1 + count, 2 * count).flatten(1, count)
        for axis in self.others:
            flat = flat.repeat_interleave(query.shape[axis], dim=0)
        return flat

    def _unfolded(self, made: Any, query: Any) -> Any:
        order = (0, *self.others, *self.attending)
        whole = made.reshape(*(query.shape[axis] for axis in order), made.shape[-1])
        return whole.permute(*(order.index(axis) for axis in range(len(order))), len(order))


class MultiHeadAttention(_Heads):
    """Attend with several heads.

    Equivalent to Keras's `MultiHeadAttention` (Vaswani et al., 2017). The module holds four
    `nn.Linear`s, `query`, `key`, `value` and `output`, around torch's
    `scaled_dot_product_attention`.

    Args:
        num_heads: Number of heads.
        key_dim: Size of a head of query and key.
        value_dim: Size of a head of the value. Defaults to `key_dim`.
        dropout: Fraction of the attention weights to drop during training.
        use_bias: Whether the projections have biases.
        output_shape: Size of the output. Defaults to that of the query.
        attention_axes: Axes of the steps that attend to each other. Defaults to all between batch
            and features; the others are treated like the batch.
        sliding_window: Largest distance of a step that is attended to. Defaults to no limit.
        flash_attention: Accepted for compatibility with Keras; torch chooses the kernel.
        kernel_initializer, bias_initializer: Initial values by name, object or function; each
            applies to all projections.
        kernel_regularizer, bias_regularizer: Penalties on the weights.
        activity_regularizer: Penalty on the output.
        kernel_constraint, bias_constraint: Functions applied to the weights after each step.
        use_gate: Whether the query gates the output of the heads.
        seed: Accepted for compatibility with Keras; ignored: torch's global generator is used.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`.

    Input shape: query `(batch, steps, features)`, value and key `(batch, others, features)`; there
    may be several axes of steps.

    Output shape: `(batch, steps, output)`.

    Differs from Keras: no `flash_attention`: torch chooses the kernel; one number as output_shape.

    Raises:
        ValueError: A number is not positive.
        BuildError: The numbers of features are not known.

    Example:
        >>> query, value = Input((10, 16)), Input((20, 32))
        >>> layers.MultiHeadAttention(num_heads=2, key_dim=8)(query, value).shape
        (None, 10, 16)
    """

    expects = Expects(("batch", "..."), "floating")

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_shape: int | Sequence[int] | None = None,
        attention_axes: int | Sequence[int] | None = None,
        sliding_window: int | None = None,
        flash_attention: bool | None = None,
        kernel_initializer: InitializerLike = "glorot_uniform",
        bias_initializer: InitializerLike = "zeros",
        kernel_regularizer: RegularizerLike = None,
        bias_regularizer: RegularizerLike = None,
        activity_regularizer: RegularizerLike = None,
        kernel_constraint: ConstraintLike = None,
        bias_constraint: ConstraintLike = None,
        use_gate: bool = False,
        seed: int | None = None,
        **options: Unpack[BaseOptions],
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **options)
        self._set_weight_options(locals())
        self._set_attention(dropout, use_bias, sliding_window, use_gate)
        self.seed = seed
        kind = "MultiHeadAttention"
        self.num_heads = integer(kind, "num_heads", num_heads)
        self.key_dim = integer(kind, "key_dim", key_dim)
        self.value_dim = (
            self.key_dim if value_dim is None else integer(kind, "value_dim", value_dim)
        )
        if isinstance(output_shape, (list, tuple)) and len(output_shape) == 1:
            output_shape = output_shape[0]
        self.attention_axes = attention_axes
        self.output_dim = (
            None if output_shape is None else integer(kind, "output_shape", output_shape)
        )

    def _fold(self, query: Any, value: Any, masks: list[Any], causal: bool) -> StepAxes | None:
        """Return how to fold inputs of several axes of steps into one; `None` if there is one.

        Raises:
            BuildError: An axis does not exist, or a mask is for one axis of steps.
        """
        axes = self.attention_axes
        if query.ndim == 3 and axes in (None, 1, -2, (1,), [1], (-2,), [-2]):
            return None
        if query.ndim < 3 or query.ndim != value.ndim:
            raise BuildError(
                f"MultiHeadAttention expects (batch, steps, features) or more axes of steps, in "
                f"query and value alike, got {query.shape} and {value.shape}"
            )
        if causal or any(mask is not None for mask in masks):
            raise BuildError(
                "MultiHeadAttention: masks of inputs, use_causal_mask= and sliding_window= are for "
                "one axis of steps; give attention_mask= of shape (batch, steps..., others...)"
            )
        rank = query.ndim - 1
        chosen = range(1, rank) if axes is None else [axes] if isinstance(axes, int) else axes
        found = tuple(axis + rank if axis < 0 else axis for axis in chosen)
        if not all(0 < axis < rank for axis in found):
            raise BuildError(
                f"MultiHeadAttention: attention_axes={axes} do not exist in {query.shape}"
            )
        return StepAxes(found, tuple(axis for axis in range(1, rank) if axis not in found))

    def sizes(self, query_features: int) -> tuple[tuple[int, int], tuple[int, int], int]:
        """Return the numbers of heads, the sizes of heads, and that of the output."""
        heads = (self.num_heads, self.num_heads)
        return heads, (self.key_dim, self.value_dim), self.output_dim or query_features


class GroupQueryAttention(_Heads):
    """Attend with query heads that share heads of key and value.

    Equivalent to Keras's `GroupQueryAttention` (Ainslie et al., 2023). The module holds four
    `nn.Linear`s, `query`, `key`, `value` and `output`, around torch's
    `scaled_dot_product_attention`.

    Args:
        head_dim: Size of a head.
        num_query_heads: Number of query heads.
        num_key_value_heads: Number of heads of key and value.
        dropout: Fraction of the attention weights to drop during training.
        use_bias: Whether the projections have biases.
        sliding_window: Largest distance of a step that is attended to. Defaults to no limit.
        flash_attention: Accepted for compatibility with Keras; torch chooses the kernel.
        kernel_initializer, bias_initializer: Initial values by name, object or function; each
            applies to all projections.
        kernel_regularizer, bias_regularizer: Penalties on the weights.
        activity_regularizer: Penalty on the output.
        kernel_constraint, bias_constraint: Functions applied to the weights after each step.
        use_gate: Whether the query gates the output of the heads.
        seed: Accepted for compatibility with Keras; ignored: torch's global generator is used.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`.

    Input shape: query `(batch, steps, features)`, value and key `(batch, others, features)`.

    Output shape: `(batch, steps, query features)`.

    Differs from Keras: no `flash_attention`: torch chooses the kernel.

    Raises:
        ValueError: A number is not positive, or the query heads cannot be shared out.
        BuildError: The numbers of features are not known.

    Example:
        >>> query, value = Input((10, 16)), Input((20, 32))
        >>> attention = layers.GroupQueryAttention(8, num_query_heads=4, num_key_value_heads=2)
        >>> attention(query, value).shape
        (None, 10, 16)
    """

    def __init__(
        self,
        head_dim: int,
        num_query_heads: int,
        num_key_value_heads: int,
        dropout: float = 0.0,
        use_bias: bool = True,
        sliding_window: int | None = None,
        flash_attention: bool | None = None,
        kernel_initializer: InitializerLike = "glorot_uniform",
        bias_initializer: InitializerLike = "zeros",
        kernel_regularizer: RegularizerLike = None,
        bias_regularizer: RegularizerLike = None,
        activity_regularizer: RegularizerLike = None,
        kernel_constraint: ConstraintLike = None,
        bias_constraint: ConstraintLike = None,
        use_gate: bool = False,
        seed: int | None = None,
        **options: Unpack[BaseOptions],
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **options)
        self._set_weight_options(locals())
        self._set_attention(dropout, use_bias, sliding_window, use_gate)
        self.seed = seed
        kind = "GroupQueryAttention"
        self.head_dim = integer(kind, "head_dim", head_dim)
        self.num_query_heads = integer(kind, "num_query_heads", num_query_heads)
        self.num_key_value_heads = integer(kind, "num_key_value_heads", num_key_value_heads)
        if num_query_heads % num_key_value_heads:
            raise ValueError(
                f"{kind}: num_query_heads={num_query_heads} is not divisible by "
                f"num_key_value_heads={num_key_value_heads}"
            )

    def sizes(self, query_features: int) -> tuple[tuple[int, int], tuple[int, int], int]:
        """Return the numbers of heads, the sizes of heads, and that of the output."""
        heads = (self.num_query_heads, self.num_key_value_heads)
        return heads, (self.head_dim, self.head_dim), query_features
