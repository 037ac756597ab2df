"""What users write and trainers elsewhere find late, or never: said before the first step."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from fgraph import Input, Model, callbacks, layers, losses, optimizers
from fgraph.errors import SaveError
from fgraph.training import Trainer

X = np.linspace(0, 1, 24, dtype=np.float32).reshape(6, 4)
Y = X[:, :1]
LABELS = np.array([0, 1, 2, 0, 1, 2])


def _model(units=1, activation=None, **settings):
    a = Input((4,), name="feat")
    model = Model(a, layers.Dense(units, activation, name="head")(a))
    model.compile(**{"optimizer": "sgd", "loss": "mse", **settings})
    return model


def _csr():
    return pytest.importorskip("scipy.sparse").csr_matrix(X)


def _fit(x=X, y=Y, model=None, **settings):
    return (model or _model()).fit(x, y, verbose=0, **settings)


def _compiled(**settings):
    return _fit(model=_model(**settings))


def _classes(**settings):
    net = _model(3, "softmax", loss="sparse_categorical_crossentropy")
    return _fit(model=net, **{"y": LABELS, **settings})


def _wide(loss, y, activation=None, units=1):
    return _fit(y=y, model=_model(units, activation, loss=loss))


class NoLength(torch.utils.data.Dataset):
    """A data set that can only be indexed."""

    def __getitem__(self, i):
        return X[i], Y[i]


class Indexed:
    """Something that can be indexed, but derives from nothing."""

    def __getitem__(self, i):
        return X[i], Y[i]


DATA = {
    "nan labels": (lambda: _fit(y=Y * np.nan), ValueError, "target of output 'head' .* not finite"),
    "inf labels": (lambda: _fit(y=Y + np.inf), ValueError, "target of output 'head' .* not finite"),
    "nan labels of validation": (
        lambda: _fit(validation_data=(X, Y * np.nan)),
        ValueError,
        "not finite",
    ),
    "nan weights": (
        lambda: _fit(sample_weight=np.full(6, np.nan)),
        ValueError,
        "sample_weight holds values from nan",
    ),
    "inf weights": (
        lambda: _fit(sample_weight=np.full(6, np.inf)),
        ValueError,
        "must be finite and not negative",
    ),
    "negative weights": (
        lambda: _fit(sample_weight=-np.ones(6)),
        ValueError,
        "must be finite and not negative",
    ),
    "negative class weight": (
        lambda: _classes(class_weight={0: -1, 1: 1, 2: 1}),
        ValueError,
        r"class_weight\[0\] must be in \[0, inf\)",
    ),
    "named class": (
        lambda: _classes(class_weight={"cat": 1.0}),
        TypeError,
        "each class in class_weight must be an integer, got 'cat'",
    ),
    "softmax over one unit": (
        lambda: _wide("categorical_crossentropy", Y, "softmax"),
        ValueError,
        "softmax over one unit, which is always 1",
    ),
    "softmax over one unit with mse": (
        lambda: _wide("mse", Y, "softmax"),
        ValueError,
        "softmax over one unit, which is always 1",
    ),
    "one logit": (
        lambda: _wide(losses.CategoricalCrossentropy(from_logits=True), Y),
        ValueError,
        "output 'head' has one unit",
    ),
    "one logit of torch": (
        lambda: _wide(nn.CrossEntropyLoss(), Y),
        ValueError,
        "output 'head' has one unit, so CrossEntropyLoss .* is always 0",
    ),
    "labels out of range": (lambda: _classes(y=LABELS + 1), ValueError, r"labels from 1 to 3"),
    "negative labels": (lambda: _classes(y=LABELS - 1), ValueError, r"labels from -1 to 1"),
    "fractional labels": (lambda: _classes(y=LABELS + 0.5), ValueError, "labels from 0.5 to 2.5"),
    "labels out of range in torch": (
        lambda: _wide(nn.CrossEntropyLoss(), LABELS + 1, units=3),
        ValueError,
        "labels from 1 to 3",
    ),
    "labels out of range of two": (
        lambda: _wide("binary_crossentropy", LABELS[:, None].astype("f4"), "sigmoid"),
        ValueError,
        r"values from 0 to 2, but binary_crossentropy .* \[0, 1\]",
    ),
    "scipy sparse": (
        lambda: _fit(_csr()),
        TypeError,
        r"x is a sparse csr_matrix.*x\.toarray\(\)",
    ),
    "scipy sparse in a generator": (
        lambda: _fit(iter([(_csr(), Y)]), None),
        TypeError,
        r"x is a sparse csr_matrix",
    ),
    "torch sparse": (
        lambda: _fit(torch.tensor(X).to_sparse()),
        TypeError,
        r"x is a sparse Tensor.*x\.to_dense\(\)",
    ),
    "sparse in predict": (
        lambda: _model().predict(_csr(), verbose=0),
        TypeError,
        "x is a sparse csr_matrix",
    ),
    "data set without __len__": (lambda: _fit(NoLength(), None), TypeError, "has no __len__"),
    "something to be indexed": (lambda: _fit(Indexed(), None), TypeError, "derive from torch's Da"),
    "lists of numbers": (lambda: _fit(X.tolist()), TypeError, "numpy.asarray"),
}


def _plateau(optimizer):
    return lr_scheduler.ReduceLROnPlateau(optimizer)


SETTINGS = {
    "shuffle": (lambda: _fit(shuffle="batch"), TypeError, "True or False, got 'batch'"),
    "class of a callback": (
        lambda: _fit(callbacks=callbacks.EarlyStopping),
        TypeError,
        r"the class EarlyStopping: write EarlyStopping\(\)",
    ),
    "class of a callback in a list": (
        lambda: _fit(callbacks=[callbacks.EarlyStopping]),
        TypeError,
        r"the class EarlyStopping: write EarlyStopping\(\)",
    ),
    "None as a callback": (lambda: _fit(callbacks=[None]), TypeError, "got NoneType: None"),
    "number as callbacks": (lambda: _fit(callbacks=3), TypeError, "Callback objects, got int: 3"),
    "dict as callbacks": (lambda: _fit(callbacks={"a": 1}), TypeError, "objects, got dict"),
    "figure in a path": (
        lambda: _fit(callbacks=[callbacks.ModelCheckpoint("{epoch}-{lose:.2f}.pt")]),
        ValueError,
        "ModelCheckpoint: unknown metric 'lose'; did you mean 'loss'",
    ),
    "format in a path": (
        lambda: _fit(callbacks=[callbacks.ModelCheckpoint("{epoch}-{loss:zz}.pt")]),
        ValueError,
        "of ModelCheckpoint: .*[Ff]ormat",
    ),
    "batch in a path of epochs": (
        lambda: _fit(callbacks=[callbacks.ModelCheckpoint("{batch}.pt")]),
        ValueError,
        "unknown metric 'batch'",
    ),
    "monitor of a scheduler": (
        lambda: _compiled(scheduler=(_plateau, "val_los")),
        ValueError,
        "scheduler monitors 'val_los', which is not among",
    ),
    "scheduler of None": (
        lambda: _compiled(scheduler=lambda optimizer: None),
        TypeError,
        "returned None for the optimizer; it must return a torch scheduler",
    ),
    "class of a scheduler": (
        lambda: _compiled(scheduler=lr_scheduler.StepLR),
        TypeError,
        "step_size.*functools.partial",
    ),
    "optimizer of None": (
        lambda: _compiled(optimizer=lambda parameters: None),
        TypeError,
        "returned None for the model's parameters; it must return a torch optimizer",
    ),
    "loss of None": (
        lambda: _compiled(loss=lambda a, b: None),
        TypeError,
        "returned None; it must return a tensor",
    ),
    "loss without gradient": (
        lambda: _compiled(loss=lambda a, b: (a - b).square().mean().detach()),
        ValueError,
        "does not depend on any parameter",
    ),
    "metric of None": (
        lambda: _compiled(metrics=[lambda a, b: None]),
        TypeError,
        "returned None; it must return a number",
    ),
    "lr": (lambda: optimizers.Adam(lr=0.1), TypeError, "Adam has no 'lr': write learning_rate="),
    "kind of clip_grad_norm": (lambda: _model(clip_grad_norm="1"), TypeError, "a number, got str"),
    "negative clip_grad_norm": (lambda: _model(clip_grad_norm=-1), ValueError, r"in \(0, inf\]"),
    "kind of a loss weight": (
        lambda: _model(loss_weights=["a"]),
        TypeError,
        "number, got str: 'a'",
    ),
    "array of loss weights": (
        lambda: _model(loss_weights=np.ones(2)),
        TypeError,
        "loss_weights must be a single number",
    ),
    "nan as a loss weight": (
        lambda: _model(loss_weights=[np.nan]),
        ValueError,
        "loss_weights must",
    ),
    "run_eagerly": (lambda: _model(run_eagerly="no"), TypeError, "must be True or False, got 'no'"),
    "auto_scale_loss": (lambda: _model(auto_scale_loss="no"), TypeError, "must be True or False"),
    "steps_per_execution": (lambda: _model(steps_per_execution=0), ValueError, "at least 1, got 0"),
}

NUMBERS = [
    (make, name, value)
    for make, numbers in [
        (
            optimizers.SGD,
            {"clipnorm": -1, "clipvalue": -1, "global_clipnorm": 0, "weight_decay": -1,
             "momentum": -1, "learning_rate": np.nan, "ema_momentum": -1},
        ),
        (optimizers.Adam, {"beta_1": -1, "beta_2": 1.5, "epsilon": -1, "clipnorm": -1}),
        (optimizers.RMSprop, {"rho": -1, "momentum": 2, "weight_decay": -1}),
        (callbacks.EarlyStopping, {"patience": -1, "start_from_epoch": -1}),
        (callbacks.ReduceLROnPlateau, {"patience": -1, "cooldown": -1, "min_lr": -1}),
    ]
    for name, value in numbers.items()
]  # fmt: skip


@pytest.mark.parametrize("case", DATA)
def test_data_is_refused(case):
    """By what it holds, and what to write."""
    call, error, text = DATA[case]
    with pytest.raises(error, match=text):
        call()


@pytest.mark.parametrize("case", SETTINGS)
def test_settings_are_refused(case):
    """By name, with what was given."""
    call, error, text = SETTINGS[case]
    with pytest.raises(error, match=text):
        call()


@pytest.mark.parametrize(
    ("make", "name", "value"), NUMBERS, ids=lambda v: getattr(v, "__name__", str(v))
)
def test_numbers_out_of_range_are_refused(make, name, value):
    """With the name of the argument and of the class."""
    with pytest.raises(ValueError, match=f"{name} of {make.__name__} must be"):
        make(**{name: value})


def test_what_cannot_be_saved_is_said_before_the_first_step(tmp_path):
    """And nothing is trained or written."""
    a = Input((4,))
    model = Model(a, layers.Dense(1)(layers.Lambda(lambda x: x * 2)(a)))
    model.compile("sgd", "mse")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(SaveError, match=r"lambda.* cannot be written as data"):
        _fit(model=model, callbacks=[callbacks.ModelCheckpoint(tmp_path / "a.fgraph")])
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "given",
    [optimizers.SGD, torch.optim.SGD],
    ids=["ours", "torch"],
)
def test_classes_of_optimizers_and_losses_are_made(given):
    """As Keras and torch users write them."""
    _compiled(optimizer=given, loss=losses.MeanSquaredError)
    _compiled(optimizer=given, loss=nn.MSELoss)


def test_keras_settings_without_effect_are_taken():
    """They change nothing."""
    torch.manual_seed(0)
    plain = _compiled().history
    torch.manual_seed(0)
    given = _compiled(run_eagerly=True, steps_per_execution=4, auto_scale_loss=False).history
    assert plain == given


@pytest.mark.parametrize("evaluating", [True, False])
def test_modules_in_evaluation_mode_stay_in_it(evaluating):
    """A frozen batch normalization inside keeps its statistics; a whole model in it is trained."""
    norm = nn.BatchNorm1d(4)
    a = Input((4,))
    model = Model(a, layers.Dense(1)(norm(a)))
    model.compile("sgd", "mse")
    (norm if evaluating else model).eval()
    before = norm.running_mean.clone()
    _fit(model=model)
    assert torch.equal(norm.running_mean, before) == evaluating
    assert not (evaluating and norm.training)


def test_evaluate_stops_when_a_callback_says_so():
    """After the batch in which it was said."""
    seen = []

    class Stop(callbacks.Callback):
        def on_test_batch_end(self, batch, logs=None):
            seen.append(batch)
            self.model.stop_evaluating = batch == 1

    _model().evaluate(X, Y, batch_size=1, verbose=0, callbacks=[Stop()])
    assert seen == [0, 1]


def test_a_hand_written_model_is_checked_too():
    """Outputs that are not named yet."""

    class Net(Trainer, nn.Sequential):
        pass

    net = Net(nn.Linear(4, 1))
    net.compile("sgd", "mse")
    with pytest.raises(ValueError, match="not finite"):
        net.fit(X, Y * np.nan, verbose=0)


NOTED = {
    "a list of batches": (
        lambda: _hand_written().fit([(torch.ones(2, 4), torch.ones(2, 1))] * 3, verbose=0),
        TypeError,
        r"x is a list of 3, whose entries are the inputs of \w+.forward; a list of batches",
    ),
    "a metric of other targets": (
        lambda: _model(3, metrics=["sparse_categorical_accuracy"]).fit(X, X[:, :3], verbose=0),
        ValueError,
        r"in metric 'sparse_categorical_accuracy', given a target of shape \(6, 3\) and an output",
    ),
}


@pytest.mark.parametrize("case", NOTED)
def test_errors_of_torch_are_noted_with_what_was_given(case):
    """Where torch alone can tell that something does not fit."""
    call, error, text = NOTED[case]
    with pytest.raises(error) as caught:
        call()
    assert re.search(text, "\n".join(caught.value.__notes__))


def _hand_written():
    class Net(Trainer, nn.Sequential):
        pass

    net = Net(nn.Linear(4, 1))
    net.compile("sgd", "mse")
    return net
