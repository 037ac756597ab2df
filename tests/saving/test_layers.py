"""Every layer comes back from a file, from plain source and from JSON."""

from __future__ import annotations

import pytest
import torch
from torch.utils import _pytree as pytree

import fgraph
from fgraph import Input, Model, layers
from fgraph.layers import Layer
from layers.rows import ROWS, called, double
from saving.sameness import assert_same_from_file_and_source
from strategies import assert_same


def masked(layer):
    """Call a layer on looked-up vectors, which carry a mask."""
    tokens = Input((6,), dtype="int64")
    return tokens, layer(layers.Embedding(5, 4, mask_zero=True)(tokens))


def inner_model():
    """Make a model for `TimeDistributed`."""
    x = Input((4,))
    return Model(x, torch.nn.Linear(4, 2)(x))


def rowwise(row):
    """Make the model of a row of the table of layers."""
    _, inputs, outputs = called(*row[1:])
    return inputs, outputs


MODELS = {
    **{row[0]: lambda row=row: rowwise(row) for row in ROWS},
    "lstm masked": lambda: masked(layers.LSTM(3)),
    "lstm masked state": lambda: masked(layers.LSTM(3, return_state=True)),
    "dense activity": lambda: (x := Input((4,)), layers.Dense(3, activity_regularizer="l1")(x)),
    "dense frozen": lambda: (
        x := Input((4,)),
        layers.Dense(3, kernel_regularizer="l2", trainable=False)(x),
    ),
    "time distributed model": lambda: (
        x := Input((6, 4)),
        layers.TimeDistributed(inner_model())(x),
    ),
}


def model_of(name):
    """Make the model of that name."""
    torch.manual_seed(0)
    inputs, outputs = MODELS[name]()
    return Model(inputs, outputs)


def inputs_of(model):
    """Make inputs for a model."""
    generator = torch.Generator().manual_seed(1)
    made = []
    for symbol in model.inputs:
        shape = [7 if size is None else size for size in symbol.spec.shape]
        if symbol.dtype.is_floating_point:
            made.append(torch.rand(shape, generator=generator))
        else:
            made.append(torch.randint(0, 5, shape, generator=generator))
    return made


def assert_equal_outputs(found, model):
    inputs = inputs_of(model)
    assert_same(pytree.tree_leaves(found(*inputs)), pytree.tree_leaves(model(*inputs)))


# the default run takes every sixth row: `python -m pytest -m ""` takes all
NAMES = [
    name if number % 6 == 0 else pytest.param(name, marks=pytest.mark.slow)
    for number, name in enumerate(MODELS)
]


@pytest.mark.parametrize("name", NAMES)
def test_the_layer_comes_back_from_a_file_and_from_source(name, tmp_path, monkeypatch):
    model = model_of(name)
    for part in [part for part in model.modules() if part is not model][::2]:
        part.eval()
    loaded = assert_same_from_file_and_source(model, inputs_of(model), tmp_path, monkeypatch)
    assert loaded.code == model.code
    assert [type(layer) for layer in loaded.layers] == [type(layer) for layer in model.layers]
    for ours, theirs in zip(loaded.layers, model.layers, strict=True):
        if isinstance(ours, Layer):
            assert ours.name == theirs.name
            assert [w.shape for w in ours.get_weights()] == [w.shape for w in theirs.get_weights()]


@pytest.mark.parametrize("name", NAMES)
def test_the_layer_comes_back_from_json_with_fresh_weights(name):
    model = model_of(name).eval()
    fresh = fgraph.models.model_from_json(model.to_json(), {"double": double})
    assert fresh.code == model.code
    fresh.load_state_dict(model.state_dict())
    assert_equal_outputs(fresh.eval(), model)
