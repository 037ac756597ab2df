"""Programs that must give the same figures on any number of processes.

`python checks.py` runs them in one process, under `torchrun` in several; it prints the figures of
all as JSON, and how far the processes differ among themselves.
"""

from __future__ import annotations

import json
import re
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from launching import leave
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset
from torch.utils.data.distributed import DistributedSampler

import fgraph
from fgraph import Input, Model, layers
from fgraph.callbacks import Callback, EarlyStopping, LambdaCallback, ReduceLROnPlateau

CHECKS: dict[str, Callable[[], Any]] = {}


def check(function: Callable[[], Any]) -> Callable[[], Any]:
    CHECKS[function.__name__] = function
    return function


def world() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def data(samples: int = 45) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(samples, 4, generator=generator)
    return x, (x[:, :1] * x[:, 1:2] > 0).float()


def binary(seed: int = 3, kind: type[Model] = Model, **settings: Any) -> Model:
    torch.manual_seed(seed + rank())  # the first process's weights are everybody's
    x = Input((4,))
    made = layers.Dense(8, activation="tanh")(x)
    model = kind(x, layers.Dense(1, activation="sigmoid")(made))
    settings = {"optimizer": "adam", "loss": "binary_crossentropy", **settings}
    model.compile(**settings)
    return model


def outcome(model: Model, history: Any = None) -> dict[str, Any]:
    """Return the figures of a `fit` and what became of the weights."""
    weights = {f"w{i}": [w.sum(), w.std()] for i, w in enumerate(model.get_weights())}
    return {**weights, **(history.history if history is not None else {})}


def fitted(model: Model, *given: Any, **settings: Any) -> dict[str, Any]:
    torch.manual_seed(11 + rank())
    return outcome(model, model.fit(*given, verbose=0, **settings))


@check
def arrays() -> Any:
    """45 samples in batches of 11: uneven shares, and a last batch of one sample."""
    model = binary(metrics=["accuracy", "auc"])
    return fitted(model, *data(), batch_size=11, epochs=3, validation_data=data(13))


@check
def loader() -> Any:
    """A shuffling loader: one order in all processes, that of one process."""
    pairs = DataLoader(TensorDataset(*data()), 11, shuffle=True)
    return fitted(binary(), pairs, epochs=3, validation_data=pairs)


@check
def random_generator() -> Any:
    """Rows that numpy draws are the same rows everywhere."""
    x, y = data()

    def batches() -> Any:
        while True:
            rows = np.random.randint(0, 45, 9)
            yield x[rows], y[rows]

    np.random.seed(3 + rank())
    return fitted(binary(), batches(), epochs=2, steps_per_epoch=4)


@check
def sequences() -> Any:
    """Masked steps: means over what counts in the whole batch."""
    torch.manual_seed(2)
    generator = torch.Generator().manual_seed(5)
    words = torch.randint(1, 9, (23, 6), generator=generator)
    lengths = torch.randint(1, 7, (23,), generator=generator)
    words[torch.arange(6) >= lengths[:, None]] = 0
    x = Input((6,), dtype="int64")
    made = layers.LSTM(5, return_sequences=True)(layers.Embedding(9, 4, mask_zero=True)(x))
    model = Model(x, layers.Dense(3, activation="softmax")(made))
    model.compile(
        "sgd",
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        weighted_metrics=["sparse_categorical_crossentropy"],
    )
    weight = torch.rand(23, generator=generator)
    return fitted(model, words, words % 3, sample_weight=weight, batch_size=7, epochs=2)


@check
def weights() -> Any:
    """Weighted means, class weights, sums."""
    x, y = data()
    found = {}
    loss = fgraph.losses.BinaryCrossentropy
    for reduction in ("mean_with_sample_weight", "sum_over_batch_size", "sum"):
        model = binary(loss=loss(reduction=reduction), optimizer="sgd")
        weight = x[:, 2].abs()
        done = fitted(model, x, y, sample_weight=weight, batch_size=10, epochs=2)
        found |= {f"{reduction}_{name}": value for name, value in done.items()}
    model = binary(weighted_metrics=["accuracy"])
    done = fitted(model, x, y, class_weight={0: 1.0, 1: 3.0}, batch_size=10)
    return {**found, **done}


