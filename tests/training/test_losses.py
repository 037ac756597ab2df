"""Losses: equal to Keras, finite under saturation, strict about shapes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fgraph import Input, Model, losses


def _probabilities(*shape: int) -> torch.Tensor:
    return torch.randn(*shape).softmax(-1)


def _one_hot(rows: int, classes: int) -> torch.Tensor:
    return F.one_hot(torch.randint(classes, (rows,)), classes).float()


def _positive(*shape: int) -> torch.Tensor:
    return torch.rand(*shape) + 0.1


SHAPE = (6, 4)
CASES = {
    "CategoricalCrossentropy": (_one_hot(6, 4), _probabilities(*SHAPE)),
    "CategoricalFocalCrossentropy": (_one_hot(6, 4), _probabilities(*SHAPE)),
    "SparseCategoricalCrossentropy": (torch.randint(4, (6,)), _probabilities(*SHAPE)),
    "CategoricalGeneralizedCrossEntropy": (torch.randint(4, (6,)), _probabilities(*SHAPE)),
    "BinaryCrossentropy": (torch.randint(2, SHAPE).float(), torch.rand(*SHAPE)),
    "BinaryFocalCrossentropy": (torch.randint(2, SHAPE).float(), torch.rand(*SHAPE)),
    "MeanSquaredError": (torch.randn(SHAPE), torch.randn(SHAPE)),
    "MeanAbsoluteError": (torch.randn(SHAPE), torch.randn(SHAPE)),
    "MeanAbsolutePercentageError": (_positive(*SHAPE), torch.randn(SHAPE)),
    "MeanSquaredLogarithmicError": (_positive(*SHAPE), _positive(*SHAPE)),
    "Huber": (3 * torch.randn(SHAPE), torch.randn(SHAPE)),
    "LogCosh": (3 * torch.randn(SHAPE), torch.randn(SHAPE)),
    "KLDivergence": (_probabilities(*SHAPE), _probabilities(*SHAPE)),
    "Poisson": (_positive(*SHAPE), _positive(*SHAPE)),
    "Hinge": (torch.randint(2, SHAPE).float(), torch.randn(SHAPE)),
    "SquaredHinge": (torch.randint(2, SHAPE).float() * 2 - 1, torch.randn(SHAPE)),
    "CategoricalHinge": (_one_hot(6, 4), torch.randn(SHAPE)),
    "CosineSimilarity": (torch.randn(SHAPE), torch.randn(SHAPE)),
    "Dice": (torch.randint(2, SHAPE).float(), torch.rand(*SHAPE)),
    "CTC": (torch.tensor([[1, 2, 0], [3, 0, 0]]), torch.randn(2, 7, 4)),
}
SETTINGS = [
    ("CategoricalCrossentropy", {"label_smoothing": 0.2}),
    ("CategoricalCrossentropy", {"from_logits": True}),
    ("CategoricalCrossentropy", {"from_logits": True, "label_smoothing": 0.1}),
    ("SparseCategoricalCrossentropy", {"from_logits": True}),
    ("SparseCategoricalCrossentropy", {"ignore_class": 0}),
    ("BinaryCrossentropy", {"from_logits": True}),
    ("BinaryCrossentropy", {"label_smoothing": 0.3}),
    ("BinaryFocalCrossentropy", {"apply_class_balancing": True, "gamma": 1.5}),
    ("BinaryFocalCrossentropy", {"from_logits": True, "label_smoothing": 0.1}),
    ("CategoricalFocalCrossentropy", {"from_logits": True, "alpha": 0.5}),
    ("CategoricalFocalCrossentropy", {"alpha": [0.1, 0.2, 0.3, 0.4]}),
    ("CategoricalGeneralizedCrossEntropy", {"q": 0.9}),
    ("Huber", {"delta": 0.4}),
    ("CosineSimilarity", {"axis": 0}),
    ("Dice", {"axis": (1,)}),
    ("MeanSquaredError", {"reduction": "sum"}),
    ("MeanSquaredError", {"reduction": "none"}),
    ("MeanAbsoluteError", {"reduction": "mean_with_sample_weight"}),
    *[(name, {}) for name in CASES],
]
_IDS = [f"{name}-{'-'.join(settings) or 'default'}" for name, settings in SETTINGS]


@pytest.mark.parametrize(("name", "settings"), SETTINGS, ids=_IDS)
@pytest.mark.parametrize("is_weighted", [False, True], ids=["plain", "weighted"])
def test_class_equals_keras(keras, name, settings, is_weighted):
    """Each loss gives Keras's number, with and without sample weights."""
    y_true, y_pred = CASES[name]
    weight = None
    if is_weighted:
        if name == "Dice" and not settings:
            pytest.skip("without an axis there is no value a sample")
        weight = torch.rand(len(y_true))
    if name == "CosineSimilarity" and settings and is_weighted:
        weight = torch.rand(4)
    ours = getattr(losses, name)(**settings)(y_true, y_pred, weight)
    theirs = getattr(keras.losses, name)(**settings)(y_true, y_pred, weight)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "name",
    [
        "mean_squared_error",
        "mean_absolute_error",
        "mean_absolute_percentage_error",
        "mean_squared_logarithmic_error",
        "huber",
        "log_cosh",
        "hinge",
        "squared_hinge",
        "categorical_hinge",
        "kl_divergence",
        "poisson",
        "cosine_similarity",
        "categorical_crossentropy",
        "sparse_categorical_crossentropy",
        "binary_crossentropy",
        "categorical_focal_crossentropy",
        "binary_focal_crossentropy",
        "ctc",
        "dice",
    ],
)
def test_function_has_keras_order_and_values(keras, name):
    """`losses.name(y_true, y_pred)` gives Keras's value for each sample."""
    class_name = {"kl_divergence": "KLDivergence", "ctc": "CTC"}.get(
        name, "".join(word.capitalize() for word in name.split("_"))
    )
    y_true, y_pred = CASES[class_name]
    expected = getattr(keras.losses, name)(y_true, y_pred)
    # Keras makes -cosine_similarity a sum of its own sign: both are the loss
    torch.testing.assert_close(
        getattr(losses, name)(y_true, y_pred), expected, rtol=1e-5, atol=1e-6
    )


