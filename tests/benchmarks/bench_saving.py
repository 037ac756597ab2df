"""Saving and loading against torch's own: time as ratios, and memory.

    python tests/benchmarks/bench_saving.py            # ratios, a minute
    python tests/benchmarks/bench_saving.py --memory   # peak memory for a model of 1 GB, too

Both sides of a ratio are run in turn, A B A B, in one process; the ratio is that of the medians.
Loading is compared with `torch.load(mmap=True)` of the weights, plus building the same graph
without drawing first weights, plus handing it the weights (`load_state_dict(assign=True)`).
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

import fgraph
from fgraph import Input, Model


def dense(layers: int, width: int) -> Model:
    """A stack of linear layers."""
    x = h = Input((width,))
    for _ in range(layers):
        h = nn.Linear(width, width)(h).relu()
    return Model(x, h)


def residual(blocks: int, channels: int) -> Model:
    """A convolutional network with skips."""
    x = Input((3, 32, 32))
    h = nn.Conv2d(3, channels, 3, padding=1)(x)
    for _ in range(blocks):
        inner = nn.BatchNorm2d(channels)(nn.Conv2d(channels, channels, 3, padding=1)(h)).relu()
        h = h + nn.BatchNorm2d(channels)(nn.Conv2d(channels, channels, 3, padding=1)(inner))
    return Model(x, nn.Linear(channels, 10)(h.mean((2, 3))))


def transformer(layers: int, width: int) -> Model:
    """A stack of torch's transformer layers."""
    x = h = Input((16, width))
    for _ in range(layers):
        h = nn.TransformerEncoderLayer(width, 8, 4 * width, batch_first=True)(h)
    return Model(x, nn.Linear(width, 10)(h.mean(1)))


MODELS: dict[str, Callable[[], Model]] = {
    "dense, 3 layers, 0.1 MB": lambda: dense(3, 100),
    "dense, 50 layers, 50 MB": lambda: dense(50, 512),
    "dense, 4 layers, 268 MB": lambda: dense(4, 4096),
    "residual, 16 blocks, 5 MB": lambda: residual(16, 64),
    "residual, 50 blocks, 58 MB": lambda: residual(50, 128),
    "transformer, 12 layers, 340 MB": lambda: transformer(12, 768),
}


def medians(first: Callable[[], Any], second: Callable[[], Any], rounds: int) -> list[float]:
    """Run two things in turn; return the median time of each."""
    times: list[list[float]] = [[], []]
    for _ in range(rounds):
        for which, function in enumerate((first, second)):
            start = time.perf_counter()
            made = function()
            times[which].append(time.perf_counter() - start)
            del made
    return [statistics.median(values) for values in times]


def build_and_load(make: Callable[[], Model], path: Path) -> Model:
    """Do by hand what `load_model` does: build the graph, map the weights, hand them over."""
    with torch.device("meta"):
        model = make()
    model.load_state_dict(torch.load(path, mmap=True, weights_only=True), assign=True)
    return model


def read_all(model: Model) -> Model:
    """Read every weight once, as the first run of a model does; a mapped file is lazy."""
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.sum()
    return model


def compare(folder: Path, rounds: int) -> None:
    """Print the ratios for all models."""
    titles = f"{'load':>6} {'load, read all':>15} {'load, verify=False':>20} {'save':>6}"
    print(f"{'model':32} {titles}")
    for name, make in MODELS.items():
        model = make()
        ours, theirs = folder / "model.fgraph", folder / "weights.pt"
        model.save(ours)
        torch.save(model.state_dict(), theirs)
        load = medians(
            lambda ours=ours: fgraph.load_model(ours),  # type: ignore[misc]
            lambda make=make, theirs=theirs: build_and_load(make, theirs),  # type: ignore[misc]
            rounds,
        )
        trusting = medians(
            lambda ours=ours: fgraph.load_model(ours, verify=False),  # type: ignore[misc]
            lambda make=make, theirs=theirs: build_and_load(make, theirs),  # type: ignore[misc]
            rounds,
        )
        used = medians(
            lambda ours=ours: read_all(fgraph.load_model(ours)),  # type: ignore[misc]
            lambda make=make, theirs=theirs: read_all(build_and_load(make, theirs)),  # type: ignore[misc]
            rounds,
        )
        save = medians(
            lambda model=model, ours=ours: model.save(ours),  # type: ignore[misc]
            lambda model=model, theirs=theirs: _save_by_torch(model, theirs),  # type: ignore[misc]
            max(3, rounds // 3),
        )
        first, whole, trusted, saved = (pair[0] / pair[1] for pair in (load, used, trusting, save))
        print(f"{name:32} {first:6.2f} {whole:15.2f} {trusted:20.2f} {saved:6.2f}")


def _save_by_torch(model: Model, path: Path) -> None:
    """Save as safely as `model.save` does: flushed to the disk."""
    import os

    with path.open("wb") as file:
        torch.save(model.state_dict(), file)
        file.flush()
        os.fsync(file.fileno())


MEMORY = """
import sys
import torch, fgraph
from torch import nn

def peak():
    # of this program alone: ru_maxrss counts what its parent process had, too
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1e6

before = peak()
action, path = sys.argv[1:]
if action == "save":
    x = h = fgraph.Input((8192,))
    with torch.device("meta"):
        for _ in range(4):
            h = nn.Linear(8192, 8192, bias=False)(h)
    model = fgraph.Model(x, h).to_empty(device="cpu")
    for parameter in model.parameters():
        parameter.data.fill_(0.01)
    model.save(path)
else:
    model = fgraph.load_model(path)
    assert sum(float(p.sum()) for p in model.parameters()) > 0
print(peak() - before)
"""


def memory(folder: Path) -> None:
    """Print the peak memory that saving and loading a model of 1.07 GB take, torch not counted."""
    path = folder / "large.fgraph"
    for action in ("save", "load"):
        command = [sys.executable, "-c", MEMORY, action, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        size = path.stat().st_size / 1e9
        print(f"{action} {size:.2f} GB: peak {float(done.stdout):.2f} GB")


def main() -> None:
    """Run the benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--memory", action="store_true", help="also save and load 1 GB")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder), options.rounds)
        if options.memory:
            memory(Path(folder))


if __name__ == "__main__":
    main()