@check
def torch_losses() -> Any:
    """Torch's own divide by what counts: class weights, ignored labels, sums."""
    x, _ = data()
    labels = (x[:, 0] * 2).long() % 3
    labels[x[:, 1] > 0.8] = -100
    found = {}
    kinds = {
        "weighted": nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 5.0]), label_smoothing=0.1),
        "function": nn.functional.cross_entropy,
        "sum": nn.CrossEntropyLoss(reduction="sum"),
        "partial": partial(nn.functional.cross_entropy, reduction="sum"),
    }
    for name, loss in kinds.items():
        torch.manual_seed(4)
        inputs = Input((4,))
        model = Model(inputs, nn.Linear(4, 3)(inputs))
        model.compile("sgd", loss)
        done = fitted(model, x, labels, batch_size=10, epochs=2)
        found |= {f"{name}_{key}": value for key, value in done.items()}
    return found


@check
def overlap_losses() -> Any:
    """Dice and Tversky over all samples of a batch."""
    found = {}
    for name in ("dice", "tversky"):
        done = fitted(binary(loss=name, optimizer="sgd"), *data(), batch_size=10, epochs=2)
        found |= {f"{name}_{key}": value for key, value in done.items()}
    return found


@check
def several_outputs() -> Any:
    """Two heads with losses, and one without, whose weights get no gradient."""
    torch.manual_seed(1)
    x = Input((4,))
    shared = layers.Dense(6, activation="relu")(x)
    outputs = {
        "a": layers.Dense(1, name="a")(shared),
        "b": layers.Dense(2, activation="softmax", name="b")(shared),
        "c": layers.Dense(3, name="c")(shared),
    }
    model = Model(x, outputs)
    model.compile(
        "adam",
        {"a": "mse", "b": "sparse_categorical_crossentropy", "c": None},
        metrics={"b": ["accuracy"]},
        loss_weights={"a": 0.3},
    )
    given, y = data()
    done = fitted(model, given, {"a": given[:, :1], "b": y.long()}, batch_size=8, epochs=2)
    rows = model.predict(given, batch_size=10, verbose=0)
    return {**done, **{f"predicted_{k}": v.tolist() for k, v in rows.items()}}


@check
def predictions() -> Any:
    """All rows in order in every process; the processes' own add up to them."""
    x, y = data()
    model = binary(metrics=["accuracy"])
    model.fit(x, y, batch_size=16, verbose=0)
    found = {
        "rows": model.predict(x, batch_size=11, verbose=0).tolist(),
        "loader": model.predict(DataLoader(TensorDataset(x), 7), verbose=0).tolist(),
        "steps": model.predict(x, batch_size=7, steps=3, verbose=0).tolist(),
        "one": model.predict(x[:1], verbose=0).tolist(),
        "batch": model.predict_on_batch(x).tolist(),
        "evaluated": model.evaluate(x, y, batch_size=11, verbose=0),
        "tested": model.test_on_batch(x, y),
    }
    own = len(model.predict(x, batch_size=11, gather=False, verbose=0))
    return {**found, "own": int(sum_over_processes(own))}


def sum_over_processes(value: float) -> float:
    total = torch.tensor(float(value))
    if world() > 1:
        dist.all_reduce(total)
    return float(total)


@check
def single_batches() -> Any:
    x, y = data()
    model = binary(metrics=["accuracy"], gradient_accumulation_steps=2, clip_grad_norm=0.05)
    found = [model.train_on_batch(x[i : i + 9], y[i : i + 9]) for i in range(0, 45, 9)]
    return {"trained": found, **outcome(model)}


@check
def few_samples() -> Any:
    """Fewer samples than processes."""
    x, y = data(1)
    return fitted(binary(metrics=["accuracy"]), x, y, epochs=3, validation_data=(x, y))


@check
def accumulation() -> Any:
    """Accumulated gradients, clipping, schedulers, bfloat16's settings and callbacks together."""
    scheduler = partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5)
    model = binary(
        optimizer="nadam",
        scheduler=scheduler,
        gradient_accumulation_steps=3,
        clip_grad_norm=0.1,
    )
    callbacks = [EarlyStopping("val_loss", patience=1, restore_best_weights=True)]
    return fitted(
        model, *data(), batch_size=7, epochs=4, validation_data=data(20), callbacks=callbacks
    )


