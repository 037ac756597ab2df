"""Which layers a model may have, and be given, where it is sharded; run as `checks.py` is."""

from __future__ import annotations

import warnings
from typing import Any

import checks
import mesh_checks
import torch
from checks import data, outcome, world
from mesh_checks import PLAN, distributed, each, perceptron, trained
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel

import fgraph
from fgraph import Input, Model, layers
from fgraph.callbacks import SwapEMAWeights

CHECKS: dict[str, Any] = {}


def check(function: Any) -> Any:
    CHECKS[function.__name__] = function
    return function


def sharded(model: Model, fsdp: Any, plan: Any = None, shape: Any = None, names: Any = None) -> Any:
    if world() == 1:
        return model
    mesh = init_device_mesh("cpu", shape or (world(),), mesh_dim_names=names)
    return fgraph.parallel.distribute(model, mesh, plan, fsdp=fsdp)


class Block(nn.Module):
    """A weight of its own, a list of parts, and a part with parts."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((4,), 0.9))
        self.parts = nn.ModuleList([nn.Linear(4, 4), nn.LayerNorm(4)])
        self.inner = nn.Sequential(nn.Linear(4, 4), nn.ReLU())

    def forward(self, x: Any) -> Any:
        h = x * self.scale
        for part in self.parts:
            h = part(h)
        return x + self.inner(h)


@check
def opened_blocks() -> Any:
    """Blocks whose own call no graph has, those that have one, and a container of two layers."""

    def make(fsdp: Any) -> Any:
        torch.manual_seed(3)
        x = h = Input((4,))
        for number in range(2):
            h = fgraph.unfold(Block(), name=f"opened_{number}")(h)
        h = layers.Reshape((2, 4))(layers.Dense(8)(Block()(h)))
        h = layers.Bidirectional(layers.GRU(3))(h)
        model = Model(x, layers.Dense(1, activation="sigmoid")(h))
        if fsdp == "*":
            model.recompute(["opened_*"])
        return trained(sharded(model, fsdp), "sgd")

    found = {}
    for fsdp in ("opened_*", "*", ["opened_*", "opened_*.*", "bidirectional_1.*"]):
        found |= {f"{fsdp} {key}": value for key, value in make(fsdp).items()}
    return found


class Tied(nn.Module):
    """A table that is the last layer's weight too, as of a language model."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.middle, self.last = nn.Embedding(8, 6), nn.Linear(6, 6), nn.Linear(6, 8)
        self.last.weight = self.table.weight

    def forward(self, tokens: Any) -> Any:
        return self.last(self.middle(self.table(tokens)).mean(1))


SPLIT = {
    "tied_1.table": RowwiseParallel(input_layouts=Replicate()),
    "tied_1.last": ColwiseParallel(output_layouts=Replicate()),
}


@check
def tied_weights() -> Any:
    """They stay one weight, whatever shards them."""

    def make(kind: str) -> Any:
        torch.manual_seed(3)
        tokens = Input((5,), dtype="int64")
        called = Tied() if kind == "called" else fgraph.unfold(Tied(), name="tied_1")
        model = Model(tokens, called(tokens))
        if kind == "tensor":
            model = sharded(model, None, SPLIT, names=("tp",))
        elif kind == "both":
            model = sharded(model, "*", SPLIT, (world() // 2, 2), ("data", "tp"))
        else:
            model = sharded(model, ["*", "*.*"])
        model.compile("sgd", nn.CrossEntropyLoss())
        given = torch.randint(0, 8, (20, 5), generator=torch.Generator().manual_seed(1))
        history = model.fit(given, given[:, 0], batch_size=8, epochs=2, verbose=0)
        assert sum(p.numel() for p in model.parameters()) == 8 * 6 + 6 * 7 + 8
        return outcome(model, history)

    return each(["called", "opened", "tensor", "both"], make)


@check
def frozen_layers() -> Any:
    def make(kind: str) -> Any:
        model = perceptron()
        model.get_layer("dense_1").trainable = False
        model.get_submodule("dense_2").bias.requires_grad_(False)
        return trained(distributed(model, kind), "adam", clip_grad_norm=0.05)

    return each(["fsdp", "by hand", "tensor"], make)


@check
def meshes() -> Any:
    """Shards along one axis and copies along another, alone and with tensor parallelism."""
    axes = ("replicate", "shard", "tensor")
    many = world() // 2
    found = {}
    for key, shape, plan in (
        ("hybrid", (many, 2), None),
        ("copies", (2, many), None),
        ("with tensors", (1, many, 2), PLAN),
        ("copies with tensors", (many, 1, 2), PLAN),
    ):
        names = axes[: len(shape)]
        done = trained(sharded(perceptron(), "*", plan, shape, names), "adam", clip_grad_norm=0.05)
        found |= {f"{key}: {name}": value for name, value in done.items()}
    return found


@check
def half_precision() -> Any:
    """An overflow in one process's shard lets all of them leave the step out."""

    def make(kind: str) -> Any:
        model = distributed(perceptron(), kind)
        model.compile("sgd", "mse", precision="float16")
        x, y = data(16)
        y = y.clone()
        y[3] = 1e30
        model.fit(x, y, batch_size=8, verbose=0, shuffle=False)
        done = {f"about {key}": value for key, value in outcome(model).items()}
        return {**done, "scale": model._trainer.scaler.get_scale()}

    return each(["fsdp", "by hand", "tensor"], make)


@check
def averages() -> Any:
    """Validation with moving averages of sharded weights."""

    def make(kind: str) -> Any:
        model = distributed(perceptron(), kind)
        optimizer = fgraph.optimizers.Adam(use_ema=True, ema_momentum=0.8)
        model.compile(optimizer, "binary_crossentropy")
        x, y = data()
        history = model.fit(
            x, y, 11, 2, 0, callbacks=SwapEMAWeights(swap_on_epoch=True), validation_data=(x, y)
        )
        return outcome(model, history)

    return each(["fsdp", "tensor"], make)


@check
def compiled() -> Any:
    """By a backend of torch.compile that needs no compiler."""
    model = distributed(perceptron(), "fsdp")
    model.compile("adam", "binary_crossentropy", jit_compile=True, backend="aot_eager")
    x, y = data(40)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of the gradients that its compiler looks at
        history = model.fit(x, y, batch_size=10, epochs=2, verbose=0)
    return outcome(model, history)


@check
def made_on_meta() -> Any:
    """A model that gets its memory after it was sharded."""
    with torch.device("meta"):
        model = perceptron()
    model = sharded(model, "*")
    model.to_empty(device="cpu")
    model.set_weights(perceptron().get_weights())
    return trained(model, "adam")


@check
def errors() -> Any:
    if world() == 1:
        return {}
    tokens = Input((5,), dtype="int64")
    tied = Model(tokens, fgraph.unfold(Tied(), name="tied_1")(tokens))
    plan = {**SPLIT, "tied_1.table": ColwiseParallel()}
    vector = sharded(perceptron(), "*")
    vector.compile(lambda params: torch.optim.LBFGS(params, max_iter=2), "mse")
    return {
        "text_tied": mesh_checks.text_of(lambda: sharded(tied, None, plan, names=("tp",))),
        "text_vector": mesh_checks.text_of(lambda: vector.fit(*data(), verbose=0)),
    }


def main() -> None:
    checks.CHECKS = CHECKS
    checks.main()


if __name__ == "__main__":
    main()
