"""Times `fit` and `evaluate` against the loops that people write and against other trainers.

Run `python tests/benchmarks/bench_fit.py`, with `--method evaluate` for that, and with `--net mlp`,
`conv` or `transformer` for one of the nets: an MLP 784-64-64-10 on 6,000 samples, a net of two
convolutions on 1,280 pictures of 16 by 16, and two layers of a transformer on 640 sequences of 16
steps. Batches of 32, Adam, accuracy on. All contestants take turns in one process (A B C A B C
...); the table gives each one's best epoch as a ratio of the usual `DataLoader(TensorDataset)`
loop's best epoch. Contestants whose package is not installed are said to be skipped. `--cpu-time`
counts the processor's time, where the machine has other work.
"""

from __future__ import annotations

import argparse
import importlib
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import fgraph
from fgraph import Input, Model, layers
from fgraph.training import Trainer

FEATURES, CLASSES, BATCH = 784, 10, 32
SIDE, STEPS, WIDTH, HEADS = 16, 16, 32, 4

Epoch = Callable[[], object]


class Net(Trainer, nn.Sequential):
    """A hand-written module with fgraph's trainer."""


class Positions(nn.Module):
    """Adds trained positions to a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(STEPS, WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns `x` with positions."""
        return x + self.table


class Mean(nn.Module):
    """The mean over steps."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns `(N, features)`."""
        return x.mean(1)


def _linear(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs), nn.ReLU()]


def mlp() -> nn.Sequential:
    """Returns the MLP, which gives logits."""
    return nn.Sequential(*_linear(FEATURES, 64), *_linear(64, 64), nn.Linear(64, CLASSES))


def mlp_layers(room: Any, x: Any) -> Any:
    """Returns the output of the same of Keras's layers, fgraph's or Keras's."""
    for _ in range(2):
        x = room.Dense(64, activation="relu")(x)
    return x


def conv() -> nn.Sequential:
    """Returns the convolutional net, which gives logits."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(32 * 25, CLASSES),
    )  # fmt: skip


def conv_layers(room: Any, x: Any) -> Any:
    """Returns the output of the same of Keras's layers."""
    x = room.Conv2D(16, 3, activation="relu", data_format="channels_first")(x)
    x = room.MaxPooling2D(2, data_format="channels_first")(x)
    x = room.Conv2D(32, 3, activation="relu", data_format="channels_first")(x)
    return room.Flatten()(x)


def transformer() -> nn.Sequential:
    """Returns two layers of a transformer, which give logits."""
    layer = lambda: nn.TransformerEncoderLayer(  # noqa: E731
        WIDTH, HEADS, 2 * WIDTH, dropout=0.0, batch_first=True
    )
    return nn.Sequential(Positions(), layer(), layer(), Mean(), nn.Linear(WIDTH, CLASSES))


