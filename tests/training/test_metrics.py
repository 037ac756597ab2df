"""Metrics: equal to Keras over several batches, on the device, resumable."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from fgraph import metrics
from fgraph.metrics.base import RunningMean


def _binary(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randint(2, (n, 1)).float(), torch.rand(n, 1)


def _classes(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    return F.one_hot(torch.randint(6, (n,)), 6).float(), torch.randn(n, 6).softmax(-1)


def _labels(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randint(6, (n,)), torch.randn(n, 6).softmax(-1)


def _values(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(n, 3), torch.randn(n, 3)


TABLE = [
    ("BinaryAccuracy", {}, _binary),
    ("BinaryAccuracy", {"threshold": 0.3}, _binary),
    ("CategoricalAccuracy", {}, _classes),
    ("SparseCategoricalAccuracy", {}, _labels),
    ("TopKCategoricalAccuracy", {"k": 2}, _classes),
    ("SparseTopKCategoricalAccuracy", {"k": 3}, _labels),
    ("MeanSquaredError", {}, _values),
    ("MeanAbsoluteError", {}, _values),
    ("RootMeanSquaredError", {}, _values),
    ("CosineSimilarity", {}, _values),
    ("AUC", {}, _binary),
    ("AUC", {"curve": "PR"}, _binary),
    ("AUC", {"num_thresholds": 11}, _binary),
    ("Precision", {}, _binary),
    ("Precision", {"thresholds": [0.2, 0.7]}, _binary),
    ("Precision", {"top_k": 2}, _classes),
    ("Recall", {}, _binary),
    ("Recall", {"class_id": 2, "thresholds": 0.1}, _classes),
    ("F1Score", {}, _classes),
    ("F1Score", {"average": "macro"}, _classes),
    ("F1Score", {"average": "micro"}, _classes),
    ("F1Score", {"average": "weighted", "threshold": 0.2}, _classes),
]


@pytest.mark.parametrize(("name", "settings", "make"), TABLE)
@pytest.mark.parametrize("is_weighted", [False, True], ids=["plain", "weighted"])
def test_streaming_value_equals_keras(keras, name, settings, make, is_weighted):
    """Three batches of different sizes, then the result."""
    ours = getattr(metrics, name)(**settings)
    theirs = getattr(keras.metrics, name)(**settings)
    for size in (16, 16, 5):
        y_true, y_pred = make(size)
        weight = torch.rand(size) if is_weighted else None
        ours.update_state(y_true, y_pred, weight)
        theirs.update_state(y_true, y_pred, weight)
    expected = torch.as_tensor(theirs.result()).double()
    torch.testing.assert_close(
        torch.as_tensor(ours.result()).double(), expected, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    ("target", "output", "chosen"),
    [
        ((8, 1), (8, 1), "binary_accuracy"),
        ((8,), (8, 1), "binary_accuracy"),
        ((8,), (8, 4), "sparse_categorical_accuracy"),
        ((8, 1), (8, 4), "sparse_categorical_accuracy"),
        ((8, 4), (8, 4), "categorical_accuracy"),
    ],
)
def test_accuracy_is_chosen_by_the_output(target, output, chosen):
    """The rule of Keras's `compile`."""
    metric = metrics.get("accuracy")
    metric.update_state(torch.zeros(target, dtype=torch.long), torch.rand(output))
    assert metric.chosen.fn.__name__ == chosen
    assert metric.name == "accuracy"


def test_loss_names_are_metrics_too():
    """`metrics=["mape"]`, as in Keras."""
    metric = metrics.get("mape")
    metric.update_state(torch.tensor([[2.0], [4.0]]), torch.tensor([[1.0], [4.0]]))
    assert float(metric.result()) == pytest.approx(25.0)
    assert metric.direction == "min"


@pytest.mark.parametrize("binary", [True, False], ids=["one unit", "classes"])
def test_f1_fits_the_output(binary):
    """One number: of the positive class, or the mean over classes."""
    sklearn = pytest.importorskip("sklearn.metrics")
    metric = metrics.get("f1")
    y_true, y_pred = _binary(40) if binary else _labels(40)
    metric.update_state(y_true, y_pred)
    chosen = (y_pred > 0.5).long().flatten() if binary else y_pred.argmax(-1)
    average = "binary" if binary else "macro"
    expected = sklearn.f1_score(y_true.flatten().numpy(), chosen.numpy(), average=average)
    assert float(metric.result()) == pytest.approx(expected)


