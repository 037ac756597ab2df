"""Save the whole run, and continue it after the process was killed."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from ..common import process_group
from ..common.atomic_files import save_atomically
from ..errors import SaveError
from .backup_folders import newest_folder, read_folder, remove_folders, write_folder
from .base import Callback, Logs
from .checkpoint import check_folder, check_save_freq


def _folder_name(state: dict[str, Any]) -> str:
    """Return the name that the folder of a backup has that several processes made then."""
    return f"step-{state['epoch']:08d}-{state['step']:010d}"


class BackupAndRestore(Callback):
    """Save the whole run, and continue a killed run where it stopped, bit for bit.

    A backup holds the model, optimizer, scheduler, scaler, random states, running metrics, history,
    the positions in the data and the other callbacks' states. Start the same script again: `fit`
    finds the backup and continues. Data that draws random numbers in other processes, or from its
    own generators, cannot be restored exactly.

    Several processes together write one `torch.distributed.checkpoint` folder for each backup, also
    of sharded models. Any number of processes can resume from it; as many processes as before
    resume bit for bit.

    Args:
        backup_dir: folder of the backup.
        save_freq: `"epoch"`, or a number of batches.
        double_checkpoint: whether to keep the previous backup as well.
        delete_checkpoint: whether to delete the backup when the run has ended.

    Raises:
        ValueError: `save_freq` is neither.
    """

    restores = True
    stops = False

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        save_freq: str | int = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ) -> None:
        super().__init__()
        self.backup_dir = Path(backup_dir)
        self.save_freq = check_save_freq(save_freq, type(self).__name__)
        self.double_checkpoint = double_checkpoint
        self.delete_checkpoint = delete_checkpoint
        self._batches = 0

    @property
    def path(self) -> Path:
        """The backup file of a single process; several processes write folders instead."""
        return self.backup_dir / "run-0.pt"

    def needs_all_processes(self, model: Any) -> bool:
        """Return true: all processes save the same step, together."""
        return True

    def check_run(self, model: Any, callbacks: list[Callback]) -> None:
        """Refuse state that could be saved, but not loaded again.

        Raises:
            SaveError: a callback's state, or extra state of a module, holds other things than
                tensors and plain values.
        """
        check_folder(self.backup_dir, "backup_dir of BackupAndRestore")
        parts = {type(callback).__name__: callback.state_dict() for callback in callbacks}
        extra = {k: v for k, v in model.state_dict().items() if not isinstance(v, torch.Tensor)}
        for name, part in {**parts, type(model).__name__: extra}.items():
            buffer = io.BytesIO()
            try:
                torch.save(part, buffer)
                torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)
            except Exception as error:
                raise SaveError(
                    f"BackupAndRestore cannot save the state of {name}: its state_dict (or "
                    "get_extra_state) must return tensors, numbers, texts, lists and dicts only"
                ) from error

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Resume from the latest backup, if there is one, whether of one process or several."""
        run = self.model._trainer.session.run
        folder = newest_folder(self.backup_dir)
        alone = None
        if process_group.agreed(self.path.exists()):
            alone = torch.load(self.path, map_location="cpu", weights_only=True)
        if folder is not None and (alone is None or folder.name > _folder_name(alone)):
            run.load(*read_folder(folder, dict(self.model.named_parameters())))
        elif alone is not None:
            run.load_state_dict(alone)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Save after every `save_freq` batches."""
        if self.save_freq == "epoch":
            return
        self._batches += 1
        if self._batches % int(self.save_freq) == 0:
            self._save()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Save after the epoch."""
        self._save()

    def _save(self) -> None:
        run = self.model._trainer.session.run
        if process_group.world_size() > 1:
            run.settle()
            before = newest_folder(self.backup_dir)
            common, own = run.common_state(), run.own_state()
            kept = [write_folder(self.backup_dir, (run.epoch, run.step), common, own)]
            if self.double_checkpoint and before is not None:
                kept.append(before)
            remove_folders(self.backup_dir, kept)
            return
        if self.double_checkpoint and self.path.exists():
            shutil.copyfile(self.path, self.path.with_suffix(".previous.pt"))
        save_atomically(run.state_dict(), self.path)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Delete the backup."""
        if self.delete_checkpoint and process_group.rank() == 0:
            remove_folders(self.backup_dir, [])
            self.path.unlink(missing_ok=True)
            self.path.with_suffix(".previous.pt").unlink(missing_ok=True)
            if self.backup_dir.is_dir() and not any(self.backup_dir.iterdir()):
                self.backup_dir.rmdir()
