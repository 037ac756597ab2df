"""The state of training: optimizer, scheduler, scaler, accumulated gradients, running metrics."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..common.mixed_parameters import GradScaler, kind_of
from ..common.process_group import Processes
from ..graph.nested import map_leaves
from ..metrics.reduction_metrics import Mean
from ..optimizers import OptimizerFactory
from ..optimizers.learning_rate import with_learning_rate
from .grouped_evaluation import EvaluationGroup
from .output_losses import OutputLosses
from .output_structure import OutputStructure
from .running_metrics import RunningMetrics
from .settings import CompileSettings


@dataclass(slots=True)
class Step:
    """The state of one batch while its step runs.

    Attributes:
        share: the factor of the loss for this process's share of the batch.
        result: what `forward_batch` returned last.
        parts: each output's loss, as `compute_loss` computed them last.
        added: the losses of `add_loss` in the last forward.
        did_backward: whether `backward` was called.
    """

    share: float = 1.0
    result: Any = None
    parts: list[Tensor] = field(default_factory=list)
    added: list[Tensor] = field(default_factory=list)
    did_backward: bool = False


@dataclass
class Session:
    """The state of a running `fit` or `evaluate`.

    Attributes:
        forward: calls the model; under several processes, through torch's DDP.
        run: the `fit`, if this is one or belongs to one.
        replicas: keeps the processes' replicas equal, if several train together.
        processes: the processes that share each batch.
        norms: refuses batches that are too small for the model's batch normalizations.
        plain: whether no part of the step is overridden, in a single process.
        group: the batches of an evaluation whose losses and metrics are computed later.
    """

    forward: Callable[[Any], Any]
    run: Any = None
    replicas: Any = None
    processes: Processes = field(default_factory=Processes)
    norms: Any = None
    plain: bool = False
    group: EvaluationGroup | None = None

    def compute(self) -> None:
        """Compute the losses and metrics that were postponed."""
        if self.group is not None:
            self.group.compute()


class TrainingState:
    """The training state of a compiled model. Backups, copies and pickles of the model include it.

    Args:
        settings: what `compile` was given.

    Attributes:
        optimizer: the optimizer, made from the parameters that require gradients when training
            begins.
        scheduler: torch's scheduler, if there is one.
        scaler: the gradient scaler of float16, else `None`.
        accumulated: the number of batches whose gradients are accumulated for the next step.
        losses: the losses of the outputs, once these are known.
        metrics: the running metrics of the outputs, once these are known.
        loss_tracker: Keras's mean of the loss, for custom steps that update it.
        session: the running `fit` or `evaluate`, if any; not copied.
        step: the current batch, if any; not copied.
        takes_closure: whether the optimizer evaluates the loss itself, like LBFGS.
        steps_per_batch: whether a scheduler steps after each optimizer step.
        tried: the outputs' shapes for each kind of batch that was tried before training.
        joined: whether the processes' replicas were made equal.
        loaded: a saved `optimizer_state`, for an optimizer that is not made yet.
    """

    def __init__(self, settings: CompileSettings) -> None:
        self.settings = settings
        self.optimizer: Any = None
        self.scheduler: Any = None
        self.scaler: torch.amp.GradScaler | None = None
        self.accumulated = 0
        self.losses: OutputLosses | None = None
        self.metrics: RunningMetrics | None = None
        self.loss_tracker = Mean(name="loss")
        self.session: Session | None = None
        self.step: Step | None = None
        self.takes_closure = False
        self.steps_per_batch = False
        self.joined = False
        self.loaded: dict[str, Any] | None = None
        self.tried: dict[Any, list[Tensor]] = {}
        self._left_out: list[str] = []

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the running session, and parts that can be made again from their states."""
        state = dict(vars(self), session=None, step=None, tried={}, joined=False)
        if self.optimizer is not None and self.optimizer is not self.settings.optimizer:
            state["loaded"] = copy.deepcopy(self.optimizer_state())
            state.update(optimizer=None, scheduler=None, scaler=None)
        return state

    # ---- losses and metrics

    def bind(self, outputs: OutputStructure) -> None:
        """Make the losses and metrics of a model's outputs.

        Raises:
            ValueError: their numbers or names are not those of the outputs.
        """
        losses = self.settings.losses_of(outputs)
        self.metrics = self.settings.metrics_of(outputs)
        self.losses = losses

    # ---- the optimizer

    @property
    def trained(self) -> list[Tensor]:
        """The parameters that the optimizer updates."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def clear_gradients(self) -> None:
        """Set all gradients to `None`, like `zero_grad` but without its profiling overhead."""
        self.accumulated = 0
        if type(self.optimizer).zero_grad is not torch.optim.Optimizer.zero_grad:
            self.optimizer.zero_grad()
            return
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def make_optimizer(self, model: Any) -> Any:
        """Return the optimizer; make it, with scheduler and scaler, if it does not exist yet.

        Raises:
            ValueError: the model has no parameter to train, or the optimizer holds none of them.
            TypeError: the callable that should make the optimizer returned something else.
        """
        named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if self.optimizer is None:
            if not named:
                raise ValueError(_nothing_trainable(model))
            self.optimizer = with_learning_rate(_optimizer(self.settings.optimizer, named))
            self.takes_closure = _takes_closure(self.optimizer)
            self._check_combination()
            setting = self.settings.scheduler
            if setting is not None:
                self.scheduler = setting.make(self.optimizer)
                self.steps_per_batch = setting.per_batch(self.scheduler)
            if self.settings.autocast_dtype == torch.float16 and self.settings.auto_scale_loss:
                self.scaler = GradScaler(next(iter(named.values())).device.type)
            if self.loaded is not None:
                self.load_optimizer_state(self.loaded)
                self.loaded = None
        self._compare_parameters(model, named)
        return self.optimizer

    def _check_combination(self) -> None:
        settings = self.settings
        one_batch = settings.gradient_accumulation_steps == 1
        if self.takes_closure and (settings.precision in _SCALED or not one_batch):
            raise ValueError(
                f"{type(self.optimizer).__name__} evaluates the loss several times a step, which "
                "cannot be combined with precision='float16' or gradient_accumulation_steps"
            )
        if self.takes_closure and any(kind_of(p) is not None for p in self.trained):
            raise ValueError(
                f"{type(self.optimizer).__name__} works on all weights as one vector, which "
                "sharded ones (DTensors) are not: take another optimizer, or replicate the model"
            )

    def _compare_parameters(self, model: Any, named: dict[str, Tensor]) -> None:
        """Compare the optimizer's parameters with the model's; warn once of those left out."""
        held = {id(p) for p in self.trained}
        kind = type(self.optimizer).__name__
        if not any(id(p) in held for p in model.parameters()):
            raise ValueError(
                f"{kind} holds no parameter of this {type(model).__name__}, so it would train "
                "nothing: make it of model.parameters(), after the model was moved, converted or "
                "sharded, or pass a name or a callable of the parameters"
            )
        left_out = [name for name, p in named.items() if id(p) not in held]
        if left_out != self._left_out:
            self._left_out = left_out
            if left_out:
                warnings.warn(
                    f"{', '.join(left_out[:3])}{', ...' * (len(left_out) > 3)} require gradients "
                    f"but are not in the optimizer ({kind}), so they will not be trained: freeze "
                    "them, or compile again with an optimizer of all parameters",
                    stacklevel=4,
                )

    # ---- saving

    def optimizer_state(self) -> dict[str, Any]:
        """Return the states of optimizer, scheduler and scaler."""
        parts = {"optimizer": self.optimizer, "scheduler": self.scheduler, "scaler": self.scaler}
        states = {name: part.state_dict() for name, part in parts.items() if part is not None}
        return {**states, "accumulated": self.accumulated}

    def load_optimizer_state(self, state: dict[str, Any]) -> None:
        """Restore the states returned by `optimizer_state`."""
        parts = {"optimizer": self.optimizer, "scheduler": self.scheduler, "scaler": self.scaler}
        for name, part in parts.items():
            if part is not None and name in state:
                part.load_state_dict(state[name])
        self.accumulated = state["accumulated"]

    def state_dict(self) -> dict[str, Any]:
        """Return the state needed to resume exactly, accumulated gradients and metrics included."""
        return {
            **self.optimizer_state(),
            "gradients": [p.grad for p in self.trained] if self.accumulated else [],
            "outputs": None if self.losses is None else self.losses.outputs.state(),
            "metrics": None if self.metrics is None else self.metrics.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state returned by `state_dict`."""
        self.load_optimizer_state(state)
        for parameter, gradient in zip(self.trained, state["gradients"], strict=False):
            parameter.grad = None if gradient is None else gradient.to(parameter.device)
        if state["outputs"] is not None:
            if self.losses is None:
                self.bind(OutputStructure(*state["outputs"]))
            if state["metrics"] is not None:
                assert self.metrics is not None
                self.metrics.load_state_dict(self.placed(state["metrics"]))

    def placed(self, saved: Any) -> Any:
        """Return the sums of metrics on the device of the model, like those of new batches."""
        device = next((parameter.device for parameter in self.trained), None)
        return map_leaves(lambda v: v.to(device) if isinstance(v, Tensor) else v, saved)


