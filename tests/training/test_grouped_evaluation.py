"""Evaluation computes losses and metrics of several batches at once where that is the same."""

from __future__ import annotations

import inspect
from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from fgraph import Input, Model, layers, losses, metrics
from fgraph.callbacks import Callback
from fgraph.common.configured import declares
from fgraph.training import Trainer, grouped_evaluation, output_losses

SAMPLES, CLASSES, BATCH = 70, 4, 8
SIZES = [8] * 8 + [6]


class Same(Trainer, nn.Module):
    """A model whose outputs are its inputs."""

    def __init__(self):
        super().__init__()
        self.one = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return x * self.one


class OneByOne(Callback):
    """A callback that might look at anything after each batch."""

    def on_test_batch_end(self, batch, logs=None):
        pass


def _both(model, *data, **options):
    """The logs of an evaluation, and of one that computes each batch by itself."""
    options = {"verbose": 0, "return_dict": True, **options}
    found = model.evaluate(*data, **options)
    return found, model.evaluate(*data, callbacks=OneByOne(), **options)


@pytest.fixture
def losses_computed(monkeypatch):
    """The numbers of rows whose losses were computed, from here on."""
    rows = []
    computed = output_losses._computed

    def counting(loss, y_true, y_pred, *rest):
        rows.append(len(y_pred))
        return computed(loss, y_true, y_pred, *rest)

    monkeypatch.setattr(output_losses, "_computed", counting)
    return rows


def _public(room, base):
    found = {v for v in vars(room).values() if isinstance(v, type) and issubclass(v, base)}
    return sorted(found, key=lambda cls: cls.__name__)


def _made(cls):
    """An object of a class, with values for what it needs."""
    needed = {
        "num_classes": CLASSES,
        "target_class_ids": [0, 2],
        "specificity": 0.5,
        "sensitivity": 0.5,
        "precision": 0.5,
        "recall": 0.5,
        "fn": F.mse_loss,
    }
    given = inspect.signature(cls).parameters.values()
    options = {p.name: needed[p.name] for p in given if p.default is p.empty and p.name in needed}
    if cls in (metrics.IoU, metrics.MeanIoU):
        options["sparse_y_pred"] = False
    return cls(**options)


ONE_BY_ONE = {"Hinge", "SquaredHinge", "Dice", "Tversky", "Circle", "CallableLoss", "Loss"}
LOSSES = [c for c in _public(losses, losses.Loss) if c.__name__ not in ONE_BY_ONE]
BASES = {"Hinge", "SquaredHinge", "Mean", "Sum", "MeanMetric", "MeanMetricWrapper", "Metric"}
METRICS = [c for c in _public(metrics, metrics.Metric) if c.__name__ not in BASES]


@pytest.mark.parametrize("cls", LOSSES + METRICS, ids=lambda c: f"{c.__module__}.{c.__name__}")
def test_public_classes_say_that_they_join_batches(cls):
    assert _made(cls).joins(None) if issubclass(cls, losses.Loss) else _made(cls).joins()


def _data(cls):
    torch.manual_seed(0)
    scores = torch.randn(SAMPLES, CLASSES).softmax(-1)
    labels = torch.randint(CLASSES, (SAMPLES,))
    if cls is losses.CTC:
        return torch.randn(SAMPLES, 6, CLASSES), torch.randint(1, CLASSES, (SAMPLES, 2))
    if cls is metrics.BinaryIoU or cls is metrics.Accuracy:
        return scores, torch.randint(2, (SAMPLES, CLASSES)).float()
    takes_labels = ("Sparse", "Generalized", "IoU")
    if "OneHot" not in cls.__name__ and any(part in cls.__name__ for part in takes_labels):
        return scores, labels
    return scores, F.one_hot(labels, CLASSES).float()


