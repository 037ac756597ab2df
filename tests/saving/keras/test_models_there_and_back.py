"""Models as users of Keras write them: opened without it, written again, and opened by it."""

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
from saving.keras.keras_files import (
    assert_same_outputs,
    assert_same_step,
    leaves,
    opened,
    randomize,
    structured,
    values_for,
)

pytestmark = pytest.mark.filterwarnings("ignore")
L, K, Input = keras.layers, keras.ops, keras.Input


def called_on_a_batch() -> Any:
    model = keras.Sequential([L.Conv1D(4, 3), L.Flatten(), L.Dense(2)])
    model(np.zeros((2, 7, 3), "float32"))
    return model


def states_beside_masks() -> Any:
    before, after = Input((5,), dtype="int32"), Input((4,), dtype="int32")
    _, state = L.GRU(5, return_state=True)(L.Embedding(9, 4, mask_zero=True)(before))
    x = L.GRU(5, return_sequences=True)(L.Embedding(9, 4, mask_zero=True)(after),
                                        initial_state=state)  # fmt: skip
    return keras.Model([before, after], L.LSTM(3)(L.Dense(6)(x)))


def extremes_of_masked() -> Any:
    a, b = Input((5,), dtype="int32"), Input((5,), dtype="int32")
    embedding = L.Embedding(9, 3, mask_zero=True)
    pair = [embedding(a), embedding(b)]
    return keras.Model([a, b], [L.LSTM(2)(L.Maximum()(pair)), L.LSTM(2)(L.Minimum()(pair))])


def layers_as_activations() -> Any:
    x = Input((6,))
    y = L.Dense(3, activation=L.ELU(0.7))(x)
    return keras.Model(x, L.Dense(2, activation=L.LeakyReLU(negative_slope=0.3))(y))


def operations_with_settings() -> Any:
    x = Input((4, 6))
    y = K.batch_normalization(x, np.zeros(6, "float32"), np.full(6, 2, "float32"), axis=-1)
    y = K.average(y, axis=-1, weights=K.abs(x[0, 0]) + 1)
    return keras.Model(x, [y, K.pad(x, [[0, 0], [1, 0], [0, 2]], constant_values=3.0)])


def numbers_that_json_lacks() -> Any:
    x = Input((4, 6))
    low = K.where(x > 0, x, -float("inf"))
    return keras.Model(x, [K.softmax(low), K.where(x > 0, x, float("nan")), K.max(low, axis=-1)])


def of_other_dtypes() -> Any:
    x = Input((6,))
    y = L.Dropout(0.0)(L.Dense(5, dtype="float64")(x))
    inner = keras.Sequential([Input((5,)), L.Dense(4), L.Dense(3, dtype="float64"), L.Dense(2)])
    return keras.Model(x, [L.Dense(3)(y), L.Dense(2, dtype="float64")(y), y, inner(y)])


def masks_as_second_inputs() -> Any:
    x, mask = Input((4, 6)), Input((4, 6), dtype="bool")
    return keras.Model([x, mask], L.Softmax()(x, mask))


def states_of_several_cells() -> Any:
    x, states = Input((5, 3)), [Input((2,)), Input((3,)), Input((3,))]
    layer = L.RNN([L.GRUCell(2), L.LSTMCell(3)], return_state=True)
    return keras.Model([x, *states], keras.tree.flatten(
        layer(x, initial_state=[states[0], states[1:]])))  # fmt: skip


QUICK = [
    called_on_a_batch, states_beside_masks, extremes_of_masked, layers_as_activations,
    operations_with_settings, numbers_that_json_lacks, of_other_dtypes,
    masks_as_second_inputs, states_of_several_cells,
]  # fmt: skip


