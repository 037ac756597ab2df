"""Compiled models of Keras: settings and optimizers go on where they were."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("h5py")
import fgraph
from keras_oracle import keras
from saving.keras.keras_files import assert_same_weights, opened

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
L, O = keras.layers, keras.optimizers  # noqa: E741
OPTIMIZERS: dict[str, Any] = {
    "sgd": lambda: O.SGD(0.1),
    "momentum": lambda: O.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "rmsprop": lambda: O.RMSprop(0.01),
    "rmsprop all": lambda: O.RMSprop(0.01, momentum=0.5, centered=True),
    "adam": lambda: O.Adam(0.01, beta_1=0.8),
    "amsgrad": lambda: O.Adam(0.01, amsgrad=True),
    "adamw": lambda: O.AdamW(0.01, weight_decay=0.1),
    "adamax": lambda: O.Adamax(0.01),
    "nadam": lambda: O.Nadam(0.01),
    "lion": lambda: O.Lion(0.01),
    "lamb": lambda: O.Lamb(0.01),
    "ftrl": lambda: O.Ftrl(0.01, l1_regularization_strength=0.001),
    "adagrad": lambda: O.Adagrad(0.01),
    "adadelta": lambda: O.Adadelta(0.5),
    "schedule": lambda: O.Adam(O.schedules.ExponentialDecay(0.05, 2, 0.5)),
    "cosine": lambda: O.SGD(O.schedules.CosineDecay(0.05, 5, warmup_target=0.1, warmup_steps=2)),
    "averages": lambda: O.Adam(0.01, use_ema=True, ema_momentum=0.5, global_clipnorm=0.1),
    "scaled loss": lambda: O.LossScaleOptimizer(O.Adam(0.01), initial_scale=8.0),
    "accumulation": lambda: O.Adam(0.01, gradient_accumulation_steps=2),
}


def compiled(optimizer: Any) -> Any:
    x, ids = keras.Input((4, 3), name="x"), keras.Input((4,), dtype="int32", name="ids")
    y = L.Concatenate()([x, L.Embedding(5, 2)(ids)])
    y = L.GRU(3)(y)
    y = L.BatchNormalization()(y)
    inner = keras.Sequential([keras.Input((3,)), L.Dense(4, trainable=False), L.Dense(3)])
    model = keras.Model([x, ids], L.Dense(2, activation="softmax")(inner(y)))
    model.compile(optimizer, "categorical_crossentropy", metrics=["accuracy", "mae"])
    return model


def batches(count: int) -> list[tuple[list[np.ndarray], np.ndarray]]:
    rng = np.random.default_rng(0)
    return [
        ([rng.normal(size=(6, 4, 3)).astype("float32"), rng.integers(0, 5, (6, 4)).astype("int32")],
         np.eye(2, dtype="float32")[rng.integers(0, 2, 6)])
        for _ in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["keras", "h5"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_goes_on_as_in_keras(name: str, kind: str, tmp_path: Path) -> None:
    theirs = compiled(OPTIMIZERS[name]())
    for x, y in batches(4)[:2]:
        theirs.train_on_batch(x, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # nothing is left out
        model = opened(theirs, tmp_path / f"model.{kind}")
    assert model.optimizer.iterations == (1 if name == "accumulation" else 2)
    for x, y in batches(4)[2:]:
        theirs.train_on_batch(x, y)
        model.train_on_batch([torch.as_tensor(v) for v in x], torch.as_tensor(y))
    assert_same_weights(model, theirs, close=True)


def test_losses_weights_and_metrics_are_taken_over(tmp_path: Path) -> None:
    x = keras.Input((3,))
    theirs = keras.Model(x, [L.Dense(2, name="a")(x), L.Dense(2, name="b")(x)])
    theirs.compile(
        "sgd", {"a": keras.losses.MeanAbsoluteError(), "b": "mse"}, loss_weights={"a": 0.3, "b": 2},
        metrics={"a": [keras.metrics.MeanSquaredError(name="squares")], "b": ["mae"]},
    )  # fmt: skip
    model = opened(theirs, tmp_path / "model.keras")
    rng = np.random.default_rng(0)
    given, targets = rng.normal(size=(5, 3)), [rng.normal(size=(5, 2)) for _ in range(2)]
    targets_by_name = dict(zip("ab", [t.astype("float32") for t in targets], strict=True))
    expected = theirs.evaluate(given, targets_by_name, verbose=0, return_dict=True)
    found = model.evaluate(given.astype("float32"), targets_by_name, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert found["a_squares"] == pytest.approx(expected["a_squares"], rel=1e-5)


@keras.saving.register_keras_serializable("tests")
def my_loss(y_true: Any, y_pred: Any) -> Any:
    return keras.ops.mean((y_true - y_pred) ** 4, axis=-1)


def fourth(y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
    return ((y_true - y_pred) ** 4).mean(-1)


def test_what_is_not_known_is_named_in_one_warning(tmp_path: Path) -> None:
    x = keras.Input((3,))
    theirs = keras.Model(x, L.Dense(2)(x))
    theirs.compile("adam", my_loss, metrics=["mae"])
    with pytest.warns(UserWarning, match="left out were the training .*my_loss") as seen:
        model = opened(theirs, tmp_path / "model.keras")
    assert len(seen) == 1
    with pytest.raises(RuntimeError, match="before compile"):
        model.train_on_batch(torch.zeros(1, 3), torch.zeros(1, 2))
    model = opened(theirs, tmp_path / "model.keras", custom_objects={"my_loss": fourth})
    data = np.ones((4, 3), "float32"), np.zeros((4, 2), "float32")
    assert model.evaluate(*data, verbose=0)[0] == pytest.approx(
        theirs.evaluate(*data, verbose=0)[0], rel=1e-5
    )


def test_an_optimizer_of_another_state_begins_anew(tmp_path: Path) -> None:
    x = keras.Input((3,))
    theirs = keras.Model(x, L.Dense(2)(x))
    theirs.compile(O.Adafactor(0.1), "mse")
    theirs.train_on_batch(np.ones((4, 3)), np.ones((4, 2)))
    with pytest.warns(UserWarning, match="the optimizer's state .*Adafactor"):
        model = opened(theirs, tmp_path / "model.keras")
    assert model.optimizer.iterations == 0


def test_without_compile_nothing_of_the_training_is_read(tmp_path: Path) -> None:
    theirs = compiled(O.Adam())
    model = opened(theirs, tmp_path / "model.keras", compile=False)
    with pytest.raises(RuntimeError, match="before compile"):
        model.train_on_batch([torch.zeros(1, 4, 3), torch.zeros(1, 4).int()], torch.zeros(1, 2))


def test_mixed_policies_train_in_that_precision(tmp_path: Path) -> None:
    x = keras.Input((3,))
    theirs = keras.Model(x, L.Dense(2, dtype="mixed_bfloat16")(x))
    with pytest.warns(UserWarning, match="precision='bfloat16'"):
        model = opened(theirs, tmp_path / "model.keras")
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    theirs.compile("sgd", "mse")
    model = opened(theirs, tmp_path / "model.keras")
    assert model._trainer.settings.precision == "bfloat16"


def test_the_file_and_fgraphs_own_hold_the_same_training(tmp_path: Path) -> None:
    theirs = compiled(O.Adam())
    (x, y), (x2, y2) = batches(2)
    theirs.train_on_batch(x, y)
    model = opened(theirs, tmp_path / "model.keras")
    model.save(tmp_path / "model.fgraph")
    again = fgraph.load_model(tmp_path / "model.fgraph")
    theirs.train_on_batch(x2, y2)
    again.train_on_batch([torch.as_tensor(v) for v in x2], torch.as_tensor(y2))
    assert_same_weights(again, theirs, close=True)
