"""Save the model during training."""

from __future__ import annotations

import os
import string
from pathlib import Path
from typing import Any

from ..common import process_group
from ..common.atomic_files import replacing, save_atomically
from ..common.number_checks import whole_number
from ..common.sharded_tensors import is_sharded
from ..common.whole_model import whole_state_dict
from ..errors import unknown_name
from .base import Callback, Logs
from .monitor import MonitorCallback


class ModelCheckpoint(MonitorCallback):
    """Save the model after each epoch, or when a value improved (Keras: `ModelCheckpoint`).

    The file is written by the model's `save`, if it has one, else it holds the `state_dict`. Either
    is written atomically.

    Args:
        filepath: the file; `{epoch}`, counted from 1, and values in the logs such as
            `{val_loss:.2f}` are filled in, and also `{batch}` if `save_freq` is a number.
        monitor: the name in the logs.
        verbose: 1 to print when the model is saved.
        save_best_only: whether to save only when the monitored value improved.
        save_weights_only: whether to save the `state_dict` alone.
        mode: as in `MonitorCallback`.
        save_freq: `"epoch"`, or a number of batches.
        initial_value_threshold: value that the first saved model must improve on, or `None`.

    Raises:
        ValueError: `save_freq` is neither.
    """

    stops = False

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__(monitor, mode, best=initial_value_threshold)
        self.filepath = os.fspath(filepath)
        self.verbose = verbose
        self.save_best_only = save_best_only
        self.save_weights_only = save_weights_only
        self.save_freq = check_save_freq(save_freq, type(self).__name__)
        self._batches = 0

    def check_names(self, names: list[str], complete: bool) -> None:
        """Refuse names in the path, or a monitored name, that will not be in the logs."""
        if self.save_best_only:
            super().check_names(names, complete)
        known = ["epoch", *names]
        if self.save_freq != "epoch":  # within an epoch, before its validation
            known = ["epoch", "batch", *(n for n in names if not n.startswith("val_"))]
        where = f"filepath {self.filepath!r} of ModelCheckpoint"
        for _, name, _, _ in string.Formatter().parse(self.filepath):
            if name is not None and not name.isidentifier():
                raise ValueError(f"{where}: write names in braces, such as {{epoch}}, got {name!r}")
            if complete and name and name not in known:
                raise ValueError(f"{where}: {unknown_name('metric', name, known)}")
        try:
            self.filepath.format_map(_Figures())
        except (ValueError, TypeError) as error:
            raise ValueError(f"{where}: {error}") from error

    def check_run(self, model: Any, callbacks: list[Callback]) -> None:
        """Refuse a model that cannot be saved, or a path whose folder is a file."""
        check_folder(Path(self.filepath.split("{")[0] + "x").parent, "filepath of ModelCheckpoint")
        check = getattr(model, "check_savable", None)
        whole = not self.save_weights_only or self.filepath.endswith(".weights.h5")
        if check is not None and whole:  # weights of any other format can be written of any model
            check(self.filepath)

    def needs_all_processes(self, model: Any) -> bool:
        """Return true for a sharded model, of which each process has a part."""
        return is_sharded(model)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Save after every `save_freq` batches."""
        if self.save_freq == "epoch":
            return
        self._batches += 1
        if self._batches % int(self.save_freq) == 0:
            self._save(self.model._trainer.session.run.epoch, batch, logs or {})

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Save after the epoch."""
        if self.save_freq == "epoch":
            self._save(epoch, None, logs or {})

    def _save(self, epoch: int, batch: int | None, logs: Logs) -> None:
        if self.save_best_only:
            value = self.monitored(logs) if batch is None else logs.get(self.monitor)
            if value is None or not self.improves(value, self.best):
                return
            self.best = value
        path = self._path(epoch, batch, logs)
        write_model(self.model, path, self.save_weights_only)
        if self.verbose:
            print(f"Epoch {epoch + 1}: saved model to {path}")

    def _path(self, epoch: int, batch: int | None, logs: Logs) -> str:
        known = {**logs, "epoch": epoch + 1} | ({} if batch is None else {"batch": batch + 1})
        try:
            return self.filepath.format(**known)
        except KeyError as error:
            raise KeyError(
                f"filepath {self.filepath!r} of ModelCheckpoint names {error}, which is not in the "
                f"logs: {', '.join(known)}"
            ) from error

    def state_dict(self) -> dict[str, Any]:
        """Return the best value so far."""
        return {"best": self.best, "_batches": self._batches}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state returned by `state_dict`."""
        vars(self).update(state)


class _Figures(dict[str, Any]):
    """Placeholder numbers for the names in a path, to try its format."""

    def __missing__(self, name: str) -> int | float:
        return 1 if name in ("epoch", "batch") else 0.5


def check_folder(folder: Path, what: str) -> None:
    """Raise `NotADirectoryError` if a folder of the path is a file."""
    for place in (folder, *folder.parents):
        if place.exists():
            if not place.is_dir():
                raise NotADirectoryError(f"{what}: {str(place)!r} is a file, not a folder")
            return


def check_save_freq(save_freq: str | int, caller: str) -> str | int:
    """Return how often to save, or raise `ValueError`."""
    try:
        return save_freq if save_freq == "epoch" else whole_number(save_freq, "save_freq")
    except (TypeError, ValueError):
        raise ValueError(
            f"save_freq of {caller} must be 'epoch' or a number of batches, got {save_freq!r}"
        ) from None


def write_model(model: Any, path: str, weights_only: bool) -> None:
    """Write a model atomically: by its own `save`, or its `state_dict`."""
    save = getattr(model, "save_weights" if weights_only else "save", None)
    sharded = is_sharded(model)
    if process_group.rank() and not sharded:
        return
    if save is None:
        weights = whole_state_dict(model)
        if not process_group.rank():
            save_atomically(weights, path)
    elif process_group.rank():  # it contributes its shards; the first process writes
        save(path)
    else:
        with replacing(path, make_folder=True) as temporary:
            save(str(temporary))
    if sharded:
        process_group.wait_for_all()
