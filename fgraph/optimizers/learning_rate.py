"""Keras's `optimizer.learning_rate` on torch's optimizers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..common.number_checks import real_number
from .step_hooks import ITERATIONS, StepHooks

T = TypeVar("T")

_classes: dict[type, type] = {}


class Rate(float):
    """A learning rate with the methods of Keras's variable: `rate.assign(0.1)`."""

    _optimizer: Any

    def assign(self, value: Any) -> None:
        """Set the learning rate of all parameter groups."""
        self._optimizer.learning_rate = value

    def numpy(self) -> float:
        """Return the rate as a plain float."""
        return float(self)


class LearningRate:
    """Gives a `torch.optim.Optimizer` what Keras's have: `learning_rate`, `iterations`, `apply`."""

    param_groups: list[dict[str, Any]]
    step_hooks: StepHooks | None = None

    @property
    def learning_rate(self) -> Rate:
        """The learning rate; with a schedule, that of the next step.

        Setting it sets the rate of all parameter groups. If their rates differ, it returns the
        first.
        """
        hooks = self.step_hooks
        scheduled = hooks is not None and hooks.schedule is not None
        rate = Rate(hooks.rate(self) if scheduled else self.param_groups[0]["lr"])  # type: ignore[union-attr]
        rate._optimizer = self
        return rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self.refuse_if_scheduled()
        number = real_number(value, "learning_rate")
        for group in self.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(number)
            else:
                group["lr"] = number

    @property
    def iterations(self) -> int:
        """The number of steps made.

        Raises:
            AttributeError: the optimizer does not count them, as most of torch's own.
        """
        counted = self.param_groups[0].get(ITERATIONS)
        if counted is None:
            state = self.state  # type: ignore[attr-defined]
            steps = [entry["step"] for entry in state.values() if "step" in entry]
            if state and not steps:
                raise AttributeError(f"{type(self).__name__} does not count its iterations")
            counted = max(map(int, steps), default=0)
        return int(counted)

    def apply(self, grads: Iterable[Tensor | None], trainable_variables: Any = None) -> None:
        """Make a step with gradients that are given, as `train_step` written for Keras does.

        Args:
            grads: one gradient for each parameter, `None` to leave it as it is.
            trainable_variables: the parameters; by default all that the optimizer trains, in order.

        Raises:
            ValueError: there are more or fewer gradients than parameters, or a parameter is not
                the optimizer's.
        """
        trained = [p for group in self.param_groups for p in group["params"]]
        given, own = list(grads), trained if trainable_variables is None else [*trainable_variables]
        if len(given) != len(own):
            raise ValueError(f"apply got {len(given)} gradients for {len(own)} parameters")
        if strangers := len({id(p) for p in own} - {id(p) for p in trained}):
            raise ValueError(f"apply got {strangers} parameters that the optimizer does not train")
        for parameter in trained:
            parameter.grad = None
        for parameter, grad in zip(own, given, strict=True):
            parameter.grad = grad
        self.step()  # type: ignore[attr-defined]

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Tensor | None, Any]]) -> None:
        """Make a step with pairs of gradient and parameter; see `apply`."""
        pairs = list(grads_and_vars)
        self.apply([grad for grad, _ in pairs], [parameter for _, parameter in pairs])

    def refuse_if_scheduled(self) -> None:
        """Raise `TypeError` if the learning rate follows a schedule, so that it cannot be set."""
        schedule = None if self.step_hooks is None else self.step_hooks.schedule
        if schedule is not None:
            raise TypeError(
                f"the learning rate of this {type(self).__name__} follows the schedule "
                f"{type(schedule).__name__}, so it cannot be set: compile with a number"
            )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[misc]
        if self.step_hooks is not None and not self.step_hooks.is_attached(self):
            self.step_hooks.attach(self)  # copies and unpickled optimizers have lost the hooks

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Copy and pickle through the optimizer's own class."""
        return _blank, (own_class(self), self.step_hooks), self.__getstate__()


def own_class(optimizer: Any) -> type:
    """Return the class that an optimizer had before `with_learning_rate`."""
    kind = type(optimizer)
    return kind.__mro__[2] if kind.__mro__[1] is LearningRate else kind


def with_learning_rate(optimizer: T, step_hooks: StepHooks | None = None) -> T:
    """Give an optimizer the attribute `learning_rate`, unless it has one.

    Its class becomes a subclass of its own class; nothing else changes.

    Args:
        optimizer: an optimizer of torch.
        step_hooks: what to do before and after each step.
    """
    kind = type(optimizer)
    if not isinstance(optimizer, torch.optim.Optimizer) or hasattr(optimizer, "learning_rate"):
        return optimizer
    optimizer.__class__ = _subclass(kind)
    if step_hooks is not None:
        optimizer.step_hooks = step_hooks  # type: ignore[attr-defined]
        step_hooks.attach(optimizer)
    return optimizer


def _subclass(kind: type) -> type:
    if kind not in _classes:
        body = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
        body["__doc__"] = kind.__doc__ or ""
        _classes[kind] = type(kind.__name__, (LearningRate, kind), body)
    return _classes[kind]


def _blank(kind: type, step_hooks: StepHooks | None) -> Any:
    """Make an optimizer without a state, for copying and unpickling."""
    made: Any = _subclass(kind)
    optimizer = made.__new__(made)
    optimizer.step_hooks = step_hooks
    return optimizer
