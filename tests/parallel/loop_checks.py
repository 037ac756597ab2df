"""What `fit`, `evaluate` and `predict` do around their steps; run as `checks.py` is."""

from __future__ import annotations

import tempfile
from typing import Any

import checks
import torch
import torch.distributed as dist
from checks import binary, data, fitted, outcome, rank, world
from mesh_checks import text_of
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

import fgraph
from fgraph import Input, Model, layers
from fgraph.callbacks import BackupAndRestore, Callback

CHECKS: dict[str, Any] = {}


def check(function: Any) -> Any:
    CHECKS[function.__name__] = function
    return function


HOOKS = [
    "on_train_begin", "on_epoch_begin", "on_epoch_end", "on_train_batch_begin",
    "on_test_begin", "on_test_batch_end",
]  # fmt: skip


@check
def stops() -> Any:
    """The last process asks to stop, wherever a callback may; all do as one process does."""

    def stopped(where: str) -> list[int]:
        def ask(self: Any, *_: Any) -> None:
            if rank() == world() - 1:
                self.model.stop_training = True

        model = binary()
        x, y = data()
        asks = type("Asks", (Callback,), {where: ask})()
        history = model.fit(x, y, 9, 3, 0, callbacks=asks, validation_data=(x, y))
        steps = model.optimizer.state_dict()["state"].get(0, {"step": 0})["step"]
        return [int(steps), len(history.epoch)]

    return {where: stopped(where) for where in HOOKS}


class AskToStop(Callback):
    """Asks in one process for an end after two batches."""

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self.model.stop_evaluating = batch == 1 and rank() == world() - 1

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
        self.model.stop_predicting = batch == 1 and rank() == world() - 1


@check
def stops_without_training() -> Any:
    model = binary()
    x, y = data()
    model.fit(x, y, verbose=0)
    ask = AskToStop()
    return {
        "evaluated": model.evaluate(x, y, batch_size=9, verbose=0, callbacks=ask),
        "predicted": model.predict(x, batch_size=9, verbose=0, callbacks=ask).tolist(),
    }


@check
def several_outputs() -> Any:
    """Nested outputs of several dtypes; rows that are not those of the samples are refused."""
    torch.manual_seed(0)
    x = Input((4,))
    h = nn.Linear(4, 6)(x)
    model = Model(x, {"a": h, "b": [h > 0, {"c": h.sum(1).to(torch.bfloat16), "d": h.argmax(1)}]})
    given, _ = data(47)
    found = model.predict(given, batch_size=10, verbose=0)
    odd = Model(x, torch.cat([x, x + 1]))
    texts = {}
    if world() > 1:
        texts["text_rows"] = text_of(lambda: odd.predict(given, batch_size=12, verbose=0))
        own = odd.predict(given, batch_size=12, verbose=0, gather=False)
        rows = torch.tensor(len(own))
        dist.all_reduce(rows)
        assert rows == 2 * len(given)
    return {
        "a": found["a"].tolist(),
        "b": found["b"][0].astype(float).tolist(),
        "c": found["b"][1]["c"].tolist(),
        "d": found["b"][1]["d"].tolist(),
        **texts,
    }


class Batches(fgraph.utils.PyDataset):
    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> Any:
        rows = slice(index * 9, index * 9 + 9)
        x, y = data()
        return x[rows], y[rows]


@check
def batches_of_other_processes() -> Any:
    """A `PyDataset` whose batches are computed by workers."""
    source = Batches(workers=2, use_multiprocessing=True)
    model = binary()
    done = fitted(model, source, epochs=2, validation_data=Batches())
    return {**done, "rows": model.predict(source, verbose=0).tolist()}


@check
def recomputed() -> Any:
    torch.manual_seed(3)
    x = h = Input((4,))
    for _ in range(3):
        h = layers.LayerNormalization()(layers.Dense(8, activation="tanh")(h))
    model = Model(x, layers.Dense(1, activation="sigmoid")(h))
    model.recompute(["dense_*", "layer_normalization_2"])
    model.compile("adam", "binary_crossentropy", gradient_accumulation_steps=2)
    return fitted(model, *data(), batch_size=11, epochs=2)


@check
def compiled() -> Any:
    """By a backend of torch.compile that needs no compiler."""
    model = binary(jit_compile=True, backend="aot_eager")
    return fitted(model, *data(40), batch_size=10, epochs=2)


@check
def rare_averages() -> Any:
    """DDP averages once for the batches of a step; the last step of an epoch has fewer."""
    model = binary(gradient_accumulation_steps=3)
    waits: list[int] = []
    no_sync = nn.parallel.DistributedDataParallel.no_sync

    def counted(self: Any) -> Any:
        waits.append(model._trainer.accumulated)
        return no_sync(self)

    nn.parallel.DistributedDataParallel.no_sync = counted  # type: ignore[method-assign]
    try:
        found = fitted(model, *data(), batch_size=11, epochs=2)
    finally:
        nn.parallel.DistributedDataParallel.no_sync = no_sync  # type: ignore[method-assign]
    assert waits == ([0, 1, 0, 1] * 2 if world() > 1 else []), waits
    return found


class Ends(Callback):
    """Ends a run after so many batches, if not 0."""

    def __init__(self, batches: int) -> None:
        super().__init__()
        self.left = batches

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@check
def sampler_resumes() -> Any:
    """A shuffling `DistributedSampler` goes on in the order that it was in."""
    folder = [tempfile.mkdtemp()]
    if world() > 1:
        dist.broadcast_object_list(folder, 0)

    def run(*callbacks: Callback) -> Any:
        pairs = TensorDataset(*data(48))
        sampler: Any = DistributedSampler(pairs, world(), rank(), seed=5)
        model = binary()
        source = DataLoader(pairs, 4, sampler=sampler)
        history = model.fit(source, epochs=3, verbose=0, callbacks=list(callbacks))
        return {**outcome(model), "loss": history.history["loss"]}

    expected = run()
    try:
        run(BackupAndRestore(folder[0], save_freq=1), Ends(48 // (4 * world()) + 2))
        raise AssertionError("the run was not ended")
    except KeyboardInterrupt:
        pass
    found = run(BackupAndRestore(folder[0], save_freq=1), Ends(0))
    for key, value in expected.items():
        torch.testing.assert_close(torch.tensor(found[key]), torch.tensor(value), msg=key)
    return {}  # the order is another one than in one process


def main() -> None:
    checks.CHECKS = CHECKS
    checks.main()


if __name__ == "__main__":
    main()
