"""Modules and parameters that a function brings along belong to the model that calls it."""

from __future__ import annotations

import copy
import functools
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import fgraph
from fgraph import Input, Model
from fgraph.models import clone_model
from strategies import assert_same, compiled, run

pytestmark = pytest.mark.usefixtures("torch_untouched")
keep = functools.partial(checkpoint, use_reentrant=False)
GLOBAL = nn.Linear(4, 4)


def uses_a_global(t):
    return keep(helper, t)


def helper(t):
    return GLOBAL(t).tanh()


class Encoder(nn.Module):
    """A module with a method beside its forward, a buffer, and a part that is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.gain = nn.Parameter(torch.rand(4))

    def forward(self, t):
        return t

    def encode(self, t):
        return self.norm(t) * self.gain


class Holder:
    """A plain object that holds a module."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self, t):
        return self.run(t)

    def run(self, t):
        return self.module(t)


def with_default(block):
    def function(t, part=block):
        return part(t)

    return function


def with_keyword(block):
    def function(t, *, part=block):
        return part(t)

    return function


# for each way of bringing a block along: a call of it on a value, by `apply` or directly
WAYS: dict[str, Callable] = {
    "argument of checkpoint": lambda apply, b, x: apply(checkpoint, b, x, use_reentrant=False),
    "reentrant": lambda apply, b, x: apply(checkpoint, b, x, use_reentrant=True),
    "closure": lambda apply, b, x: apply(lambda t: keep(b, t), x),
    "closure of a closure": lambda apply, b, x: apply(lambda t: keep(lambda u: b(u), t), x),
    "partial": lambda apply, b, x: apply(functools.partial(keep, b), x),
    "keyword of a partial": lambda apply, b, x: apply(
        functools.partial(lambda t, part: part(t), part=b), x
    ),
    "function as an argument": lambda apply, b, x: apply(checkpoint, lambda t: b(t), x,
                                                         use_reentrant=False),
    "method": lambda apply, b, x: apply(b.forward, x),
    "method as an argument": lambda apply, b, x: apply(keep, b.forward, x),
    "method in a closure": lambda apply, b, x: apply(lambda t: b.forward(t), x),
    "list": lambda apply, b, x: apply(lambda t, parts=(b,): next(p(t) for p in parts), x),
    "dict in a closure": lambda apply, b, x: (lambda d: apply(lambda t: d["b"](t), x))({"b": b}),
    "object": lambda apply, b, x: apply(Holder(b), x),
    "method of an object": lambda apply, b, x: apply(Holder(b).run, x),
    "object in a closure": lambda apply, b, x: (
        lambda holder: apply(lambda t: holder.module(t), x)
    )(Holder(b)),
    "default": lambda apply, b, x: apply(with_default(b), x),
    "keyword default": lambda apply, b, x: apply(with_keyword(b), x),
    "parameters": lambda apply, b, x: apply(
        lambda t, w, v: nn.functional.linear(t, w, v).tanh(), x, b[0].weight, b[0].bias
    ),
    "parameters in a closure": lambda apply, b, x: (lambda w, v: apply(
        lambda t: nn.functional.linear(t, w, v).tanh(), x))(b[0].weight, b[0].bias),
}  # fmt: skip


def direct(function, *args, **kwargs):
    return function(*args, **kwargs)


class Twin(nn.Module):
    """The program as torch runs it."""

    def __init__(self, way, block) -> None:
        super().__init__()
        self.block, self.way = block, way

    def forward(self, x):
        return self.way(direct, self.block, x)


def built(way) -> tuple[Model, Twin]:
    torch.manual_seed(0)
    block = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
    twin, x = Twin(way, copy.deepcopy(block)), Input((4,))
    return Model(x, way(fgraph.apply, block, x)), twin


every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


def assert_equal(model: nn.Module, twin: nn.Module) -> None:
    x = [torch.randn(3, 4)]
    assert_same(run(model, x), run(twin, x))
    assert_same([p.grad for p in model.parameters()], [p.grad for p in twin.parameters()])
    assert all(p.grad is not None for p in model.parameters())


@every_way
def test_the_block_is_trained_with_the_model(way):
    model, twin = built(way)
    assert len(list(model.parameters())) == 2
    assert_equal(model, twin)


COPIES = {
    "deepcopy": copy.deepcopy,
    "moved": lambda model: model.double().float(),
    "fx": lambda model: model.to_fx(),
    "compiled": lambda model: compiled(model),
    "nested": lambda model: (lambda x: Model(x, model(x)))(Input((4,))),
}


@every_way
@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_copies_have_a_block_of_their_own(way, copied):
    model, twin = built(way)
    made = copied(model)
    assert_equal(made, twin)
    if copied is copy.deepcopy:
        assert all(p.grad is None for p in model.parameters())
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.zero_()
        x = torch.randn(2, 4, requires_grad=True)
        assert not made(x).any()
        assert model(x).any()


