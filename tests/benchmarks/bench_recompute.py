"""Memory and time of recomputation: `python tests/benchmarks/bench_recompute.py`.

For a transformer, a ResNet and a U-Net: the peak bytes of a training step, as torch's CPU allocator
tells them beside those from before, and the time of a step. The candidates run in turn in one
process; figures are ratios to the model without recomputation. The peers are checkpoints around
each block, by names, and `torch._functorch.config.activation_memory_budget` under `torch.compile`,
which is compared with compiling alone. `--compile` adds it; it needs a C++ compiler.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent.parent))

import torch
from torch import nn

import fgraph
from fgraph import Input, Model
from memory_peak import peak_bytes

Made = tuple[Model, torch.Tensor, list[str]]


def transformer() -> Made:
    """Pre-norm blocks."""
    x = h = Input((128, 256))
    for number in range(8):
        y = Input((128, 256))
        a = nn.LayerNorm(256)(y)
        a = y + nn.MultiheadAttention(256, 4, batch_first=True)(a, a, a, need_weights=False)[0]
        wide = nn.functional.gelu(nn.Linear(256, 1024)(nn.LayerNorm(256)(a)))
        block = Model(y, a + nn.Linear(1024, 256)(wide))
        h = fgraph.unfold(block, name=f"block_{number}")(h)
    return Model(x, nn.Linear(256, 10)(h.mean(1))), torch.randn(8, 128, 256), ["block_?"]


class Residual(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.around = nn.Conv2d(before, width, 1, stride, bias=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Any) -> Any:
        """Return the sum of both ways."""
        h = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(h + self.around(x))


def resnet() -> Made:
    """Three widths of four blocks."""
    x = Input((3, 64, 64))
    h = nn.Conv2d(3, 32, 3, padding=1)(x)
    before, number = 32, 0
    for width, first in ((32, 1), (64, 2), (128, 2)):
        for stride in (first, 1, 1, 1):
            number += 1
            h = fgraph.unfold(Residual(before, width, stride), name=f"block_{number}")(h)
            before = width
    return Model(x, nn.Linear(128, 10)(h.mean((2, 3)))), torch.randn(8, 3, 64, 64), ["block_*"]


class Double(nn.Sequential):
    """Two convolutions with batch normalization."""

    def __init__(self, before: int, width: int) -> None:
        parts: list[nn.Module] = []
        for size in (before, width):
            parts += [nn.Conv2d(size, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        super().__init__(*parts)


def unet() -> Made:
    """Three levels, with skips."""
    x = h = Input((3, 64, 64))
    kept = []
    for level, width in enumerate((16, 32, 64)):
        h = fgraph.unfold(Double(3 if level == 0 else width // 2, width), name=f"down_{level}")(h)
        kept.append(h)
        h = nn.MaxPool2d(2)(h)
    h = fgraph.unfold(Double(64, 128), name="middle")(h)
    for width in (64, 32, 16):
        h = torch.cat([nn.Upsample(scale_factor=2)(h), kept.pop()], 1)
        h = fgraph.unfold(Double(3 * width, width), name=f"up_{width}")(h)
    names = ["down_?", "middle", "up_??"]
    return Model(x, nn.Conv2d(16, 1, 1)(h)), torch.randn(8, 3, 64, 64), names


KINDS: dict[str, Callable[[], Made]] = {
    "transformer": transformer, "ResNet": resnet, "U-Net": unet,
}  # fmt: skip


def steps(kind: Callable[[], Made]) -> dict[str, Callable[[], Any]]:
    """Return a training step for each candidate."""
    torch.manual_seed(0)
    model, inputs, names = kind()
    found = {"without": model}
    found["each block, by names"] = copy.deepcopy(model)
    most = found["each block, by names"].recompute(names, inputs).peak_without
    for part in (0.75, 0.5, 0.35, 0.25):
        planned = copy.deepcopy(model)
        try:
            planned.recompute(int(most * part), inputs)
        except ValueError as error:
            print(f"  {str(error).partition(':')[2].partition(';')[0].strip()}")
            continue
        found[f"budget of {part:.0%}"] = planned
    return {name: _step(net, inputs) for name, net in found.items()}


def show_compiled(kind: Callable[[], Made], rounds: int) -> None:
    """Print the same for each memory budget of torch.compile, one after the other."""
    from torch._functorch import config

    first: tuple[float, float] | None = None
    for part in (1.0, 0.5, 0.25):
        torch.manual_seed(0)
        model, inputs, _ = kind()
        torch.compiler.reset()  # a model like the one before would run its code
        step = _step(torch.compile(model), inputs)
        with config.patch(activation_memory_budget=part):
            step()
            peak = peak_bytes(step)
            found = statistics.median(_timed(step) for _ in range(rounds))
        first = first or (peak, found)
        name = f"torch.compile, activation_memory_budget={part}"
        _row(name, peak, peak / first[0], found / first[1])


def _step(net: Any, inputs: torch.Tensor) -> Callable[[], Any]:
    def step() -> None:
        net(inputs).square().mean().backward()

    return step


def _timed(step: Callable[[], Any]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def _row(name: str, peak: int, *ratios: float) -> None:
    figures = "".join(f"{ratio:>8.2f}" for ratio in ratios)
    print(f"  {name:<46}{f'{peak / 2**20:.1f} MiB':>12}{figures}", flush=True)


def show(candidates: dict[str, Callable[[], Any]], rounds: int) -> None:
    """Print what each candidate takes, beside the first one."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for step in candidates.values():
        step()
    peaks = {name: peak_bytes(step) for name, step in candidates.items()}
    for _ in range(rounds):
        for name, step in candidates.items():
            times[name].append(_timed(step))
    first = next(iter(candidates))
    for name, peak in peaks.items():
        ratio = statistics.median(times[name]) / statistics.median(times[first])
        _row(name, peak, peak / peaks[first], ratio)


def main() -> None:
    """Print a table for each kind of model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--only", choices=KINDS)
    options = parser.parse_args()
    print(f"torch {torch.__version__}, fgraph; peak bytes, their ratio, ratio of times")
    for name, kind in KINDS.items():
        if options.only in (None, name):
            print(name)
            show(steps(kind), options.rounds)
            if options.compile:
                show_compiled(kind, options.rounds)


if __name__ == "__main__":
    main()