def transformer_layers(room: Any, x: Any) -> Any:
    """Returns the output of the same of Keras's layers; positions are left out."""
    for _ in range(2):
        attended = room.MultiHeadAttention(HEADS, WIDTH // HEADS)(x, x)
        x = room.LayerNormalization(epsilon=1e-5)(room.Add()([x, attended]))
        h = room.Dense(WIDTH)(room.Dense(2 * WIDTH, activation="relu")(x))
        x = room.LayerNormalization(epsilon=1e-5)(room.Add()([x, h]))
    return room.GlobalAveragePooling1D()(x)


NETS: dict[str, tuple[Any, Any, tuple[int, ...]]] = {
    "mlp": (mlp, mlp_layers, (6000, FEATURES)),
    "conv": (conv, conv_layers, (1280, 3, SIDE, SIDE)),
    "transformer": (transformer, transformer_layers, (640, STEPS, WIDTH)),
}
CURRENT = {"net": "mlp", "method": "fit"}


def make_net() -> nn.Sequential:
    """Returns the current net, as a module that gives logits."""
    made: nn.Sequential = NETS[CURRENT["net"]][0]()
    return made


def make_data() -> tuple[torch.Tensor, torch.Tensor]:
    """Returns inputs and labels for the current net."""
    shape = NETS[CURRENT["net"]][2]
    return torch.randn(shape), torch.randint(CLASSES, shape[:1])


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
        for rows in torch.randperm(len(x)).split(BATCH):
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


def usual_evaluation(x: torch.Tensor, y: torch.Tensor) -> Epoch:
    """The loop of most tutorials: a `DataLoader`, and figures read in each step."""
    net = make_net()
    loader = DataLoader(TensorDataset(x, y), batch_size=BATCH)

    def epoch() -> None:
        net.eval()
        total, right = 0.0, 0
        with torch.no_grad():
            for xb, yb in loader:
                out = net(xb)
                total += F.cross_entropy(out, yb).item() * len(xb)
                right += (out.argmax(1) == yb).sum().item()

    return epoch


def tight_evaluation(x: torch.Tensor, y: torch.Tensor) -> Epoch:
    """The tightest loop by hand: slices made at once, nothing read before the end."""
    net = make_net()

    def epoch() -> None:
        net.eval()
        total, right = torch.zeros(()), torch.zeros((), dtype=torch.long)
        with torch.no_grad():
            for xb, yb in zip(x.split(BATCH), y.split(BATCH), strict=True):
                out = net(xb)
                total += F.cross_entropy(out, yb) * len(xb)
                right += (out.argmax(1) == yb).sum()
        total.item(), right.item()

    return epoch


def _called(net: Any, x: Any, y: Any) -> Epoch:
    """A call of the method that is measured."""
    method = getattr(net, CURRENT["method"])
    return lambda: method(x, y, batch_size=BATCH, verbose=0)


def fgraph_subclass(x: torch.Tensor, y: torch.Tensor) -> Epoch:
    """fgraph on a hand-written module."""
    net = Net(*make_net())
    net.compile("adam", nn.CrossEntropyLoss(), metrics=["accuracy"])
    return _called(net, x, y)


def fgraph_model(x: torch.Tensor, y: torch.Tensor) -> Epoch:
    """fgraph on a functional model with a softmax output."""
    a = Input(tuple(x.shape[1:]))
    h = NETS[CURRENT["net"]][1](layers, a)
    net = Model(a, layers.Dense(CLASSES, activation="softmax")(h))
    net.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return _called(net, x, y)


def fgraph_numpy(x: torch.Tensor, y: torch.Tensor) -> Epoch:
    """fgraph on numpy arrays."""
    net = Net(*make_net())
    net.compile("adam", nn.CrossEntropyLoss(), metrics=["accuracy"])
    return _called(net, x.numpy(), y.numpy())


def keras_on_torch(x: torch.Tensor, y: torch.Tensor) -> Epoch:
    """Keras on torch."""
    import keras

    a = keras.Input(tuple(x.shape[1:]))
    h = NETS[CURRENT["net"]][1](keras.layers, a)
    net = keras.Model(a, keras.layers.Dense(CLASSES, activation="softmax")(h))
    net.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return _called(net, x.numpy(), y.numpy())


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


Contestants = dict[str, tuple[str, Callable[[torch.Tensor, torch.Tensor], Epoch]]]

SAME: Contestants = {
    "fgraph, own module": ("", fgraph_subclass),
    "fgraph, own module, numpy": ("", fgraph_numpy),
    "fgraph, functional model": ("", fgraph_model),
    "keras on torch": ("keras", keras_on_torch),
}
CONTESTANTS: dict[str, Contestants] = {
    "fit": {
        "DataLoader(TensorDataset) loop": ("torch", usual_loop),
        "tightest hand-written loop": ("torch", tight_loop),
        **SAME,
        "poutyne": ("poutyne", poutyne_fit),
        "skorch": ("skorch", skorch_fit),
    },
    "evaluate": {
        "DataLoader(TensorDataset) loop": ("torch", usual_evaluation),
        "tightest hand-written loop": ("torch", tight_evaluation),
        **SAME,
    },
}


def installed(package: str) -> bool:
    """Says whether a contestant's package can be imported, on this torch."""
    try:
        importlib.import_module(package or "fgraph")
    except (ImportError, RuntimeError):  # torchvision of another build raises the latter
        return False
    return True


def measure(
    epochs: dict[str, Epoch], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Runs all contestants in turns and returns each one's seconds an epoch."""
    for epoch in epochs.values():
        epoch()
    seconds: dict[str, list[float]] = {name: [] for name in epochs}
    for _ in range(rounds):
        for name, epoch in epochs.items():
            begun = clock()
            epoch()
            seconds[name].append(clock() - begun)
    return seconds


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="*", help="parts of names, to leave the others out")
    parser.add_argument("--method", choices=[*CONTESTANTS], default="fit")
    parser.add_argument("--net", choices=[*NETS, "all"], default="all")
    parser.add_argument("--cpu-time", action="store_true", help="of the processor, not the clock")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, {arguments.rounds} rounds"
    )
    for net in NETS if arguments.net == "all" else [arguments.net]:
        CURRENT.update(net=net, method=arguments.method)
        compare(net, arguments)


def compare(net: str, arguments: argparse.Namespace) -> None:
    """Prints the table of one net."""
    torch.manual_seed(0)
    x, y = make_data()
    epochs = {}
    contestants = CONTESTANTS[arguments.method]
    for name, (package, make) in contestants.items():
        if arguments.only and not any(part in name for part in arguments.only):
            continue
        if not installed(package):
            print(f"{name}: skipped, {package} cannot be imported", file=sys.stderr)
            continue
        epochs[name] = make(x, y)
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    seconds = measure(epochs, arguments.rounds, clock)
    first = next(iter(seconds.values()))
    print(f"\n{net:34}{'version':>10}{'best':>8}{'median':>8}   (ratios of the first line)")
    for name, values in seconds.items():
        package = contestants[name][0]
        release = version(package) if package else fgraph.__version__
        median = statistics.median(values) / statistics.median(first)
        print(f"{name:34}{release[:9]:>10}{min(values) / min(first):8.2f}{median:8.2f}")


if __name__ == "__main__":
    main()