@pytest.mark.parametrize("is_weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("cls", LOSSES, ids=lambda cls: cls.__name__)
def test_loss_of_several_batches_at_once(cls, is_weighted, losses_computed):
    x, y = _data(cls)
    weights = torch.rand(SAMPLES) if is_weighted else None
    loss, model = _made(cls), Same()
    model.compile("sgd", loss)
    given = {} if weights is None else {"sample_weight": weights}
    model.evaluate(x, y, BATCH, verbose=0, **given)  # tries one batch out first
    losses_computed.clear()
    found = model.evaluate(x, y, BATCH, verbose=0, **given)
    assert losses_computed == [SAMPLES]
    rows = torch.arange(SAMPLES).split(BATCH)
    values = [loss(y[r], x[r], None if weights is None else weights[r]) for r in rows]
    expected = sum(float(value) * len(r) for value, r in zip(values, rows, strict=True))
    assert found == pytest.approx(expected / SAMPLES, rel=1e-5)


class FirstMean(losses.Loss):
    """A loss of the user's own that says that it joins batches; it takes any target."""

    per_sample = True

    def call(self, y_true, y_pred):
        return y_pred.flatten(1).mean(1)

    def check(self, y_true, y_pred, output):
        pass


@pytest.mark.parametrize("is_weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("cls", METRICS, ids=lambda cls: cls.__name__)
def test_metric_of_several_batches_at_once(cls, is_weighted, losses_computed):
    x, y = _data(cls)
    weights = torch.rand(SAMPLES) if is_weighted else None
    model, metric, alone = Same(), _made(cls), _made(cls)
    model.compile(
        "sgd", FirstMean(), **{"weighted_metrics" if is_weighted else "metrics": [metric]}
    )
    model.evaluate(x, y, BATCH, verbose=0, sample_weight=weights)
    losses_computed.clear()
    found = model.evaluate(x, y, BATCH, verbose=0, sample_weight=weights)[1]
    assert losses_computed == [SAMPLES]
    for rows in torch.arange(SAMPLES).split(BATCH):
        alone.update_state(y[rows], x[rows], None if weights is None else weights[rows])
    assert np.allclose(found, alone.result().numpy(), rtol=1e-6)


TORCH_LOSSES = {
    "cross entropy": (nn.CrossEntropyLoss(), "labels", True),
    "smoothed": (nn.CrossEntropyLoss(label_smoothing=0.1), "labels", True),
    "class weights": (nn.CrossEntropyLoss(weight=torch.rand(CLASSES)), "labels", False),
    "some ignored": (nn.CrossEntropyLoss(ignore_index=1), "labels", False),
    "cross entropy sum": (nn.CrossEntropyLoss(reduction="sum"), "labels", False),
    "probabilities": (nn.CrossEntropyLoss(), "rows", True),
    "NLL": (nn.NLLLoss(), "labels", True),
    "MSE": (nn.MSELoss(), "rows", True),
    "MSE sum": (nn.MSELoss(reduction="sum"), "rows", False),
    "MSE none": (nn.MSELoss(reduction="none"), "rows", False),
    "BCE": (nn.BCEWithLogitsLoss(), "rows", True),
    "BCE weights": (nn.BCEWithLogitsLoss(pos_weight=torch.rand(CLASSES)), "rows", False),
    "Huber": (nn.HuberLoss(), "rows", True),
    "function": (F.smooth_l1_loss, "rows", True),
    "function on labels": (F.cross_entropy, "labels", True),
    "partial": (partial(F.mse_loss, reduction="sum"), "rows", False),
    "lambda": (lambda prediction, target: (prediction - target).square(), "rows", False),
}


@pytest.mark.parametrize("is_weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize(("loss", "kind", "joins"), TORCH_LOSSES.values(), ids=TORCH_LOSSES)
def test_torch_loss(loss, kind, joins, is_weighted, losses_computed):
    x = torch.randn(SAMPLES, CLASSES)
    labels = torch.randint(CLASSES, (SAMPLES,))
    y = labels if kind == "labels" else F.one_hot(labels, CLASSES).float()
    model = Same()
    model.compile("sgd", loss)
    weights = torch.rand(SAMPLES) if is_weighted else None
    found, expected = _both(model, x, y, batch_size=BATCH, sample_weight=weights)
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    losses_computed.clear()
    model.evaluate(x, y, BATCH, verbose=0, sample_weight=weights)
    assert losses_computed == ([SAMPLES] if joins else SIZES)


def test_torch_loss_with_ignored_labels_is_the_mean_of_each_batch():
    """Which is not the mean over all: torch divides by the labels that count."""
    x, y = torch.randn(24, 3), torch.randint(3, (24,))
    y[:7] = -100
    model = Same()
    model.compile("sgd", nn.CrossEntropyLoss())
    batches = [F.cross_entropy(x[at : at + 8], y[at : at + 8]) for at in (0, 8, 16)]
    assert model.evaluate(x, y, 8, verbose=0) == pytest.approx(float(sum(batches) / 3), rel=1e-6)


class Squared(losses.MeanSquaredError):
    """A subclass, which computes something else."""

    def call(self, y_true, y_pred):
        return super().call(y_true, y_pred) + y_pred.max()

    def mean(self, y_true, y_pred):
        return self.call(y_true, y_pred).mean()


class LastBatch(metrics.MeanSquaredError):
    """A metric that looks at the order of batches."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.sizes = [*getattr(self, "sizes", []), len(y_pred)]
        self.last = (y_true - y_pred).abs().mean()

    def reset_state(self):
        self.sizes = []

    def result(self):
        return self.last


def _replaced():
    loss = losses.MeanSquaredError()
    loss.call = loss.mean = lambda y_true, y_pred: y_pred.max()
    return loss


ONE_AT_A_TIME = {
    "subclass": Squared,
    "replaced method": _replaced,
    "hinge": losses.Hinge,  # whether all labels are 0 or 1 decides on what they mean
    "dice": losses.Dice,
    "sum": lambda: losses.MeanSquaredError(reduction="sum"),
    "mean with weights": lambda: losses.MeanSquaredError("mean_with_sample_weight"),
    "axis of samples": lambda: losses.CosineSimilarity(axis=0),
}


@pytest.mark.parametrize("make", ONE_AT_A_TIME.values(), ids=ONE_AT_A_TIME)
def test_other_losses_are_computed_batch_by_batch(make, losses_computed):
    x, y = torch.randn(SAMPLES, CLASSES), torch.rand(SAMPLES, CLASSES).round()
    y[BATCH:] = 2 * y[BATCH:] - 1
    model, loss = Same(), make()
    model.compile("sgd", loss)
    takes_weights, weights = loss.reduction == "mean_with_sample_weight", torch.rand(SAMPLES)
    given = {"sample_weight": weights} if takes_weights else {}
    model.evaluate(x, y, BATCH, verbose=0, **given)
    losses_computed.clear()
    found = model.evaluate(x, y, BATCH, verbose=0, **given)
    assert losses_computed == SIZES
    rows = torch.arange(SAMPLES).split(BATCH)
    values = [loss(y[r], x[r], *([weights[r]] if takes_weights else [])) for r in rows]
    expected = sum(float(v) * len(r) for v, r in zip(values, rows, strict=True)) / SAMPLES
    assert found == pytest.approx(expected, rel=1e-5)


def test_ignore_class_is_computed_batch_by_batch():
    x, y = torch.randn(SAMPLES, CLASSES), torch.randint(CLASSES, (SAMPLES,))
    loss, model = losses.SparseCategoricalCrossentropy(True, ignore_class=1), Same()
    model.compile("sgd", loss)
    rows = torch.arange(SAMPLES).split(BATCH)
    expected = sum(float(loss(y[r], x[r])) * len(r) for r in rows) / SAMPLES
    assert model.evaluate(x, y, BATCH, verbose=0) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", ["kl_divergence", "mse", nn.BCEWithLogitsLoss()], ids=str)
def test_outputs_without_a_second_axis(loss, losses_computed):
    """A loss along the last axis is then one along the samples."""
    x, y = torch.rand(SAMPLES, 1), torch.rand(SAMPLES)
    model = Flat()
    model.compile("sgd", loss, metrics=["mae", "kl_divergence"])
    found, expected = _both(model, x, y, batch_size=BATCH)
    assert found == pytest.approx(expected, rel=1e-6)
    losses_computed.clear()
    model.evaluate(x, y, BATCH, verbose=0)
    assert losses_computed == SIZES


class Flat(Same):
    """One number for each sample."""

    def forward(self, x):
        return super().forward(x).squeeze(-1)


def test_metric_of_the_users_own_sees_every_batch():
    x, y = torch.randn(SAMPLES, CLASSES), torch.randn(SAMPLES, CLASSES)
    model, metric = Same(), LastBatch()
    model.compile("sgd", "mse", metrics=[metric, "mae"])
    found = model.evaluate(x, y, BATCH, verbose=0, return_dict=True)
    assert metric.sizes == SIZES
    assert found["mean_squared_error"] == pytest.approx(float((x - y)[-6:].abs().mean()))


def test_metric_function_sees_every_batch():
    sizes = []

    def spread(y_true, y_pred):
        sizes.append(len(y_pred))
        return y_pred.max() - y_pred.min()

    x = torch.randn(SAMPLES, CLASSES)
    model = Same()
    model.compile("sgd", "mse", metrics=[spread])
    model.evaluate(x, x, BATCH, verbose=0)
    sizes.clear()
    found = model.evaluate(x, x, BATCH, verbose=0)[1]
    assert sizes == SIZES
    parts = [float(part.max() - part.min()) * len(part) for part in x.split(BATCH)]
    assert found == pytest.approx(sum(parts) / SAMPLES, rel=1e-6)


# ---- models


def _functional(activation, units=CLASSES):
    a = Input((5,))
    return Model(a, layers.Dense(units, activation=activation)(a))


CLASSIFIERS = {
    "softmax": ("softmax", "sparse_categorical_crossentropy", CLASSES),
    "one-hot": ("softmax", "categorical_crossentropy", CLASSES),
    "sigmoid": ("sigmoid", "binary_crossentropy", 1),
    "focal": ("sigmoid", "binary_focal_crossentropy", 1),
    "regression": (None, "mse", 1),
}


@pytest.mark.parametrize("source", ["arrays", "numpy", "loader"])
@pytest.mark.parametrize(("activation", "loss", "units"), CLASSIFIERS.values(), ids=CLASSIFIERS)
def test_functional_models(activation, loss, units, source, losses_computed):
    torch.manual_seed(0)
    x, labels = torch.randn(SAMPLES, 5) * 30, torch.randint(max(units, 2), (SAMPLES,))
    y = F.one_hot(labels, CLASSES).float() if loss == "categorical_crossentropy" else labels
    if units == 1:
        y = labels.float()[:, None]
    model = _functional(activation, units)
    model.compile("sgd", loss, metrics=["accuracy", "mae"] if units == 1 else ["accuracy"])
    data = {
        "arrays": ((x, y), {"batch_size": BATCH}),
        "numpy": ((x.numpy(), y.numpy()), {"batch_size": BATCH}),
        "loader": ((DataLoader(TensorDataset(x, y), BATCH),), {}),
    }[source]
    found, expected = _both(model, *data[0], **data[1])
    assert found == pytest.approx(expected, rel=1e-6)
    losses_computed.clear()
    model.evaluate(*data[0], verbose=0, **data[1])
    assert losses_computed == [SAMPLES]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("classes", [2, 3, 10, 16, 40])
@pytest.mark.parametrize("count", [300, 900])
def test_crossentropy_of_many_short_rows(count, classes, smoothing):
    """Without gradients it is computed across the rows, where that is faster."""
    logits = torch.randn(count, classes, dtype=torch.float64) * 20
    labels = torch.randint(classes, (count,))
    rows = F.one_hot(labels, classes).double() * (1 - smoothing) + smoothing / classes
    expected = float(-(logits.log_softmax(1) * rows).sum(1).mean())
    loss = losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
    sparse = losses.SparseCategoricalCrossentropy(from_logits=True)
    one_hot = F.one_hot(labels, classes)
    for values in (logits, logits.float(), logits.clone().requires_grad_()):
        with torch.set_grad_enabled(values.requires_grad):
            found = loss(one_hot, values)
            assert found.item() == pytest.approx(expected, rel=1e-5)
            if not smoothing:
                assert sparse(labels, values).item() == pytest.approx(expected, rel=1e-5)


def _two_heads():
    a = Input((5,))
    outputs = {
        "p": layers.Dense(CLASSES, activation="softmax")(a),
        "r": layers.Dense(2, kernel_regularizer="l2")(a),
        "free": layers.Dense(3, activity_regularizer="l1")(a),
    }
    return Model(a, outputs)


def test_several_outputs_with_penalties_and_weights(losses_computed):
    torch.manual_seed(0)
    x = torch.randn(SAMPLES, 5)
    y = {"p": torch.randint(CLASSES, (SAMPLES,)), "r": torch.randn(SAMPLES, 2)}
    weights = {"r": torch.rand(SAMPLES)}
    model = _two_heads()
    model.compile(
        "sgd",
        {"p": "sparse_categorical_crossentropy", "r": "mse"},
        metrics={"p": ["accuracy"], "r": ["mae"]},
        weighted_metrics={"r": ["mse"]},
        loss_weights={"p": 0.5, "r": 2.0},
    )
    found, expected = _both(model, x, y, batch_size=BATCH, sample_weight=weights)
    assert found == pytest.approx(expected, rel=1e-5)
    losses_computed.clear()
    found = model.evaluate(x, y, BATCH, verbose=0, sample_weight=weights, return_dict=True)
    assert losses_computed == [SAMPLES] * 2
    with torch.no_grad():
        out = model(x)
        p = F.nll_loss(out["p"].log(), y["p"])
        r = ((out["r"] - y["r"]).square().mean(1) * weights["r"]).mean()
        penalty = 0.01 * model.dense_2.weight.square().sum()
        activity = 0.01 * out["free"].abs().sum() / SAMPLES  # of each batch its mean
    assert found["p_loss"] == pytest.approx(float(p), rel=1e-5)
    assert found["r_loss"] == pytest.approx(float(r), rel=1e-5)
    assert found["loss"] == pytest.approx(float(0.5 * p + 2 * r + penalty + activity), rel=1e-5)


class Adding(Trainer, nn.Module):
    """A forward that adds a loss in every second batch."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(5, 2)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        if self.calls % 2:
            self.add_loss(x.square().mean())
        return self.linear(x)


def test_losses_added_by_a_forward_count_in_their_batches():
    x, y = torch.randn(SAMPLES, 5), torch.randn(SAMPLES, 2)
    model = Adding()
    model.compile("sgd", "mse")
    model.evaluate(x, y, BATCH, verbose=0)
    model.calls = 0
    found = model.evaluate(x, y, BATCH, verbose=0)
    with torch.no_grad():
        expected = F.mse_loss(model.linear(x), y)
    for number, part in enumerate(x.split(BATCH)):
        expected += 0 if number % 2 else part.square().mean() * len(part) / SAMPLES
    assert found == pytest.approx(float(expected), rel=1e-5)


def test_losses_added_where_batches_are_made_do_not_count():
    x, y, teacher = torch.randn(SAMPLES, 5), torch.randn(SAMPLES, 2), Adding()

    def batches():
        for rows in torch.arange(SAMPLES).split(BATCH):
            yield teacher(x[rows]).detach(), y[rows]

    model = Same()
    model.compile("sgd", "mse")
    found = model.evaluate(batches(), verbose=0)
    with torch.no_grad():
        expected = F.mse_loss(teacher.linear(x), y)
    assert found == pytest.approx(expected.item(), rel=1e-5)


def test_penalties_of_a_models_own_count():
    class Penalised(Same):
        @property
        def losses(self):
            self.asked += 1
            return [torch.tensor(float(self.asked))]

        asked = 0

    model = Penalised()
    model.compile("sgd", "mse")
    x = torch.zeros(SAMPLES, 2)
    model.evaluate(x, x, BATCH, verbose=0)
    model.asked = 0
    found = model.evaluate(x, x, BATCH, verbose=0)
    assert model.asked == len(SIZES)
    expected = sum((number + 1) * size for number, size in enumerate(SIZES)) / SAMPLES
    assert found == pytest.approx(expected)


class SameMemory(Same):
    """A model that writes every batch into the same memory."""

    memory: torch.Tensor

    def forward(self, x):
        if not hasattr(self, "memory") or self.memory.shape != x.shape:
            self.memory = torch.empty_like(x)
        return self.memory.copy_(x)


def test_models_and_generators_may_reuse_memory(losses_computed):
    x, y = torch.randn(64, 3), torch.randn(64, 3)

    def batches():
        x_memory, y_memory = np.empty((8, 3), np.float32), np.empty((8, 3), np.float32)
        for at in range(0, 64, 8):
            x_memory[:], y_memory[:] = x[at : at + 8], y[at : at + 8]
            yield x_memory, y_memory

    model = SameMemory()
    model.compile("sgd", "mse", metrics=["mae"])
    found = model.evaluate(batches(), verbose=0)
    assert losses_computed[-1] == 64
    assert found == pytest.approx([float(F.mse_loss(x, y)), float(F.l1_loss(x, y))], rel=1e-5)


def test_batches_of_other_samples_are_computed_apart(losses_computed):
    """Sequences of other lengths, other batch sizes, weights that come and go."""
    torch.manual_seed(0)
    shapes = [(8, 5, 3), (8, 5, 3), (6, 5, 3), (8, 7, 3), (8, 7, 3), (8, 5, 3)]
    batches = [(torch.randn(shape), torch.randn(shape)) for shape in shapes]
    batches.append((*batches[-1], torch.rand(8)))
    model = Same()
    model.compile("sgd", "mse", metrics=["mae"])
    found, expected = _both(model, Batches(batches))
    assert found == pytest.approx(expected, rel=1e-5)
    losses_computed.clear()
    model.evaluate(Batches(batches), verbose=0)
    assert losses_computed == [22, 16, 8, 8]


class Batches:
    """Batches that can be iterated again."""

    def __init__(self, batches):
        self._batches = batches

    def __iter__(self):
        return iter(self._batches)


def test_large_predictions_are_not_kept(losses_computed):
    x = torch.randn(6, 40_000)
    model = Same()
    model.compile("sgd", "mse")
    model.evaluate(x, x, 2, verbose=0)
    losses_computed.clear()
    model.evaluate(x, x, 2, verbose=0)
    assert losses_computed == [2, 2, 2]


def test_a_bounded_number_of_predictions_is_kept(losses_computed):
    x = torch.randn(100, 1000)
    model = Same()
    model.compile("sgd", "mse")
    model.evaluate(x, x, 10, verbose=0)
    losses_computed.clear()
    model.evaluate(x, x, 10, verbose=0)
    assert max(losses_computed) * 2000 <= grouped_evaluation._MOST_ELEMENTS
    assert sum(losses_computed) == 100


# ---- who looks on


class Reading(Callback):
    """Looks at nothing but logs, after some batches."""

    only_logs = True

    def __init__(self):
        super().__init__()
        self.seen = {}

    def on_test_batch_end(self, batch, logs=None):
        if batch % 3 == 2:
            self.seen[batch] = dict(logs)


def test_logs_that_are_read_between_are_those_of_the_batches_so_far(losses_computed):
    x, y = torch.randn(SAMPLES, 3), torch.randn(SAMPLES, 3)
    model, reading = Same(), Reading()
    model.compile("sgd", "mse", metrics=["mae"])
    model.evaluate(x, y, BATCH, verbose=0)
    losses_computed.clear()
    model.evaluate(x, y, BATCH, verbose=0, callbacks=[reading])
    assert losses_computed == [24, 24, 22]
    for batch, logs in reading.seen.items():
        stop = min((batch + 1) * BATCH, SAMPLES)
        expected = {"loss": F.mse_loss(x[:stop], y[:stop]), "mae": F.l1_loss(x[:stop], y[:stop])}
        assert logs == pytest.approx({k: float(v) for k, v in expected.items()}, rel=1e-5)


def test_a_callback_that_may_look_at_metrics_finds_them_after_each_batch():
    class Looking(Callback):
        def on_test_batch_end(self, batch, logs=None):
            found.append(float(self.model.metrics[1].result()))

    found: list[float] = []
    x, y = torch.randn(SAMPLES, 3), torch.randn(SAMPLES, 3)
    model = Same()
    model.compile("sgd", "mse", metrics=["mae"])
    model.evaluate(x, y, BATCH, verbose=0, callbacks=[Looking()])
    stops = [min(at + BATCH, SAMPLES) for at in range(0, SAMPLES, BATCH)]
    assert found == pytest.approx([float(F.l1_loss(x[:n], y[:n])) for n in stops], rel=1e-5)


def test_validation_of_fit_is_computed_at_once(losses_computed):
    x, y = torch.randn(SAMPLES, 5), torch.randn(SAMPLES, 1)
    model = _functional(None, 1)
    model.compile(torch.optim.SGD(model.parameters(), 0.0), "mse")
    history = model.fit(
        x, y, 35, epochs=2, verbose=0, validation_data=(x, y), validation_batch_size=BATCH
    ).history
    assert Counter(losses_computed)[SAMPLES] == 2
    assert history["val_loss"] == pytest.approx(history["loss"], rel=1e-5)


@pytest.mark.parametrize(
    "loss", ["sparse_categorical_crossentropy", nn.CrossEntropyLoss()], ids=str
)
@pytest.mark.parametrize("precision", [None, "bfloat16"], ids=["weights", "autocast"])
def test_half_precision(precision, loss, losses_computed):
    x, y = torch.randn(SAMPLES, 5), torch.randint(CLASSES, (SAMPLES,))
    model = _functional("softmax")
    if precision is None:
        model.to(torch.bfloat16)
    model.compile("sgd", loss, metrics=["accuracy"], precision=precision)
    found, expected = _both(model, x, y, batch_size=BATCH)
    assert found == pytest.approx(expected, rel=1e-5)
    losses_computed.clear()
    model.evaluate(x, y, BATCH, verbose=0)
    assert losses_computed == ([SAMPLES] if isinstance(loss, str) else SIZES)


def test_flags_hold_for_the_class_that_sets_them():
    assert declares(losses.MeanSquaredError(), "per_sample")
    assert not declares(Squared(), "per_sample")
    assert not declares(_replaced(), "per_sample")
    assert not metrics.MeanMetric(F.l1_loss).joins()


# ---- modes


class Counting(nn.Linear):
    """A module that takes note of its modes."""

    def __init__(self):
        super().__init__(5, 1)
        self.modes = []

    def train(self, mode=True):
        self.modes.append(mode)
        return super().train(mode)


@pytest.mark.parametrize("by_class", [True, False], ids=["class", "object"])
def test_modules_with_a_train_method_of_their_own_are_asked(by_class):
    """As one writes to freeze a part: evaluation calls it, and restores the modes of all others."""
    part = Counting() if by_class else nn.Linear(5, 1)
    if not by_class:
        part.modes = []
        part.train = lambda mode=True: part.modes.append(mode) or part
    model = Stack(part, nn.Dropout(0.9), nn.ReLU().eval())
    model.compile("sgd", "mse")
    x = torch.randn(SAMPLES, 5)
    found = model.evaluate(x, torch.zeros(SAMPLES, 1), BATCH, verbose=0)
    assert False in part.modes
    expected = F.linear(x, part.weight, part.bias).relu().square().mean()
    assert found == pytest.approx(expected.item(), rel=1e-5)
    assert [module.training for module in model] == [True, True, False]


class Stack(Trainer, nn.Sequential):
    """A stack of modules with the trainer."""
