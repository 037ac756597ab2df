"""Under `torchrun` the same script gives the same result on any number of processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

SCRIPT = """
import json, os, sys
import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from fgraph.callbacks import EarlyStopping, ModelCheckpoint
from fgraph.training import Trainer

folder, kind = sys.argv[1], sys.argv[2]

class Net(Trainer, nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 1)

    def forward(self, x):
        return self.last(self.first(x).tanh()).sigmoid()

class OwnStep(Net):
    def train_step(self, batch):
        y_pred = self(batch.x)  # past DDP
        loss = torch.nn.functional.binary_cross_entropy(y_pred, batch.y)
        self.backward(loss)
        self.optimizer_step()
        return {"loss": loss}

class PastBackward(OwnStep):
    def train_step(self, batch):
        loss = self.forward_batch(batch).loss
        loss.backward()
        self.optimizer_step()
        return loss

class PastOptimizer(OwnStep):
    def train_step(self, batch):
        loss = self.forward_batch(batch).loss
        self.backward(loss)
        self.optimizer.step()
        return loss

torch.manual_seed(5)
steps = {"own step": OwnStep, "past backward": PastBackward, "past optimizer": PastOptimizer}
net = steps.get(kind, Net)()
# 45 samples in batches of 11: shares of different sizes, and a last batch of one sample
x = torch.randn(45, 4)
y = (x[:, :1] > 0).float()
if kind == "sharded":
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    dist.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    fully_shard(net.first, mesh=mesh)
    fully_shard(net, mesh=mesh)
net.compile("adam", "binary_crossentropy", metrics=["accuracy", "auc"])
data, settings = (x, y), {"batch_size": 11}
if kind == "loader":
    data, settings = (DataLoader(TensorDataset(x, y), 11, shuffle=True), None), {}
if kind.startswith("past"):
    try:
        net.fit(*data, verbose=0, **settings)
    except RuntimeError as error:
        print(json.dumps(str(error)) if dist.get_rank() == 0 else "", end="")
    dist.destroy_process_group()
    sys.exit()
torch.manual_seed(6)
run = net.fit(
    *data, epochs=3, verbose=2, validation_data=(x, y),
    callbacks=[EarlyStopping("val_loss", patience=5), ModelCheckpoint(f"{folder}/end.pt")],
    **settings,
)
if not dist.is_initialized() or dist.get_rank() == 0:
    print(json.dumps(run.history))
if dist.is_initialized():
    dist.destroy_process_group()
"""


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def _run(folder: Path, kind: str, processes: int) -> tuple[dict, dict]:
    """Runs the script as torchrun does; returns the first process's history and weights."""
    folder.mkdir()
    script = folder / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    common = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    if processes > 1 or kind == "sharded":
        common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
        common |= {"WORLD_SIZE": str(processes)}
    running = [
        subprocess.Popen(
            [sys.executable, str(script), str(folder), kind],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(processes)
    ]
    outputs = [process.communicate(timeout=240)[0] for process in running]
    assert [process.returncode for process in running] == [0] * processes
    assert all(not output for output in outputs[1:]), "only the first process writes"
    history = json.loads(outputs[0].splitlines()[-1])
    end = folder / "end.pt"
    return history, torch.load(end, weights_only=True) if end.exists() else {}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["arrays", "loader", "sharded", "own step"])
def test_two_processes_give_what_one_gives(tmp_path, kind):
    """Weights and figures, to rounding: the batch is divided, not multiplied."""
    alone = "arrays" if kind == "sharded" else kind
    expected, weights = _run(tmp_path / "one", alone, 1)
    found, other = _run(tmp_path / "two", kind, 2)
    if kind == "loader":
        # its order comes from seeds that all processes share, and is another one
        assert found["val_loss"] == pytest.approx(expected["val_loss"], rel=0.1)
        return
    for name, values in expected.items():
        assert found[name] == pytest.approx(values, rel=1e-5), name
    for name, value in weights.items():
        torch.testing.assert_close(other[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("past backward", "call self.backward(loss) in place of loss.backward()"),
        ("past optimizer", "call self.optimizer_step() in place of optimizer.step()"),
    ],
)
def test_a_step_that_goes_around_the_trainer_is_an_error(tmp_path, kind, text):
    """The processes would train different models."""
    error, _ = _run(tmp_path / "two", kind, 2)
    assert "the 2 processes would train different models" in error
    assert text in error
