"""Sharded models must give the figures of whole ones; run as `checks.py` is."""

from __future__ import annotations

import os
import tempfile
from functools import partial
from typing import Any

import checks
import numpy as np
import torch
import torch.distributed as dist
from checks import data, outcome, rank, world
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel

import fgraph
from fgraph import Input, Model, layers
from fgraph.callbacks import EarlyStopping, ModelCheckpoint

CHECKS: dict[str, Any] = {}


def check(function: Any) -> Any:
    CHECKS[function.__name__] = function
    return function


def perceptron(**options: Any) -> Model:
    torch.manual_seed(3)
    x = Input((4,))
    made = layers.Dense(8, activation="tanh", **options)(x)
    made = layers.Dense(6, **options)(made)
    made = layers.LayerNormalization()(made)
    return Model(x, layers.Dense(1, activation="sigmoid")(made))


PLAN = {"dense_1": ColwiseParallel(), "dense_2": RowwiseParallel()}


def distributed(model: Model, kind: str) -> Model:
    if world() == 1:
        return model
    if kind == "fsdp":
        mesh = init_device_mesh("cpu", (world(),))
        return fgraph.parallel.distribute(model, mesh, fsdp="*")  # type: ignore[return-value]
    if kind == "by hand":
        fully_shard(model.get_submodule("dense_1"), mesh=init_device_mesh("cpu", (world(),)))
        fully_shard(model, mesh=init_device_mesh("cpu", (world(),)))
        return model
    if kind == "tensor":
        mesh = init_device_mesh("cpu", (world(),), mesh_dim_names=("tp",))
        return fgraph.parallel.distribute(model, mesh, PLAN)  # type: ignore[return-value]
    shape = (world() // 2, 2)
    mesh = init_device_mesh("cpu", shape, mesh_dim_names=("data", "tensor"))
    fsdp = "*" if kind == "both" else None
    return fgraph.parallel.distribute(model, mesh, PLAN, fsdp=fsdp)  # type: ignore[return-value]


KINDS = ["fsdp", "by hand", "tensor", "both", "replicated tensor"]


def trained(model: Model, optimizer: Any, **settings: Any) -> dict[str, Any]:
    model.compile(optimizer, "binary_crossentropy", metrics=["accuracy"], **settings)
    x, y = data()
    history = model.fit(x, y, batch_size=11, epochs=2, verbose=0, validation_data=(x, y))
    return outcome(model, history)


def each(kinds: list[str], make: Any) -> dict[str, Any]:
    found = {}
    for kind in kinds:
        done = make(kind)
        found |= {f"{kind}: {key}": value for key, value in done.items()}
    return found


@check
def kinds() -> Any:
    def make(kind: str) -> Any:
        model = distributed(perceptron(kernel_regularizer="l2"), kind)
        done = trained(model, "adam", clip_grad_norm=0.05)
        return {**done, "rows": model.predict(data()[0], batch_size=10, verbose=0).tolist()}

    return each(KINDS, make)


@check
def constraints() -> Any:
    def make(kind: str) -> Any:
        model = perceptron(kernel_constraint="unit_norm", bias_regularizer="l1")
        return trained(distributed(model, kind), "sgd", gradient_accumulation_steps=2)

    return each(["fsdp", "by hand", "both"], make)


OPTIMIZERS: dict[str, Any] = {
    name: name
    for name in (
        "sgd", "adam", "adamw", "rmsprop", "adagrad", "adadelta", "adamax", "nadam", "ftrl",
        "lion", "lamb", "adafactor", "muon",
    )
}  # fmt: skip
OPTIMIZERS |= {
    "momentum": fgraph.optimizers.SGD(0.1, momentum=0.9, nesterov=True, clipnorm=0.1),
    "average": fgraph.optimizers.Adam(use_ema=True, ema_momentum=0.5, global_clipnorm=0.1),
    "value": fgraph.optimizers.RMSprop(clipvalue=0.01, weight_decay=0.1, centered=True),
    "schedule": fgraph.optimizers.Adam(fgraph.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)),
    "torch": partial(torch.optim.AdamW, lr=0.01),
}


# of these a mesh of two axes could make something else; the others go through weights one by one
OVER_SEVERAL_WEIGHTS = {"momentum", "average", "adafactor", "muon", "lamb"}


@check
def optimizers() -> Any:
    found = {}
    kinds = ["fsdp", "tensor"] if world() < 4 else ["both", "replicated tensor"]
    kinds = ["fsdp", "tensor", "both", "replicated tensor"] if world() == 1 else kinds
    for name, optimizer in OPTIMIZERS.items():
        if world() == 4 and name not in OVER_SEVERAL_WEIGHTS:
            continue
        for kind in kinds if name in OVER_SEVERAL_WEIGHTS else kinds[:2]:
            try:
                done = trained(distributed(perceptron(), kind), optimizer)
            except Exception as error:
                raise RuntimeError(f"{name} on {kind}") from error
            found |= {f"{name} on {kind}: {key}": value for key, value in done.items()}
    return found


