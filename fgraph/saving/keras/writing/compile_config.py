"""Writing the settings of `compile` and the optimizer's state in the form of Keras's files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .... import losses, metrics
from ....common.configured import Remembered, is_of_fgraph
from ....errors import LoadError, SaveError
from ....losses.torch_losses import CallableLoss
from ....metrics.base import MeanMetric
from ....metrics.wrapped_metrics import ResolvedMetric
from ....optimizers import OptimizerFactory, adam_family, gradient_descent, schedules
from ....optimizers.step_hooks import _AVERAGES, ITERATIONS
from ....training.state import TrainingState
from ..optimizer_slots import slots_of
from .keras_config import custom, keras_object, plain
from .weight_groups import WeightGroup

# torch's losses that are one of Keras's
_LOSSES: dict[type, tuple[str, dict[str, Any]]] = {
    nn.MSELoss: ("MeanSquaredError", {}),
    nn.L1Loss: ("MeanAbsoluteError", {}),
    nn.BCEWithLogitsLoss: ("BinaryCrossentropy", {"from_logits": True}),
}
# names of metrics that Keras does not have, and its names
_METRICS = {"acc": "accuracy", "rmse": "root_mean_squared_error", "logcosh": "log_cosh"}
_AS_THEY_ARE = ("accuracy", "mse", "mae", "mape", "msle")


class CompileWriter:
    """Writes the settings of `compile`.

    Args:
        state: the model's.

    Attributes:
        left_out: descriptions of settings without a counterpart in Keras.
    """

    def __init__(self, state: TrainingState) -> None:
        self.state = state
        self.settings = state.settings
        self.left_out: list[str] = []

    def config(self) -> dict[str, Any] | None:
        """Return the settings, `None` if Keras could not train with them."""
        settings = self.settings
        try:
            optimizer = self._optimizer(settings.optimizer)
            loss = _mapped(settings.loss, _loss)
        except SaveError as error:
            self.left_out.append(f"all that compile was given: {error}")
            return None
        for name, value, default in (
            ("scheduler", settings.scheduler, None),
            ("precision", settings.precision, None),
            ("gradient_accumulation_steps", settings.gradient_accumulation_steps, 1),
        ):
            if value != default and value != "float32":
                self.left_out.append(f"compile's {name}=")
        return {
            "optimizer": optimizer,
            "loss": loss,
            "loss_weights": plain(settings.loss_weights, "loss_weights"),
            "metrics": self._metrics(settings.metrics),
            "weighted_metrics": self._metrics(settings.weighted_metrics),
            "run_eagerly": False,
            "steps_per_execution": 1,
            "jit_compile": False,
        }

    def _optimizer(self, given: Any) -> dict[str, Any]:
        if not isinstance(given, OptimizerFactory):
            kind = getattr(given, "__name__", type(given).__name__)
            raise SaveError(f"the optimizer {kind} is not one of fgraph.optimizers, whose steps "
                            "are Keras's")  # fmt: skip
        config = {**given.get_config(), "name": type(given).__name__.lower()}
        rate = config["learning_rate"]
        if isinstance(rate, schedules.LearningRateSchedule):
            config["learning_rate"] = _own(rate, "keras.optimizers.schedules", "learning_rate")
        elif callable(rate):
            raise SaveError("the learning rate is a function, use one of optimizers.schedules")
        elif self.state.optimizer is not None:
            config["learning_rate"] = float(self.state.optimizer.learning_rate)
        limit = self.settings.clip_grad_norm
        if limit is not None:
            if given.clip is not None:
                raise SaveError(
                    f"compile's clip_grad_norm= beside the optimizer's {given.clip[0]}="
                )
            config["global_clipnorm"] = limit
        if given._undecayed or given._undecayed_names:
            self.left_out.append("the optimizer's exclude_from_weight_decay")
        written = {key: v if isinstance(v, dict) else plain(v, f"optimizer, {key}=")
                   for key, v in config.items()}  # fmt: skip
        return keras_object(type(given).__name__, written, "keras.optimizers")

    def _metrics(self, given: Any) -> Any:
        if isinstance(given, Mapping):
            return {key: self._metrics(item) for key, item in given.items()}
        if isinstance(given, (list, tuple)):
            made = [self._metrics(item) if isinstance(item, (list, tuple, Mapping)) or item is None
                    else self._metric(item) for item in given]  # fmt: skip
            return [item for item, was in zip(made, given, strict=True) if item is not None
                    or was is None]  # fmt: skip
        found = None if given is None else self._metric(given)
        return None if found is None else [found]

    def _metric(self, given: Any) -> Any:
        if isinstance(given, str) and _METRICS.get(given, given) in _AS_THEY_ARE:
            return _METRICS.get(given, given)
        try:
            return _metric(metrics.get(given), given)
        except SaveError as error:
            self.left_out.append(str(error))
            return None

    # ------------------------------------------------------------------ the optimizer's state

    def state_group(self, model: Any, root: WeightGroup) -> WeightGroup | None:
        """Return the variables of the optimizer, `None` if it has no counterpart.

        Args:
            model: the model.
            root: its weights, those that are trained in Keras's order.
        """
        factory = self.settings.optimizer
        try:
            slots, _ = slots_of(factory)
        except LoadError:
            self.left_out.append(f"the state of the optimizer {type(factory).__name__}")
            return None
        if self.state.optimizer is None and self.state.loaded is not None:
            self.state.make_optimizer(model)
        found = _Variables(factory, self.state.optimizer, list(root.all_trained()))
        group = WeightGroup(type(factory).__name__.lower())
        group.weights = [
            (f"vars/{place}", value.detach(), None)
            for place, value in enumerate(found.in_order([slots.together, *zip(slots.after)]))
        ]
        return group


class _Variables:
    """The variables of an optimizer in Keras's form; initial ones if it is not made yet.

    Args:
        factory: its settings.
        optimizer: the optimizer of torch, or `None`.
        trained: the weights that it updates, in Keras's order.
    """

    def __init__(self, factory: OptimizerFactory, optimizer: Any, trained: list[Any]) -> None:
        self.factory, self.optimizer, self.trained = factory, optimizer, trained
        self.kept: Mapping[Any, Any] = {} if optimizer is None else optimizer.state

    def in_order(self, parts: Iterable[tuple[str, ...]]) -> Iterator[Tensor]:
        """Yield all variables.

        Args:
            parts: names of slots; those of one part are stored together, weight by weight.
        """
        factory, optimizer = self.factory, self.optimizer
        yield torch.tensor(_steps(optimizer), dtype=torch.int32)
        if factory.schedule is None:
            rate = factory.learning_rate if optimizer is None else float(optimizer.learning_rate)
            yield torch.tensor(rate, dtype=torch.float32)
        if factory.ema_momentum is not None:
            yield from map(self._average, self.trained)
        for part in parts:
            for at in self.trained:
                yield from (self._slot(at, name) for name in part)
        if isinstance(factory, adam_family.Nadam):
            products = [s["mu_product"] for s in self.kept.values() if "mu_product" in s]
            yield torch.as_tensor((products or [1.0])[0], dtype=torch.float32).reshape(())

    def _slot(self, at: Any, name: str) -> Tensor:
        """Return the state of a weight under a name."""
        factory = self.factory
        start = getattr(factory, "initial_accumulator_value", 0.0)  # of Adagrad
        if isinstance(factory, gradient_descent.Ftrl) and name == "accumulator":
            start = factory.defaults["start"]
        shift = factory.epsilon if isinstance(factory, gradient_descent.Adagrad) else 0.0

        def of(tensor: Tensor) -> Tensor:
            held = self.kept.get(tensor, {}) if isinstance(tensor, nn.Parameter) else {}
            found: Tensor | None = held.get(name)
            if found is None:
                return torch.full_like(tensor, start)
            return found - shift if shift else found  # which torch includes in its sums

        return _in_layout(at, of)

    def _average(self, at: Any) -> Tensor:
        """Return the moving average of a weight."""
        averages = self.kept.get(_AVERAGES, ())
        params = [p for g in self.optimizer.param_groups for p in g["params"]] if averages else []
        own = {id(p): average for p, average in zip(params, averages, strict=True)}
        return _in_layout(at, lambda tensor: own.get(id(tensor), torch.zeros_like(tensor)))


def _in_layout(at: Any, of: Any) -> Tensor:
    """Return an optimizer's state of a weight, in Keras's layout of the weight."""
    weight, module = at
    parts = [of(t if isinstance(t, nn.Parameter) else t.detach()) for t in weight.tensors(module)]
    made: Tensor = weight.layout.to_keras(parts, module)
    return made


def _steps(optimizer: Any) -> int:
    """Return how many steps an optimizer has taken."""
    if optimizer is None:
        return 0
    for key in (ITERATIONS, "steps"):
        found = [group[key] for group in optimizer.param_groups if key in group]
        if found:
            return int(max(found))
    found = [
        int(s["step"]) for s in optimizer.state.values() if isinstance(s, dict) and "step" in s
    ]
    return max(found, default=0)


def _mapped(structure: Any, leaf: Any) -> Any:
    if isinstance(structure, Mapping):
        return {key: _mapped(item, leaf) for key, item in structure.items()}
    if isinstance(structure, (list, tuple)):
        return [_mapped(item, leaf) for item in structure]
    return None if structure is None else leaf(structure)


def _own(value: Remembered, room: str, where: str) -> dict[str, Any]:
    """Return an object of one of this package's classes, or of a registered one."""
    config = {key: plain(item, f"{where}, {key}=") for key, item in value.get_config().items()}
    if config.get("name") is None:
        config.pop("name", None)
    if is_of_fgraph(type(value)):
        return keras_object(type(value).__name__, config, room)
    return custom(type(value), where, config)


def _loss(loss: losses.Loss) -> Any:
    if isinstance(loss, CallableLoss):
        known = _LOSSES.get(type(loss.fn))
        if (
            known is not None
            and getattr(loss.fn, "reduction", "") == "mean"
            and not any(
                tensor is not None
                for tensor in loss.fn._buffers.values()  # type: ignore[attr-defined]
            )
        ):
            return keras_object(known[0], known[1], "keras.losses")
        return custom(loss.fn, "the loss")
    return _own(loss, "keras.losses", "the loss")


def _metric(metric: Any, given: Any) -> Any:
    name = _METRICS.get(metric.name, metric.name)
    if isinstance(metric, ResolvedMetric):
        if name in ("accuracy", "f1"):
            return "accuracy" if name == "accuracy" else "f1_score"
    elif isinstance(metric, MeanMetric) and type(metric) is MeanMetric:
        if isinstance(given, str):
            return _METRICS.get(given, given)
        if not isinstance(metric.fn, type(len)) and not hasattr(metric.fn, "fn"):
            return custom(metric.fn, "a metric")
    elif isinstance(metric, Remembered):
        return _own(metric, "keras.metrics", "a metric")
    raise SaveError(f"the metric {metric.name!r}, which Keras does not have")
