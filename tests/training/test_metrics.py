"""Metrics: equal to Keras over several batches, on the device, resumable."""

from __future__ import annotations

import re

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


def _rows(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(n, 4), torch.rand(n, 4)


def _several(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randint(2, (n, 3)).float(), torch.rand(n, 3)


def _indices(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randint(4, (n,)), torch.randint(4, (n,))


def _pixels(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randint(4, (n, 2, 3)), torch.rand(n, 2, 3, 4)


def _one_hot(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    return F.one_hot(torch.randint(4, (n,)), 4).float(), torch.rand(n, 4)


def _signs(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randint(2, (n, 3)) * 2.0 - 1, torch.randn(n, 3)


def _ranked(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randint(6, (n,)), torch.rand(n, 6).argsort(-1)


def _wide(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(n, 7), torch.rand(n, 7)


TABLE = [
    ("Accuracy", {}, _indices),
    ("MeanAbsolutePercentageError", {}, _rows),
    ("MeanSquaredLogarithmicError", {}, _rows),
    ("Hinge", {}, _signs),
    ("SquaredHinge", {}, _signs),
    ("CategoricalHinge", {}, _one_hot),
    ("KLDivergence", {}, _rows),
    ("Poisson", {}, _rows),
    ("LogCoshError", {}, _rows),
    ("BinaryCrossentropy", {}, _several),
    ("BinaryCrossentropy", {"from_logits": True, "label_smoothing": 0.2}, _several),
    ("CategoricalCrossentropy", {"label_smoothing": 0.1}, _classes),
    ("CategoricalCrossentropy", {"from_logits": True}, _classes),
    ("SparseCategoricalCrossentropy", {}, _labels),
    ("SparseCategoricalCrossentropy", {"from_logits": True}, _labels),
    ("SparseTopKCategoricalAccuracy", {"k": 3, "from_sorted_ids": True}, _ranked),
    ("CosineSimilarity", {"axis": 1}, _rows),
    ("PearsonCorrelation", {}, _wide),
    ("ConcordanceCorrelation", {}, _wide),
    ("R2Score", {}, _rows),
    ("R2Score", {"class_aggregation": "variance_weighted_average"}, _rows),
    ("R2Score", {"class_aggregation": None, "num_regressors": 2}, _rows),
    ("Precision", {"thresholds": [0.7, 0.2, 0.7]}, _binary),
    ("TruePositives", {}, _binary),
    ("FalsePositives", {"thresholds": [0.9, 0.1]}, _several),
    ("TrueNegatives", {"thresholds": 0.3}, _binary),
    ("FalseNegatives", {}, _several),
    ("SensitivityAtSpecificity", {"specificity": 0.4}, _binary),
    ("SpecificityAtSensitivity", {"sensitivity": 0.6, "num_thresholds": 7}, _several),
    ("PrecisionAtRecall", {"recall": 0.5, "class_id": 1}, _several),
    ("RecallAtPrecision", {"precision": 0.5}, _several),
    ("RecallAtPrecision", {"precision": 0.5, "num_thresholds": 1}, _binary),
    ("AUC", {"summation_method": "minoring"}, _binary),
    ("AUC", {"summation_method": "majoring", "curve": "PR"}, _binary),
    ("AUC", {"curve": "PRGAIN"}, _binary),
    ("AUC", {"thresholds": [0.6, 0.1, 0.3]}, _binary),
    ("AUC", {"from_logits": True}, _binary),
    ("AUC", {"multi_label": True}, _several),
    ("AUC", {"multi_label": True, "curve": "PR", "label_weights": [1.0, 0.5, 2.0]}, _several),
    ("AUC", {"label_weights": [1.0, 0.5, 2.0]}, _several),
    ("FBetaScore", {"beta": 2.0}, _one_hot),
    ("FBetaScore", {"beta": 0.5, "average": "weighted", "threshold": 0.4}, _several),
    ("MeanIoU", {"num_classes": 4}, _indices),
    ("MeanIoU", {"num_classes": 4, "sparse_y_pred": False, "ignore_class": 2}, _pixels),
    ("IoU", {"num_classes": 5, "target_class_ids": [0, 4, 2]}, _indices),
    ("IoU", {"num_classes": 3, "target_class_ids": [0]}, _indices),
    ("BinaryIoU", {"threshold": 0.3}, _binary),
    ("BinaryIoU", {"target_class_ids": [1]}, _several),
    ("OneHotIoU", {"num_classes": 4, "target_class_ids": [1, 3]}, _one_hot),
    ("OneHotMeanIoU", {"num_classes": 4}, _one_hot),
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
        theirs_weight = weight
        if is_weighted and "IoU" in name:  # Keras rounds weights down, and needs one for each value
            weight = (4 * weight).long()
            theirs_weight = weight
            if y_true.ndim > 1 and "OneHot" not in name:
                theirs_weight = weight.view(-1, *[1] * (y_true.ndim - 1)).expand_as(y_true)
        ours.update_state(y_true, y_pred, weight)
        theirs.update_state(y_true, y_pred, theirs_weight)
    expected = torch.as_tensor(theirs.result()).double()
    torch.testing.assert_close(
        torch.as_tensor(ours.result()).double(), expected, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", ["Precision", "Recall"])
def test_the_highest_of_half_precision_are_those_of_float32(name, dtype):
    """float16 has no number low enough for those that do not count."""
    y_true, y_pred = _classes(20)
    results = []
    for predictions in (y_pred.to(dtype), y_pred.to(dtype).float()):
        metric = getattr(metrics, name)(top_k=2)
        metric.update_state(y_true, predictions)
        results.append(float(metric.result()))
    assert results[0] == results[1] > 0


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


@pytest.mark.parametrize(
    ("name", "key"),
    [("PSNR", "psnr"), ("MyDice", "my_dice"), ("dice2D", "dice2d"), ("<lambda>", "lambda")],
)
def test_keys_in_logs_are_in_snake_case(keras, name, key):
    """Those of functions and of classes, as Keras forms them."""
    from keras.src.utils.naming import to_snake_case

    def function(y_true, y_pred):
        return y_true - y_pred

    function.__name__ = name
    assert to_snake_case(name) == metrics.get(function).name == key
    assert type(name.strip("<>"), (metrics.Metric,), {})().name == key


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
        (lambda: metrics.AUC(curve="rock"), "curve of AUC must be 'ROC', 'PR' or 'PRGAIN'"),
        (lambda: metrics.AUC(num_thresholds=1), "must be at least 2"),
        (lambda: metrics.F1Score(average="mean"), "average of F1Score must be None"),
    ],
)
def test_settings_out_of_range_are_refused(make, text):
    """By name."""
    with pytest.raises(ValueError, match=text):
        make()


def _updates():
    return [
        ([1.0, 3.0, 5.0], None),
        (7.0, None),
        (torch.rand(3, 2), [0.5, 0.0, 2.0]),
        (torch.rand(2, 2), torch.rand(2, 2)),
        (torch.rand(4, 2, 2), None),
        ([1, 2], 3.0),
    ]


@pytest.mark.parametrize("name", ["Mean", "Sum"])
def test_reductions_of_values_equal_keras(keras, name):
    """Numbers, lists and tensors, weighted or not."""
    ours, theirs = getattr(metrics, name)(), getattr(keras.metrics, name)()
    for values, weight in _updates():
        ours.update_state(values, weight)
        theirs.update_state(values, weight)
        assert float(ours.result()) == pytest.approx(float(theirs.result()), rel=1e-5)
    ours.reset_state()
    assert float(ours.result()) == 0.0


def test_reductions_of_values_are_no_metrics_of_compile():
    """Keras would take the predictions for weights."""
    with pytest.raises(TypeError, match="Mean takes values, not targets and predictions"):
        metrics.get(metrics.Mean())


def test_a_wrapped_function_equals_keras(keras):
    """With keyword arguments."""

    def share(y_true, y_pred, power):
        return (abs(y_true - y_pred) ** power).mean(-1)

    y_true, y_pred = _rows(9)
    found = [m.MeanMetricWrapper(share, "share", power=3) for m in (metrics, keras.metrics)]
    for metric in found:
        metric.update_state(y_true, y_pred)
    assert float(found[0].result()) == pytest.approx(float(found[1].result()), rel=1e-6)
    assert found[0].name == "share"


NAMES = [name for name in dir(metrics) if isinstance(getattr(metrics, name), type)]
BY_NAME = [n for n in NAMES if n not in ("Metric", "MeanMetric", "MeanMetricWrapper", "Mean", "Sum")
           and "IoU" not in n and "At" not in n]  # fmt: skip


@pytest.mark.parametrize("name", BY_NAME)
def test_every_metric_without_needed_arguments_has_a_name(keras, name):
    """Keras's two: the class's, and the one in snake case."""
    theirs = getattr(keras.metrics, name)()
    assert getattr(metrics, name)().name == re.sub(r"_\d+$", "", theirs.name)
    assert type(metrics.get(name)) is getattr(metrics, name)
    assert getattr(metrics, name)(name="mine", dtype="float32").name == "mine"


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: metrics.IoU(3, [3]), "must be from 0 to 2"),
        (lambda: metrics.AUC(summation_method="x"), "'interpolation', 'minoring' or 'majoring'"),
        (lambda: metrics.AUC(num_labels=2), "needs multi_label=True"),
        (lambda: metrics.FBetaScore(beta=0), r"beta of FBetaScore must be in \(0, inf\)"),
        (lambda: metrics.R2Score("mean"), "class_aggregation of R2Score"),
        (lambda: metrics.PrecisionAtRecall(1.5), r"of PrecisionAtRecall must be in \[0, 1\]"),
        (lambda: metrics.Recall(thresholds=2), "thresholds of Recall must be from 0 to 1"),
        (lambda: metrics.MeanIoU(4).update_state(*_pixels(2)), "sparse_y_pred=False"),
    ],
)  # fmt: skip
def test_settings_and_shapes_are_checked(make, text):
    """By name."""
    with pytest.raises(ValueError, match=text):
        make()


BROADCAST = [
    ("MeanSquaredError", (3, 1), (3,)),
    ("MeanAbsoluteError", (3,), (3, 3)),
    ("RootMeanSquaredError", (3, 1), (3, 3)),
    ("Accuracy", (3, 1), (3,)),
    ("BinaryAccuracy", (3,), (3, 3)),
    ("CategoricalAccuracy", (1, 3), (3, 3)),
    ("SparseCategoricalAccuracy", (3, 3), (3, 3)),
    ("SparseTopKCategoricalAccuracy", (3, 3), (3, 3)),
    ("BinaryCrossentropy", (3, 1), (3, 3)),
]


@pytest.mark.parametrize(("name", "target", "output"), BROADCAST)
def test_targets_are_not_broadcast(name, target, output):
    """Three samples of three classes would show nothing."""
    metric = getattr(metrics, name)()
    with pytest.raises(ValueError, match="would otherwise be broadcast"):
        metric.update_state(torch.zeros(target), torch.rand(output))


class Positives(metrics.Metric):
    """How many labels are positive, by class, in a variable as Keras's metrics have them."""

    def __init__(self):
        super().__init__("positives")
        self.counts = self.add_variable((3,), name="counts")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.counts.assign_add(y_true.sum(0))

    def result(self):
        return torch.maximum(self.counts, torch.zeros(3)).sum() / 2


def test_variables_of_a_metric_are_reset_and_resumed():
    """They become zero unless `reset_state` is defined."""
    metric, resumed = Positives(), Positives()
    metric.update_state(torch.ones(4, 3), None)
    resumed.load_state_dict(metric.state_dict())
    metric.reset_state()
    assert (float(metric.result()), float(resumed.result())) == (0.0, 6.0)
    assert resumed.variables == [resumed.counts]
    assert (1 + resumed.counts[:2] * 2).tolist() == [9.0, 9.0]
    torch.testing.assert_close(
        torch.stack([resumed.counts, resumed.counts]).sum(), torch.tensor(24.0)
    )


def test_variables_of_several_processes_are_added_up():
    """Keras's `aggregation="sum"`."""
    first, second = Positives(), Positives()
    for metric, size in ((first, 4), (second, 2)):
        metric.update_state(torch.ones(size, 3), None)
    first.merge([second.state_dict()])
    assert float(first.result()) == 9.0


VARIABLES = [
    (lambda m: m.add_variable((), aggregation="mean"), "aggregation='mean' is not available"),
    (lambda m: m.counts.assign(1.0), r"counts has shape \(3,\), but was assigned .* shape \(\)"),
    (lambda m: m.add_variable((), name="counts"), "has a variable 'counts' already"),
    (lambda m: m.add_weight(initializer="normal"), "must be 'zeros', 'ones' or a function"),
]


@pytest.mark.parametrize(("act", "text"), VARIABLES)
def test_wrong_values_of_variables_are_refused(act, text):
    """By name."""
    with pytest.raises(ValueError, match=text):
        act(Positives())
