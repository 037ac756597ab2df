"""Keras's regularizers: a number to add to the loss, from a weight in Keras's layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .absent.missing_names import missing_names
from .common.configured import Configured
from .common.named_objects import look_up, serialized

RegularizerLike = str | Callable[[Tensor], Tensor] | Mapping[str, Any] | None


class Regularizer(Configured):
    """Base class: a callable from a tensor to a scalar tensor."""

    def __call__(self, x: Tensor) -> Tensor:
        """Return the penalty, a tensor of shape `()`."""
        raise NotImplementedError


class L1L2(Regularizer):
    """Penalize absolute values and squares: `l1 * sum(|x|) + l2 * sum(x²)`.

    Args:
        l1: Factor of the absolute values.
        l2: Factor of the squares.
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        self.l1 = l1
        self.l2 = l2

    def __call__(self, x: Tensor) -> Tensor:
        """Return the penalty, a tensor of shape `()`."""
        total = x.new_zeros(())
        if self.l1:
            total = total + self.l1 * x.abs().sum()
        if self.l2:
            total = total + self.l2 * x.square().sum()
        return total


class L1(Regularizer):
    """Penalize absolute values: `l1 * sum(|x|)`.

    Args:
        l1: Factor.
    """

    def __init__(self, l1: float = 0.01) -> None:
        self.l1 = l1

    def __call__(self, x: Tensor) -> Tensor:
        """Return the penalty, a tensor of shape `()`."""
        return self.l1 * x.abs().sum()


class L2(Regularizer):
    """Penalize squares: `l2 * sum(x²)`.

    Args:
        l2: Factor.
    """

    def __init__(self, l2: float = 0.01) -> None:
        self.l2 = l2

    def __call__(self, x: Tensor) -> Tensor:
        """Return the penalty, a tensor of shape `()`."""
        return self.l2 * x.square().sum()


class OrthogonalRegularizer(Regularizer):
    """Penalize the mean absolute cosine between the rows, or columns, of a matrix.

    Args:
        factor: Factor of the penalty.
        mode: `"rows"` or `"columns"`: which are to be orthogonal.

    Raises:
        ValueError: The mode is none of these.
    """

    def __init__(self, factor: float = 0.01, mode: str = "rows") -> None:
        if mode not in ("rows", "columns"):
            raise ValueError(
                f"OrthogonalRegularizer: mode= expects 'rows' or 'columns', got {mode!r}"
            )
        self.factor = factor
        self.mode = mode

    def __call__(self, x: Tensor) -> Tensor:
        """Return the penalty of a matrix, a tensor of shape `()`.

        Raises:
            ValueError: The weight is not a matrix.
        """
        if x.dim() != 2:
            raise ValueError(f"OrthogonalRegularizer expects a matrix, got shape {tuple(x.shape)}")
        rows = x if self.mode == "rows" else x.T
        rows = torch.nn.functional.normalize(rows, dim=1, eps=1e-6)
        size = rows.shape[0]
        cosines = (rows @ rows.T) * (1.0 - torch.eye(size, dtype=x.dtype, device=x.device))
        pairs = max(size * (size - 1) / 2.0, 1.0)
        return self.factor * 0.5 * cosines.abs().sum() / pairs


# the names that Keras has for these classes besides their own
l1 = L1
l2 = L2
l1_l2 = L1L2
orthogonal_regularizer = OrthogonalRegularizer

_KNOWN: dict[str, type[Regularizer]] = {
    name: value
    for name, value in globals().items()
    if isinstance(value, type) and issubclass(value, Regularizer) and value is not Regularizer
}


def get(identifier: RegularizerLike) -> Callable[[Tensor], Tensor] | None:
    """Return the regularizer of that name, or the given object or function itself.

    Raises:
        ValueError: There is no such name.
    """
    return deserialize(identifier)


def serialize(regularizer: Any) -> Any:
    """Return a regularizer as plain data, which `get` and `deserialize` take, for `get_config`.

    Args:
        regularizer: A function or an object.

    Returns:
        The name of a function, class and configuration of an object, `None` for `None`.

    Raises:
        TypeError: It has neither a name nor a configuration.
    """
    return serialized("regularizer", _KNOWN, regularizer)


def deserialize(
    config: Any, custom_objects: Mapping[str, Any] | None = None
) -> Callable[[Tensor], Tensor] | None:
    """Return the regularizer that `serialize` wrote.

    Args:
        config: A name, or class and configuration.
        custom_objects: Classes and functions of your own by name.

    Raises:
        ValueError: There is no such name.
    """
    if config is None:
        return None
    return look_up("regularizer", _KNOWN, config, custom_objects)  # type: ignore[no-any-return]


if not TYPE_CHECKING:
    __getattr__ = missing_names(__name__, {})
