"""Callbacks that write losses and metrics to files: comma-separated values, TensorBoard."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import IO, Any

from ..common import process_group
from .base import Callback, Logs


class CSVLogger(Callback):
    """Write a row of losses and metrics for each epoch (Keras: `CSVLogger`).

    Args:
        filename: the file.
        separator: between two values.
        append: whether to append to an existing file instead of overwriting it.
    """

    def __init__(
        self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False
    ) -> None:
        super().__init__()
        self.filename = Path(filename)
        self.separator = separator
        self.append = append
        self._file: IO[str] | None = None
        self._keys: list[str] = []
        self._position: int | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forget earlier runs; the file is opened when there is a row to write."""
        self._close()
        self._keys = []
        self._position = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write the epoch's row, in the first process."""
        if process_group.rank():
            return
        logs = logs or {}
        if self._file is None:
            self._open(logs)
        values = [logs.get(key, "NA") for key in self._keys]
        self._write([epoch, *values])

    def _open(self, logs: Logs) -> None:
        resumes = self._position is not None and self.filename.exists()
        mode = "r+" if resumes else "a" if self.append else "w"
        self._file = open(self.filename, mode, newline="", encoding="utf-8")
        if resumes:
            # a resumed run writes the rows after its backup again
            self._file.truncate(self._position)
            self._file.seek(0, os.SEEK_END)
            return
        self._keys = sorted(logs)
        if not any(key.startswith("val_") for key in self._keys):
            # validation may begin later, but columns are fixed by the first row
            self._keys += [f"val_{key}" for key in self._keys]
        if not self._file.tell():
            self._write(["epoch", *self._keys])

    def _write(self, row: list[Any]) -> None:
        if self._file is not None:
            csv.writer(self._file, delimiter=self.separator).writerow(row)
            self._file.flush()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Close the file."""
        self._close()

    def state_dict(self) -> dict[str, Any]:
        """Return the columns and where the file ends."""
        position = self._file.tell() if self._file is not None else self._position
        return {"keys": list(self._keys), "position": position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state returned by `state_dict`."""
        self._keys = list(state["keys"])
        self._position = state["position"]


class TensorBoard(Callback):
    """Write logs for TensorBoard, under tags such as `loss/train` and `loss/validation`.

    Args:
        log_dir: folder of the logs.
        update_freq: `"epoch"`, `"batch"`, or a number of batches after which those of
            training are written too.
        writer: anything with `add_scalar(tag, value, step)`; None makes torch's `SummaryWriter`.
    """

    stops = False

    def __init__(
        self,
        log_dir: str | os.PathLike[str] = "logs",
        update_freq: str | int = "epoch",
        writer: Any = None,
    ) -> None:
        super().__init__()
        if update_freq not in ("epoch", "batch") and not isinstance(update_freq, int):
            raise ValueError(
                "update_freq of TensorBoard must be 'epoch', 'batch' or a number of batches, got "
                f"{update_freq!r}"
            )
        self.log_dir = os.fspath(log_dir)
        self.every = 1 if update_freq == "batch" else update_freq
        self._given = writer
        self._writer: Any = None
        self._step = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Open the log."""
        if process_group.rank() == 0:
            self._writer = self._given or _summary_writer(self.log_dir)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Write the running metrics after every `update_freq` batches."""
        if self.every == "epoch" or self._writer is None:
            return
        self._step += 1
        if self._step % int(self.every) == 0:
            for name, value in (logs or {}).items():
                if isinstance(value, float):
                    self._writer.add_scalar(f"{name}/batch", value, self._step)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write the epoch's logs."""
        for name, value in (logs or {}).items():
            if self._writer is None or not isinstance(value, float):
                continue
            part = "validation" if name.startswith("val_") else "train"
            self._writer.add_scalar(f"{name.removeprefix('val_')}/{part}", value, epoch)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Close the log that was opened here."""
        if self._writer is not None and self._given is None:
            self._writer.close()
        self._writer = None

    def state_dict(self) -> dict[str, Any]:
        """Return the number of batches so far."""
        return {"_step": self._step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state returned by `state_dict`."""
        self._step = state["_step"]


def _summary_writer(log_dir: str) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError(
            "the TensorBoard callback needs the package tensorboard: install fgraph[tensorboard], "
            "or pass writer=, any object with add_scalar(tag, value, step)"
        ) from error
    return SummaryWriter(log_dir)
