"""Times layers against the torch that a person would write by hand.

Run `OMP_NUM_THREADS=1 python tests/benchmarks/bench_layers.py`. Each pair takes turns in one
process (A B A B ...) and the table gives the ratio of the medians, fgraph's by the other's, of a
forward and backward pass. Keras itself, where it is installed, is shown beside it.
"""

from __future__ import annotations

import os
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import torch
from torch import nn

from fgraph import Input, Model, layers

Step = Callable[[], Any]


class LastOutput(nn.Module):
    """A bare `nn.LSTM`, the last output of which is used."""

    def __init__(self, features: int, units: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(features, units, batch_first=True)
        nn.init.zeros_(self.lstm.bias_hh_l0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the last hidden state of `(batch, steps, features)`."""
        return self.lstm(x)[1][0][0]


class Folded(nn.Module):
    """An `nn.Linear` on steps that are folded into the batch."""

    def __init__(self, features: int, units: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, units)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return `(batch, steps, units)`."""
        batch, steps = x.shape[:2]
        return self.linear(x.reshape(batch * steps, -1)).reshape(batch, steps, -1)


def training_step(model: Any, x: torch.Tensor) -> Step:
    """Return a forward and backward pass."""

    def step() -> None:
        for parameter in model.parameters():
            parameter.grad = None
        model(x).square().mean().backward()

    return step


def chain(make: Any, kind: Any, x: Any, make_layers: Callable[[Any], list[Any]]) -> Any:
    """Make a model of a chain of layers, in fgraph or Keras."""
    given = value = make(tuple(x.shape[1:]))
    for layer in make_layers(kind):
        value = layer(value)
    return given, value


def lstm(batch: int) -> tuple[torch.Tensor, Any, Any]:
    """An LSTM of 100 steps of 32 features and 64 units."""
    x = torch.randn(batch, 100, 32)
    return x, lambda L: [L.LSTM(64)], LastOutput(32, 64)


def masked_lstm() -> tuple[torch.Tensor, Any, Any]:
    """The same behind a mask, which the bare one knows nothing of."""
    x = torch.randn(32, 100, 32)
    return x, lambda L: [L.Masking(), L.LSTM(64)], LastOutput(32, 64)


def time_distributed() -> tuple[torch.Tensor, Any, Any]:
    """`TimeDistributed(Dense)` of 64 steps."""
    x = torch.randn(32, 64, 64)
    return x, lambda L: [L.TimeDistributed(L.Dense(64))], Folded(64, 64)


def convolutions() -> tuple[torch.Tensor, Any, Any]:
    """Eight channels-last convolutions against `nn.Conv2d` in channels_last memory format."""
    x = torch.randn(8, 32, 32, 32)
    hand = nn.Sequential(
        *[part for _ in range(8) for part in (nn.Conv2d(32, 32, 3, padding=1), nn.ReLU())]
    )
    first = x.permute(0, 3, 1, 2)  # the same memory
    hand.to(memory_format=torch.channels_last)
    many = lambda L: [L.Conv2D(32, 3, padding="same", activation="relu") for _ in range(8)]  # noqa: E731
    return x, many, (hand, first)


def keras_step(x: torch.Tensor, make_layers: Any) -> Step | None:
    """Return the same pass in Keras on torch, `None` where it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import keras
    except ImportError:
        return None
    given, value = chain(keras.Input, keras.layers, x, make_layers)
    model = keras.Model(given, value)
    weights = [weight.value for weight in model.trainable_weights]

    def step() -> None:
        for weight in weights:
            weight.grad = None
        model(x, training=True).square().mean().backward()

    return step


def measure(steps: dict[str, Step], rounds: int) -> dict[str, float]:
    """Return the median time of each step, all taking turns."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 3):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if turn >= 3:  # the first ones warm up
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(found) for name, found in times.items()}


CASES: list[tuple[str, Any, str, int]] = [
    ("LSTM of 100 steps, batch 32", lambda: lstm(32), "<= 1.05", 60),
    ("LSTM of 100 steps, batch 1", lambda: lstm(1), "<= 1.05", 60),
    ("LSTM of 100 steps, masked", masked_lstm, "", 40),
    ("TimeDistributed(Dense), 64 steps", time_distributed, "<= 1.25", 200),
    ("8 channels-last Conv2D", convolutions, "<= 1.05", 40),
]


def main() -> None:
    """Print the table."""
    print(f"{'case':36} {'fgraph / by hand':>17} {'goal':>8} {'Keras / by hand':>16}")
    for title, make, goal, rounds in CASES:
        x, make_layers, hand = make()
        hand, own = hand if isinstance(hand, tuple) else (hand, x)
        model = Model(*chain(Input, layers, x, make_layers))
        with torch.no_grad():  # the speed of a kernel depends on the values a little
            for mine, other in zip(model.parameters(), hand.parameters(), strict=False):
                other.copy_(mine)
        steps = {"hand": training_step(hand, own), "fgraph": training_step(model, x)}
        if (keras := keras_step(x, make_layers)) is not None:
            steps["keras"] = keras
        found = measure(steps, rounds)
        ratio, theirs = found["fgraph"] / found["hand"], found.get("keras", 0.0) / found["hand"]
        print(f"{title:36} {ratio:17.2f} {goal:>8} {theirs:16.2f}")


if __name__ == "__main__":
    main()