_SCALED = ("float16", "mixed_float16")


def _takes_closure(optimizer: Any) -> bool:
    parameter = inspect.signature(optimizer.step).parameters.get("closure")
    return parameter is not None and parameter.default is inspect.Parameter.empty


def _optimizer(given: Any, named: dict[str, Tensor]) -> Any:
    """Return the optimizer given to `compile`, or the one that its callable makes."""
    if hasattr(given, "param_groups"):
        return given
    # this package's optimizers take named parameters
    takes_names = isinstance(given, OptimizerFactory)
    made = given(named.items() if takes_names else list(named.values()))
    if not hasattr(made, "param_groups"):
        raise TypeError(
            f"optimizer={given!r} returned {made!r} for the model's parameters; it must return a "
            "torch optimizer"
        )
    return made


def _nothing_trainable(model: Any) -> str:
    """Return an error that says why there is no parameter to train, and what to do."""
    kind, frozen = type(model).__name__, sum(1 for _ in model.parameters())
    if getattr(model, "built", True) is False:
        why = "it is not built yet, so its layers have no weights: call it on a batch, or fit it"
    elif frozen:
        why = (
            f"all of its {frozen} parameters are frozen: unfreeze some, for example by "
            "`layer.trainable = True`, or use evaluate and predict"
        )
    else:
        why = "it has no parameters: add a layer that has some, or use evaluate and predict"
    return f"nothing trainable in {kind}: {why}"
