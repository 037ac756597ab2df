"""The progress bar of a run, and a line for each epoch."""

from __future__ import annotations

import shutil
import sys
import time
from typing import Any

from tqdm.auto import tqdm

from .base import Callback, Logs

_FORMAT = "{desc} |{bar}| {n_fmt}/{total_fmt} {remaining} left{postfix}"
_ENDLESS = "{desc} {n_fmt} batches {elapsed}{postfix}"  # if the number of batches is not known


def format_logs(logs: Logs, width: int | None = None) -> str:
    """Return results as `loss: 0.1234 - accuracy: 0.9876`, the loss first.

    Args:
        logs: numbers by name.
        width: the largest number of characters; results that do not fit are left out. `None` for no
            limit.
    """
    names = sorted(
        logs, key=lambda name: (name.startswith("val_"), name not in ("loss", "val_loss"))
    )
    text = ""
    for name in names:
        longer = f"{text} - {name}: {_short(logs[name])}".removeprefix(" - ")
        if width is not None and len(longer) > width:
            break
        text = longer
    return text


def _wrapped(line: str) -> str:
    """Break a line that is wider than the terminal between results."""
    width = shutil.get_terminal_size().columns
    lines = [""]
    for part in line.split(" - "):
        longer = f"{lines[-1]} - {part}" if lines[-1] else part
        if len(longer) > width:
            lines.append(f"  {part}")
        else:
            lines[-1] = longer
    return "\n".join(lines)


def _short(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.3e}"


class ProgressBar(Callback):
    """Write a line for each epoch and, on a terminal or in a notebook, show a bar while it runs.

    Results are read from the device only when the bar is redrawn, a few times a second. On a narrow
    terminal the bar shows those that fit; the line of the epoch shows all.

    Args:
        verbose: 1 for bar and lines, 2 for the lines alone, 0 for nothing.
        interval: seconds between two drawings of the bar.
    """

    stops = False
    only_logs = True

    def __init__(self, verbose: int = 1, interval: float = 0.25) -> None:
        super().__init__()
        self.verbose = verbose
        self.interval = interval
        self._bar: Any = None
        self._begun = 0.0
        self._last = 0.0
        self._in_fit = False

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Note that `fit` runs, so that its validation shows no bar."""
        self._in_fit = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Note that `fit` has ended, so that `evaluate` shows a bar."""
        self._in_fit = False

    def set_params(self, params: dict[str, Any]) -> None:
        """Take the parameters of a run that is about to begin."""
        super().set_params(params)
        self._in_fit = False

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Open the bar of an epoch."""
        label = f"Epoch {epoch + 1}/{self.params.get('epochs', '?')}"
        self._open(self.params.get("steps"), label)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Move the bar, when it is time to."""
        self._move(batch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Complete the bar, or write the epoch's line."""
        self._close(f"Epoch {epoch + 1}/{self.params.get('epochs', '?')}", logs)

    def _open(self, total: int | None, label: str) -> None:
        self._begun = self._last = time.perf_counter()
        if self.verbose == 1:
            self._bar = tqdm(
                total=total,
                desc=label,
                disable=None,  # no bar without a terminal to redraw it on
                dynamic_ncols=True,
                leave=False,
                bar_format=_ENDLESS if total is None else _FORMAT,
            )

    def _move(self, batch: int, logs: Logs | None) -> None:
        bar, now = self._bar, time.perf_counter()
        if now - self._last < self.interval or bar is None or bar.disable:
            return
        self._last = now
        bar.n = batch + 1
        bar.set_postfix_str(format_logs(logs or {}, self._room()), refresh=False)
        bar.refresh()

    def _room(self) -> int | None:
        """Return the characters left for results beside a bar of ten, `None` for any number."""
        self._bar.set_postfix_str("", refresh=False)
        meter = self._bar.format_dict
        columns: int | None = meter["ncols"]
        if not columns:  # a notebook
            return None
        return columns - len(self._bar.format_meter(**{**meter, "ncols": None})) - len(", ")

    def _close(self, label: str, logs: Logs | None) -> None:
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()
        if self.verbose:
            parts = [label, f"{time.perf_counter() - self._begun:.1f}s", format_logs(logs or {})]
            line = " - ".join(part for part in parts if part)
            print(_wrapped(line) if sys.stdout.isatty() else line, flush=True)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Open the bar of `evaluate`; validation inside `fit` has none."""
        if not self._in_fit:
            self._open(self.params.get("steps"), "Evaluate")

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Move the bar of `evaluate`."""
        if not self._in_fit:
            self._move(batch, logs)

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Complete the bar of `evaluate`."""
        if not self._in_fit:
            self._close("Evaluate", logs)

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Open the bar of `predict`."""
        self._open(self.params.get("steps"), "Predict")

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Move the bar of `predict`."""
        self._move(batch, None)

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """Complete the bar of `predict`."""
        self._close("Predict", None)