@check
def files() -> Any:
    """Whole files, which one process opens; weights go in and out."""

    def make(kind: str) -> Any:
        folder = [tempfile.mkdtemp()]
        if world() > 1:
            dist.broadcast_object_list(folder, 0)
        model = distributed(perceptron(), kind)
        at = {name: os.path.join(folder[0], name) for name in ("a.fgraph", "b.safetensors", "c.pt")}
        keep = ModelCheckpoint(os.path.join(folder[0], "kept.fgraph"))
        model.compile("adam", "binary_crossentropy")
        x, y = data()
        stop = EarlyStopping("loss", patience=0, min_delta=10.0, restore_best_weights=True)
        model.fit(x, y, batch_size=9, epochs=3, verbose=0, callbacks=[keep, stop])
        model.save(at["a.fgraph"])
        model.save_weights(at["b.safetensors"])
        model.save_weights(at["c.pt"])
        rows = model.predict(x, verbose=0)
        for name in ("a.fgraph", "kept.fgraph"):
            loaded = fgraph.load_model(os.path.join(folder[0], name))
            if name == "a.fgraph":
                assert np.allclose(loaded(x).detach().numpy(), rows, atol=1e-6)
            moments = loaded.optimizer.state_dict()["state"][0]["exp_avg"]
            assert moments.shape == loaded.get_submodule("dense_1").weight.shape
        kept = model.get_weights()
        model.set_weights([0 * weight for weight in kept])
        assert not any(weight.any() for weight in model.get_weights())
        model.load_weights(at["c.pt"])
        same = [np.array_equal(a, b) for a, b in zip(model.get_weights(), kept, strict=True)]
        model.set_weights([0 * weight for weight in kept])
        model.load_weights(at["b.safetensors"])
        same += [np.array_equal(a, b) for a, b in zip(model.get_weights(), kept, strict=True)]
        assert all(same)
        again = model.fit(x, y, batch_size=9, epochs=1, verbose=0).history["loss"]
        return {"rows": rows.tolist(), "again": again, **outcome(model)}

    return each(KINDS, make)


def text_of(make: Any) -> str:
    """Return what is refused, and by which error."""
    try:
        make()
    except (ValueError, RuntimeError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing was refused"


@check
def errors() -> Any:
    if world() == 1:
        return {}
    mesh = init_device_mesh("cpu", (world(),))
    distribute = fgraph.parallel.distribute
    compiled = perceptron()
    compiled.compile(torch.optim.SGD(compiled.parameters(), 0.1), "mse")
    by_hand = perceptron()
    torch.distributed.tensor.parallel.parallelize_module(by_hand, mesh, PLAN)
    by_hand.compile("sgd", "mse")
    x, y = data()
    x = x + rank()
    model = distribute(
        perceptron(), init_device_mesh("cpu", (world(),), mesh_dim_names=("tp",)), PLAN
    )
    model.compile("sgd", "mse")
    found = {
        "pattern": lambda: distribute(perceptron(), mesh, fsdp="dence_*"),
        "axes": lambda: distribute(perceptron(), mesh, PLAN, fsdp="*"),
        "optimizer": lambda: distribute(compiled, mesh, fsdp="*"),
        "unknown axes": lambda: by_hand.fit(*data(), verbose=0),
        "other rows": lambda: model.fit(x, y, verbose=0),
    }
    return {f"text_{name}": text_of(make) for name, make in found.items()}


@check
def own_loop() -> Any:
    """A loop by hand around torch's DDP and FSDP2."""
    found = {}
    for kind in ("ddp", "fsdp"):
        model: Any = perceptron()
        optimizer: Any = None
        if kind == "ddp" and world() > 1:
            called: Any = nn.parallel.DistributedDataParallel(model)
        else:
            called = distributed(model, "fsdp") if kind == "fsdp" else model
        optimizer = torch.optim.Adam(called.parameters(), 0.01)
        x, y = data(48)
        for _ in range(3):
            optimizer.zero_grad()
            own = slice(rank(), None, world())
            nn.functional.binary_cross_entropy(called(x[own]), y[own]).backward()
            optimizer.step()
        found |= {f"{kind} {key}": value for key, value in outcome(model).items()}
    return found


def main() -> None:
    checks.CHECKS = CHECKS
    checks.main()


if __name__ == "__main__":
    main()