@check
def plateau() -> Any:
    model = binary(optimizer=fgraph.optimizers.SGD(0.5, momentum=0.9))
    callbacks = [ReduceLROnPlateau("loss", factor=0.5, patience=0, min_delta=1.0)]
    done = fitted(model, *data(), batch_size=7, epochs=4, callbacks=callbacks)
    return {**done, "rate": model.optimizer.param_groups[0]["lr"]}


@check
def named_optimizers() -> Any:
    found = {}
    for name in ("lbfgs", "float16", "ema"):
        settings: dict[str, Any] = {"optimizer": "sgd"}
        if name == "lbfgs":
            settings = {"optimizer": partial(torch.optim.LBFGS, max_iter=3)}
        elif name == "ema":
            settings = {"optimizer": fgraph.optimizers.Adam(use_ema=True, ema_momentum=0.9)}
        else:
            settings["precision"] = "float16"
        done = fitted(binary(**settings), *data(), batch_size=11, epochs=2)
        if name == "float16":  # of so few digits that weights differ by rounding
            done = {"about_loss": done["loss"]}
        found |= {f"{name}_{key}": value for key, value in done.items()}
    return found


class OwnStep(Model):
    def train_step(self, batch: Any) -> Any:
        y_pred = self(batch.x)  # past any wrapper
        loss = nn.functional.binary_cross_entropy(y_pred, batch.y)
        self.backward(loss)
        self.optimizer_step()
        return {"loss": loss}


class TwoOptimizers(Model):
    """As for an adversarial pair: optimizers of its own beside the compiled one."""

    def train_step(self, batch: Any) -> Any:
        if not hasattr(self, "second"):
            object.__setattr__(self, "second", torch.optim.SGD(self.parameters(), 0.1))
        for optimizer in (self.optimizer, self.second):
            optimizer.zero_grad()
            loss = nn.functional.binary_cross_entropy(self(batch.x), batch.y)
            self.backward(loss)
            self.average_gradients()
            optimizer.step()
        return {"loss": loss}


@check
def own_steps() -> Any:
    found = {}
    for kind in (OwnStep, TwoOptimizers):
        done = fitted(binary(kind=kind), *data(), batch_size=11, epochs=2)
        found |= {f"{kind.__name__}_{key}": value for key, value in done.items()}
    return found


class Penalised(Model):
    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        return super().compute_loss(x, y, y_pred, sample_weight) + 0.1 * y_pred.square().mean()


@check
def own_loss() -> Any:
    return fitted(binary(kind=Penalised), *data(), batch_size=11, epochs=2)


@check
def regularised() -> Any:
    torch.manual_seed(3)
    x = Input((4,))
    made = layers.Dense(8, kernel_regularizer="l2", kernel_constraint="max_norm")(x)
    made = layers.Dense(3, activity_regularizer=fgraph.regularizers.L2(0.1))(made)
    model = Model(x, made)
    model.compile("adam", "mae")
    given, _ = data()
    return fitted(model, given, given[:, :3], batch_size=11, epochs=2)


class Largest(fgraph.Metric):
    """A metric with a result of its own."""

    direction = "max"

    def __init__(self) -> None:
        super().__init__("largest")
        self.reset_state()

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self.found = max(self.found, float(y_pred.max()))

    def result(self) -> float:
        return self.found

    def reset_state(self) -> None:
        self.found = 0.0

    def merge(self, states: list[dict[str, Any]]) -> None:
        self.found = max(self.found, *(state["found"] for state in states))


@check
def merged_metrics() -> Any:
    given: list[Any] = [Largest()]
    try:
        import torchmetrics
    except (ImportError, RuntimeError):  # a torchvision that does not fit
        pass
    else:
        given += [torchmetrics.classification.BinaryF1Score(), torchmetrics.MeanSquaredError()]
    stop = EarlyStopping("largest", mode="max", patience=1)
    return fitted(
        binary(metrics=given), *data(), batch_size=11, epochs=3, callbacks=[stop, Reader()]
    )