def test_categorical_crossentropy_by_hand():
    """The mean of minus the log-probability of the true class."""
    y_pred = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    value = losses.get("categorical_crossentropy")(torch.eye(3)[[0, 2]], y_pred)
    assert value.item() == pytest.approx(-(math.log(0.7) + math.log(0.8)) / 2, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(
    "name", ["BinaryCrossentropy", "BinaryFocalCrossentropy", "CategoricalCrossentropy"]
)
def test_half_precision_is_computed_in_float32(name, dtype):
    """There, 1 - 1e-7 is 1, whose complement has no logarithm."""
    y_true = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    y_pred = torch.tensor([[1.0, 0.0], [1.0, 0.0]], dtype=dtype, requires_grad=True)
    value = getattr(losses, name)()(y_true, y_pred)
    value.backward()
    torch.testing.assert_close(value, getattr(losses, name)()(y_true, y_pred.float()))
    assert value.isfinite()
    assert y_pred.grad.isfinite().all()


def test_spatial_sparse_crossentropy_matches_torch():
    """Classes along the last axis of a `(N, H, W, classes)` output."""
    logits, labels = torch.randn(2, 3, 5, 4), torch.randint(4, (2, 3, 5))
    ours = losses.SparseCategoricalCrossentropy(from_logits=True)(labels, logits)
    torch.testing.assert_close(ours, F.cross_entropy(logits.permute(0, 3, 1, 2), labels))


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("mse", "mean_squared_error"),
        ("MSE", "mean_squared_error"),
        ("mae", "mean_absolute_error"),
        ("mape", "mean_absolute_percentage_error"),
        ("msle", "mean_squared_logarithmic_error"),
        ("bce", "binary_crossentropy"),
        ("kld", "kl_divergence"),
        ("Huber", "huber"),
    ],
)
def test_aliases_name_the_same_loss(alias, name):
    """Keras's short names."""
    assert type(losses.get(alias)) is type(losses.get(name))


def test_function_of_this_package_becomes_its_class():
    """So that `loss=losses.binary_crossentropy` is computed from logits as its name is."""
    loss = losses.get(losses.binary_crossentropy)
    assert isinstance(loss, losses.BinaryCrossentropy)


def test_torch_module_gets_prediction_then_target():
    """`nn.KLDivLoss` is not symmetric, so the order shows."""
    prediction, target = _probabilities(5, 3).log(), _probabilities(5, 3)
    loss = nn.KLDivLoss(reduction="batchmean")
    torch.testing.assert_close(losses.get(loss)(target, prediction), loss(prediction, target))


