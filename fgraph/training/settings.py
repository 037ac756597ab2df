"""The arguments of `compile`, resolved and checked; immutable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch

from .. import losses as loss_functions
from .. import metrics as metric_functions
from .. import optimizers
from ..common.number_checks import real_number, whole_number
from .output_losses import OutputLosses
from .output_structure import OutputStructure
from .running_metrics import RunningMetrics
from .scheduler_setting import SchedulerSetting

_PRECISIONS = {
    "float32": None,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "mixed_bfloat16": torch.bfloat16,
    "mixed_float16": torch.float16,
}


@dataclass(frozen=True)
class CompileSettings:
    """The settings of `compile`. The fields are the arguments of `Trainer.compile`.

    Raises:
        ValueError: a name is unknown, or a number out of range.
        TypeError: a value is of the wrong type.
    """

    optimizer: Any = None
    loss: Any = None
    metrics: Any = None
    loss_weights: Any = None
    weighted_metrics: Any = None
    scheduler: Any = None
    precision: str | None = None
    clip_grad_norm: float | None = None
    gradient_accumulation_steps: int = 1
    auto_scale_loss: bool = True

    def __post_init__(self) -> None:
        resolved = {
            "optimizer": optimizers.get("rmsprop" if self.optimizer is None else self.optimizer),
            "loss": _resolved_losses(self.loss),
            "scheduler": None if self.scheduler is None else SchedulerSetting(self.scheduler),
            "clip_grad_norm": _norm(self.clip_grad_norm),
            "gradient_accumulation_steps": whole_number(
                self.gradient_accumulation_steps, "gradient_accumulation_steps"
            ),
        }
        for name, value in resolved.items():
            object.__setattr__(self, name, value)
        for metric in leaves(self.metrics) + leaves(self.weighted_metrics):
            metric_functions.get(metric)
        for weight in leaves(self.loss_weights):
            real_number(weight, "each of loss_weights")
        if self.precision is not None and self.precision not in _PRECISIONS:
            raise ValueError(
                f"unknown precision {self.precision!r}; choose from "
                f"{', '.join(map(repr, _PRECISIONS))}"
            )

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of `compile` for the same settings."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.scheduler is not None:
            given["scheduler"] = self.scheduler.argument()
        return given

    @property
    def autocast_dtype(self) -> torch.dtype | None:
        """The dtype in which autocast runs, `None` without autocast."""
        return None if self.precision is None else _PRECISIONS[self.precision]

    def losses_of(self, outputs: OutputStructure) -> OutputLosses:
        """Return the losses of a model's outputs.

        Raises:
            ValueError: their numbers or names are not those of the outputs.
        """
        return OutputLosses(self.loss, self.loss_weights, outputs)

    def metrics_of(self, outputs: OutputStructure) -> RunningMetrics:
        """Return the metrics of a model's outputs, before any batch.

        Raises:
            ValueError: their numbers or names are not those of the outputs.
        """
        return RunningMetrics(self.metrics, self.weighted_metrics, outputs)


def leaves(value: Any) -> list[Any]:
    """Return the leaves of nested lists and dicts, without `None`."""
    if isinstance(value, Mapping):
        return [leaf for item in value.values() for leaf in leaves(item)]
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in leaves(item)]
    return [] if value is None else [value]


def _resolved_losses(value: Any) -> Any:
    """Return the same structure with loss objects, so that unknown names are found in `compile`."""
    if isinstance(value, Mapping):
        return {key: _resolved_losses(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_resolved_losses(item) for item in value]
    return None if value is None else loss_functions.get(value)


def _norm(value: Any) -> float | None:
    return None if value is None else real_number(value, "clip_grad_norm", "(0, inf]")
