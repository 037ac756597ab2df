"""Names are checked where a graph is built: they end up in Python source, here and elsewhere."""

from __future__ import annotations

import copy
import dataclasses
import gc
from collections import OrderedDict

import pytest
import torch
from torch import nn

import fgraph
from fgraph import Input, Model, layers
from fgraph.errors import BuildError

UNSAFE = {
    'a", None) or getattr(self, "b': "leave out quotes",
    "a'b": "leave out quotes",
    "a\\": "leave out quotes and backslashes",
    "a\nb": "printable",
    "a\u2028b": "printable",
    "\ud800": "printable",
    "\ufb01": "reads as 'fi'",
    "\uff54orch": "reads as 'torch'",
    "x\u00b2": "reads as 'x2'",
}


@pytest.mark.parametrize("name", UNSAFE)
@pytest.mark.parametrize("kind", ["layer", "function", "part", "model"])
def test_names_that_python_would_read_otherwise_are_refused(kind, name):
    x = Input((4,))
    module = nn.Sequential(OrderedDict({name: nn.Linear(4, 4)}))
    calls = {
        "layer": lambda: layers.Dense(3, name=name)(x),
        "function": lambda: fgraph.apply(torch.relu, x, name=name),
        "part": lambda: module(x),
        "model": lambda: Model(x, x.relu(), name=name)(x),
    }
    with pytest.raises(ValueError, match=UNSAFE[name]):
        Model(x, calls[kind]())


@pytest.mark.parametrize("name", ["a\nb", "\ufb01", "x\u00b2", "\ud800"])
def test_input_names_that_python_would_read_otherwise_are_refused(name):
    x = Input((4,), name=name)
    with pytest.raises(ValueError, match="an input cannot be named"):
        Model(x, x.relu())


@pytest.mark.parametrize("name", ["größe", "数", "with space", "a-b", "1st", "class", "\u09f4"])
def test_other_names_will_do(name):
    x = Input((4,), name=name)
    model = Model(x, layers.Dense(2, name=f"{name}_layer")(x))
    assert model(torch.zeros(1, 4)).shape == (1, 2)
    assert model.to_fx()(torch.zeros(1, 4)).shape == (1, 2)


@pytest.mark.parametrize("key", ["\ufb01", "class", "x\u00b2", "a b", "\ud800", "__debug__"])
def test_keyword_arguments_keep_their_names(key):
    seen = []

    def note(x, **given):
        seen.extend(given)
        return x

    x = Input((4,))
    Model(x, fgraph.apply(note, x, **{key: '\ud800\u2028"'}))(torch.zeros(1, 4))
    assert set(seen) == {key}


def test_a_torch_size_reaches_a_function_as_one():
    x = Input((4,), batch_size=1)
    model = Model(
        x, fgraph.apply(lambda x, size: x.expand(size) * size.numel(), x, torch.Size([2, 4]))
    )
    assert torch.equal(model(torch.ones(1, 4)), torch.full((2, 4), 8.0))


@dataclasses.dataclass
class Result:
    """A result that torch does not know as a container."""

    value: torch.Tensor


class Wraps(nn.Module):
    """Returns a dataclass."""

    def forward(self, x):
        return Result(x + 1)


def test_a_dataclass_that_hides_tensors_is_refused_and_the_module_named():
    with pytest.raises(ValueError, match=r"Wraps\(\) cannot be called.*Result.*register_dataclass"):
        Wraps()(Input((4,)))


def test_a_declared_shape_stays_with_copies_and_replacements():
    x = Input((4,))
    weight = nn.Parameter(torch.ones(4))
    model = Model(x, fgraph.apply(lambda x, w: (x * w)[x > 0], x, weight, output_shape=(None,)))
    model.parameter_1 = nn.Parameter(torch.full((4,), 2.0))
    for found in (model, copy.deepcopy(model)):
        assert found.output_shape == (None,)
        assert torch.equal(found(torch.ones(1, 4)), torch.full((4,), 2.0))


class Cache:
    """What language models return beside their result: tensors in layers, in no pytree."""

    class Layer:
        __slots__ = ("keys",)

    def __init__(self, keys):
        self.layers = [Cache.Layer()]
        self.layers[0].keys = keys


class Caching(nn.Module):
    def forward(self, x, cache=None):
        return {"y": x + (0 if cache is None else cache.layers[0].keys), "cache": Cache(2 * x)}


@pytest.mark.usefixtures("torch_untouched")
def test_a_cache_in_a_result_leaves_no_tensors_in_the_graph():
    x, net, value = Input((4,)), Caching(), torch.randn(3, 4)
    out = net(x)
    assert "Cache" in repr(out["cache"])
    model = Model(x, out["y"])
    assert torch.equal(model(value), value)
    reached = gc.get_referents(*model._graph.nodes[-1].specs)
    assert not any(isinstance(part, (torch.Tensor, Cache)) for part in reached)
    with pytest.raises(BuildError, match=r"the \.layers of a Cache.*both calls in one nn\.Module"):
        net(x, out["cache"])


class Block(layers.Layer):
    """A layer inside has a name of its own, the same in every block."""

    def __init__(self, **options):
        super().__init__(**options)
        self.proj = layers.Dense(4, name="proj")

    def call(self, x):
        return self.proj(x)


def test_layers_of_one_name_inside_two_layers_keep_their_own_weights():
    x = Input((4,))
    first, second = Block(), Block()
    model = Model(x, second(first(x)))
    assert list(model.state_dict()) == [
        "proj.weight", "proj.bias", "proj_1.weight", "proj_1.bias",
    ]  # fmt: skip
    value = torch.randn(3, 4)
    expected = second.proj.module(first.proj.module(value))
    torch.testing.assert_close(model(value), expected)
    assert model.proj_1 is second.proj.module
