"""Keras's weight interface and modes on models."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from fgraph import Input, Model, SaveError, layers


def base() -> Model:
    x = Input((4,))
    h = layers.BatchNormalization()(layers.Dense(3, name="first")(x))
    return Model(x, nn.Dropout(0.5)(nn.Linear(3, 2)(h)), name="base")


def test_freezing_a_model_freezes_weights_and_statistics():
    inner = base()
    inner.trainable = False
    assert inner.trainable_weights == []
    assert len(inner.non_trainable_weights) == len(inner.weights) == 8
    assert len(inner.get_layer("first").non_trainable_weights) == 2
    assert inner.get_layer("first").trainable_weights == []
    x = Input((4,))
    model = Model(x, layers.Dense(1)(inner(x)))
    model.compile("sgd", "mse")
    before = [weight.copy() for weight in inner.get_weights()]
    head = model.dense_1.weight.detach().clone()
    model.fit(torch.randn(16, 4), torch.randn(16, 1), epochs=2, verbose=0)
    for old, new in zip(before, inner.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert not torch.equal(model.dense_1.weight, head)
    inner.trainable = True
    assert len(inner.trainable_weights) == 6


def test_weights_go_from_one_model_to_another_in_the_layout_of_keras():
    first, second = base(), base()
    weights = first.get_weights()
    assert weights[0].shape == (4, 3)  # a Dense kernel is (in, out)
    second.set_weights(weights)
    first.eval(), second.eval()
    value = torch.randn(5, 4)
    assert torch.equal(first(value), second(value))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w[:-1], r"the model has \d+ weights, got \d+"),
        (lambda w: [w[0].T, *w[1:]], r"weight 0 has the shape \(4, 3\), got \(3, 4\)"),
    ],
)
def test_weights_that_do_not_fit_change_nothing(change, message):
    model = base()
    before = model.get_weights()
    with pytest.raises(ValueError, match=message):
        model.set_weights(change([weight + 1 for weight in before]))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_training_at_a_call_fixes_the_mode_of_that_call():
    model = base()
    value = torch.randn(6, 4)
    model.eval()
    calm = model(value)
    model.train()
    assert torch.equal(model(value, training=False), calm)
    assert all(part.training for part in model.modules())
    model.eval()
    assert not torch.equal(model(value, training=True), calm)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_the_mode_of_a_recorded_call_stays(duplicate):
    inner = base()
    x = Input((4,))
    model = duplicate(Model(x, inner(x, training=False) * 2))
    value = torch.randn(6, 4)
    inner.eval()
    expected = inner(value) * 2
    model.train()
    assert torch.equal(model(value), expected)
    assert model.base.training
    assert "training=False" in model.code


def test_a_recorded_mode_has_no_plain_source():
    x = Input((4,))
    model = Model(x, base()(x, training=False))
    with pytest.raises(SaveError, match="the model 'base' is called with training=False"):
        model.to_source()
