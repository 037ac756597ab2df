"""Keras's regularizers: a number to add to the loss, from a weight in Keras's layout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from .errors import look_up


class Regularizer:
    """Base class: a callable from a tensor to a scalar tensor."""

    def __call__(self, x: Tensor) -> Tensor:
        """Return the penalty, a tensor of shape `()`."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments by name."""
        return asdict(self)  # type: ignore[call-overload, no-any-return]


@dataclass(frozen=True)
class L1L2(Regularizer):
    """`l1 * sum|x| + l2 * sum x²`.

    Args:
        l1: the factor of the absolute values.
        l2: the factor of the squares.
    """

    l1: float = 0.0
    l2: float = 0.0

    def __call__(self, x: Tensor) -> Tensor:
        """Return the penalty, a tensor of shape `()`."""
        total = x.new_zeros(())
        if self.l1:
            total = total + self.l1 * x.abs().sum()
        if self.l2:
            total = total + self.l2 * x.square().sum()
        return total


@dataclass(frozen=True)
class L1(Regularizer):
    """`l1 * sum|x|`.

    Args:
        l1: the factor.
    """

    l1: float = 0.01

    def __call__(self, x: Tensor) -> Tensor:
        """Return the penalty, a tensor of shape `()`."""
        return self.l1 * x.abs().sum()


@dataclass(frozen=True)
class L2(Regularizer):
    """`l2 * sum x²`.

    Args:
        l2: the factor.
    """

    l2: float = 0.01

    def __call__(self, x: Tensor) -> Tensor:
        """Return the penalty, a tensor of shape `()`."""
        return self.l2 * x.square().sum()


@dataclass(frozen=True)
class OrthogonalRegularizer(Regularizer):
    """The mean absolute cosine between the rows, or columns, of a matrix, times `factor`.

    Args:
        factor: the factor.
        mode: `"rows"` or `"columns"`: which are to be orthogonal.

    Raises:
        ValueError: the mode is none of these.
    """

    factor: float = 0.01
    mode: str = "rows"

    def __post_init__(self) -> None:
        if self.mode not in ("rows", "columns"):
            raise ValueError(
                f"OrthogonalRegularizer: mode= expects 'rows' or 'columns', got {self.mode!r}"
            )

    def __call__(self, x: Tensor) -> Tensor:
        """Return the penalty of a matrix, a tensor of shape `()`.

        Raises:
            ValueError: the weight is not a matrix.
        """
        if x.dim() != 2:
            raise ValueError(f"OrthogonalRegularizer expects a matrix, got shape {tuple(x.shape)}")
        rows = x if self.mode == "rows" else x.T
        rows = torch.nn.functional.normalize(rows, dim=1, eps=1e-6)
        size = rows.shape[0]
        cosines = (rows @ rows.T) * (1.0 - torch.eye(size, dtype=x.dtype, device=x.device))
        pairs = max(size * (size - 1) / 2.0, 1.0)
        return self.factor * 0.5 * cosines.abs().sum() / pairs


_KNOWN: dict[str, type[Regularizer]] = {
    "l1": L1,
    "l2": L2,
    "l1_l2": L1L2,
    "orthogonal_regularizer": OrthogonalRegularizer,
    "L1": L1,
    "L2": L2,
    "L1L2": L1L2,
    "OrthogonalRegularizer": OrthogonalRegularizer,
}


def get(identifier: Any) -> Callable[[Tensor], Tensor] | None:
    """Return the regularizer of that name, or the given object or function itself.

    Raises:
        ValueError: there is no such name.
    """
    if identifier is None:
        return None
    return look_up("regularizer", _KNOWN, identifier)  # type: ignore[no-any-return]
