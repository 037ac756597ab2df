"""Keras's constraints: what a weight, in Keras's layout, is turned into after each step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from .errors import look_up

_EPSILON = 1e-7  # Keras's `backend.epsilon()`: keeps a zero weight from being divided by zero

Axis = int | Sequence[int]


class Constraint:
    """Base class: a callable from a weight to the weight that takes its place."""

    def __call__(self, w: Tensor) -> Tensor:
        """Return the constrained weight, of the same shape."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments by name."""
        return asdict(self)  # type: ignore[call-overload, no-any-return]


def _norm(w: Tensor, axis: Axis) -> Tensor:
    return w.square().sum(axis, keepdim=True).sqrt()  # type: ignore[arg-type]


@dataclass(frozen=True)
class MaxNorm(Constraint):
    """Norms along `axis` of at most `max_value`.

    Args:
        max_value: the largest norm.
        axis: the axis, or axes, along which norms are taken; 0, the inputs of a `Dense` kernel.
    """

    max_value: float = 2.0
    axis: Axis = 0

    def __call__(self, w: Tensor) -> Tensor:
        """Return the constrained weight, of the same shape."""
        norm = _norm(w, self.axis)
        return w * (norm.clamp(0, self.max_value) / (norm + _EPSILON))


@dataclass(frozen=True)
class NonNeg(Constraint):
    """No negative values."""

    def __call__(self, w: Tensor) -> Tensor:
        """Return the constrained weight, of the same shape."""
        return w.clamp(min=0)


@dataclass(frozen=True)
class UnitNorm(Constraint):
    """Norms along `axis` of one.

    Args:
        axis: the axis, or axes, along which norms are taken.
    """

    axis: Axis = 0

    def __call__(self, w: Tensor) -> Tensor:
        """Return the constrained weight, of the same shape."""
        return w / (_norm(w, self.axis) + _EPSILON)


@dataclass(frozen=True)
class MinMaxNorm(Constraint):
    """Norms along `axis` between two bounds.

    Args:
        min_value: the smallest norm.
        max_value: the largest norm.
        rate: how far a norm is moved into the bounds: 1 for all the way.
        axis: the axis, or axes, along which norms are taken.
    """

    min_value: float = 0.0
    max_value: float = 1.0
    rate: float = 1.0
    axis: Axis = 0

    def __call__(self, w: Tensor) -> Tensor:
        """Return the constrained weight, of the same shape."""
        norm = _norm(w, self.axis)
        wanted = self.rate * norm.clamp(self.min_value, self.max_value) + (1 - self.rate) * norm
        return w * (wanted / (norm + _EPSILON))


_CLASSES: dict[str, type[Constraint]] = {
    "max_norm": MaxNorm,
    "non_neg": NonNeg,
    "unit_norm": UnitNorm,
    "min_max_norm": MinMaxNorm,
}
_KNOWN = {**_CLASSES, **{kind.__name__: kind for kind in _CLASSES.values()}}


def get(identifier: Any) -> Callable[[Tensor], Tensor] | None:
    """Return the constraint of that name, or the given object or function itself.

    Raises:
        ValueError: there is no such name.
    """
    if identifier is None:
        return None
    return look_up("constraint", _KNOWN, identifier)  # type: ignore[no-any-return]
