"""Several outputs: in their structure, by name, in a list; losses, weights and metrics likewise."""

from __future__ import annotations

from collections import namedtuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import fgraph
from fgraph import Input, Model, layers
from fgraph.callbacks import BackupAndRestore, LambdaCallback
from fgraph.training import Trainer

X = torch.randn(20, 4)
A, B = torch.randn(20, 1), torch.randn(20, 2)


def _model() -> Model:
    """Two tensors in three places and a fourth of its own: `{"p": a, "r": [b, (a, b)]}`."""
    torch.manual_seed(0)
    x = Input((4,))
    a, b = layers.Dense(1, name="a")(x), layers.Dense(2, name="b")(x)
    return Model(x, {"p": a, "r": [b, (a, b)]})


class Written(Trainer, nn.Module):
    """The same, with a forward written by hand."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.left, self.right = nn.Linear(4, 1), nn.Linear(4, 2)

    def forward(self, x):
        a, b = self.left(x), self.right(x)
        return {"p": a, "r": [b, (a, b)]}


NESTED = {"p": A, "r": [B, (2 * A, 3 * B)]}
TARGETS = {
    "nested": NESTED,
    "lists for tuples": {"p": A, "r": [B, [2 * A, 3 * B]]},
    "by name": {"p": A, "r[0]": B, "r[1][0]": 2 * A, "r[1][1]": 3 * B},
    "flat": [A, B, 2 * A, 3 * B],
}


def _expected(model, x=X) -> dict[str, float]:
    with torch.no_grad():
        out = model(x)
    parts = {
        "p_loss": F.mse_loss(out["p"], A),
        "r[0]_loss": F.mse_loss(out["r"][0], B),
        "r[1][0]_loss": F.l1_loss(out["r"][1][0], 2 * A),
        "r[1][1]_loss": F.mse_loss(out["r"][1][1], 3 * B),
    }
    total = sum(w * v for w, v in zip((1.0, 0.5, 2.0, 1.0), parts.values(), strict=True))
    return {name: value.item() for name, value in (parts | {"loss": total}).items()}


@pytest.mark.parametrize("make", [_model, Written])
@pytest.mark.parametrize("targets", TARGETS)
def test_nested_outputs_are_trained_in_their_structure(make, targets):
    """Losses, weights and metrics are given in it too."""
    model = make()
    model.compile(
        "sgd",
        {"p": "mse", "r": ["mse", ("mae", "mse")]},
        loss_weights={"p": 1.0, "r": [0.5, (2.0, 1.0)]},
        metrics={"r": [None, ("mse", None)]},
    )
    found = model.evaluate(X, TARGETS[targets], verbose=0, return_dict=True)
    expected = _expected(model)
    metric = found.pop("r[1][0]_mse")
    assert metric == pytest.approx(F.mse_loss(model(X)["p"], 2 * A).item(), rel=1e-5)
    assert found == pytest.approx(expected, rel=1e-5)
    run = model.fit(X, TARGETS[targets], epochs=3, verbose=0, sample_weight=torch.ones(20))
    assert run.history["loss"][-1] < run.history["loss"][0]
    found = model.predict(X, verbose=0)
    np.testing.assert_array_equal(found["r"][1][0], found["p"])
    assert isinstance(found["r"][1], tuple)


@pytest.mark.parametrize("make", [_model, Written])
def test_one_loss_is_for_all_nested_outputs(make):
    """As for any number of outputs; weights of samples too, or in the structure."""
    model = make()
    model.compile("sgd", "mse")
    weights = {"p": None, "r": [torch.zeros(20), (None, torch.zeros(20))]}
    found = model.evaluate(X, NESTED, sample_weight=weights, verbose=0, return_dict=True)
    assert found["r[0]_loss"] == found["r[1][1]_loss"] == 0.0
    assert found["loss"] == pytest.approx(found["p_loss"] + found["r[1][0]_loss"])


def test_nested_outputs_go_on_after_a_resume(tmp_path):
    """The names and structure of a forward by hand are in the backup."""
    histories = []
    for folder, interrupt in (("a", False), ("b", True), ("b", False)):
        model = Written()
        model.compile("sgd", "mse", metrics={"r": ["mae", (None, "mae")]})

        def stop(batch, logs, interrupt=interrupt):
            if interrupt and batch == 2:
                raise KeyboardInterrupt

        callbacks = [LambdaCallback(on_train_batch_end=stop),
                     BackupAndRestore(tmp_path / folder, save_freq=1)]  # fmt: skip
        torch.manual_seed(3)
        try:
            run = model.fit(X, NESTED, batch_size=5, verbose=0, callbacks=callbacks)
            histories.append(run.history)
        except KeyboardInterrupt:
            pass
    assert histories[0] == histories[1]


Pair = namedtuple("Pair", "left right")


def test_named_tuples_are_outputs_of_a_forward_by_hand():
    """By place."""

    class Both(Trainer, nn.Linear):
        def forward(self, x):
            out = super().forward(x)
            return Pair(out, out + 1)

    model = Both(4, 1)
    model.compile("sgd", ["mse", "mae"])
    found = model.evaluate(X, [A, A], verbose=0, return_dict=True)
    assert list(found) == ["loss", "output_1_loss", "output_2_loss"]
    assert found["output_2_loss"] == pytest.approx(F.l1_loss(model(X)[1], A).item(), rel=1e-5)


def _two() -> Model:
    torch.manual_seed(0)
    x = Input((4,))
    return Model(x, [layers.Dense(1, name="a")(x), layers.Dense(2, name="b")(x)])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "loss",
    [[["mse"], ["mae"]], {"a": ["mse"], "b": ["mae"]}, {"a": "mse", "b": "mae"}, ["mse", "mae"]],
    ids=["lists", "dict of lists", "dict", "list"],
)
def test_a_loss_may_stand_in_a_list_of_its_own(keras, loss):
    """As in Keras."""
    ours = _two()
    x = keras.Input((4,))
    outputs = [keras.layers.Dense(1, name="a")(x), keras.layers.Dense(2, name="b")(x)]
    theirs = keras.Model(x, outputs)
    theirs.set_weights(ours.get_weights())
    results = []
    for model in (ours, theirs):
        model.compile("sgd", loss)
        y = [A.numpy(), B.numpy()]
        results.append(model.evaluate(X.numpy(), y, verbose=0, return_dict=True))
    assert results[0] == pytest.approx(results[1], rel=1e-5)


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_one_target_is_that_of_the_only_output_with_a_loss(keras):
    """As in Keras's examples of language models: `loss=[loss, None]`."""
    found = []
    for lib in (keras, fgraph):
        x = lib.Input((4,))
        a = lib.layers.Dense(1, kernel_initializer="ones")(x)
        model = lib.Model(x, [lib.layers.Dense(2)(x), a])
        model.compile(lib.optimizers.SGD(0.0), [None, "mse"])
        found.append(model.fit(X.numpy(), A.numpy(), verbose=0).history["loss"][0])
        found.append(model.evaluate(X.numpy(), A.numpy(), verbose=0, return_dict=True)["loss"])
    found = list(map(float, found))
    assert found[2:] == pytest.approx(found[:2], rel=1e-5)


