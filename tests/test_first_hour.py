"""What a person is told at the first `fit`, and how calls of torch modules are named."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fgraph import Input, Model, Sequential, layers

pytestmark = pytest.mark.usefixtures("torch_untouched")


class Bare(Model):
    def forward(self, x):
        return x


def frozen():
    x = Input((3,))
    return Model(x, layers.Dense(2)(x), trainable=False)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Sequential([layers.Dense(2)]), "Sequential: it is not built yet, .*call it on a"),
        (frozen, "in Model: all of its 2 parameters are frozen: unfreeze some"),
        (Bare, "in Bare: it has no parameters: add a layer that has some"),
    ],
    ids=["not built", "frozen", "none"],
)
def test_nothing_trainable_says_why(make, text):
    model = make()
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=f"nothing trainable.*{text}"):
        _ = model.optimizer


@pytest.mark.parametrize("module", [nn.Linear(3, 4), nn.Sequential(nn.Linear(3, 4))])
def test_a_raw_module_is_named_where_it_is_called(module):
    x = Input((3,))
    model = Model(x, nn.ReLU()(module(x, name="head")))
    assert model.head is module
    assert model.get_layer("head") is module
    assert Model(x, model.output_of("head"))(torch.ones(2, 3)).shape == (2, 4)


class Named(nn.Module):
    def forward(self, x, name="none"):
        return x * len(name)


class Takes(nn.Module):
    def forward(self, x, **settings):
        return x * len(settings["name"])


@pytest.mark.parametrize("kind", [Named, Takes])
def test_a_forward_that_takes_name_is_given_it(kind):
    x = Input((2,))
    assert Model(x, kind()(x, name="four"))(torch.ones(1, 2)).tolist() == [[4.0, 4.0]]