def test_callable_with_keras_names_gets_target_first():
    """Parameters named `y_true` and `y_pred` decide the order."""
    loss = losses.get(lambda y_true, y_pred: (2 * y_true - y_pred).mean())
    assert loss(torch.ones(3, 1), torch.zeros(3, 1)).item() == 2.0


def test_callable_without_names_gets_torch_order():
    """Every other callable is called `fn(prediction, target)`."""
    loss = losses.get(lambda a, b: (2 * a - b).mean())
    assert loss(torch.ones(3, 1), torch.zeros(3, 1)).item() == -1.0


@pytest.mark.parametrize(
    "loss", [nn.CrossEntropyLoss(), F.cross_entropy], ids=["module", "function"]
)
def test_sample_weight_reaches_torch_losses(loss):
    """They are computed without reduction, weighted, and averaged over the batch."""
    logits, labels, weight = torch.randn(6, 3), torch.randint(3, (6,)), torch.rand(6)
    expected = (F.cross_entropy(logits, labels, reduction="none") * weight).mean()
    torch.testing.assert_close(losses.get(loss)(labels, logits, weight), expected)


def test_sample_weight_on_a_scalar_loss_is_refused():
    """A number for the whole batch cannot be weighted."""
    loss = losses.get(lambda prediction, target: (prediction - target).square().mean())
    with pytest.raises(ValueError, match="one number for the whole batch"):
        loss(torch.ones(3, 1), torch.ones(3, 1), torch.ones(3))


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.int64])
def test_integer_labels_of_any_width_reach_torch(dtype):
    """torch's own losses take int64 only."""
    labels = torch.from_numpy(np.array([0, 2, 1], dtype=dtype))
    logits = torch.randn(3, 3)
    expected = F.cross_entropy(logits, labels.long())
    torch.testing.assert_close(losses.get(nn.CrossEntropyLoss())(labels, logits), expected)


REFUSED = [
    ("mse", (8,), (8, 8), "would otherwise broadcast"),
    ("mse", (8, 1), (8, 3), "target of output 'out' has shape .None, 1."),
    ("binary_crossentropy", (8, 2), (8, 1), "needs equal shapes"),
    ("categorical_crossentropy", (8,), (8, 3), "use sparse_categorical_crossentropy"),
    ("categorical_crossentropy", (8, 1), (8, 3), "use sparse_categorical_crossentropy"),
    ("sparse_categorical_crossentropy", (8, 3), (8, 3), "belong to categorical_crossentropy"),
    ("sparse_categorical_crossentropy", (8, 2), (8, 3), "one class index for each row"),
    (nn.MSELoss(), (8,), (8, 3), "MSELoss would broadcast"),
    (F.l1_loss, (8, 1), (8, 3), "l1_loss would broadcast"),
    (lambda p, t: (p - t).mean(), (8, 1), (8, 3), "would broadcast"),
    (lambda p, t: (p - t).mean(), (8, 1), (8,), "would broadcast"),
    (lambda y_true, y_pred: y_true.float() - y_pred, (8,), (8, 8), "would broadcast"),
    ("ctc", (8,), (8, 3), "takes a target .None, length."),
]


class Difference(losses.Loss):
    """One that broadcasts what it is given."""

    def call(self, y_true, y_pred):
        return torch.sub(other=y_true, input=y_pred)


class Gaussian(losses.Loss):
    """One whose predictions are a mean and a width for each target."""

    def call(self, y_true, y_pred):
        return ((y_true - y_pred[:, :1]) / y_pred[:, 1:]).square() + y_pred[:, 1:].log()


@pytest.mark.parametrize(("loss", "target", "output", "text"), REFUSED)
def test_shapes_that_would_broadcast_are_refused(loss, target, output, text):
    """A silent broadcast is a wrong loss."""
    with pytest.raises(ValueError, match=text):
        losses.get(loss).check(torch.zeros(target), torch.zeros(output), "out")


@pytest.mark.parametrize(
    ("loss", "target", "output"),
    [
        ("mse", (8,), (8, 1)),
        ("binary_crossentropy", (8,), (8, 1)),
        (nn.MSELoss(), (8,), (8, 1)),
        (nn.CrossEntropyLoss(), (8,), (8, 3)),
        ("sparse_categorical_crossentropy", (8, 1), (8, 3)),
        ("sparse_categorical_crossentropy", (8, 5), (8, 5, 3)),
    ],
)
def test_a_missing_last_dimension_passes(loss, target, output):
    """As Keras expands it."""
    losses.get(loss).check(torch.zeros(target), torch.zeros(output), "out")


