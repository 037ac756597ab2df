"""What `compile` was told, and what is made of it when training begins."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .. import losses as loss_functions
from .. import metrics as metric_functions
from .. import optimizers
from .metric_set import Figures, MetricSet
from .objective import Objective
from .per_output import per_output

_PRECISIONS = {
    "float32": None,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "mixed_bfloat16": torch.bfloat16,
    "mixed_float16": torch.float16,
}
_PER_BATCH = (torch.optim.lr_scheduler.OneCycleLR, torch.optim.lr_scheduler.CyclicLR)


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [leaf for item in value.values() for leaf in _leaves(item)]
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in _leaves(item)]
    return [] if value is None else [value]


def _resolved_losses(value: Any) -> Any:
    """Returns the same structure with loss objects, so that unknown names fail in `compile`."""
    if isinstance(value, Mapping):
        return {key: _resolved_losses(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_resolved_losses(item) for item in value]
    return None if value is None else loss_functions.get(value)


class Schedule:
    """A learning-rate scheduler and when it steps.

    Args:
        given: A torch scheduler, a callable `optimizer -> scheduler`, or a pair of one of these
            and `"batch"`, `"epoch"` or the name of the figure that it monitors.
    """

    def __init__(self, given: Any) -> None:
        self.when: str | None = None
        if isinstance(given, tuple):
            if len(given) != 2 or not isinstance(given[1], str):
                raise TypeError(
                    "scheduler as a tuple must be (scheduler, 'batch' | 'epoch' | monitored "
                    f"figure), got {given!r}"
                )
            given, self.when = given
        if not callable(given) and not hasattr(given, "step"):
            raise TypeError(
                "scheduler must be a torch scheduler or a callable of the optimizer, got "
                f"{type(given).__name__}"
            )
        self.given = given

    def make(self, optimizer: torch.optim.Optimizer) -> Any:
        """Returns the scheduler for an optimizer.

        Raises:
            ValueError: The scheduler belongs to another optimizer.
        """
        if isinstance(self.given, type) or not hasattr(self.given, "step"):
            return self.given(optimizer)
        if getattr(self.given, "optimizer", optimizer) is not optimizer:
            raise ValueError(
                "the scheduler belongs to another optimizer than the model's: pass the optimizer "
                "it was made with, or a callable of the optimizer, such as "
                "functools.partial(StepLR, step_size=10)"
            )
        return self.given

    def per_batch(self, scheduler: Any) -> bool:
        """Says whether the scheduler steps after each step of the optimizer."""
        return isinstance(scheduler, _PER_BATCH) if self.when is None else self.when == "batch"

    def monitored(self, scheduler: Any, figures: Mapping[str, Any]) -> str | None:
        """Returns the figure that a scheduler takes, or None for one that takes none.

        Raises:
            ValueError: The figure does not exist.
        """
        takes_one = isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
        named = self.when not in (None, "batch", "epoch")
        if not takes_one and not named:
            return None
        name = self.when if named else "val_loss" if "val_loss" in figures else "loss"
        if name not in figures:
            raise ValueError(
                f"the scheduler monitors {name!r}, which is not among the figures: "
                f"{', '.join(figures)}"
            )
        return name


class Compiled:
    """A model's training set-up; optimizer and scheduler are made when they are first needed.

    The arguments are those of `Trainer.compile`.
    """

    def __init__(
        self,
        optimizer: Any,
        loss: Any,
        metrics: Any,
        loss_weights: Any,
        weighted_metrics: Any,
        scheduler: Any,
        precision: str | None,
        clip_grad_norm: float | None,
        gradient_accumulation_steps: int,
    ) -> None:
        self.optimizer_given: Any = optimizers.get("rmsprop" if optimizer is None else optimizer)
        self.loss = _resolved_losses(loss)
        self.loss_weights = loss_weights
        for metric in _leaves(metrics) + _leaves(weighted_metrics):
            metric_functions.get(metric)
        self.metrics = metrics
        self.weighted_metrics = weighted_metrics
        self.schedule = None if scheduler is None else Schedule(scheduler)
        self.autocast_dtype = _autocast_dtype(precision)
        self.clip_grad_norm = _positive(clip_grad_norm, "clip_grad_norm")
        self.accumulation = _count(gradient_accumulation_steps, "gradient_accumulation_steps")
        self.optimizer: Any = None
        self.scheduler: Any = None
        self.scaler: torch.amp.GradScaler | None = None
        self.saved: dict[str, Any] | None = None
        self.objective: Objective | None = None
        self.figures: Any = None
        self.output_names: list[str] | None = None
        self.takes_closure = False
        self.plain_zero_grad = False
        self.scheduler_per_batch = False
        self.window = self.accumulation
        self.waiting = 0
        # what belongs to a run that is going on
        self.run: Any = None
        self.forward: Any = None
        self.checks: Any = None
        self.seen: Any = None
        self.parts: list[Tensor] = []

    def __getstate__(self) -> dict[str, Any]:
        """Leaves out what belongs to this process and can be made again from its own state."""
        state = dict(vars(self), run=None, forward=None, checks=None, seen=None, parts=[])
        if self.optimizer is not None and self.optimizer is not self.optimizer_given:
            state["saved"] = copy.deepcopy(self.training_state())
            state.update(optimizer=None, scheduler=None, scaler=None)
        return state

    @property
    def trained(self) -> list[Tensor]:
        """The parameters that the optimizer trains."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def clear_gradients(self) -> None:
        """Sets all gradients to None, as `zero_grad` does, without the cost of its profiling."""
        if not self.plain_zero_grad:
            self.optimizer.zero_grad()
            return
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def training_state(self) -> dict[str, Any]:
        """Returns the states of optimizer, scheduler and scaler, as `torch.save` takes them."""
        parts = {"optimizer": self.optimizer, "scheduler": self.scheduler, "scaler": self.scaler}
        states = {name: part.state_dict() for name, part in parts.items() if part is not None}
        return {**states, "waiting": self.waiting}

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Takes over the states that `training_state` returned."""
        parts = {"optimizer": self.optimizer, "scheduler": self.scheduler, "scaler": self.scaler}
        for name, part in parts.items():
            if part is not None and name in state:
                part.load_state_dict(state[name])
        self.waiting = state["waiting"]

    def gathered_gradients(self) -> list[Tensor | None]:
        """Returns the gradients that wait for more batches; none where a step was just made."""
        return [p.grad for p in self.trained] if self.waiting else []

    def load_gradients(self, gradients: list[Tensor | None]) -> None:
        """Takes over the gradients that `gathered_gradients` returned."""
        for parameter, gradient in zip(self.trained, gradients, strict=False):
            parameter.grad = None if gradient is None else gradient.to(parameter.device)

    def bind(self, names: list[str]) -> Objective:
        """Resolves losses and metrics for the model's outputs, and returns the losses.

        Raises:
            ValueError: Their numbers or names do not match the outputs.
        """
        losses = per_output(self.loss, names, "loss", spread=True)
        weights = per_output(self.loss_weights, names, "loss_weights", spread=False)
        factors = [1.0 if weight is None else float(weight) for weight in weights]
        self.figures = Figures(MetricSet(self.metrics, self.weighted_metrics, names))
        self.objective = Objective(losses, factors, names)
        return self.objective

    def make_optimizer(self, model: Any) -> Any:
        """Returns the optimizer, made of the parameters that require gradients.

        Raises:
            ValueError: There are none.
        """
        if self.optimizer is not None:
            self._warn_of_newly_trainable(model)
        else:
            trainable = [p for p in model.parameters() if p.requires_grad]
            if not trainable:
                raise ValueError(
                    f"nothing trainable: {type(model).__name__} has no parameters that require "
                    "gradients; unfreeze some, or use evaluate and predict"
                )
            given = self.optimizer_given
            made: Any = given if hasattr(given, "param_groups") else given(trainable)
            self.optimizer = made
            self.takes_closure = needs_closure(made)
            self.plain_zero_grad = type(made).zero_grad is torch.optim.Optimizer.zero_grad
            if self.schedule is not None:
                self.scheduler = self.schedule.make(made)
                self.scheduler_per_batch = self.schedule.per_batch(self.scheduler)
            if self.autocast_dtype == torch.float16:
                self.scaler = torch.amp.GradScaler(trainable[0].device.type)
            self._check_combination(made)
            if self.saved is not None:
                self.load_training_state(self.saved)
                self.saved = None
        return self.optimizer

    def _warn_of_newly_trainable(self, model: Any) -> None:
        """Warns of parameters that were frozen, or absent, when the optimizer was made here."""
        if self.optimizer is self.optimizer_given:
            return
        held = {id(p) for p in self.trained}
        new = [n for n, p in model.named_parameters() if p.requires_grad and id(p) not in held]
        if new:
            warnings.warn(
                f"{', '.join(new[:3])}{', ...' * (len(new) > 3)} became trainable after the "
                "optimizer was made and will not be trained: call compile again",
                stacklevel=4,
            )

    def _check_combination(self, optimizer: torch.optim.Optimizer) -> None:
        if self.takes_closure and (self.scaler is not None or self.accumulation > 1):
            raise ValueError(
                f"{type(optimizer).__name__} evaluates the loss several times a step, which "
                "cannot be combined with precision='float16' or gradient_accumulation_steps"
            )


def needs_closure(optimizer: torch.optim.Optimizer) -> bool:
    """Says whether an optimizer's `step` must be given the loss to evaluate, as LBFGS's."""
    parameter = inspect.signature(optimizer.step).parameters.get("closure")
    return parameter is not None and parameter.default is inspect.Parameter.empty


def _autocast_dtype(precision: str | None) -> torch.dtype | None:
    if precision is None:
        return None
    if precision not in _PRECISIONS:
        raise ValueError(
            f"unknown precision {precision!r}; choose from {', '.join(map(repr, _PRECISIONS))}"
        )
    return _PRECISIONS[precision]


def _positive(value: float | None, name: str) -> float | None:
    if value is not None and not value > 0:
        raise ValueError(f"{name} must be positive, got {value!r}")
    return value


def _count(value: int, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")
    return value
