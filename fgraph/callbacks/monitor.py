"""Callbacks that monitor one value in the logs."""

from __future__ import annotations

from typing import Any

import torch

from ..common.number_checks import real_number, whole_number
from ..errors import unknown_name
from .base import Callback, Logs
from .learning_rates import refuse_schedule


class MonitorCallback(Callback):
    """Monitors one value in the logs and knows whether it improved.

    Args:
        monitor: the name in the logs, for example `"val_loss"`.
        mode: `"min"`, `"max"`, or `"auto"`: losses and errors less, accuracies more.
        min_delta: the smallest change that is an improvement.
        best: what to compare with at first, or `None`.

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


class EarlyStopping(MonitorCallback):
    """Ends training when a monitored value has stopped improving (Keras: `EarlyStopping`).

    Args:
        monitor: the name in the logs.
        min_delta: the smallest change that is an improvement.
        patience: the epochs without improvement to wait for.
        verbose: 1 says when it stops.
        mode: as in `MonitorCallback`.
        baseline: a value that must be reached, or `None`.
        restore_best_weights: whether the model ends with the weights of its best epoch.
        start_from_epoch: the first epoch to look at.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience = self._count(patience, "patience")
        self.verbose = verbose
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = self._count(start_from_epoch, "start_from_epoch")
        self.on_train_begin()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forget earlier runs."""
        self.wait = 0
        self.best = None
        self.best_epoch = 0
        self.stopped_epoch = 0
        self.best_weights: dict[str, Any] | None = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Compare the epoch's value with the best one."""
        value = self.monitored(logs)
        if value is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:
            self._remember(epoch)  # so that there is something to go back to
        self.wait += 1
        if self.improves(value, self.best):
            self.best = value
            self._remember(epoch)
            if self.baseline is None or self.improves(value, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def _remember(self, epoch: int) -> None:
        self.best_epoch = epoch
        if self.restore_best_weights:
            self.best_weights = copied_weights(self.model)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Put the best weights back."""
        if self.stopped_epoch and self.verbose:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.best_weights is not None:
            self.model.load_state_dict(self.best_weights)

    def state_dict(self) -> dict[str, Any]:
        """Return the best epoch so far and its weights."""
        names = ("wait", "best", "best_epoch", "stopped_epoch", "best_weights")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state returned by `state_dict`."""
        vars(self).update(state)


class ReduceLROnPlateau(MonitorCallback):
    """Lowers the learning rate when a value has stopped improving (Keras: `ReduceLROnPlateau`).

    Args:
        monitor: the name in the logs.
        factor: what the rate is multiplied by, less than 1.
        patience: the epochs without improvement to wait for.
        verbose: 1 says when the rate changes.
        mode: as in `MonitorCallback`.
        min_delta: the smallest change that is an improvement.
        cooldown: the epochs after a change that do not count.
        min_lr: the least rate.

    Raises:
        ValueError: a number is out of range, such as a `factor` of 1 or more.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.factor = self._number(factor, "factor", "[0, 1)")
        self.patience = self._count(patience, "patience")
        self.verbose = verbose
        self.cooldown = self._count(cooldown, "cooldown")
        self.min_lr = self._number(min_lr, "min_lr", "[0, inf)")
        self.on_train_begin()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forget earlier runs."""
        self.wait = 0
        self.cooling = 0
        self.best = None

    def check_run(self, model: Any, callbacks: list[Callback]) -> None:
        """Refuse an optimizer whose learning rate follows a schedule."""
        refuse_schedule(model.optimizer)

    def added_names(self) -> list[str]:
        """Return the learning rate's."""
        return ["learning_rate"]

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Compare the epoch's value with the best one; add `learning_rate` to the logs."""
        optimizer = self.model.optimizer
        if isinstance(logs, dict):
            logs["learning_rate"] = float(optimizer.param_groups[0]["lr"])
        value = self.monitored(logs)
        if value is None:
            return
        if self.cooling:
            self.cooling -= 1
            self.wait = 0
        if self.improves(value, self.best):
            self.best = value
            self.wait = 0
        elif not self.cooling:
            self.wait += 1
            if self.wait >= self.patience:
                self._reduce(epoch, optimizer.param_groups)

    def _reduce(self, epoch: int, groups: list[dict[str, Any]]) -> None:
        if all(group["lr"] <= self.min_lr for group in groups):
            return
        for group in groups:
            group["lr"] = max(group["lr"] * self.factor, self.min_lr)
        if self.verbose:
            print(f"Epoch {epoch + 1}: learning rate reduced to {float(groups[0]['lr']):g}")
        self.cooling = self.cooldown
        self.wait = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the best value so far and the counters."""
        return {"wait": self.wait, "cooling": self.cooling, "best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state returned by `state_dict`."""
        vars(self).update(state)