class Reader(Callback):
    """Reads the running figures in the first process alone."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if rank() == 0:
            assert logs["loss"] > 0


@check
def refusals() -> Any:
    """What cannot be right is refused, in all processes and before the first step."""
    if world() == 1:
        return {}
    x, y = data()
    found = {}

    def refused(name: str, model: Model, *given: Any, **settings: Any) -> None:
        for parameter in model.parameters():  # as training does first
            dist.broadcast(parameter.detach(), 0)
        before = model.get_weights()
        try:
            model.fit(*given, verbose=0, **settings)
            text = "nothing was refused"
        except (ValueError, TypeError, RuntimeError) as error:
            text = f"{type(error).__name__}: {error}".replace(f"part {rank()}", "its part")
            text = re.sub(r"process \d and", "process N and", text)
        same = all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))
        found[f"text_{name}"] = text if same else f"after steps: {text}"

    class Unmergeable(Largest):
        merge = fgraph.Metric.merge

    refused("merge", binary(metrics=[Unmergeable()]), x, y)
    refused("other arrays", binary(), x + rank(), y)
    own = [(x[rank() :: world()], y[rank() :: world()])]
    refused("other batches", binary(), own)
    inputs = Input((4,))
    normed = layers.BatchNormalization()(layers.Dense(3)(inputs))
    model = Model(inputs, normed)
    model.compile("sgd", "mse")
    refused("norm", model, x[:, :4], x[:, :3], batch_size=14)
    pairs = ((x[i : i + 14], x[i : i + 14, :3]) for i in range(0, 45, 14))
    try:
        model.fit(pairs, verbose=0)
    except ValueError as error:
        found["text_norm in a generator"] = str(error)

    class Past(Model):
        def train_step(self, batch: Any) -> Any:
            loss = self.forward_batch(batch).loss
            loss.backward()
            self.optimizer_step()
            return loss

    class PastOptimizer(Model):
        def train_step(self, batch: Any) -> Any:
            loss = self.forward_batch(batch).loss
            self.backward(loss)
            self.optimizer.step()
            return loss

    refused("backward", binary(kind=Past), x, y)
    refused("step", binary(kind=PastOptimizer), x, y)
    sampler = DistributedSampler(TensorDataset(x, y), num_replicas=world() + 1, rank=rank())
    refused("sampler", binary(), DataLoader(TensorDataset(x, y), 4, sampler=sampler))
    refused("no data", binary(), iter([(x, y)] if rank() == 0 else []), sharded_data=True)
    backup = fgraph.callbacks.BackupAndRestore("nowhere") if rank() == 0 else []
    refused("callbacks", binary(), x, y, callbacks=backup)
    return found


class Rows(IterableDataset[Any]):
    """Each process's own rows, of which the first has more."""

    def __iter__(self) -> Any:
        x, y = data()
        share = 30 if world() == 2 else 45
        where = slice(share) if rank() == 0 else slice(share, None)
        if world() > 2:
            where = slice(rank(), None, world())
        return iter(list(zip(x[where], y[where], strict=True)))


@check
def divided_data() -> Any:
    """Rows that were divided before: the last steps of some processes have none."""
    model = binary(metrics=["accuracy"], optimizer="sgd")
    torch.manual_seed(3)
    done = model.fit(Rows(), batch_size=45, epochs=1, verbose=0, sharded_data=True)
    found = model.evaluate(Rows(), batch_size=10, verbose=0, sharded_data=True)
    x, y = data()
    whole = model.evaluate(x, y, verbose=0)
    assert np.allclose(found, whole), (found, whole)
    rows = model.predict(Rows(), verbose=0, sharded_data=True)
    assert len(rows) == 45
    own = x[rank() :: world()], y[rank() :: world()]
    done = model.evaluate(*own, batch_size=10, verbose=0, sharded_data=True)
    assert np.allclose(done, whole), (done, whole)
    history = model.fit(*own, batch_size=10, epochs=2, verbose=0, sharded_data=True)
    assert all(np.isfinite(history.history["loss"]))
    if world() > 1:
        spread = np.ptp(model.predict(x, verbose=0))
        assert spread > 0
    return {}  # steps are others than those of one process; what must agree is asserted


