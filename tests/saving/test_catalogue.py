"""Every layer of the catalogue comes back from a file, from JSON and from plain source."""

from __future__ import annotations

import sys
import types

import pytest
from torch.utils import _pytree as pytree

import fgraph
from fgraph import layers
from fgraph.layers import Layer
from saving.catalogue import ELSEWHERE, ROWS, double, inputs_of, model_of
from strategies import assert_same


def test_every_layer_has_a_row():
    classes = {
        value.__name__  # an alias is no layer of its own
        for value in vars(layers).values()
        if isinstance(value, type) and issubclass(value, Layer)
    }
    assert classes - ELSEWHERE == {row.split()[0] for row in ROWS}


def assert_equal_outputs(found, model):
    inputs = inputs_of(model)
    assert_same(pytree.tree_leaves(found(*inputs)), pytree.tree_leaves(model(*inputs)))


@pytest.mark.parametrize("row", ROWS)
def test_the_layer_comes_back_from_a_file(row, tmp_path):
    model = model_of(row)
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


@pytest.mark.parametrize("row", ROWS)
def test_the_layer_comes_back_from_json_with_fresh_weights(row):
    model = model_of(row)
    fresh = fgraph.models.model_from_json(model.to_json(), {"double": double})
    assert fresh.code == model.code
    fresh.load_state_dict(model.state_dict())
    assert_equal_outputs(fresh, model)


@pytest.mark.parametrize("row", ROWS)
def test_the_layer_comes_back_from_plain_source(row, monkeypatch):
    model = model_of(row)
    source = model.to_source()
    assert "fgraph" not in source
    module = types.ModuleType("generated")
    monkeypatch.setitem(sys.modules, "generated", module)
    exec(compile(source, "generated.py", "exec"), vars(module))
    net = module.Net()
    net.load_state_dict(model.state_dict())
    assert_equal_outputs(net.eval(), model)