@pytest.mark.parametrize("way", ["closure", "partial", "method", "object", "default"])
def test_a_replaced_child_is_what_runs(way):
    model, _ = built(WAYS[way])
    (name,) = model._modules
    setattr(model, name, nn.Flatten())
    x = torch.randn(3, 4)
    assert torch.equal(model(x), x)
    assert torch.equal(copy.deepcopy(model)(x), x)


@pytest.mark.parametrize("way", ["closure", "partial", "method"])
def test_a_clone_has_fresh_weights(way):
    model, _ = built(WAYS[way])
    clone, x = clone_model(model), torch.randn(3, 4)
    assert not torch.equal(clone(x), model(x))
    clone.load_state_dict(model.state_dict())
    assert torch.equal(clone(x), model(x))


def test_global_modules_are_found_and_pickled():
    x = Input((4,))
    model = Model(x, fgraph.apply(uses_a_global, x))
    assert list(model.state_dict()) == ["linear_1.weight", "linear_1.bias"]
    value = torch.randn(3, 4)
    copies = pickle.loads(pickle.dumps(model)), pickle.loads(pickle.dumps(copy.deepcopy(model)))
    for made in copies:
        assert torch.equal(made(value), helper(value))
        with torch.no_grad():
            made.linear_1.weight.zero_()
            made.linear_1.bias.zero_()
        assert not made(value).any()
    assert model(value).any()


def test_methods_tensors_and_buffers():
    encoder, table, x = Encoder(), torch.rand(4), Input((4,))
    twin = copy.deepcopy(encoder)
    model = Model(x, fgraph.apply(encoder.encode, x) + fgraph.apply(lambda t: t * table, x))
    value = torch.randn(6, 4)
    assert torch.equal(model(value), twin.encode(value) + value * table)
    assert torch.equal(encoder.norm.running_mean, twin.norm.running_mean)
    assert encoder.norm.num_batches_tracked == 1  # building did not count
    moved = model.double()
    assert moved(value.double()).dtype == torch.float64


def test_only_what_is_used_of_the_object_that_builds_becomes_part_of_the_model():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.block, self.other = nn.Linear(4, 4), nn.Linear(4, 9)
            x = Input((4,))
            self.model = Model(x, fgraph.apply(lambda t: keep(self.half, t), x))

        def half(self, t):
            return self.block(t) / 2

        def forward(self, x):
            return self.model(x)

    net = Net()
    assert [name for name, _ in net.model.named_parameters()] == [
        "linear_1.weight",
        "linear_1.bias",
    ]
    x = torch.randn(2, 4)
    assert torch.equal(net(x), net.block(x) / 2)
    assert list(net.state_dict()) == [
        "block.weight", "block.bias", "other.weight", "other.bias",
        "model.linear_1.weight", "model.linear_1.bias",
    ]  # fmt: skip
    with pytest.raises(RuntimeError, match=r"make it an argument, as in `fgraph.apply\(checkpoint"):
        copy.deepcopy(net.model)


def test_a_parameter_that_cannot_be_found_is_refused():
    registry = type("Registry", (), {"get": staticmethod(functools.lru_cache(lambda: GLOBAL))})
    x = Input((4,))
    with pytest.raises(
        ValueError, match=r"a parameter of shape \(4, 4\) that is not among its arg"
    ):
        fgraph.apply(lambda t: registry().get()(t), x)
    made = fgraph.apply(lambda t, part: registry().get()(t), x, GLOBAL)
    assert made.shape == (None, 4)


def test_a_symbolic_value_has_to_be_an_argument():
    x, y = Input((4,)), Input((4,))
    with pytest.raises(ValueError, match=r"uses <SymbolicTensor .* without having it as an argum"):
        fgraph.apply(lambda t: t + y, x)


def test_building_leaves_modules_in_closures_as_they_were():
    fired, block = [], nn.Sequential(nn.LazyLinear(3), nn.BatchNorm1d(3))
    block.register_forward_hook(lambda *_: fired.append(1))
    x = Input((4,))
    model = Model(x, fgraph.apply(lambda t: block(t), x))
    assert not fired
    assert block[1].num_batches_tracked == 0
    assert model(torch.ones(2, 4)).shape == (2, 3)
    assert fired == [1]


def test_nodes_and_names_of_modules_among_arguments():
    block, x = nn.Linear(4, 4), Input((4,))
    h = block(x)
    y = fgraph.apply(checkpoint, block, h, use_reentrant=False)
    model = Model(x, y)
    assert list(model._modules) == ["linear_1"]
    assert fgraph.inbound_nodes(block) == model.nodes
    assert "checkpoint(self.linear_1, linear_1, use_reentrant=False)" in model.to_source()