@pytest.mark.parametrize("target", [(8,), (8, 1)])
def test_a_class_of_the_user_that_broadcasts_is_refused(target):
    """Also where Keras's own losses would add the missing dimension."""
    with pytest.raises(ValueError, match="Difference needs equal shapes"):
        Difference().check(torch.zeros(target), torch.zeros(8, 1 if len(target) == 1 else 3), "out")


@pytest.mark.parametrize(
    ("loss", "target", "output"),
    [
        (Gaussian(), (8, 1), (8, 2)),
        (Gaussian().call, (8, 1), (8, 2)),
        (lambda y_true, y_pred: F.cross_entropy(y_pred, y_true[:, 0].long()), (8, 1), (8, 3)),
        (lambda y_true, y_pred: torch.cat([y_true, y_pred], 1).sum(), (8, 1), (8, 3)),
    ],
)
def test_losses_of_the_user_take_what_they_do_not_broadcast(loss, target, output):
    """Only they know what belongs to their predictions."""
    losses.get(loss).check(torch.zeros(target), torch.ones(output), "out")


def test_missing_last_dimension_is_expanded_not_broadcast():
    """`(N,)` against `(N, 1)` compares sample by sample."""
    target, prediction = torch.tensor([1.0, 2.0]), torch.tensor([[1.0], [4.0]])
    for loss in ("mse", nn.MSELoss(), lambda p, t: (p - t).square().mean()):
        assert losses.get(loss)(target, prediction).item() == 2.0


@pytest.mark.parametrize(
    ("loss", "values", "text"),
    [
        ("sparse_categorical_crossentropy", [0, 3], "labels from 0 to 3, but the output has 3"),
        ("sparse_categorical_crossentropy", [-1, 2], "labels from -1 to 2"),
        (nn.CrossEntropyLoss(), [0, 5], "labels from 0 to 5, but the output has 3 classes"),
    ],
)
def test_labels_outside_the_classes_are_refused(loss, values, text):
    """Before torch reads beyond its arrays."""
    with pytest.raises(ValueError, match=text):
        losses.get(loss).check_values(torch.tensor(values), torch.zeros(2, 3), "out")


def test_binary_labels_outside_zero_and_one_are_refused():
    """Labels -1 and 1 belong to hinge losses."""
    with pytest.raises(ValueError, match=r"from -1 to 1.*in \[0, 1\]"):
        losses.get("bce").check_values(torch.tensor([-1.0, 1.0]), torch.zeros(2, 1), "out")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("categorical_crossentrpy", "unknown loss 'categorical_crossentrpy'; did you mean"),
        ("qqq", "unknown loss 'qqq'; known: "),
    ],
)
def test_unknown_names_say_what_is_close(name, text):
    """A typing error costs one look."""
    with pytest.raises(ValueError, match=text):
        losses.get(name)


def test_unknown_kinds_are_refused():
    """A number is no loss."""
    with pytest.raises(TypeError, match="a loss must be a name, a Loss or a callable, got int"):
        losses.get(3)


def test_unknown_reduction_is_refused():
    """Keras's names only."""
    with pytest.raises(ValueError, match="unknown reduction 'avg' of MeanSquaredError"):
        losses.MeanSquaredError(reduction="avg")


def test_label_smoothing_out_of_range_is_refused():
    """A share lies in [0, 1]."""
    with pytest.raises(ValueError, match=r"label_smoothing of .* must be in \[0, 1\]"):
        losses.CategoricalCrossentropy(label_smoothing=2.0)


@pytest.mark.parametrize("settings", [{}, {"alpha": 0.7, "beta": 0.2}, {"axis": (1, 2)}])
def test_tversky_equals_keras(keras, settings):
    """On soft masks."""
    y_true, y_pred = (torch.rand(3, 4, 5) > 0.5).float(), torch.rand(3, 4, 5)
    expected = keras.losses.Tversky(**settings)(y_true, y_pred).item()
    assert losses.Tversky(**settings)(y_true, y_pred).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("settings", [{}, {"gamma": 20.0, "margin": 0.2, "remove_diagonal": False}])
