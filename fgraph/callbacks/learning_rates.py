"""Learning rates by epoch."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from .base import Callback, Logs


def refuse_schedule(optimizer: Any) -> None:
    """Raise `TypeError` if a schedule sets an optimizer's learning rate."""
    check = getattr(optimizer, "refuse_if_scheduled", None)
    if check is not None:
        check()


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
        """Return the learning rate's."""
        return ["learning_rate"]

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Add `learning_rate` to the logs."""
        if isinstance(logs, dict):
            logs["learning_rate"] = float(self.model.optimizer.param_groups[0]["lr"])

    def check_run(self, model: Any, callbacks: list[Callback]) -> None:
        """Refuse an optimizer whose learning rate follows a schedule."""
        refuse_schedule(model.optimizer)
