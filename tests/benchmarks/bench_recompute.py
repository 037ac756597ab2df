"""Memory and time of recomputation: `python tests/benchmarks/bench_recompute.py --compile`.

For a transformer, a ResNet and a U-Net: the peak bytes of a training step, as torch's CPU allocator
tells them beside those from before, and the time of a step. Each is a class of plain torch, whose
graph `fgraph.unfold` takes, with the same weights. The peers are the class without checkpoints, the
class with `torch.utils.checkpoint` around each block, written by hand, and `torch.compile` with
`torch._functorch.config.activation_memory_budget`. All run in turn in one process; figures are
ratios to the class without checkpoints. `--compile` needs a C++ compiler and a few minutes.
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
from torch.utils.checkpoint import checkpoint

import fgraph
from fgraph import Input, Model
from memory_peak import peak_bytes


class Net(nn.Module):
    """A network of blocks."""

    by_hand = False
    """Whether each block is checkpointed."""

    def run(self, block: nn.Module, x: Any) -> Any:
        """Call a block."""
        return checkpoint(block, x, use_reentrant=False) if self.by_hand else block(x)


class Attention(nn.Module):
    """A pre-norm block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Any) -> Any:
        """Return the sum of both ways."""
        h = self.norm1(x)
        x = x + self.attention(h, h, h, need_weights=False)[0]
        return x + self.narrow(nn.functional.gelu(self.wide(self.norm2(x))))


class Transformer(Net):
    """Eight blocks."""

    shape, names = (64, 128), ["block?"]

    def __init__(self) -> None:
        super().__init__()
        for number in range(8):
            self.add_module(f"block{number}", Attention(128))
        self.head = nn.Linear(128, 10)

    def forward(self, x: Any) -> Any:
        """Return the classes of sequences."""
        for number in range(8):
            x = self.run(self.get_submodule(f"block{number}"), x)
        return self.head(x.mean(1))


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


class ResNet(Net):
    """Three widths of three blocks."""

    shape, names = (3, 32, 32), ["block?"]

    def __init__(self) -> None:
        super().__init__()
        self.stem, before = nn.Conv2d(3, 16, 3, padding=1), 16
        for number in range(9):
            width, first = 16 << number // 3, number % 3 == 0
            block = Residual(before, width, 2 if first and number else 1)
            self.add_module(f"block{number}", block)
            before = width
        self.head = nn.Linear(64, 10)

    def forward(self, x: Any) -> Any:
        """Return the classes of images."""
        x = self.stem(x)
        for number in range(9):
            x = self.run(self.get_submodule(f"block{number}"), x)
        return self.head(x.mean((2, 3)))


def double(before: int, width: int) -> nn.Sequential:
    """Return two convolutions with batch normalization."""
    parts: list[nn.Module] = []
    for size in (before, width):
        parts += [nn.Conv2d(size, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*parts)


class UNet(Net):
    """Three levels, with skips."""

    shape, names = (3, 32, 32), ["down?", "middle", "up?"]

    def __init__(self) -> None:
        super().__init__()
        self.down0, self.down1, self.down2 = double(3, 16), double(16, 32), double(32, 64)
        self.middle = double(64, 128)
        self.up2, self.up1, self.up0 = double(192, 64), double(96, 32), double(48, 16)
        self.pool, self.wider = nn.MaxPool2d(2), nn.Upsample(scale_factor=2)
        self.head = nn.Conv2d(16, 1, 1)

    def forward(self, x: Any) -> Any:
        """Return a mask for each image."""
        kept = []
        for block in (self.down0, self.down1, self.down2):
            kept.append(self.run(block, x))
            x = self.pool(kept[-1])
        x = self.run(self.middle, x)
        for block in (self.up2, self.up1, self.up0):
            x = self.run(block, torch.cat([self.wider(x), kept.pop()], 1))
        return self.head(x)


KINDS: dict[str, Any] = {"transformer": Transformer, "ResNet": ResNet, "U-Net": UNet}


def graph_of(net: Any) -> Model:
    """Return the model of a copy of a network's graph."""
    x = Input(net.shape)
    return Model(x, fgraph.unfold(copy.deepcopy(net))(x))


def candidates(net: Any, inputs: torch.Tensor) -> dict[str, nn.Module]:
    """Return the network in all ways that need no compiler."""
    by_hand = copy.deepcopy(net)
    by_hand.by_hand = True
    found = {"plain torch": net, "plain torch, each block by hand": by_hand}
    found["model"] = graph_of(net)
    found["model, each block by names"] = named = graph_of(net)
    most = named.recompute(net.names, inputs).peak_without
    for part in (0.75, 0.5, 0.35):
        planned = graph_of(net)
        try:
            planned.recompute(int(most * part), inputs)
        except ValueError as error:
            print(f"  {str(error).partition(':')[2].partition(';')[0].strip()}")
            continue
        found[f"model, budget of {part:.0%}"] = planned
    return found


def step_of(net: Any, inputs: torch.Tensor) -> Callable[[], Any]:
    """Return a step of training without an optimizer."""

    def step() -> None:
        net(inputs).square().mean().backward()

    return step


def timed(step: Callable[[], Any]) -> float:
    """Return the seconds of a step."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def show(kind: Any, rounds: int, compiles: bool) -> None:
    """Print what each candidate takes, beside the first one."""
    torch.manual_seed(0)
    net, inputs = kind(), torch.randn(8, *kind.shape)
    steps = {name: step_of(made, inputs) for name, made in candidates(net, inputs).items()}
    for step in steps.values():
        step()  # gradients have their memory
    peaks = {name: peak_bytes(step) for name, step in steps.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            times[name].append(timed(step))
    first, *_ = steps
    for name, peak in peaks.items():
        row(name, peak, peaks[first], times[name], times[first])
    for budget in (1.0, 0.5) if compiles else ():
        show_compiled(net, inputs, budget, peaks[first], rounds)


def show_compiled(net: Any, inputs: torch.Tensor, budget: float, most: int, rounds: int) -> None:
    """Print the same for a network compiled within a budget, which has to hold while it runs."""
    from torch._functorch import config

    torch.compiler.reset()  # a network like the one before would run its code
    plain, step = step_of(net, inputs), step_of(torch.compile(copy.deepcopy(net)), inputs)
    with config.patch(activation_memory_budget=budget):
        step()
        peak = peak_bytes(step)
        pairs = [(timed(step), timed(plain)) for _ in range(rounds)]
    name = f"torch.compile, activation_memory_budget={budget}"
    row(name, peak, most, *map(list, zip(*pairs, strict=True)))


def row(name: str, peak: int, most: int, times: list[float], others: list[float]) -> None:
    """Print a candidate's bytes, and their and its time's ratios to the first one's."""
    ratio = statistics.median(times) / statistics.median(others)
    print(
        f"  {name:<46}{f'{peak / 2**20:.1f} MiB':>12}{peak / most:>8.2f}{ratio:>8.2f}", flush=True
    )


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
            show(kind, options.rounds, options.compile)


if __name__ == "__main__":
    main()
