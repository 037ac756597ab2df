"""Products of matrices and vectors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .conversion import promoted

__all__ = [
    "cdist", "correlate", "cross", "dot", "einsum", "inner", "kron", "matmul", "outer",
    "tensordot", "vdot",
]  # fmt: skip


def matmul(x1: Any, x2: Any) -> Tensor:
    """Return the matrix product; leading axes broadcast, and of `int8` it is `int32`."""
    return torch.matmul(*_widened(promoted(x1, x2)))


def _widened(tensors: Iterable[Any]) -> list[Any]:
    """Return tensors of 8 bits in 32, as sums of their products are."""
    return [x.to(torch.int32) if x.dtype == torch.int8 else x for x in tensors]


def dot(x1: Any, x2: Any) -> Tensor:
    """Return sums of products over the last axis of `x1` and the last but one of `x2`.

    For vectors this is their inner product, for matrices the matrix product, for a single number
    the product.
    """
    first, second = promoted(x1, x2)
    if first.ndim == 0 or second.ndim == 0:
        return first * second
    if second.ndim < 3:
        return torch.matmul(first, second)
    return torch.tensordot(first, second, dims=([first.ndim - 1], [second.ndim - 2]))


def inner(x1: Any, x2: Any) -> Tensor:
    """Return sums of products over the last axes of both."""
    return torch.inner(*promoted(x1, x2))


def outer(x1: Any, x2: Any) -> Tensor:
    """Return the products of each element of `x1` with each of `x2`, both flattened."""
    first, second = promoted(x1, x2)
    return torch.outer(first.flatten(), second.flatten())


def vdot(x1: Any, x2: Any) -> Tensor:
    """Return the inner product of two flattened tensors, the first one conjugated."""
    first, second = promoted(x1, x2)
    return torch.vdot(first.flatten(), second.flatten())


def tensordot(x1: Any, x2: Any, axes: Any = 2) -> Tensor:
    """Return sums of products over several axes.

    Args:
        x1, x2: Tensors.
        axes: How many of the last axes of `x1` and the first of `x2`, or the axes of both: two
            numbers or two lists.
    """
    if isinstance(axes, Sequence):
        axes = [list(a) if isinstance(a, Sequence) else [a] for a in axes]
    first, second = promoted(x1, x2)
    return torch.tensordot(first, second, dims=axes)


def einsum(subscripts: str, *operands: Any, **kwargs: Any) -> Tensor:
    """Return sums of products over the axes that the subscripts name: `"bij,bjk->bik"`.

    Args:
        subscripts: Einstein's notation; `...` stands for leading axes.
        *operands: Tensors.
        **kwargs: `optimize` is accepted, and has no effect.
    """
    return torch.einsum(subscripts, *_widened(promoted(*operands)))


def cdist(x: Any, y: Any) -> Tensor:
    """Return the distances between the rows of `x` and those of `y`."""
    first, second = promoted(x, y)
    return torch.cdist(first, second)


def kron(x1: Any, x2: Any) -> Tensor:
    """Return the Kronecker product."""
    return torch.kron(*promoted(x1, x2))


def cross(
    x1: Any, x2: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> Tensor:
    """Return the cross product of vectors of three numbers.

    Args:
        x1, x2: Tensors.
        axisa, axisb, axisc: The axes of the vectors in `x1`, in `x2` and in the result.
        axis: One axis for all three.
    """
    first, second = promoted(x1, x2)
    if axis is not None:
        axisa = axisb = axisc = axis
    made = torch.linalg.cross(first.movedim(axisa, -1), second.movedim(axisb, -1), dim=-1)
    return made.movedim(-1, axisc)


def correlate(x1: Any, x2: Any, mode: str = "valid") -> Tensor:
    """Return the cross-correlation of two sequences of one axis.

    Args:
        x1, x2: Values, `(steps,)`.
        mode: `"valid"`, where both overlap fully; `"same"`, as many as the longer one has, around
            the middle; `"full"`, wherever they overlap.

    Raises:
        ValueError: The mode is not known.
    """
    first, second = promoted(x1, x2)
    if not first.dtype.is_floating_point:
        first, second = first.to(torch.get_default_dtype()), second.to(torch.get_default_dtype())
    lengths = first.shape[0], second.shape[0]
    full = F.conv1d(first[None, None], second[None, None], padding=lengths[1] - 1)[0, 0]
    if mode == "full":
        return full
    if mode not in ("valid", "same"):
        raise ValueError(f"correlate: unknown mode {mode!r}; known: valid, same, full")
    short, long = sorted(lengths)
    if mode == "valid":
        return full.narrow(0, short - 1, long - short + 1)
    return full.narrow(0, (short - 1) // 2 if lengths[0] >= lengths[1] else short // 2, long)
