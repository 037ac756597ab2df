"""Linear algebra: `fgraph.ops.linalg`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..graph import SymbolicTensor
from .conversion import Axis, axes, floating, promoted, tensor

__all__ = [
    "cholesky", "cholesky_inverse", "det", "eig", "eigh", "inv", "jvp", "logdet", "lstsq",
    "lu_factor", "matrix_rank", "norm", "pinv", "qr", "slogdet", "solve", "solve_triangular", "svd",
]  # fmt: skip


def cholesky(x: Any, upper: bool = False) -> Tensor:
    """Return the lower triangular `L` with `x = L Lᵀ`, or its transpose if `upper`."""
    return torch.linalg.cholesky(floating(x), upper=upper)


def cholesky_inverse(x: Any, upper: bool = False) -> Tensor:
    """Return the inverse of the matrix of which `x` is Cholesky's factor."""
    return torch.cholesky_inverse(floating(x), upper=upper)


def det(x: Any) -> Tensor:
    """Return the determinant."""
    return torch.linalg.det(floating(x))


def slogdet(x: Any) -> tuple[Tensor, Tensor]:
    """Return the sign of the determinant and the logarithm of its absolute value."""
    sign, logarithm = torch.linalg.slogdet(floating(x))
    return sign, logarithm


def logdet(x: Any) -> Tensor:
    """Return the logarithm of the determinant."""
    return torch.logdet(floating(x))


def eig(x: Any) -> tuple[Tensor, Tensor]:
    """Return eigenvalues and eigenvectors, complex."""
    values, vectors = torch.linalg.eig(floating(x))
    return values, vectors


def eigh(x: Any) -> tuple[Tensor, Tensor]:
    """Return eigenvalues, ascending, and eigenvectors of a symmetric or Hermitian matrix."""
    values, vectors = torch.linalg.eigh(floating(x))
    return values, vectors


def inv(x: Any) -> Tensor:
    """Return the inverse."""
    return torch.linalg.inv(floating(x))


def pinv(x: Any, rcond: float | None = None) -> Tensor:
    """Return the pseudo-inverse, leaving out singular values below `rcond` of the largest."""
    return torch.linalg.pinv(floating(x), rtol=rcond)


def matrix_rank(x: Any, tol: float | None = None) -> Tensor:
    """Return the number of singular values above `tol`, as int32."""
    return torch.linalg.matrix_rank(floating(x), atol=tol).to(torch.int32)


def lu_factor(x: Any) -> tuple[Tensor, Tensor]:
    """Return both triangular factors in one matrix, and the pivots, counted from 0."""
    factors, pivots = torch.linalg.lu_factor(floating(x))
    return factors, pivots - 1


def qr(x: Any, mode: str = "reduced") -> tuple[Tensor, Tensor]:
    """Return the orthogonal and the upper triangular factor.

    Raises:
        ValueError: The mode is neither `"reduced"` nor `"complete"`.
    """
    if mode not in ("reduced", "complete"):
        raise ValueError(f"qr: unknown mode {mode!r}; known: reduced, complete")
    q, r = torch.linalg.qr(floating(x), mode)
    return q, r


def svd(x: Any, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    """Return `U`, the singular values and `Vᴴ`, or the values alone without `compute_uv`."""
    if not compute_uv:
        return torch.linalg.svdvals(floating(x))
    u, values, vh = torch.linalg.svd(floating(x), full_matrices)
    return u, values, vh


def solve(a: Any, b: Any) -> Tensor:
    """Return the solution of `a x = b`, for `b` of one column or several."""
    return torch.linalg.solve(*promoted(floating(a), floating(b)))


def solve_triangular(a: Any, b: Any, lower: bool = False) -> Tensor:
    """Return the solution of `a x = b` for an upper triangular `a`, or a lower one."""
    a, b = promoted(floating(a), floating(b))
    if b.ndim == a.ndim - 1:
        return torch.linalg.solve_triangular(a, b.unsqueeze(-1), upper=not lower).squeeze(-1)
    return torch.linalg.solve_triangular(a, b, upper=not lower)


def lstsq(a: Any, b: Any, rcond: float | None = None) -> Tensor:
    """Return the least-squares solution of `a x = b`, singular values cut off at `rcond`."""
    a, b = promoted(floating(a), floating(b))
    if rcond is not None or isinstance(a, SymbolicTensor):  # torch cannot infer the shapes
        return torch.linalg.pinv(a, rtol=rcond) @ b
    column = b.unsqueeze(-1) if b.ndim == 1 else b
    found: Tensor = torch.linalg.lstsq(a, column).solution
    return found.squeeze(-1) if b.ndim == 1 else found


def norm(x: Any, ord: Any = None, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Return a norm of vectors or matrices.

    Args:
        x: Values, of any shape.
        ord: The order: a number, `"fro"` or `"nuc"`. Defaults to the root of the sum of squares.
        axis: One axis for vectors, two for matrices; everything for `None`.
        keepdims: Whether the axes stay, with size 1.
    """
    return torch.linalg.norm(floating(x), ord=ord, dim=axes(axis), keepdim=keepdims)


def jvp(
    fun: Callable[..., Any], primals: Any, tangents: Any, has_aux: bool = False
) -> tuple[Any, ...]:
    """Return the value of a function and its derivative in a direction, on real tensors.

    Args:
        fun: The function.
        primals: A tuple of its arguments.
        tangents: The direction, one tensor for each argument.
        has_aux: Whether the function returns a pair, of which only the first is differentiated.
    """
    made: tuple[Any, ...] = torch.func.jvp(
        fun, tuple(map(tensor, primals)), tuple(map(tensor, tangents)), has_aux=has_aux
    )
    return made
