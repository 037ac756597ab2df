"""Callbacks that watch one figure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from ..errors import unknown_name
from .base import Callback, Logs


class MonitorCallback(Callback):
    """Watches one figure and knows whether it got better.

    Args:
        monitor: Name of the figure, for example `"val_loss"`.
        mode: `"min"`, `"max"`, or `"auto"`: losses and errors less, accuracies more.
        min_delta: Smallest change that counts as better.
        best: What to compare with at first, or None.

    Raises:
        ValueError: An unknown mode.
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
        self.min_delta = abs(min_delta)
        self.best = best

    def check_monitor(self, names: Iterable[str]) -> None:
        """Refuses a figure that does not exist; called when the first batch shows them.

        Args:
            names: The names of all figures.

        Raises:
            ValueError: The monitored one is not among them, or needs an explicit mode.
        """
        names = list(names)
        if self.monitor not in names:
            text = f"{type(self).__name__}: {unknown_name('figure', self.monitor, names)}"
            if self.monitor.startswith("val_") and not any(n.startswith("val_") for n in names):
                text += "; there is no validation data"
            raise ValueError(text)
        self.direction()

    def direction(self) -> str:
        """Returns `"min"` or `"max"`.

        Raises:
            ValueError: The mode is `"auto"` and the figure does not tell.
        """
        if self.mode != "auto":
            return self.mode
        name = self.monitor.removeprefix("val_")
        if name == "loss" or name.endswith("_loss"):
            return "min"
        found: str | None = self.model._compiled.figures.metrics.direction(name)
        if found is None:
            raise ValueError(
                f"{type(self).__name__} cannot tell whether {self.monitor!r} should rise or fall: "
                "pass mode='max' or mode='min'"
            )
        return found

    def improves(self, value: float, reference: float | None) -> bool:
        """Says whether a value is better than a reference by more than `min_delta`."""
        if reference is None:
            return True
        if self.direction() == "max":
            return value - self.min_delta > reference
        return value + self.min_delta < reference


def copied_weights(model: Any) -> dict[str, Any]:
    """Returns a copy of a model's `state_dict`."""
    return {
        name: value.detach().clone() if isinstance(value, torch.Tensor) else value
        for name, value in model.state_dict().items()
    }


class EarlyStopping(MonitorCallback):
    """Ends the run when a figure has not improved for some epochs (Keras: `EarlyStopping`).

    Args:
        monitor: Name of the figure.
        min_delta: Smallest change that counts as better.
        patience: Epochs without improvement that are waited for.
        verbose: 1 says when it stops.
        mode: As in `MonitorCallback`.
        baseline: Value that must be reached, or None.
        restore_best_weights: Whether the model ends with the weights of its best epoch.
        start_from_epoch: Epochs at the start that are not looked at.
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
        self.patience = patience
        self.verbose = verbose
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = start_from_epoch
        self.on_train_begin()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forgets earlier runs."""
        self.wait = 0
        self.best = None
        self.best_epoch = 0
        self.stopped_epoch = 0
        self.best_weights: dict[str, Any] | None = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Compares the epoch's figure with the best one."""
        value = (logs or {}).get(self.monitor)
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
        """Puts the best weights back."""
        if self.stopped_epoch and self.verbose:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.best_weights is not None:
            self.model.load_state_dict(self.best_weights)

    def state_dict(self) -> dict[str, Any]:
        """Returns the best epoch so far and its weights."""
        names = ("wait", "best", "best_epoch", "stopped_epoch", "best_weights")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over the state that `state_dict` returned."""
        vars(self).update(state)


class ReduceLROnPlateau(MonitorCallback):
    """Lowers the learning rate when a figure has stopped improving (Keras: `ReduceLROnPlateau`).

    Args:
        monitor: Name of the figure.
        factor: What the rate is multiplied by; less than 1.
        patience: Epochs without improvement that are waited for.
        verbose: 1 says when the rate changes.
        mode: As in `MonitorCallback`.
        min_delta: Smallest change that counts as better.
        cooldown: Epochs after a change that are not counted.
        min_lr: Rate below which it does not go.

    Raises:
        ValueError: `factor` is 1 or more.
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
        if factor >= 1:
            raise ValueError(f"factor of ReduceLROnPlateau must be less than 1, got {factor}")
        self.factor = factor
        self.patience = patience
        self.verbose = verbose
        self.cooldown = cooldown
        self.min_lr = min_lr
        self.on_train_begin()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forgets earlier runs."""
        self.wait = 0
        self.cooling = 0
        self.best = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Compares the epoch's figure with the best one; adds `learning_rate` to the logs."""
        groups = self.model.optimizer.param_groups
        if isinstance(logs, dict):
            logs["learning_rate"] = float(groups[0]["lr"])
        value = (logs or {}).get(self.monitor)
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
                self._reduce(epoch, groups)

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
        """Returns the best figure so far and the counters."""
        return {"wait": self.wait, "cooling": self.cooling, "best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over the state that `state_dict` returned."""
        vars(self).update(state)
