"""Files made by hand: a valid model file whose description is changed, its checksums kept right."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

import fgraph
from fgraph import Input, Model, layers
from fgraph.regularizers import L2
from fgraph.saving import tensorfile


@fgraph.register("tests>doubled")
def doubled(x, factor=2.0):
    """A registered function."""
    return x * factor


def victim() -> Model:
    """Make a small model that has a bit of everything."""
    torch.manual_seed(0)
    x = Input((6, 4), name="x")
    h = layers.LSTM(3, return_sequences=True)(x)
    h = layers.Dense(3, activation="relu", kernel_regularizer=L2(0.1), name="hidden")(h)
    h = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.1))(h) + torch.arange(4.0)
    with torch.no_grad():
        scale = fgraph.apply(doubled, h.mT.mean(1, keepdim=True), factor=3.0)
    y = Input((4,), name="y")
    inner = Model(y, nn.Linear(4, 2)(y), name="inner")
    first, second = inner(h[:, -1, ::1]), h.max(1).values
    kept = fgraph.apply(torch.nonzero, second, output_shape=(None, 2))
    model = Model(x, {"a": first, "b": [second, scale], "c": kept})
    model.compile("adam", {"a": "mse", "b[0]": None, "b[1]": None, "c": None}, scheduler=None)
    return model


class Residual(nn.Module):
    """A block to be opened, with tensors and a mode that its forward reads."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.scale = nn.Linear(4, 4), nn.Parameter(torch.ones(4))
        self.register_buffer("shift", torch.ones(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute."""
        dropped = nn.functional.dropout(self.linear(x), 0.5, self.training)
        return x + dropped * self.scale + self.shift


def opened_victim() -> Model:
    """Make a small model of opened modules, and of calls that take sizes and tensors apart."""
    torch.manual_seed(0)
    x = Input((None, 4), name="x")
    body = fgraph.unfold(nn.Sequential(Residual(), nn.ReLU(), Residual()))(x)
    left = fgraph.unfold(nn.Sequential(Residual()), name="left")(body)
    first, second = left.split(2, -1)
    size = (x.size(1) + 1) * 2 - x.shape[1] // 3
    return Model(x, [first * size, second.reshape(-1, 2), torch.stack(body.unbind(2), 0)])


@fgraph.register("tests>Gated")
class Gated(layers.Layer):
    """A layer of a user's, with an attribute that is part of what it builds."""

    def build(self, input_shape):
        """Make the module."""
        self.dense = nn.Linear(input_shape[-1], 4)
        return self.dense

    def call(self, inputs):
        """Compute."""
        return self.dense(inputs).sigmoid()


@fgraph.register("tests>Block")
class Block(nn.Module):
    """A module of a user's, which makes its parts."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.width = width
        self.body, self.head = nn.Sequential(nn.Linear(width, width)), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute."""
        return self.head(self.body(x))


def layered_victim() -> Model:
    """Make a small model of modules with parts: made by layers and constructors, or replaced."""
    torch.manual_seed(0)
    x, block = Input((6, 4)), Block()
    block.body[0] = nn.Linear(4, 4, bias=False)
    h = Gated()(block(nn.TransformerEncoderLayer(4, 2, 8, 0.0, batch_first=True)(x)))
    h = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(h)
    h = layers.BatchNormalization()(layers.TimeDistributed(layers.Dense(3))(h))
    h = layers.Conv1D(3, 2)(layers.MultiHeadAttention(2, 2)(h, h))
    return Model(x, layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)])(h))


def inputs() -> torch.Tensor:
    """Make the input of `victim`."""
    return torch.rand(2, 6, 4, generator=torch.Generator().manual_seed(1))


Change = Callable[[dict[str, Any], dict[str, torch.Tensor]], Any]


class Crafted:
    """A saved model that can be written again with changes.

    Args:
        model: the model.
        folder: where files are written.
    """

    def __init__(self, model: Model, folder: Path) -> None:
        self.path = folder / "crafted.fgraph"
        model.save(self.path)
        file = tensorfile.read(self.path)
        self.document = json.loads(file.texts["fgraph"])
        self.tensors = {name: tensor.clone() for name, tensor in file.tensors.items()}

    def write(self, change: Change) -> Path:
        """Write the file with what `change` does to its description and tensors."""
        document, tensors = copy.deepcopy(self.document), dict(self.tensors)
        replaced = change(document, tensors)
        text = json.dumps(document if replaced is None else replaced)
        tensorfile.write(self.path, tensors, {"fgraph": text})
        return self.path


def entry_of(document: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return the last object whose class ends in `kind`."""
    return next(e for e in reversed(document["objects"]) if e.get("class", "").endswith(kind))


def graph_of(document: dict[str, Any]) -> dict[str, Any]:
    """Return the graph of the outermost model."""
    return document["objects"][document["root"]]["graph"]


def node_of(document: dict[str, Any], op: str, target: str | None = None) -> dict[str, Any]:
    """Return the first node of a kind."""
    return next(
        node
        for node in graph_of(document)["nodes"]
        if node["op"] == op and target in (None, node.get("target", {}).get("$name"))
    )


_seen: list[str] | None = None


def _watch(event: str, args: tuple[Any, ...]) -> None:
    if _seen is None:
        return
    if event == "open":
        path, mode, flags = args
        if (mode and set(str(mode)) & set("wax+")) or (isinstance(flags, int) and flags & 3):
            _seen.append(f"open {path!r} {mode!r}")
    elif event == "import" and args[0] not in sys.modules:
        _seen.append(f"import {args[0]}")
    elif event == "exec":
        by = sys._getframe(1).f_code.co_filename
        # torch reads the types of an operator, which its own schema names, when it first meets it
        by_schema = by.endswith("/torch/fx/operator_schemas.py")
        if not by_schema and not args[0].co_filename.startswith("<fgraph "):
            _seen.append(f"exec {args[0].co_filename}")
    elif event.partition(".")[0] in ("subprocess", "socket", "shutil", "ctypes", "pty", "urllib"):
        _seen.append(event)
    elif event.startswith("os.") and event not in ("os.listdir", "os.scandir", "os.walk"):
        _seen.append(event)


sys.addaudithook(_watch)


@contextmanager
def nothing_but_reading() -> Iterator[None]:
    """Fail where Python's audit events tell of writing, importing or executing anything."""
    global _seen
    _seen = seen = []
    try:
        yield
    finally:
        _seen = None
    assert not seen, f"the file made {seen}"