@pytest.mark.parametrize("labels", [[0, 1, 0, 2, 1, 3], [0, 0, 0, 1, 1, 1]])
def test_circle_equals_keras(keras, settings, labels):
    """Samples without a neighbour of their class count nothing; gradients are finite."""
    y_true = torch.tensor(labels)
    y_pred = torch.nn.functional.normalize(torch.randn(6, 4), dim=1).requires_grad_()
    for reduction in ("sum_over_batch_size", "sum"):
        expected = keras.losses.Circle(reduction=reduction, **settings)(y_true, y_pred).item()
        found = losses.Circle(reduction=reduction, **settings)(y_true, y_pred)
        assert found.item() == pytest.approx(expected, rel=1e-4)
    found.backward()
    assert torch.isfinite(y_pred.grad).all()


@pytest.mark.parametrize("from_logits", [True, False])
@pytest.mark.parametrize("ignore_class", [None, 2])
@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("sizes", [(), (5,), (5, 4), (5, 4, 3)], ids=["rows", "1D", "2D", "3D"])
def test_labels_of_pixels_have_gradients_wherever_the_classes_are(
    sizes, axis, ignore_class, from_logits
):
    """Classes come second for torch's own loss; those of channels-last images are permuted."""
    loss = losses.SparseCategoricalCrossentropy(from_logits, ignore_class=ignore_class)
    loss.axis = axis
    labels = torch.randint(4, (2, *sizes))
    memory = torch.randn(2, *sizes, 4)
    values, other = (memory.clone().requires_grad_() for _ in range(2))
    second = values.movedim(-1, 1)  # as a convolution leaves it
    given = second.movedim(1, -1) if axis == -1 else second
    made = loss(labels, given if from_logits else given.softmax(axis))
    expected = torch.nn.functional.cross_entropy(
        other.movedim(-1, 1).contiguous(),
        labels,
        ignore_index=-100 if ignore_class is None else ignore_class,
    )
    torch.testing.assert_close(made, expected)
    torch.testing.assert_close(
        *(torch.autograd.grad(m, v)[0] for m, v in ((made, values), (expected, other)))
    )


class Contrast(losses.Loss):
    """One that overrides the whole call, as Keras's example of contrastive learning."""

    def __call__(self, labels, vectors, sample_weight=None):
        same = (labels[:, None] == labels[None]).float()
        values = -(same * torch.log_softmax(vectors @ vectors.mT, 1)).sum(1)
        return (values if sample_weight is None else values * sample_weight).mean()


@pytest.mark.parametrize("weight", [None, np.linspace(0, 1, 8, dtype="float32")])
def test_a_loss_of_the_user_may_override_the_whole_call(weight):
    """Keras calls it with targets, predictions and sample weights."""
    x, labels = torch.randn(8, 3), torch.tensor([0, 1, 2, 0, 1, 2, 0, 0])
    given = Input((3,))
    model = Model(given, nn.Linear(3, 4)(given))
    with torch.no_grad():
        expected = Contrast()(labels, model(x), None if weight is None else torch.tensor(weight))
    model.compile(torch.optim.SGD(model.parameters(), 0.0), Contrast())
    history = model.fit(x, labels, sample_weight=weight, verbose=0).history
    assert history["loss"][0] == pytest.approx(expected.item(), rel=1e-5)


SYMBOLIC = {
    "BinaryCrossentropy": losses.BinaryCrossentropy(from_logits=True),
    "SparseCategoricalCrossentropy": losses.SparseCategoricalCrossentropy(from_logits=True),
    "MeanSquaredError": losses.MeanSquaredError(reduction="none"),
    "Dice": losses.Dice(),
    "mse": losses.mean_squared_error,
    "bce": lambda y, p: losses.binary_crossentropy(y, p, from_logits=True),
    "kl": losses.kl_divergence,
}


@pytest.mark.parametrize("name", SYMBOLIC)
def test_losses_are_called_in_graphs(name):
    """As by a layer that calls `add_loss`."""
    loss, sparse = SYMBOLIC[name], name.startswith("Sparse")
    y = torch.tensor([1, 0, 2, 1]) if sparse else torch.rand(4, 3).round()
    prediction, target = Input((3,)), Input(y.shape[1:], dtype=y.dtype)
    model = Model([prediction, target], loss(target, prediction))
    for values in (torch.randn(4, 3), torch.rand(4, 3)):
        torch.testing.assert_close(model(values, y), loss(y, values))


def test_targets_of_other_shapes_are_refused_in_graphs():
    with pytest.raises(ValueError, match=r"target of shape \(None, 2\) does not belong"):
        losses.mean_squared_error(Input((2,)), Input((3,)))