def test_several_losses_of_one_output_are_added():
    """Each with its weight."""
    model = _two()
    model.compile("sgd", [["mse", "mae"], "mse"], loss_weights=[[1.0, 0.5], 2.0])
    found = model.evaluate(X, [A, B], verbose=0, return_dict=True)
    a, b = model(X)
    mse, mae = F.mse_loss(a, A).item(), F.l1_loss(a, A).item()
    assert found["a_loss"] == pytest.approx(mse + mae, rel=1e-5)
    assert found["loss"] == pytest.approx(mse + 0.5 * mae + 2 * F.mse_loss(b, B).item(), rel=1e-5)


BAD = {
    "structure of targets": (
        lambda m: m.fit(X, {"p": A, "r": [B]}, verbose=0),
        "y has 2 entries, but the model has 4 outputs",
    ),
    "key of targets": (
        lambda m: m.fit(X, {"p": A, "q": [B]}, verbose=0),
        "y: unknown output 'q'",
    ),
    "structure of losses": (lambda m: m.compile("sgd", {"p": "mse", "r": ["mse"]}), "loss has 2"),
    "weights of losses": (
        lambda m: m.compile("sgd", "mse", loss_weights=["1", 2, 3, 4]),
        "each of loss_weights must be a number, got str: '1'",
    ),
    "weights of several losses": (
        lambda m: m.compile("sgd", ["mse"] * 4, loss_weights=[[1, 2], 1, 1, 1]),
        "loss_weights of output 'p' has 2 entries for 1 losses",
    ),
    "a missing target of a metric": (
        lambda m: (
            m.compile("sgd", {"p": "mse"}, metrics={"r[0]": "mae"}),
            m.fit(X, {"p": A}, verbose=0),
        ),
        r"no target for the output of metric 'r\[0\]_mae'",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_the_outputs_is_refused(case):
    """With the names that there are."""
    call, text = BAD[case]
    model = _model()
    model.compile("sgd", "mse")
    with pytest.raises((ValueError, TypeError), match=text):
        call(model)
