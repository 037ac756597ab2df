"""Callbacks that set the learning rate."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from .base import Callback, Logs
from .monitor import MonitorCallback


def refuse_schedule(optimizer: Any) -> None:
    """Raise `TypeError` if a schedule sets an optimizer's learning rate."""
    check = getattr(optimizer, "refuse_if_scheduled", None)
    if check is not None:
        check()


class LearningRateScheduler(Callback):
    """Set the learning rate at the start of each epoch (Keras: `LearningRateScheduler`).

    For torch's schedulers pass `compile(scheduler=...)`.

    Args:
        schedule: `schedule(epoch)` or `schedule(epoch, learning_rate)` returns the rate, with
            epochs counted from 0.
        verbose: 1 to print the rate of each epoch.
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        super().__init__()
        self.schedule = schedule
        self.verbose = verbose
        self._takes_rate = len(inspect.signature(schedule).parameters) > 1

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Set the rate in every group of parameters.

        Raises:
            TypeError: the schedule returned no number.
        """
        optimizer = self.model.optimizer
        rate = float(optimizer.param_groups[0]["lr"])
        rate = self.schedule(*((epoch, rate) if self._takes_rate else (epoch,)))
        if not isinstance(rate, int | float) and not hasattr(rate, "__float__"):
            raise TypeError(
                f"the schedule of LearningRateScheduler must return a number, got {rate!r}"
            )
        for group in optimizer.param_groups:
            group["lr"] = float(rate)
        if self.verbose:
            print(f"Epoch {epoch + 1}: learning rate set to {float(rate):g}")

    def added_names(self) -> list[str]:
        """Return `learning_rate`."""
        return ["learning_rate"]

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Add `learning_rate` to the logs."""
        if isinstance(logs, dict):
            logs["learning_rate"] = float(self.model.optimizer.param_groups[0]["lr"])

    def check_run(self, model: Any, callbacks: list[Callback]) -> None:
        """Refuse an optimizer whose learning rate follows a schedule."""
        refuse_schedule(model.optimizer)


class ReduceLROnPlateau(MonitorCallback):
    """Lower the learning rate when a value no longer improves (Keras: `ReduceLROnPlateau`).

    Args:
        monitor: the name in the logs.
        factor: factor of the rate, less than 1.
        patience: the number of epochs without improvement to wait for.
        verbose: 1 to print when the rate changes.
        mode: as in `MonitorCallback`.
        min_delta: the smallest change that is an improvement.
        cooldown: the number of epochs after a change that are not monitored.
        min_lr: the lowest rate.

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
        """Return `learning_rate`."""
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
