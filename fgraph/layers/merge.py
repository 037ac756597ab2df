"""Layers that merge several tensors into one, and their functional forms."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, ClassVar, Unpack

import torch
from torch.nn import functional as F

from ..errors import BuildError
from ..graph import SymbolicTensor
from .arguments import LayerOptions
from .base import Layer


class Merge(Layer):
    """Base of the layers that combine a list of tensors.

    As in Keras, tensors of lower rank get axes of size one after the batch; other axes broadcast.
    """

    supports_masking = True
    least: ClassVar[int] = 1
    most: ClassVar[int | None] = None

    def call(self, inputs: Any) -> Any:
        """Record the combination of a list of tensors."""
        return self.merge(_of_equal_rank(inputs))

    def _check_inputs(self, inputs: tuple[Any, ...]) -> None:
        kind = type(self).__name__
        given = inputs[0]
        if not isinstance(given, (list, tuple)) or len(inputs) != 1:
            raise TypeError(f"{kind} expects one list of tensors: layers.{kind}()([a, b])")
        if len(given) < self.least or (self.most and len(given) > self.most):
            number = f"{self.most}" if self.most else f"at least {self.least}"
            raise ValueError(f"{kind} expects a list of {number} tensors, got {len(given)}")
        if not all(isinstance(item, SymbolicTensor) for item in given):
            kinds = [type(item).__name__ for item in given]
            raise TypeError(f"{kind} expects a list of symbolic tensors, got {kinds}")

    def merge(self, tensors: list[Any]) -> Any:
        """Combine tensors of equal rank."""
        return functools.reduce(self.pair, tensors)

    def pair(self, a: Any, b: Any) -> Any:
        """Combine two tensors."""
        raise NotImplementedError

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        """Return where any input is unmasked, `None` if any input has no mask."""
        if mask is None or any(item is None for item in mask):
            return None
        return functools.reduce(torch.logical_or, mask)


def _of_equal_rank(tensors: Sequence[Any]) -> list[Any]:
    rank = max(tensor.ndim for tensor in tensors)
    found = []
    for tensor in tensors:
        for _ in range(rank - tensor.ndim):
            tensor = tensor.unsqueeze(1)
        found.append(tensor)
    return found


class Add(Merge):
    """Add tensors elementwise.

    Equivalent to Keras's `Add`; the operator is `+`.

    Args:
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: a list of tensors whose shapes are equal or broadcast.

    Output shape: the broadcast shape.

    Raises:
        ValueError: The number of tensors is wrong.
        BuildError: The shapes do not broadcast.

    Example:
        >>> a, b = Input((16,)), Input((16,))
        >>> layers.Add()([a, b]).shape
        (None, 16)
    """

    def pair(self, a: Any, b: Any) -> Any:
        """Record `a + b`."""
        return a + b


class Subtract(Merge):
    """Subtract the second of two tensors from the first.

    Equivalent to Keras's `Subtract`; the operator is `-`.

    Args:
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: a list of two tensors whose shapes are equal or broadcast.

    Output shape: the broadcast shape.

    Raises:
        ValueError: The number of tensors is wrong.
        BuildError: The shapes do not broadcast.

    Example:
        >>> a, b = Input((16,)), Input((16,))
        >>> layers.Subtract()([a, b]).shape
        (None, 16)
    """

    least = most = 2

    def pair(self, a: Any, b: Any) -> Any:
        """Record `a - b`."""
        return a - b


class Multiply(Merge):
    """Multiply tensors elementwise; masked entries count as one.

    Equivalent to Keras's `Multiply`; the operator is `*`.

    Args:
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: a list of tensors whose shapes are equal or broadcast.

    Output shape: the broadcast shape.

    Raises:
        ValueError: The number of tensors is wrong.
        BuildError: The shapes do not broadcast.

    Example:
        >>> a, b = Input((16,)), Input((16,))
        >>> layers.Multiply()([a, b]).shape
        (None, 16)
    """

    def call(self, inputs: Any, mask: Any = None) -> Any:
        """Record the product, with ones where an input is masked, zeros where all are."""
        masks = mask or [None] * len(inputs)
        given = [
            tensor if m is None else torch.where(_fit(m, tensor), tensor, 1.0)
            for tensor, m in zip(inputs, masks, strict=True)
        ]
        made = super().call(given)
        any_counts = self.compute_mask(inputs, mask)
        return made if any_counts is None else made * _fit(any_counts, made)

    def pair(self, a: Any, b: Any) -> Any:
        """Record `a * b`."""
        return a * b


def _fit(mask: Any, tensor: Any) -> Any:
    """Add axes to a mask until it has the rank of the tensor."""
    for _ in range(tensor.ndim - mask.ndim):
        mask = mask.unsqueeze(-1)
    return mask


class Average(Merge):
    """Average tensors elementwise.

    Equivalent to Keras's `Average`; the operators are `+` and `/`.

    Args:
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: a list of tensors whose shapes are equal or broadcast.

    Output shape: the broadcast shape.

    Raises:
        ValueError: The number of tensors is wrong.
        BuildError: The shapes do not broadcast.

    Example:
        >>> a, b = Input((16,)), Input((16,))
        >>> layers.Average()([a, b]).shape
        (None, 16)
    """

    def merge(self, tensors: list[Any]) -> Any:
        """Record the sum, divided by the number."""
        return super().merge(tensors) / len(tensors)

    def pair(self, a: Any, b: Any) -> Any:
        """Record `a + b`."""
        return a + b


class _Extreme(Merge):
    """Base of maximum and minimum: masked entries are ignored."""

    def call(self, inputs: Any, mask: Any = None) -> Any:
        """Record the extreme; a masked entry takes the value of the tensor before or after it."""
        masks = mask or [None] * len(inputs)
        if all(own is None for own in masks):
            return super().call(inputs)
        pairs = list(zip(_of_equal_rank(inputs), masks, strict=True))
        made, counts = pairs[0]
        for tensor, own in pairs[1:]:
            if own is not None:
                tensor = torch.where(_fit(own, tensor), tensor, made)
            if counts is not None:
                made = torch.where(_fit(counts, made), made, tensor)
            counts = None if own is None or counts is None else torch.logical_or(counts, own)
            made = self.pair(made, tensor)
        return made


class Maximum(_Extreme):
    """Take the elementwise maximum of tensors; masked entries are ignored.

    Equivalent to Keras's `Maximum`; the function is `torch.maximum`.

    Args:
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: a list of tensors whose shapes are equal or broadcast.

    Output shape: the broadcast shape.

    Raises:
        ValueError: The number of tensors is wrong.
        BuildError: The shapes do not broadcast.

    Example:
        >>> a, b = Input((16,)), Input((16,))
        >>> layers.Maximum()([a, b]).shape
        (None, 16)
    """

    def pair(self, a: Any, b: Any) -> Any:
        """Record the maximum."""
        return torch.maximum(a, b)


class Minimum(_Extreme):
    """Take the elementwise minimum of tensors; masked entries are ignored.

    Equivalent to Keras's `Minimum`; the function is `torch.minimum`.

    Args:
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: a list of tensors whose shapes are equal or broadcast.

    Output shape: the broadcast shape.

    Raises:
        ValueError: The number of tensors is wrong.
        BuildError: The shapes do not broadcast.

    Example:
        >>> a, b = Input((16,)), Input((16,))
        >>> layers.Minimum()([a, b]).shape
        (None, 16)
    """

    def pair(self, a: Any, b: Any) -> Any:
        """Record the minimum."""
        return torch.minimum(a, b)


class Concatenate(Merge):
    """Concatenate tensors along an axis.

    Equivalent to Keras's `Concatenate`; the function is `torch.cat`.

    Args:
        axis: Axis, counted with the batch, but not the batch itself.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: a list of tensors whose other sizes are equal.

    Output shape: the sizes along `axis` are added.

    Raises:
        BuildError: The ranks or the other sizes differ.

    Example:
        >>> a, b = Input((16,)), Input((8,))
        >>> layers.Concatenate()([a, b]).shape
        (None, 24)
    """

    def __init__(self, axis: int = -1, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.axis = axis

    def _check_inputs(self, inputs: tuple[Any, ...]) -> None:
        super()._check_inputs(inputs)
        shapes = [tensor.spec.shape for tensor in inputs[0]]
        rank = len(shapes[0])
        if any(len(shape) != rank for shape in shapes):
            raise BuildError(f"Concatenate expects tensors of equal rank, got {shapes}")
        if not -rank <= self.axis < rank:
            raise BuildError(f"Concatenate: axis={self.axis} does not exist in {shapes[0]}")
        for axis, found in enumerate(zip(*shapes, strict=True)):
            known = {size for size in found if size is not None}
            if axis != self.axis % rank and len(known) > 1:
                raise BuildError(
                    f"Concatenate(axis={self.axis}) expects equal sizes along the other axes, "
                    f"got {shapes}"
                )

    def call(self, inputs: Any) -> Any:
        """Record `torch.cat`."""
        return torch.cat(list(inputs), dim=self.axis)

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        """Return where any feature is unmasked, in the masks concatenated like the inputs."""
        if mask is None or all(item is None for item in mask):
            return None
        parts = []
        for tensor, own in zip(inputs, mask, strict=True):
            ones = torch.ones_like(tensor, dtype=torch.bool)
            parts.append(ones if own is None else torch.logical_and(ones, _fit(own, tensor)))
        return torch.cat(parts, dim=self.axis).any(-1)


class Dot(Merge):
    """Multiply two tensors and sum along an axis of each.

    Equivalent to Keras's `Dot`; the function is `torch.einsum`.

    Args:
        axes: Axis, or one for each tensor, counted with the batch, but not the batch itself.
        normalize: Whether to divide both by their norms along the axis first: cosine similarity.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: a list of two tensors.

    Output shape: `(batch, other axes of the first, other axes of the second)`, or `(batch, 1)` if
    there are none.

    Raises:
        ValueError: `axes` has more than two axes.
        BuildError: The sizes along the axes differ.

    Example:
        >>> a, b = Input((10, 16)), Input((5, 16))
        >>> layers.Dot(axes=2)([a, b]).shape
        (None, 10, 5)
    """

    least = most = 2

    def __init__(
        self, axes: int | Sequence[int], normalize: bool = False, **options: Unpack[LayerOptions]
    ) -> None:
        super().__init__(**options)
        if not isinstance(axes, int) and len(axes) != 2:
            raise ValueError(f"Dot: axes= expects one axis, or two, got {axes!r}")
        self.axes = (axes, axes) if isinstance(axes, int) else tuple(axes)
        self.normalize = normalize

    def call(self, inputs: Any) -> Any:
        """Record one `torch.einsum`."""
        axes = [axis % tensor.ndim for axis, tensor in zip(self.axes, inputs, strict=True)]
        a, b = inputs
        size_a, size_b = a.spec.shape[axes[0]], b.spec.shape[axes[1]]
        if 0 in axes or (size_a != size_b and None not in (size_a, size_b)):
            raise BuildError(
                f"Dot(axes={self.axes}) expects equal sizes along these axes, which are not the "
                f"batch; got {a.shape} and {b.shape}"
            )
        if self.normalize:
            a, b = (
                F.normalize(t, dim=axis, eps=1e-6) for t, axis in zip((a, b), axes, strict=True)
            )
        left = [chr(ord("b") + i) for i in range(a.ndim - 1)]
        right = [chr(ord("m") + i) for i in range(b.ndim - 1)]
        left[axes[0] - 1] = right[axes[1] - 1] = "z"
        kept = [letter for letter in (*left, *right) if letter != "z"]
        made = torch.einsum(f"a{''.join(left)},a{''.join(right)}->a{''.join(kept)}", a, b)
        return made if kept else made.unsqueeze(1)

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        """Return no mask."""
        return None


def add(inputs: Sequence[Any], **options: Unpack[LayerOptions]) -> SymbolicTensor:
    """Return the sum of tensors: `Add(**options)(inputs)`."""
    return Add(**options)(inputs)


def subtract(inputs: Sequence[Any], **options: Unpack[LayerOptions]) -> SymbolicTensor:
    """Return the difference of two tensors: `Subtract(**options)(inputs)`."""
    return Subtract(**options)(inputs)


def multiply(inputs: Sequence[Any], **options: Unpack[LayerOptions]) -> SymbolicTensor:
    """Return the product of tensors: `Multiply(**options)(inputs)`."""
    return Multiply(**options)(inputs)


def average(inputs: Sequence[Any], **options: Unpack[LayerOptions]) -> SymbolicTensor:
    """Return the mean of tensors: `Average(**options)(inputs)`."""
    return Average(**options)(inputs)


def maximum(inputs: Sequence[Any], **options: Unpack[LayerOptions]) -> SymbolicTensor:
    """Return the elementwise maximum of tensors: `Maximum(**options)(inputs)`."""
    return Maximum(**options)(inputs)


def minimum(inputs: Sequence[Any], **options: Unpack[LayerOptions]) -> SymbolicTensor:
    """Return the elementwise minimum of tensors: `Minimum(**options)(inputs)`."""
    return Minimum(**options)(inputs)


def concatenate(
    inputs: Sequence[Any], axis: int = -1, **options: Unpack[LayerOptions]
) -> SymbolicTensor:
    """Return the tensors joined along an axis: `Concatenate(axis, **options)(inputs)`."""
    return Concatenate(axis, **options)(inputs)


def dot(
    inputs: Sequence[Any], axes: int | Sequence[int] = -1, **options: Unpack[LayerOptions]
) -> SymbolicTensor:
    """Return the summed products of two tensors: `Dot(axes, **options)(inputs)`."""
    return Dot(axes, **options)(inputs)
