"""Learning rates by epoch."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from .base import Callback, Logs


class LearningRateScheduler(Callback):
    """Sets the learning rate at the start of each epoch (Keras: `LearningRateScheduler`).

    For torch's schedulers pass `compile(scheduler=...)`.

    Args:
        schedule: `schedule(epoch)` or `schedule(epoch, learning_rate)` returns the rate, with
            epochs counted from 0.
        verbose: 1 says what the rate becomes.
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        super().__init__()
        self.schedule = schedule
        self.verbose = verbose
        self._takes_rate = len(inspect.signature(schedule).parameters) > 1

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Sets the rate in every group of parameters.

        Raises:
            TypeError: The schedule returned no number.
        """
        groups = self.model.optimizer.param_groups
        arguments = (epoch, float(groups[0]["lr"])) if self._takes_rate else (epoch,)
        rate = self.schedule(*arguments)
        if not isinstance(rate, int | float) and not hasattr(rate, "__float__"):
            raise TypeError(
                f"the schedule of LearningRateScheduler must return a number, got {rate!r}"
            )
        for group in groups:
            group["lr"] = float(rate)
        if self.verbose:
            print(f"Epoch {epoch + 1}: learning rate set to {float(rate):g}")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Adds `learning_rate` to the logs."""
        if isinstance(logs, dict):
            logs["learning_rate"] = float(self.model.optimizer.param_groups[0]["lr"])