@check
def samplers() -> Any:
    """A DistributedSampler is recognised wherever it hangs; it repeats samples for 3 processes."""
    if world() == 3:
        return {}
    x, y = data(44)
    pairs = TensorDataset(x, y)
    found = {}
    for name in ("sampler", "batch sampler", "nested"):
        size = 4
        if world() == 1:
            source = DataLoader(pairs, 8)
        else:
            size = 8 // world()
            sampler: Any = DistributedSampler(pairs, shuffle=False)
            if name == "sampler":
                source = DataLoader(pairs, size, sampler=sampler)
            else:
                batches: Any = torch.utils.data.BatchSampler(sampler, size, drop_last=False)
                batches = Nested(batches) if name == "nested" else batches
                source = DataLoader(pairs, batch_sampler=batches)
        model = binary(metrics=["accuracy"])
        done = fitted(model, source, epochs=2)
        if name != "nested":
            found[f"predicted {name}"] = model.predict(source, verbose=0).tolist()
        found |= {f"{name}_{key}": value for key, value in done.items()}
    return found


class Nested(torch.utils.data.Sampler[Any]):
    def __init__(self, inner: Any) -> None:
        self.inside = inner

    def __iter__(self) -> Any:
        return iter(self.inside)

    def __len__(self) -> int:
        return len(self.inside)


class Squares(Dataset[Any]):
    def __len__(self) -> int:
        return 30

    def __getitem__(self, index: int) -> Any:
        x, y = data()
        return x[index] + 0.1 * torch.randn(4), y[index]


@check
def data_sets() -> Any:
    """A data set that draws random numbers: the same everywhere, whatever the model draws."""
    return fitted(binary(), Squares(), batch_size=8, epochs=2)


@check
def seeds_and_statistics() -> Any:
    """Dropout differs between processes; running statistics do not."""
    torch.manual_seed(3)
    x = Input((4,))
    made = layers.BatchNormalization()(layers.Dense(16)(x))
    model = Model(x, layers.Dense(1)(layers.Dropout(0.5)(made)))
    model.compile("sgd", "mse")
    given, y = data()
    masks = []
    hook = model.get_layer("dropout_1").module.register_forward_hook(
        lambda module, inputs, output: masks.append(output[:3] != 0) if module.training else None
    )
    history = model.fit(given, y, batch_size=15, epochs=2, verbose=0, validation_data=(given, y))
    hook.remove()
    mask = masks[-2].float()  # of a whole batch
    if world() > 1:
        others = [torch.zeros_like(mask) for _ in range(world())]
        dist.all_gather(others, mask)
        assert not torch.equal(others[0], others[1])
    # what differs from one process is kept out: the statistics are those of shares
    assert all(np.isfinite(history.history["val_loss"]))
    return {"text": [*history.history["val_loss"], *map(float, outcome(model)["w4"])]}


@check
def stopping() -> Any:
    """One process asks to stop; all stop at the same batch."""
    seen: list[int] = []

    def ask(batch: int, logs: Any) -> None:
        seen.append(batch)
        if rank() == world() - 1 and batch == 1:
            model.stop_training = True

    model = binary()
    history = model.fit(
        *data(),
        batch_size=9,
        epochs=3,
        verbose=0,
        callbacks=[LambdaCallback(on_train_batch_end=ask)],
    )
    return {"steps": seen, "epochs": len(history.history["loss"])}


def main() -> None:
    if "RANK" in __import__("os").environ and "MASTER_ADDR" in __import__("os").environ:
        fgraph.parallel.start("cpu")
    wanted = sys.argv[1].split(",") if len(sys.argv) > 1 and sys.argv[1] else list(CHECKS)
    found: dict[str, Any] = {}
    warnings.simplefilter("error")
    # torch's own, of tensor-parallel layers that FSDP2 shards further
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")
    for name in wanted:
        began = time.process_time()
        try:
            mine = CHECKS[name]()
        except Exception:
            mine = {"error": traceback.format_exc()}
        everyone: list[Any] = [mine] * world()
        if world() > 1:
            dist.all_gather_object(everyone, mine)
        found[name] = {"figures": mine, "everyone_alike": alike(everyone)}
        if "-v" in sys.argv:
            print(name, f"{time.process_time() - began:.1f} s", file=sys.stderr)
    if rank() == 0:
        print(json.dumps(found, default=float))
    leave()


def alike(everyone: list[Any]) -> Any:
    """Return true if all processes have the same figures, else these."""
    texts = {json.dumps(mine, default=float) for mine in everyone}
    return True if len(texts) == 1 else sorted(texts)


if __name__ == "__main__":
    main()
