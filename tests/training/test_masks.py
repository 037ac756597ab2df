"""Masked steps count neither in losses nor in metrics, as in Keras."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import fgraph
from fgraph import losses

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

TOKENS = np.array(
    [[1, 2, 3, 4, 5, 6], [4, 5, 0, 0, 0, 0], [7, 8, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0],
     [2, 2, 2, 2, 0, 0], [3, 0, 0, 0, 0, 0], [8, 7, 6, 5, 4, 3]], dtype="int32",
)  # fmt: skip
LABELS = np.random.default_rng(0).integers(0, 3, TOKENS.shape)
WEIGHTS = np.linspace(0.5, 2.0, TOKENS.size).reshape(TOKENS.shape).astype("float32")


def _model(library):
    x = library.Input((6,), dtype="int32")
    h = library.layers.Embedding(9, 4, mask_zero=True)(x)
    h = library.layers.LSTM(5, return_sequences=True)(h)
    return library.Model(x, library.layers.Dense(3, activation="softmax")(h))


@pytest.fixture
def pair(keras):
    theirs, ours = _model(keras), _model(fgraph)
    ours.set_weights([w.copy() for w in theirs.get_weights()])
    for model in (theirs, ours):
        model.compile(
            "sgd",
            "sparse_categorical_crossentropy",
            metrics=["accuracy", "sparse_categorical_crossentropy"],
            weighted_metrics=["accuracy"],
        )
    return theirs, ours


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_losses_and_metrics_equal_keras(pair, weights):
    """Over batches with different shares of padding."""
    settings = {"batch_size": 3, "sample_weight": weights, "verbose": 0}
    expected, found = (m.evaluate(TOKENS, LABELS, return_dict=True, **settings) for m in pair)
    for name in expected.keys() - {"weighted_accuracy"}:
        assert found[name] == pytest.approx(expected[name], rel=1e-5), name
    runs = [m.fit(TOKENS, LABELS, shuffle=False, epochs=3, **settings).history for m in pair]
    for name in runs[0].keys() - {"weighted_accuracy"}:
        assert runs[1][name] == pytest.approx(runs[0][name], rel=1e-4), name


def test_weighted_metrics_weigh_what_is_not_masked(pair):
    """Keras scales the weights themselves in its loss, so its figure is another one."""
    _, model = pair
    found = model.evaluate(
        TOKENS, LABELS, sample_weight=WEIGHTS, batch_size=3, return_dict=True, verbose=0
    )
    right = model.predict(TOKENS, verbose=0).argmax(-1) == LABELS
    weights = WEIGHTS * (TOKENS != 0)
    expected = (right * weights).sum() / weights.sum()
    assert found["weighted_accuracy"] == pytest.approx(expected, rel=1e-6)
    by_sample = model.evaluate(
        TOKENS, LABELS, sample_weight=WEIGHTS[:, 0], return_dict=True, verbose=0
    )
    weights = WEIGHTS[:, :1] * (TOKENS != 0)
    expected = (right * weights).sum() / weights.sum()
    assert by_sample["weighted_accuracy"] == pytest.approx(expected, rel=1e-6)


def test_all_padding_counts_nothing(pair):
    """Zero everywhere, as in Keras."""
    for model in pair:
        assert model.evaluate(0 * TOKENS, LABELS, verbose=0, return_dict=True) == {
            "loss": 0.0,
            "accuracy": 0.0,
            "weighted_accuracy": 0.0,
            "sparse_categorical_crossentropy": 0.0,
        }


def test_metrics_that_take_no_weights_get_what_counts():
    """torchmetrics objects."""
    torchmetrics = pytest.importorskip("torchmetrics")
    model = _model(fgraph)
    metric = torchmetrics.Accuracy(task="multiclass", num_classes=3, average="micro")
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=[metric, "accuracy"])
    found = model.evaluate(TOKENS, LABELS, batch_size=2, verbose=0, return_dict=True)
    right = model.predict(TOKENS, verbose=0).argmax(-1) == LABELS
    expected = right[TOKENS != 0].mean()
    assert found["multiclass_accuracy"] == pytest.approx(expected, rel=1e-6)
    assert found["accuracy"] == pytest.approx(expected, rel=1e-6)


def test_a_metric_of_one_number_cannot_be_masked():
    """It would count the padding."""

    def share(y_true, y_pred):
        return (y_pred.argmax(-1) == y_true).float().mean()

    model = _model(fgraph)
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=[share])
    with pytest.raises(ValueError, match="metric 'share' returns one number for the whole batch"):
        model.evaluate(TOKENS, LABELS, verbose=0)


MASK = torch.tensor([[True, True, False], [True, False, False]])


@pytest.mark.parametrize(
    ("reduction", "expected"),
    [
        ("sum_over_batch_size", lambda v, w: (v * w).sum() / 3),
        ("sum", lambda v, w: (v * w).sum()),
        ("mean_with_sample_weight", lambda v, w: (v * w).sum() / (w * MASK).sum()),
        ("none", lambda v, w: v * w),
    ],
)
def test_reductions_of_masked_losses(reduction, expected):
    """A mean is over what is not masked, a sum just leaves it out."""
    y_true, y_pred = torch.randn(2, 3, 1), torch.randn(2, 3, 1)
    loss = losses.MeanSquaredError(reduction=reduction)
    values = (y_true - y_pred).square().squeeze(-1) * MASK
    weights = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    torch.testing.assert_close(loss(y_true, y_pred, weights, mask=MASK), expected(values, weights))


def test_ignored_classes_and_masks_leave_out_both():
    """The mean is over labels that neither leaves out."""
    logits, labels = torch.randn(2, 3, 4), torch.tensor([[1, 9, 2], [3, 0, 1]])
    loss = losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=9)
    expected = F.cross_entropy(logits[[0, 1], [0, 0]], labels[[0, 1], [0, 0]])
    torch.testing.assert_close(loss(labels, logits, mask=MASK), expected)
