"""Modules and models in the attributes of a user's layer are those of the loaded model, too."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import fgraph
from fgraph import Input, Model, Sequential, layers
from fgraph.errors import SaveError


def _functional():
    x = Input((4,))
    return Model(x, layers.Dense(4)(x))


MAKERS = {
    "module": lambda: nn.Linear(4, 4),
    "sequential": lambda: Sequential([layers.Dense(4), layers.Dense(4)]),
    "functional": _functional,
    "list": lambda: [layers.Dense(4), nn.Linear(4, 4), Sequential([layers.Dense(4)])],
    "modules": lambda: nn.ModuleList([nn.Linear(4, 4)]),
}


class Holder(layers.Layer):
    """A layer whose parts are made by its constructor, or when it is built."""

    def __init__(self, made, late=False, **options):
        super().__init__(**options)
        self.made, self.late = made, late
        self.parts = None if late else MAKERS[made]()

    def build(self, input_shape):
        if self.late:
            self.parts = MAKERS[self.made]()

    def call(self, inputs):
        several = isinstance(self.parts, (list, nn.ModuleList))
        for part in self.parts if several else [self.parts]:
            inputs = part(inputs)
        return inputs


class Configured(Holder):
    """The same with a configuration of its own."""

    def get_config(self):
        return {**super().get_config(), "made": self.made, "late": self.late}


def _through_file(model, tmp_path, custom):
    model.save(tmp_path / "model.fgraph")
    return fgraph.load_model(tmp_path / "model.fgraph", custom_objects=custom)


def _through_json(model, tmp_path, custom):
    found = fgraph.models.model_from_json(model.to_json(), custom_objects=custom)
    found.set_weights(model.get_weights())
    return found


@pytest.mark.parametrize("late", [False, True], ids=["init", "build"])
@pytest.mark.parametrize("kind", [Holder, Configured])
@pytest.mark.parametrize("made", MAKERS)
@pytest.mark.parametrize("through", [_through_file, _through_json])
def test_weights_of_a_loaded_layer_are_those_of_its_model(through, made, kind, late, tmp_path):
    x = Input((4,))
    model = Model(x, kind(made, late)(x))
    found = through(model, tmp_path, {kind.__name__: kind})
    values = torch.randn(3, 4)
    torch.testing.assert_close(found(values), model(values))
    layer = found.layers[1]
    for own, expected in zip(layer.get_weights(), model.layers[1].get_weights(), strict=True):
        np.testing.assert_array_equal(own, expected)
    assert {id(w) for w in layer.weights} == {id(p) for p in found.parameters()}
    layer.set_weights([np.ones_like(weight) for weight in layer.get_weights()])
    assert all(bool((p == 1).all()) for p in found.parameters())


def test_modules_that_the_constructor_does_not_make_are_refused_when_saved(tmp_path):
    x = Input((4,))
    layer = Configured("module")
    layer.parts = nn.Sequential(nn.Linear(4, 4))
    model = Model(x, layer(x))
    with pytest.raises(SaveError, match=r"(?s)Configured makes the modules .*Linear.* make them"):
        model.save(tmp_path / "model.fgraph")
