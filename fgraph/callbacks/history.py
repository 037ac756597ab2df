"""The losses and metrics of all epochs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from .base import Callback, Logs


class History(Callback):
    """The logs of all epochs; `fit` returns it.

    Attributes:
        history: for each name in the logs its values, one an epoch.
        epoch: the epochs' numbers, from 0.
        recorded: for each name, the epochs that have a value: validation may skip some.
        params: the run's parameters.
    """

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[str, list[Any]] = {}
        self.epoch: list[int] = []
        self.recorded: dict[str, list[int]] = {}

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Append the epoch's logs."""
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)
            self.recorded.setdefault(name, []).append(epoch)

    def plot(
        self,
        names: Iterable[str] | str | None = None,
        to_file: str | os.PathLike[str] | None = None,
    ) -> list[Any]:
        """Plot losses and metrics over the epochs, of training and validation.

        The arguments and errors are those of `fgraph.callbacks.learning_curves.plot_history`.

        Returns:
            The matplotlib axes, one for each loss or metric.
        """
        from .learning_curves import plot_history

        return plot_history(self.history, self.recorded, names, to_file)

    def state_dict(self) -> dict[str, Any]:
        """Return the logs so far."""
        return {
            "history": {name: list(values) for name, values in self.history.items()},
            "epoch": list(self.epoch),
            "recorded": {name: list(epochs) for name, epochs in self.recorded.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the logs returned by `state_dict`."""
        self.history = {name: list(values) for name, values in state["history"].items()}
        self.epoch = list(state["epoch"])
        self.recorded = {name: list(epochs) for name, epochs in state["recorded"].items()}
