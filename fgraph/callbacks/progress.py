"""What a person sees of a run: a bar, or a line an epoch."""

from __future__ import annotations

import time
from typing import Any

from tqdm.auto import tqdm

from .base import Callback, Logs


def format_figures(logs: Logs) -> str:
    """Returns figures as `loss: 0.1234 - accuracy: 0.9876`, the loss first."""
    names = sorted(logs, key=lambda name: (name.startswith("val_"), name != "loss"))
    return " - ".join(f"{name}: {_short(logs[name])}" for name in names)


def _short(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.3e}"


class ProgressBar(Callback):
    """A line an epoch, and while it runs, on a terminal or in a notebook, a tqdm bar.

    The figures are read from the device a few times a second, whatever the speed of the steps.

    Args:
        verbose: 1 for the bar, 2 for one line an epoch, 0 for nothing.
        interval: Seconds between two readings.
    """

    def __init__(self, verbose: int = 1, interval: float = 0.25) -> None:
        super().__init__()
        self.verbose = verbose
        self.interval = interval
        self._bar: Any = None
        self._begun = 0.0
        self._last = 0.0
        self._seen = 0

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Opens the bar of an epoch."""
        label = f"Epoch {epoch + 1}/{self.params.get('epochs', '?')}"
        self._open(self.params.get("steps"), label)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Moves the bar, when it is time to."""
        self._move(batch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Completes the bar, or writes the epoch's line."""
        self._close(f"Epoch {epoch + 1}/{self.params.get('epochs', '?')}", logs)

    def _open(self, total: int | None, label: str) -> None:
        self._begun = self._last = time.perf_counter()
        self._seen = 0
        if self.verbose == 1:
            # disable=None: no bar where there is no terminal to redraw it on
            self._bar = tqdm(total=total, desc=label, disable=None, dynamic_ncols=True, leave=False)

    def _move(self, batch: int, logs: Logs | None) -> None:
        now = time.perf_counter()
        if now - self._last < self.interval or self._bar is None or self._bar.disable:
            return
        self._last = now
        self._advance(batch + 1, logs)

    def _advance(self, seen: int, logs: Logs | None) -> None:
        self._bar.set_postfix_str(format_figures(logs or {}), refresh=False)
        self._bar.update(seen - self._seen)
        self._seen = seen

    def _close(self, label: str, logs: Logs | None) -> None:
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()
        if self.verbose:  # in a line of its own all figures fit, which a bar would cut off
            parts = [label, f"{time.perf_counter() - self._begun:.1f}s", format_figures(logs or {})]
            print(" - ".join(part for part in parts if part), flush=True)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Opens the bar of `evaluate`; validation inside `fit` has none."""
        if "epochs" not in self.params:
            self._open(self.params.get("steps"), "Evaluate")

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Moves the bar of `evaluate`."""
        if "epochs" not in self.params:
            self._move(batch, logs)

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Completes the bar of `evaluate`."""
        if "epochs" not in self.params:
            self._close("Evaluate", logs)

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Opens the bar of `predict`."""
        self._open(self.params.get("steps"), "Predict")

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Moves the bar of `predict`."""
        self._move(batch, None)

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """Completes the bar of `predict`."""
        self._close("Predict", None)
