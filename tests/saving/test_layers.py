"""Every layer comes back from a file, from JSON and from plain source."""

from __future__ import annotations

import sys
import types

import pytest
import torch
from torch.utils import _pytree as pytree

import fgraph
from fgraph import Input, Model, layers
from fgraph.layers import Layer
from layers.rows import ROWS, called, double
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
    """Make the model of that name, in eval mode."""
    torch.manual_seed(0)
    inputs, outputs = MODELS[name]()
    return Model(inputs, outputs).eval()


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


@pytest.mark.parametrize("name", MODELS)
def test_the_layer_comes_back_from_a_file(name, tmp_path):
    model = model_of(name)
    model.save(tmp_path / "model.fgraph")
    loaded = fgraph.load_model(tmp_path / "model.fgraph", {"double": double})
    assert loaded.code == model.code
    assert [type(layer) for layer in loaded.layers] == [type(layer) for layer in model.layers]
    assert_same([*loaded.state_dict().values()], [*model.state_dict().values()])
    assert_equal_outputs(loaded, model)
    for ours, theirs in zip(loaded.layers, model.layers, strict=True):
        if isinstance(ours, Layer):
            assert ours.name == theirs.name
            assert [w.shape for w in ours.get_weights()] == [w.shape for w in theirs.get_weights()]


@pytest.mark.parametrize("name", MODELS)
def test_the_layer_comes_back_from_json_with_fresh_weights(name):
    model = model_of(name)
    fresh = fgraph.models.model_from_json(model.to_json(), {"double": double})
    assert fresh.code == model.code
    fresh.load_state_dict(model.state_dict())
    assert_equal_outputs(fresh, model)


@pytest.mark.parametrize("name", MODELS)
def test_the_layer_comes_back_from_plain_source(name, monkeypatch):
    model = model_of(name)
    source = model.to_source()
    assert "fgraph" not in source
    module = types.ModuleType("generated")
    monkeypatch.setitem(sys.modules, "generated", module)
    exec(compile(source, "generated.py", "exec"), vars(module))
    net = module.Net()
    net.load_state_dict(model.state_dict())
    assert_equal_outputs(net.eval(), model)
