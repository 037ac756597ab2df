"""The record of a run."""

from __future__ import annotations

from typing import Any

from .base import Callback, Logs


class History(Callback):
    """Every epoch's figures; `fit` returns it.

    Attributes:
        history: Figure name to its list of values, one an epoch.
        epoch: The epochs' numbers, from 0.
        params: The run's parameters.
    """

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[str, list[Any]] = {}
        self.epoch: list[int] = []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Appends the epoch's figures."""
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)

    def state_dict(self) -> dict[str, Any]:
        """Returns the figures so far."""
        return {
            "history": {name: list(values) for name, values in self.history.items()},
            "epoch": list(self.epoch),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over the figures so far."""
        self.history = {name: list(values) for name, values in state["history"].items()}
        self.epoch = list(state["epoch"])
