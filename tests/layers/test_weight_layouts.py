"""Weights of layers around other things, and arguments in the forms that Keras's files have."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fgraph import Input, Model, layers
from keras_oracle import keras

pytestmark = pytest.mark.filterwarnings("ignore")


def wrapped_model(L, make, kind):
    x = make((6, 4))
    inner = kind(x, L.Dense(2)(L.LSTM(3, return_sequences=True)(x)))
    y = make((5, 6, 4))
    layer = L.TimeDistributed(inner)
    return layer, kind(y, layer(y))


def test_time_distributed_models_have_weights_in_keras_layout():
    ours, model = wrapped_model(layers, Input, Model)
    theirs, reference = wrapped_model(keras.layers, keras.Input, keras.Model)
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=w.shape).astype("float32") for w in theirs.get_weights()]
    theirs.set_weights(weights)
    ours.set_weights(weights)
    for mine, given in zip(ours.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(mine, given)
    assert ours.count_params() == theirs.count_params()
    x = torch.randn(2, 5, 6, 4)
    torch.testing.assert_close(model.eval()(x), reference(x), rtol=1e-5, atol=1e-5)


def test_penalties_of_a_time_distributed_model_count_once():
    x, y = Input((4,)), Input((5, 4))
    inner = Model(x, layers.Dense(2, kernel_regularizer="l2")(x))
    assert len(Model(y, layers.TimeDistributed(inner)(y)).losses) == 1


def test_the_axis_of_a_batch_normalization_may_be_a_list_of_one():
    x = Input((3, 4))
    layer = layers.BatchNormalization(axis=[-1])
    assert Model(x, layer(x))(torch.ones(2, 3, 4)).shape == (2, 3, 4)
    with pytest.raises(TypeError, match=r"axis= expects one axis, got \[1, 2\]"):
        layers.BatchNormalization(axis=[1, 2])


def test_stacked_cells_take_a_name():
    assert layers.StackedRNNCells([layers.LSTMCell(3)], name="cells").name == "cells"


@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "GRU"])
@pytest.mark.parametrize("options", [{"dropout": 0.3}, {"activation": "tanh"}])
def test_masked_recurrent_layers_do_not_wait_for_the_device(kind, options, monkeypatch):
    x, mask, state = Input((5, 4)), Input((5,), dtype="bool"), Input((3,))
    layer = getattr(layers, kind)(3, return_sequences=True, **options)
    states = [state, state] if kind == "LSTM" else [state]
    model = Model([x, mask, state], layer(x, mask=mask, initial_state=states))
    monkeypatch.setattr(torch.Tensor, "cpu", None)
    monkeypatch.setattr(torch.Tensor, "item", None)
    assert model(torch.randn(2, 5, 4), torch.ones(2, 5).bool(), torch.zeros(2, 3)).shape[1] == 5
