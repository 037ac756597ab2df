"""Times `fit` against the loops that people write and against other trainers.

Run `python tests/benchmarks/bench_fit.py`. An MLP 784-64-64-10, 6,000 samples, batches of 32,
Adam, accuracy on. All contestants take turns in one process (A B C A B C ...); the table gives
each one's best epoch as a ratio of the usual `DataLoader(TensorDataset)` loop's best epoch.
Contestants whose package is not installed are said to be skipped.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version

os.environ.setdefault("KERAS_BACKEND", "torch")

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import fgraph
from fgraph import Input, Model, layers
from fgraph.training import Trainer

SAMPLES, FEATURES, CLASSES, BATCH = 6000, 784, 10, 32

Epoch = Callable[[], object]


def make_data() -> tuple[torch.Tensor, torch.Tensor]:
    """Returns inputs `(6000, 784)` and labels `(6000,)`."""
    return torch.randn(SAMPLES, FEATURES), torch.randint(CLASSES, (SAMPLES,))


def make_net() -> nn.Sequential:
    """Returns the network, which gives logits."""
    return nn.Sequential(
        nn.Linear(FEATURES, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, CLASSES)
    )


def usual_loop(x: torch.Tensor, y: torch.Tensor) -> Epoch:
    """The loop of most tutorials: a `DataLoader`, and figures read in each step."""
    net = make_net()
    optimizer = torch.optim.Adam(net.parameters())
    loader = DataLoader(TensorDataset(x, y), batch_size=BATCH, shuffle=True)

    def epoch() -> None:
        net.train()
        total, right = 0.0, 0
        for xb, yb in loader:
            optimizer.zero_grad()
            out = net(xb)
            loss = F.cross_entropy(out, yb)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(xb)
            right += (out.argmax(1) == yb).sum().item()

    return epoch


def tight_loop(x: torch.Tensor, y: torch.Tensor) -> Epoch:
    """The tightest loop by hand: indexed gather, fused Adam, nothing read in the epoch."""
    net = make_net()
    optimizer = torch.optim.Adam(net.parameters(), fused=True)

    def epoch() -> None:
        net.train()
        total, right = torch.zeros(()), torch.zeros((), dtype=torch.long)
        for rows in torch.randperm(SAMPLES).split(BATCH):
            xb, yb = x.index_select(0, rows), y.index_select(0, rows)
            out = net(xb)
            loss = F.cross_entropy(out, yb)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(rows)
            right += (out.detach().argmax(1) == yb).sum()
        total.item(), right.item()

    return epoch


class Net(Trainer, nn.Sequential):
    """The network as a hand-written module with fgraph's trainer."""


def fgraph_subclass(x: torch.Tensor, y: torch.Tensor) -> Epoch:
    """fgraph's `fit` on a hand-written module."""
    net = Net(*make_net())
    net.compile("adam", nn.CrossEntropyLoss(), metrics=["accuracy"])
    return lambda: net.fit(x, y, batch_size=BATCH, verbose=0)


def fgraph_model(x: torch.Tensor, y: torch.Tensor) -> Epoch:
    """fgraph's `fit` on a functional model with a softmax output."""
    a = Input((FEATURES,))
    h = layers.Dense(64, activation="relu")(layers.Dense(64, activation="relu")(a))
    net = Model(a, layers.Dense(CLASSES, activation="softmax")(h))
    net.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return lambda: net.fit(x, y, batch_size=BATCH, verbose=0)


def keras_fit(x: torch.Tensor, y: torch.Tensor) -> Epoch:
    """Keras on torch."""
    import keras

    a = keras.Input((FEATURES,))
    h = keras.layers.Dense(64, activation="relu")(a)
    h = keras.layers.Dense(64, activation="relu")(h)
    net = keras.Model(a, keras.layers.Dense(CLASSES, activation="softmax")(h))
    net.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return lambda: net.fit(x.numpy(), y.numpy(), batch_size=BATCH, verbose=0)


def poutyne_fit(x: torch.Tensor, y: torch.Tensor) -> Epoch:
    """poutyne."""
    import poutyne

    net = poutyne.Model(
        make_net(), "adam", "cross_entropy", batch_metrics=["accuracy"], device="cpu"
    )
    return lambda: net.fit(x.numpy(), y.numpy(), batch_size=BATCH, epochs=1, verbose=False)


def skorch_fit(x: torch.Tensor, y: torch.Tensor) -> Epoch:
    """skorch."""
    import skorch

    net = skorch.NeuralNetClassifier(
        make_net(),
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        batch_size=BATCH,
        max_epochs=1,
        train_split=None,
        verbose=0,
        iterator_train__shuffle=True,
        callbacks=[("accuracy", skorch.callbacks.EpochScoring("accuracy", on_train=True))],
    )
    net.initialize()
    return lambda: net.partial_fit(x.numpy(), y.numpy())


CONTESTANTS: dict[str, tuple[str, Callable[[torch.Tensor, torch.Tensor], Epoch]]] = {
    "DataLoader(TensorDataset) loop": ("torch", usual_loop),
    "tightest hand-written loop": ("torch", tight_loop),
    "fgraph fit, own module": ("", fgraph_subclass),
    "fgraph fit, functional model": ("", fgraph_model),
    "keras on torch": ("keras", keras_fit),
    "poutyne": ("poutyne", poutyne_fit),
    "skorch": ("skorch", skorch_fit),
}


def installed(package: str) -> bool:
    """Says whether a contestant's package can be imported."""
    try:
        importlib.import_module(package or "fgraph")
    except ImportError:
        return False
    return True


def measure(epochs: dict[str, Epoch], rounds: int) -> dict[str, list[float]]:
    """Runs all contestants in turns and returns each one's seconds an epoch."""
    for epoch in epochs.values():
        epoch()
    seconds: dict[str, list[float]] = {name: [] for name in epochs}
    for _ in range(rounds):
        for name, epoch in epochs.items():
            begun = time.perf_counter()
            epoch()
            seconds[name].append(time.perf_counter() - begun)
    return seconds


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="*", help="parts of names, to leave the others out")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    x, y = make_data()
    epochs = {}
    for name, (package, make) in CONTESTANTS.items():
        if arguments.only and not any(part in name for part in arguments.only):
            continue
        if not installed(package):
            print(f"{name}: skipped, {package} is not installed", file=sys.stderr)
            continue
        epochs[name] = make(x, y)
    seconds = measure(epochs, arguments.rounds)
    usual = min(next(iter(seconds.values())))
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, {arguments.rounds} rounds"
    )
    print(f"{'':34}{'version':>10}{'best':>8}{'median':>8}   (ratios of the first line)")
    middle = sorted(next(iter(seconds.values())))[arguments.rounds // 2]
    for name, values in seconds.items():
        package = CONTESTANTS[name][0]
        release = version(package) if package else fgraph.__version__
        median = sorted(values)[len(values) // 2]
        print(f"{name:34}{release[:9]:>10}{min(values) / usual:8.2f}{median / middle:8.2f}")


if __name__ == "__main__":
    main()
