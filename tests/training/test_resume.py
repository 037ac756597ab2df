"""A killed run, started again, ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

SCRIPT = """
import csv, json, sys
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from fgraph.callbacks import BackupAndRestore, CSVLogger, EarlyStopping, LambdaCallback
from fgraph.training import Trainer

folder, freq, kind = sys.argv[1], sys.argv[2], sys.argv[3]

class Net(Trainer, nn.Sequential):
    pass

torch.manual_seed(5)
x = torch.randn(60, 4)
y = x[:, :3].argmax(-1)
net = Net(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 3))
torch.manual_seed(6)
net.compile(
    "adam", nn.CrossEntropyLoss(), metrics=["accuracy", "f1"],
    scheduler=lambda o: torch.optim.lr_scheduler.StepLR(o, 2, 0.5),
    gradient_accumulation_steps=2 if kind == "accumulating" else 1,
)
settings = {"batch_size": 8}
data = (x, y)
if kind == "loader":
    data, settings = (DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True), None), {}
if kind == "steps":
    settings["steps_per_epoch"] = 5

def say(batch, logs):
    print("batch", flush=True)
    sys.stdin.readline()

callbacks = [EarlyStopping("loss", patience=9, restore_best_weights=True),
             CSVLogger(f"{folder}/log.csv")]
if freq != "never":
    backup = BackupAndRestore(f"{folder}/backup", save_freq=freq if freq == "epoch" else int(freq))
    callbacks += [LambdaCallback(on_train_batch_end=say), backup]
run = net.fit(*data, epochs=4, verbose=0, callbacks=callbacks, validation_data=(x, y), **settings)
end = {"weights": net.state_dict(), "optimizer": net.optimizer.state_dict()}
torch.save(end, f"{folder}/end.pt")
print(json.dumps([run.history, run.epoch, list(csv.reader(open(f"{folder}/log.csv")))]))
"""


def _start(folder: Path, freq: str, kind: str) -> subprocess.Popen[str]:
    script = folder / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    # the package is found as this process found it
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, str(script), str(folder), freq, kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


def _run_to_end(folder: Path, freq: str, kind: str, kills: list[int]) -> tuple[list, dict]:
    """Runs the script, killing it after so many batches, as often as listed."""
    for batches in [*kills, None]:
        process = _start(folder, freq, kind)
        with process:
            lines = 0
            last = ""
            for line in process.stdout:
                if line.strip() != "batch":
                    last = line
                    continue
                lines += 1
                if batches is not None and lines == batches:
                    process.send_signal(signal.SIGKILL)
                    break
                process.stdin.write("\n")
                process.stdin.flush()
        if batches is None:
            assert process.returncode == 0
        else:
            assert process.returncode == -signal.SIGKILL
    return json.loads(last), torch.load(folder / "end.pt", weights_only=True)


@pytest.mark.parametrize(
    ("kind", "freq", "kills"),
    [
        ("arrays", "3", [2, 13]),
        ("arrays", "epoch", [11]),
        ("arrays", "1", [1, 8, 9]),
        ("loader", "1", [7, 2]),
        ("steps", "4", [9]),
        ("accumulating", "3", [12]),
    ],
)
@pytest.mark.slow
def test_killed_runs_end_with_the_same_bits(tmp_path, kind, freq, kills):
    """Weights, optimizer, history and log file, against a run that was left alone."""
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    alone.mkdir()
    killed.mkdir()
    with ThreadPoolExecutor() as both:  # neither knows of the other
        runs = [both.submit(_run_to_end, alone, "never", kind, []),
                both.submit(_run_to_end, killed, freq, kind, kills)]  # fmt: skip
        (expected, end), (found, other_end) = (run.result() for run in runs)
    assert found == expected
    for name, value in end["weights"].items():
        assert torch.equal(value, other_end["weights"][name]), name
    for index, slots in end["optimizer"]["state"].items():
        for name, value in slots.items():
            assert torch.equal(value, other_end["optimizer"]["state"][index][name]), name
    assert end["optimizer"]["param_groups"] == other_end["optimizer"]["param_groups"]
    assert not (killed / "backup").exists()