@pytest.mark.parametrize("make", QUICK, ids=lambda make: make.__name__)
def test_outputs_steps_and_files_written_are_those_of_keras(make: Any, tmp_path: Path) -> None:
    theirs = randomize(make())
    values = values_for(theirs, np.random.default_rng(0))
    model = opened(theirs, tmp_path / "model.keras")
    assert_same_outputs(model, theirs, values)
    assert_same_outputs(opened(theirs, tmp_path / "model.h5"), theirs, values)
    model.save(tmp_path / "model.fgraph")
    assert_same_outputs(fgraph.load_model(tmp_path / "model.fgraph"), theirs, values)
    model.save(tmp_path / "back.keras")
    again = keras.models.load_model(tmp_path / "back.keras")
    with torch.no_grad():
        outputs = zip(
            leaves(again(structured(again, values))), leaves(theirs(structured(theirs, values))),
            strict=True,
        )  # fmt: skip
    for mine, reference in outputs:
        assert mine.dtype == reference.dtype
        torch.testing.assert_close(mine, reference, rtol=1e-5, atol=1e-5, equal_nan=True)
    assert_same_step(model, theirs, values)


def layer_in_two_models(order: bool) -> Any:
    a, x, dense = Input((4,)), Input((4,)), L.Dense(4, name="shared")
    norm = L.BatchNormalization()
    inner = keras.Model(a, norm(dense(a)) + 1.0)
    return keras.Model(x, dense(inner(x)) if order else inner(dense(norm(x))))


def model_in_two_models(order: bool) -> Any:
    a, x = Input((3, 4)), Input((3, 4))
    features = keras.Sequential([Input((4,)), L.Dense(4), L.LayerNormalization()])
    inner = keras.Model(a, L.TimeDistributed(features)(a))
    return keras.Model(
        x, features(inner(x)[:, 0]) if order else inner(x) * features(x[:, 1])[:, None]
    )


@pytest.mark.parametrize("make", [layer_in_two_models, model_in_two_models])
@pytest.mark.parametrize("order", [True, False])
def test_what_is_in_two_models_stays_one(make: Any, order: bool, tmp_path: Path) -> None:
    """Keras writes such files, and cannot open them."""
    theirs = randomize(make(order))
    model = opened(theirs, tmp_path / "model.keras")
    values = values_for(theirs, np.random.default_rng(0))
    assert_same_outputs(model, theirs, values)
    assert len(list(model.parameters())) == len(theirs.trainable_weights)
    assert sorted(w.shape for w in model.get_weights()) == sorted(
        w.shape for w in theirs.get_weights()
    )
    theirs.compile(keras.optimizers.SGD(0.1), "mse")
    model.compile(fgraph.optimizers.SGD(0.1), "mse")
    target = np.ones(theirs(values[0]).shape, "float32")
    theirs.train_on_batch(values[0].numpy(), target)
    model.train_on_batch(values[0], torch.as_tensor(target))
    assert_same_outputs(model, theirs, values)


def test_models_loaded_without_gradients_can_be_trained(tmp_path: Path) -> None:
    x = Input((4,))
    keras.Model(x, L.Dense(2)(x)).save(tmp_path / "model.keras")
    for mode in (torch.no_grad, torch.inference_mode):
        with mode(), warnings.catch_warnings():
            model = fgraph.load_model(tmp_path / "model.keras")
        model(torch.ones(1, 4)).sum().backward()
        assert all(p.grad is not None for p in model.parameters())


def test_the_default_dtype_does_not_change_a_file(tmp_path: Path) -> None:
    x = Input((4,))
    keras.Model(x, L.Dense(2)(x)).save(tmp_path / "model.keras")
    torch.set_default_dtype(torch.float64)
    try:
        model = fgraph.load_model(tmp_path / "model.keras")
        assert model(torch.ones(1, 4, dtype=torch.float32)).dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_weights_of_16_bits_go_both_ways(kind: str, tmp_path: Path) -> None:
    x = Input((6,), dtype="bfloat16")
    theirs = randomize(keras.Model(x, L.Dense(3, dtype="bfloat16")(x)))
    expected = [weight.value.detach().float().numpy() for weight in theirs.weights]
    model = opened(theirs, tmp_path / f"model.{kind}")
    model.save(tmp_path / "back.keras")
    again = keras.models.load_model(tmp_path / "back.keras")
    for mine, back, reference in zip(model.get_weights(), again.weights, expected, strict=True):
        np.testing.assert_array_equal(mine, reference)
        np.testing.assert_array_equal(back.value.detach().float().numpy(), reference)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
