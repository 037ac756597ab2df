"""Programs written for Keras run in both packages from equal weights, and report the same."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import fgraph

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 5)).astype(np.float32)
BINARY = (X[:, :1] > 0).astype(np.float32)
CLASSES = RNG.integers(0, 3, 40)
REAL = RNG.normal(size=(40, 2)).astype(np.float32)
WEIGHT = RNG.random(40).astype(np.float32)
HELD = (X[27:], BINARY[27:])
FIT: dict[str, Any] = {"shuffle": False, "verbose": 0, "batch_size": 8}


def _model(room: Any, *heads: tuple[int, str | None]) -> Any:
    x = room.Input((5,))
    h = room.layers.Dense(4, activation="tanh", name="hidden")(x)
    outputs = [
        room.layers.Dense(units, activation=activation, name=f"head_{i}")(h)
        for i, (units, activation) in enumerate(heads)
    ]
    return _with_weights(room.Model(x, outputs if len(outputs) > 1 else outputs[0]))


def _with_weights(model: Any) -> Any:
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(size=w.shape).astype("f") / 2 for w in model.get_weights()])
    return model


def _binary(room: Any, **settings: Any) -> Any:
    model = _model(room, (1, "sigmoid"))
    model.compile(room.optimizers.SGD(0.1), "binary_crossentropy", **settings)
    return model


def _sparse(room: Any, **settings: Any) -> Any:
    model = _model(room, (3, "softmax"))
    model.compile("adam", "sparse_categorical_crossentropy", **settings)
    return model


def _batches(weighted: bool = False) -> Any:
    while True:
        for i in range(0, 40, 8):
            part = slice(i, i + 8)
            yield (X[part], BINARY[part], *([WEIGHT[part]] if weighted else []))


def initial_epoch(room):
    history = _binary(room).fit(X, BINARY, initial_epoch=2, epochs=5, **FIT)
    return history.history, history.epoch


def fit_twice_continues_the_optimizer(room):
    model = _sparse(room)
    runs = [model.fit(X, CLASSES, epochs=n, **FIT).history for n in (2, 1)]
    return runs, int(model.optimizer.iterations)


def compile_anew_forgets_the_optimizer(room):
    model = _sparse(room)
    first = model.fit(X, CLASSES, epochs=2, **FIT).history
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["acc"])
    return first, model.fit(X, CLASSES, epochs=2, **FIT).history


def split_of_weighted_data(room):
    model = _binary(room, weighted_metrics=["accuracy"])
    return model.fit(X, BINARY, validation_split=0.3, sample_weight=WEIGHT, **FIT).history


def listed_validations(room):
    settings = {"validation_data": HELD, "validation_freq": [1, 4]}
    return _binary(room, metrics=["mae"]).fit(X, BINARY, epochs=5, **settings, **FIT).history


def an_iterator_over_several_epochs(room):
    model = _binary(room, metrics=["accuracy"])
    runs = {"epochs": 4, "steps_per_epoch": 3, "verbose": 0, "shuffle": False}
    return model.fit(_batches(), **runs).history


def an_iterator_of_weighted_batches(room):
    model = _binary(room, weighted_metrics=["mae"])
    held = (*HELD, WEIGHT[27:])
    runs = {"epochs": 2, "steps_per_epoch": 5, "verbose": 0, "shuffle": False}
    return model.fit(_batches(weighted=True), validation_data=held, **runs).history


def classes_without_a_weight_weigh_one(room):
    model = _sparse(room, weighted_metrics=["accuracy"])
    return model.fit(X, CLASSES, epochs=2, class_weight={1: 5.0}, **FIT).history


def weights_of_one_hot_rows(room):
    model = _model(room, (3, "softmax"))
    model.compile("sgd", "categorical_crossentropy", weighted_metrics=["accuracy"])
    rows = np.eye(3, dtype=np.float32)[CLASSES]
    return model.fit(X, rows, class_weight={0: 0.3, 1: 2.0, 2: 1.0}, **FIT).history


def labels_of_other_shapes_and_dtypes(room):
    model = _binary(room, metrics=["accuracy", "auc", "precision"])
    flat = model.fit(X, BINARY[:, 0], **FIT).history
    truth = model.fit(X.astype("f8"), BINARY > 0, **FIT).history
    return [[*history.values()] for history in (flat, truth)]


def two_outputs_by_position(room):
    model = _model(room, (1, "sigmoid"), (2, None))
    model.compile(
        "sgd",
        ["binary_crossentropy", "mse"],
        metrics=[["accuracy"], ["mae", "mse"]],
        weighted_metrics=[["accuracy"], ["mae"]],
        loss_weights=[0.3, 2.0],
    )
    history = model.fit(X, [BINARY, REAL], sample_weight=[WEIGHT, WEIGHT[::-1]], epochs=2, **FIT)
    return history.history, model.evaluate(X, [BINARY, REAL], verbose=0)


def an_output_without_a_loss(room):
    model = _model(room, (1, "sigmoid"), (2, None), (3, "softmax"))
    losses = ["mse", None, "sparse_categorical_crossentropy"]
    model.compile("sgd", losses, metrics=[None, None, ["accuracy"]])
    return model.fit(X, [BINARY, REAL, CLASSES], epochs=2, **FIT).history


def single_batches(room):
    model = _binary(room, metrics=["accuracy"])
    return [
        model.train_on_batch(X[:8], BINARY[:8]),
        model.train_on_batch(X[:8], BINARY[:8], class_weight={0: 1.0, 1: 3.0}),
        model.train_on_batch(X[:8], BINARY[:8], sample_weight=WEIGHT[:8], return_dict=True),
        model.test_on_batch(X[8:16], BINARY[8:16]),
        model.reset_metrics(),
        model.evaluate(X, BINARY, steps=2, batch_size=8, verbose=0, return_dict=True),
    ]


def every_hook_in_order(room):
    calls = []

    def hook(name):
        def called(self, *args, logs=None):
            numbers = [value for value in args if isinstance(value, int)]
            given = [value for value in args if isinstance(value, dict)]
            calls.append((name, *numbers, *sorted(given[0] if given else logs or {})))

        return called

    names = [name for name in dir(room.callbacks.Callback) if name.startswith("on_")]
    names = [name for name in names if name not in ("on_batch_begin", "on_batch_end")]
    kind = type("Watch", (room.callbacks.Callback,), {name: hook(name) for name in names})
    watch, model = kind(), _binary(room, metrics=["accuracy"])
    model.fit(X[:16], BINARY[:16], epochs=2, validation_data=HELD, callbacks=[watch], **FIT)
    calls.append(sorted(watch.params.items()))
    model.evaluate(*HELD, callbacks=[watch], verbose=0)
    model.predict(X, callbacks=[watch], verbose=0)
    return [*calls, sorted(watch.params.items())]


def a_rate_set_in_a_callback(room):
    class Rates(room.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.model.optimizer.learning_rate = 0.1 / (epoch + 1)

        def on_epoch_end(self, epoch, logs=None):
            logs["rate"] = float(self.model.optimizer.learning_rate)

    return _binary(room).fit(X, BINARY, epochs=3, callbacks=[Rates()], **FIT).history


def stopped_within_an_epoch(room):
    class Stop(room.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 2

    history = _binary(room).fit(X, BINARY, epochs=4, callbacks=[Stop()], **FIT)
    return history.history, history.epoch


def averaged_weights_in_evaluation(room, swap_on_epoch=False):
    model = _model(room, (1, "sigmoid"))
    model.compile(room.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5), "mse")
    swap = room.callbacks.SwapEMAWeights(swap_on_epoch=swap_on_epoch)
    seen = []
    look = room.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(float(np.sum(model.get_weights()[0])))
    )
    history = model.fit(X, BINARY, epochs=3, callbacks=[swap, look], validation_data=HELD, **FIT)
    return history.history, seen, model.get_weights()


def averaged_weights_between_epochs(room):
    return averaged_weights_in_evaluation(room, swap_on_epoch=True)


def metrics_of_ones_own(room):
    class Share(room.Model):
        def compute_metrics(self, x, y, y_pred, sample_weight=None):
            results = super().compute_metrics(x, y, y_pred, sample_weight)
            results["share"] = float((y_pred > 0.5).float().mean())
            return results

    x = room.Input((5,))
    model = _with_weights(Share(x, room.layers.Dense(1)(x)))
    model.compile("sgd", "mse", metrics=["mae"])
    # one batch: Keras shows the last batch's number, not the mean
    run = model.fit(X, BINARY, epochs=2, batch_size=40, shuffle=False, verbose=0).history
    return run, model.evaluate(X, BINARY, batch_size=40, verbose=0, return_dict=True)


def a_metric_with_variables(room):
    class Right(room.metrics.Metric):
        def __init__(self, name="right", **settings):
            super().__init__(name=name, **settings)
            self.right = self.add_variable(shape=(), name="r", initializer="zeros")
            self.seen = self.add_weight(name="s", initializer="zeros")

        def update_state(self, y_true, y_pred, sample_weight=None):
            labels = room.ops.reshape(room.ops.argmax(y_pred, axis=1), (-1,))
            equal = room.ops.cast(y_true, "int64") == room.ops.cast(labels, "int64")
            self.right.assign_add(room.ops.sum(room.ops.cast(equal, "float32")))
            self.seen.assign(self.seen + len(y_pred))

        def result(self):
            return self.right / self.seen

    model = _sparse(room, metrics=[Right()])
    history = model.fit(X, CLASSES, epochs=2, validation_split=0.3, **FIT).history
    return history, model.evaluate(X, CLASSES, verbose=0)


def a_step_that_updates_all_metrics(room):
    class Own(room.Model):
        def test_step(self, data):
            x, y = data
            y_pred = self(x, training=False)
            for metric in self.metrics:
                if metric.name == "loss":
                    metric.update_state(self.compute_loss(y=y, y_pred=y_pred))
                else:
                    metric.update_state(y, y_pred)
            return {metric.name: metric.result() for metric in self.metrics}

    x = room.Input((5,))
    model = _with_weights(Own(x, room.layers.Dense(1)(x)))
    model.compile("sgd", "mse", metrics=["mae"])
    results = model.evaluate(X, BINARY, batch_size=8, verbose=0, return_dict=True)
    return results["loss"], (results.get("mae") or results["compile_metrics"]["mae"])


PROGRAMS = [
    initial_epoch,
    fit_twice_continues_the_optimizer,
    compile_anew_forgets_the_optimizer,
    split_of_weighted_data,
    listed_validations,
    an_iterator_over_several_epochs,
    an_iterator_of_weighted_batches,
    classes_without_a_weight_weigh_one,
    weights_of_one_hot_rows,
    labels_of_other_shapes_and_dtypes,
    two_outputs_by_position,
    an_output_without_a_loss,
    single_batches,
    every_hook_in_order,
    a_rate_set_in_a_callback,
    stopped_within_an_epoch,
    averaged_weights_in_evaluation,
    averaged_weights_between_epochs,
    metrics_of_ones_own,
    a_metric_with_variables,
    a_step_that_updates_all_metrics,
]


def _compare(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        _compare(list(ours.values()), list(theirs.values()))
    elif isinstance(theirs, list | tuple):
        assert len(ours) == len(theirs)
        for mine, other in zip(ours, theirs, strict=True):
            _compare(mine, other)
    elif isinstance(theirs, str) or theirs is None:
        assert ours == theirs
    else:
        np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), rtol=2e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Gradients do not exist:UserWarning")
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_program_reports_what_it_reports_in_keras(keras: ModuleType, program: Any) -> None:
    """The same histories, results and calls, in the same order."""
    with torch.random.fork_rng():
        theirs = program(keras)
    _compare(program(fgraph), theirs)
