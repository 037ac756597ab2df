"""The base of callbacks that monitor one value in the logs."""

from __future__ import annotations

from typing import Any

import torch

from ..common.number_checks import real_number, whole_number
from ..errors import unknown_name
from .base import Callback, Logs


class MonitorCallback(Callback):
    """Monitor one value in the logs, and tell whether it improved.

    Args:
        monitor: the name in the logs, for example `"val_loss"`.
        mode: `"min"`, `"max"`, or `"auto"`: `"min"` for losses and errors, `"max"` for accuracies.
        min_delta: the smallest change that is an improvement.
        best: the value to compare with at first, or `None`.

    Raises:
        ValueError: the mode is unknown.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        mode: str = "auto",
        min_delta: float = 0.0,
        best: float | None = None,
    ) -> None:
        super().__init__()
        if mode not in ("auto", "min", "max"):
            raise ValueError(
                f"mode of {type(self).__name__} must be 'auto', 'min' or 'max', got {mode!r}"
            )
        self.monitor = monitor
        self.mode = mode
        self.min_delta = abs(self._number(min_delta, "min_delta"))
        self.best = best

    def _number(self, value: Any, name: str, interval: str = "(-inf, inf)") -> float:
        return real_number(value, f"{name} of {type(self).__name__}", interval)

    def _count(self, value: Any, name: str) -> int:
        return whole_number(value, f"{name} of {type(self).__name__}", least=0)

    def check_names(self, names: list[str], complete: bool) -> None:
        """Refuse a name that will not be in the logs.

        Raises:
            ValueError: the monitored name is unknown, or needs an explicit mode.
        """
        if self.monitor in names:
            self.direction()
        elif complete:
            text = f"{type(self).__name__}: {unknown_name('metric', self.monitor, names)}"
            if self.monitor.startswith("val_") and not any(n.startswith("val_") for n in names):
                text += "; there is no validation data"
            raise ValueError(text)

    def monitored(self, logs: Logs | None) -> float | None:
        """Return the monitored value of an epoch, `None` if the epoch was not validated.

        Raises:
            ValueError: the logs hold no such value.
        """
        logs = logs or {}
        value: float | None = logs.get(self.monitor)
        validated = any(name.startswith("val_") for name in logs)
        if value is None and (validated or not self.monitor.startswith("val_")):
            text = unknown_name("metric", self.monitor, logs)
            raise ValueError(f"{type(self).__name__}: {text}")
        return value

    def direction(self) -> str:
        """Return `"min"` or `"max"`.

        Raises:
            ValueError: the mode is `"auto"` and the name does not tell.
        """
        if self.mode != "auto":
            return self.mode
        name = self.monitor.removeprefix("val_")
        if name == "loss" or name.endswith("_loss"):
            return "min"
        metrics = self.model._trainer.metrics
        found: str | None = None if metrics is None else metrics.direction(name)
        if found is None:
            raise ValueError(
                f"{type(self).__name__} cannot tell whether {self.monitor!r} should rise or fall: "
                "pass mode='max' or mode='min'"
            )
        return found

    def improves(self, value: float, reference: float | None) -> bool:
        """Return whether a value is better than a reference by more than `min_delta`."""
        if reference is None:
            return True
        if self.direction() == "max":
            return value - self.min_delta > reference
        return value + self.min_delta < reference


def copied_weights(model: Any) -> dict[str, Any]:
    """Return a copy of a model's `state_dict`."""
    return {
        name: value.detach().clone() if isinstance(value, torch.Tensor) else value
        for name, value in model.state_dict().items()
    }
