"""A run that is killed within an epoch, and one that goes on; prints its figures as JSON.

`resuming.py FOLDER KIND STEPS`: ends after so many steps, killed, if STEPS is not 0.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import mesh_checks
from checks import data, outcome, rank, world
from launching import leave
from mesh_checks import distributed, perceptron

import fgraph
from fgraph.callbacks import BackupAndRestore, Callback, CSVLogger, EarlyStopping


class Killed(Callback):
    """Ends every process as `kill -9` does, after so many steps."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.left = steps

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.left -= 1
        if self.left == 0 and rank() == world() - 1:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    folder, kind, steps = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    if "MASTER_ADDR" in os.environ:
        fgraph.parallel.start("cpu")
    model = perceptron()
    if kind != "replicated":
        model = distributed(model, kind)
    model.compile(
        mesh_checks.OPTIMIZERS["average"],
        "binary_crossentropy",
        metrics=["accuracy", "auc"],
        gradient_accumulation_steps=2,
    )
    callbacks = [
        CSVLogger(folder / "log.csv"),
        EarlyStopping("loss", patience=5),
        Killed(steps),
        BackupAndRestore(folder / "backup", save_freq=3),
    ]
    x, y = data()
    history = model.fit(
        x, y, batch_size=6, epochs=3, verbose=0, validation_data=(x, y), callbacks=callbacks
    )
    found = outcome(model, history)
    assert not (folder / "backup").exists()
    if rank() == 0:
        rows = (folder / "log.csv").read_text().splitlines()
        print(json.dumps({**found, "rows": len(rows)}, default=float))
    leave()


if __name__ == "__main__":
    main()
