"""Keras's `optimizer.learning_rate` on torch's optimizers."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")

_classes: dict[type, type] = {}


class Rate(float):
    """A learning rate that can be set as Keras's variable: `rate.assign(0.1)`."""

    _optimizer: Any

    def assign(self, value: Any) -> None:
        """Set the learning rate of all parameter groups."""
        self._optimizer.learning_rate = value

    def numpy(self) -> float:
        """Return the rate as a plain float."""
        return float(self)


class LearningRate:
    """Gives a `torch.optim.Optimizer` the attribute `learning_rate`."""

    param_groups: list[dict[str, Any]]

    @property
    def learning_rate(self) -> Rate:
        """The learning rate; setting it sets that of all parameter groups.

        With groups of different rates it is the first group's.
        """
        rate = Rate(self.param_groups[0]["lr"])
        rate._optimizer = self
        return rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        if isinstance(value, bool | str) or not hasattr(value, "__float__"):
            raise TypeError(f"learning_rate must be a number, got {value!r}")
        for group in self.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(float(value))
            else:
                group["lr"] = float(value)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Copy and pickle through the optimizer's own class."""
        state = self.__getstate__() if hasattr(self, "__getstate__") else self.__dict__
        return _blank, (own_class(self),), state


def own_class(optimizer: Any) -> type:
    """Return the class of an optimizer before it was given the attribute `learning_rate`."""
    kind = type(optimizer)
    return kind.__mro__[2] if kind.__mro__[1] is LearningRate else kind


def with_learning_rate(optimizer: T) -> T:
    """Give an optimizer the attribute `learning_rate`, unless it has one.

    It becomes an instance of a subclass of its class; all else stays.
    """
    kind = type(optimizer)
    if not isinstance(optimizer, torch.optim.Optimizer) or hasattr(optimizer, "learning_rate"):
        return optimizer
    optimizer.__class__ = _subclass(kind)
    return optimizer


def _subclass(kind: type) -> type:
    if kind not in _classes:
        body = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
        body["__doc__"] = kind.__doc__ or ""
        _classes[kind] = type(kind.__name__, (LearningRate, kind), body)
    return _classes[kind]


def _blank(kind: type) -> Any:
    """Make an optimizer without a state, to be filled by copying or unpickling."""
    made: Any = _subclass(kind)
    return made.__new__(made)