def test_functions_get_torch_order_unless_named():
    """As losses do."""
    torch_order = metrics.get(lambda prediction, target: (prediction - 2 * target).mean())
    keras_order = metrics.get(lambda y_true, y_pred: (y_pred - 2 * y_true).mean())
    for metric in (torch_order, keras_order):
        metric.update_state(torch.ones(4, 1), torch.zeros(4, 1))
        assert float(metric.result()) == -2.0


def test_torchmetrics_objects_are_taken_as_they_are():
    """Their value over several batches, under their own class's name."""
    torchmetrics = pytest.importorskip("torchmetrics")
    metric = metrics.get(torchmetrics.Accuracy(task="multiclass", num_classes=6, average="micro"))
    right = 0
    for size in (7, 5):
        y_true, y_pred = _labels(size)
        metric.update_state(y_true, y_pred)
        right += int((y_pred.argmax(-1) == y_true).sum())
    assert float(metric.result()) == pytest.approx(right / 12)
    assert metric.name == "multiclass_accuracy"
    assert metric.direction == "max"


def test_running_mean_has_the_same_bits_however_often_it_is_read():
    """Reading must not change when terms are added up."""
    read, unread = RunningMean(), RunningMean()
    for i in range(300):
        term = torch.rand(())
        size = 32 if i % 100 else 7
        for mean in (read, unread):
            mean.add(term, size, size)
        read.summary()
    assert torch.equal(read.summary(), unread.summary())


def test_running_mean_continues_bit_for_bit():
    """A state taken in the middle leads to the same sum."""
    whole, first, second = RunningMean(), RunningMean(), RunningMean()
    terms = list(torch.rand(301))
    for term in terms:
        whole.add(term, 4, 4)
    for term in terms[:150]:
        first.add(term, 4, 4)
    second.load_state_dict(first.state_dict())
    for term in terms[150:]:
        second.add(term, 4, 4)
    assert torch.equal(whole.summary(), second.summary())


def test_summaries_of_two_processes_can_be_added():
    """What makes metrics right under several processes."""
    whole, parts = metrics.AUC(), [metrics.AUC(), metrics.AUC()]
    for part in parts:
        y_true, y_pred = _binary(20)
        part.update_state(y_true, y_pred)
        whole.update_state(y_true, y_pred)
    joined = whole.compute(parts[0].summary() + parts[1].summary())
    torch.testing.assert_close(joined, whole.result())


def test_reset_forgets_everything():
    """The next epoch begins at nothing."""
    for name in ("accuracy", "auc", "precision", "f1_score", "mse"):
        metric = metrics.get(name)
        metric.update_state(*_binary(8))
        metric.reset_state()
        assert float(torch.as_tensor(metric.result()).sum()) == 0.0


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ("acuracy", ValueError, "unknown metric 'acuracy'; did you mean 'accuracy'"),
        (3, TypeError, "a metric must be a name, a Metric, a torchmetrics object"),
    ],
)
def test_unknown_metrics_are_refused(given, error, text):
    """In `compile`, with close matches."""
    with pytest.raises(error, match=text):
        metrics.get(given)


def test_targets_of_another_shape_are_refused():
    """An area under a curve of labels against classes would be nonsense."""
    with pytest.raises(ValueError, match="metric 'auc' takes targets in the shape"):
        metrics.AUC().update_state(torch.zeros(4), torch.rand(4, 3))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: metrics.AUC(curve="roc"), "curve of AUC must be 'ROC' or 'PR'"),
        (lambda: metrics.AUC(num_thresholds=1), "must be at least 2"),
        (lambda: metrics.F1Score(average="mean"), "average of F1Score must be None"),
    ],
)
def test_settings_out_of_range_are_refused(make, text):
    """By name."""
    with pytest.raises(ValueError, match=text):
        make()
