"""Keras's constraints: functions that replace a weight, in Keras's layout, after each step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from .absent.missing_names import missing_names
from .common.configured import Configured
from .common.named_objects import look_up, serialized

ConstraintLike = str | Callable[[Tensor], Tensor] | Mapping[str, Any] | None
Axis = int | Sequence[int]

_EPSILON = 1e-7  # Keras's `backend.epsilon()`: avoids a division by zero for a weight of zeros


class Constraint(Configured):
    """Base class: a callable from a weight to the weight that takes its place."""

    def __call__(self, w: Tensor) -> Tensor:
        """Return the constrained weight, of the same shape."""
        raise NotImplementedError


def _norm(w: Tensor, axis: Axis) -> Tensor:
    return w.square().sum(axis, keepdim=True).sqrt()  # type: ignore[arg-type]


class MaxNorm(Constraint):
    """Scale down vectors whose norm is above a limit.

    Args:
        max_value: The largest norm.
        axis: Axis, or axes, along which norms are computed. Defaults to 0, the inputs of a `Dense`
            kernel.
    """

    def __init__(self, max_value: float = 2, axis: Axis = 0) -> None:
        self.max_value = max_value
        self.axis = axis

    def __call__(self, w: Tensor) -> Tensor:
        """Return the constrained weight, of the same shape."""
        norm = _norm(w, self.axis)
        return w * (norm.clamp(0, self.max_value) / (norm + _EPSILON))


class NonNeg(Constraint):
    """Replace negative values by zero."""

    def __call__(self, w: Tensor) -> Tensor:
        """Return the constrained weight, of the same shape."""
        return w.clamp(min=0)


class UnitNorm(Constraint):
    """Scale vectors to a norm of one.

    Args:
        axis: Axis, or axes, along which norms are computed.
    """

    def __init__(self, axis: Axis = 0) -> None:
        self.axis = axis

    def __call__(self, w: Tensor) -> Tensor:
        """Return the constrained weight, of the same shape."""
        return w / (_norm(w, self.axis) + _EPSILON)


class MinMaxNorm(Constraint):
    """Scale vectors whose norm is outside two limits.

    Args:
        min_value: The smallest norm.
        max_value: The largest norm.
        rate: How far a norm moves towards the limits at each step; 1 for all the way.
        axis: Axis, or axes, along which norms are computed.
    """

    def __init__(
        self,
        min_value: float = 0.0,
        max_value: float = 1.0,
        rate: float = 1.0,
        axis: Axis = 0,
    ) -> None:
        self.min_value = min_value
        self.max_value = max_value
        self.rate = rate
        self.axis = axis

    def __call__(self, w: Tensor) -> Tensor:
        """Return the constrained weight, of the same shape."""
        norm = _norm(w, self.axis)
        wanted = self.rate * norm.clamp(self.min_value, self.max_value) + (1 - self.rate) * norm
        return w * (wanted / (norm + _EPSILON))


# the names that Keras has for these classes besides their own
max_norm = MaxNorm
non_neg = NonNeg
unit_norm = UnitNorm
min_max_norm = MinMaxNorm

_KNOWN: dict[str, type[Constraint]] = {
    name: value
    for name, value in globals().items()
    if isinstance(value, type) and issubclass(value, Constraint) and value is not Constraint
}


def get(identifier: ConstraintLike) -> Callable[[Tensor], Tensor] | None:
    """Return the constraint of that name, or the given object or function itself.

    Raises:
        ValueError: There is no such name.
    """
    return deserialize(identifier)


def serialize(constraint: Any) -> Any:
    """Return a constraint as plain data, which `get` and `deserialize` take, for `get_config`.

    Args:
        constraint: A function or an object.

    Returns:
        The name of a function, class and configuration of an object, `None` for `None`.

    Raises:
        TypeError: It has neither a name nor a configuration.
    """
    return serialized("constraint", _KNOWN, constraint)


def deserialize(
    config: Any, custom_objects: Mapping[str, Any] | None = None
) -> Callable[[Tensor], Tensor] | None:
    """Return the constraint that `serialize` wrote.

    Args:
        config: A name, or class and configuration.
        custom_objects: Classes and functions of your own by name.

    Raises:
        ValueError: There is no such name.
    """
    if config is None:
        return None
    return look_up("constraint", _KNOWN, config, custom_objects)  # type: ignore[no-any-return]


if not TYPE_CHECKING:
    __getattr__ = missing_names(__name__, {})
