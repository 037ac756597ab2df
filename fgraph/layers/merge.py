"""Layers that make one tensor of several, and their lower-case function forms."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional as F

from ..errors import BuildError
from ..graph import SymbolicTensor
from .base import Layer


class Merge(Layer):
    """Base of the layers that combine tensors elementwise, two at a time.

    Tensors of different rank are combined as Keras does: the smaller ones get axes of size one
    after the batch. Other axes broadcast.
    """

    supports_masking = True
    least, most = 2, None

    def call(self, tensors: Any) -> Any:
        """Record the combination of a list of tensors."""
        return self.merge(_of_equal_rank(tensors))

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
        """Return where any of the inputs counts; none where one of them has no mask."""
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
    """The sum of tensors, as Keras's `Add`.

    Input shape: a list of tensors of equal shapes, or shapes that broadcast. Output shape: theirs.
    """

    def pair(self, a: Any, b: Any) -> Any:
        """Record `a + b`."""
        return a + b


class Subtract(Merge):
    """The difference of two tensors, as Keras's `Subtract`.

    Input shape: a list of two tensors whose shapes are equal or broadcast. Output shape: theirs.
    """

    most = 2  # type: ignore[assignment]

    def pair(self, a: Any, b: Any) -> Any:
        """Record `a - b`."""
        return a - b


class Multiply(Merge):
    """The elementwise product of tensors, as Keras's `Multiply`; masked entries count as one.

    Input shape: a list of tensors of equal shapes, or shapes that broadcast. Output shape: theirs.
    """

    def call(self, tensors: Any, mask: Any = None) -> Any:
        """Record the product, with ones where an input is masked, zeros where all are."""
        masks = mask or [None] * len(tensors)
        given = [
            tensor if m is None else torch.where(_fit(m, tensor), tensor, 1.0)
            for tensor, m in zip(tensors, masks, strict=True)
        ]
        made = super().call(given)
        any_counts = self.compute_mask(tensors, mask)
        return made if any_counts is None else made * _fit(any_counts, made)

    def pair(self, a: Any, b: Any) -> Any:
        """Record `a * b`."""
        return a * b


def _fit(mask: Any, tensor: Any) -> Any:
    """Give a mask as many axes as the tensor has."""
    for _ in range(tensor.ndim - mask.ndim):
        mask = mask.unsqueeze(-1)
    return mask


class Average(Merge):
    """The mean of tensors, as Keras's `Average`.

    Input shape: a list of tensors of equal shapes, or shapes that broadcast. Output shape: theirs.
    """

    def merge(self, tensors: list[Any]) -> Any:
        """Record the sum, divided by the number."""
        return super().merge(tensors) / len(tensors)

    def pair(self, a: Any, b: Any) -> Any:
        """Record `a + b`."""
        return a + b


class Maximum(Merge):
    """The elementwise maximum of tensors, as Keras's `Maximum`.

    Input shape: a list of tensors of equal shapes, or shapes that broadcast. Output shape: theirs.
    """

    def pair(self, a: Any, b: Any) -> Any:
        """Record the maximum."""
        return torch.maximum(a, b)


class Minimum(Merge):
    """The elementwise minimum of tensors, as Keras's `Minimum`.

    Input shape: a list of tensors of equal shapes, or shapes that broadcast. Output shape: theirs.
    """

    def pair(self, a: Any, b: Any) -> Any:
        """Record the minimum."""
        return torch.minimum(a, b)


class Concatenate(Merge):
    """Tensors one after the other along an axis, as Keras's `Concatenate`.

    Args:
        axis: the axis, batch included; not the batch itself.
        **options: those of every `Layer`.

    Input shape: a list of tensors whose other sizes are equal. Output shape: the sizes along
    `axis` are added.

    Raises:
        BuildError: the other sizes differ.
    """

    least = 1

    def __init__(self, axis: int = -1, **options: Any) -> None:
        super().__init__(**options)
        self.axis = axis

    def _check_inputs(self, inputs: tuple[Any, ...]) -> None:
        super()._check_inputs(inputs)
        shapes = [tensor.shape for tensor in inputs[0]]
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

    def call(self, tensors: Any) -> Any:
        """Record `torch.cat`."""
        return torch.cat(list(tensors), dim=self.axis)

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        """Return where any feature counts, of the masks put together like the inputs."""
        if mask is None or all(item is None for item in mask):
            return None
        parts = []
        for tensor, own in zip(inputs, mask, strict=True):
            ones = torch.ones_like(tensor, dtype=torch.bool)
            parts.append(ones if own is None else torch.logical_and(ones, _fit(own, tensor)))
        return torch.cat(parts, dim=self.axis).any(-1)


class Dot(Merge):
    """The products of two tensors along an axis of each, summed, as Keras's `Dot`.

    Args:
        axes: the axis, or one for each tensor, batch included; not the batch itself.
        normalize: whether both are divided by their norms along it first: cosine similarity.
        **options: those of every `Layer`.

    Input shape: a list of two tensors. Output shape: the batch, then the other axes of the first
    and of the second; `(batch, 1)` where none is left.

    Raises:
        BuildError: the sizes along the axes differ.
    """

    most = 2  # type: ignore[assignment]

    def __init__(self, axes: int | Sequence[int], normalize: bool = False, **options: Any) -> None:
        super().__init__(**options)
        if not isinstance(axes, int) and len(axes) != 2:
            raise ValueError(f"Dot: axes= expects one axis, or two, got {axes!r}")
        self.axes = (axes, axes) if isinstance(axes, int) else tuple(axes)
        self.normalize = normalize

    def call(self, tensors: Any) -> Any:
        """Record one `torch.einsum`."""
        axes = [axis % tensor.ndim for axis, tensor in zip(self.axes, tensors, strict=True)]
        a, b = tensors
        size_a, size_b = a.shape[axes[0]], b.shape[axes[1]]
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


def add(inputs: Sequence[Any], **options: Any) -> Any:
    """Return the sum of tensors: `Add(**options)(inputs)`."""
    return Add(**options)(inputs)


def subtract(inputs: Sequence[Any], **options: Any) -> Any:
    """Return the difference of two tensors: `Subtract(**options)(inputs)`."""
    return Subtract(**options)(inputs)


def multiply(inputs: Sequence[Any], **options: Any) -> Any:
    """Return the product of tensors: `Multiply(**options)(inputs)`."""
    return Multiply(**options)(inputs)


def average(inputs: Sequence[Any], **options: Any) -> Any:
    """Return the mean of tensors: `Average(**options)(inputs)`."""
    return Average(**options)(inputs)


def maximum(inputs: Sequence[Any], **options: Any) -> Any:
    """Return the elementwise maximum of tensors: `Maximum(**options)(inputs)`."""
    return Maximum(**options)(inputs)


def minimum(inputs: Sequence[Any], **options: Any) -> Any:
    """Return the elementwise minimum of tensors: `Minimum(**options)(inputs)`."""
    return Minimum(**options)(inputs)


def concatenate(inputs: Sequence[Any], axis: int = -1, **options: Any) -> Any:
    """Return tensors one after the other: `Concatenate(axis, **options)(inputs)`."""
    return Concatenate(axis, **options)(inputs)


def dot(inputs: Sequence[Any], axes: int | Sequence[int], **options: Any) -> Any:
    """Return the summed products of two tensors: `Dot(axes, **options)(inputs)`."""
    return Dot(axes, **options)(inputs)
