"""Sequential and clone_model against torch's own containers."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from fgraph import Input, Model, Sequential, clone_model
from fgraph import layers as keras_layers
from fgraph.utils import to_categorical


def stack() -> list[nn.Module]:
    return [nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)]


def test_stack_equals_torch_sequential():
    layers = stack()
    value = torch.randn(5, 3)
    assert torch.equal(Sequential([Input((3,)), *layers])(value), nn.Sequential(*layers)(value))


@pytest.mark.parametrize(
    "given",
    [
        {"shape": (3,)},
        {"input_shape": (3,), "name": "first"},
        {"batch_shape": (5, 3)},
        {"input_tensor": lambda: Input((3,), name="made")},
    ],
    ids=list,
)
def test_an_input_layer_is_an_input(given):
    given = {name: value() if callable(value) else value for name, value in given.items()}
    layers = stack()
    model = Sequential([keras_layers.InputLayer(**given), *layers])
    value = torch.randn(5, 3)
    assert torch.equal(model(value), nn.Sequential(*layers)(value))


def test_first_call_builds_where_no_shape_was_given():
    layers = stack()
    model = Sequential(layers)
    with pytest.raises(AttributeError, match=r"Sequential\.code: model 'model' is not built yet"):
        _ = model.code
    assert list(model.parameters()) == []
    value = torch.randn(5, 3)
    assert torch.equal(model(value), nn.Sequential(*layers)(value))
    assert model.input_shape == (None, 3)
    assert len(list(model.parameters())) == 4


def test_add_and_pop_keep_the_graph_up_to_date():
    first, second = nn.Linear(3, 4), nn.Linear(4, 2)
    model = Sequential()
    model.add(Input((3,)))
    model.add(first)
    model.add(second)
    value = torch.randn(5, 3)
    assert torch.equal(model(value), second(first(value)))
    assert model.pop() is second
    assert torch.equal(model(value), first(value))
    assert list(model._modules) == ["linear_1"]
    assert model.layers == [first]


def test_a_sequential_is_a_layer_of_another_model():
    inner = Sequential([Input((3,)), nn.Linear(3, 2)], name="inner")
    x = Input((3,))
    model = Model(x, inner(x) + 1)
    value = torch.randn(2, 3)
    assert torch.equal(model(value), inner(value) + 1)
    assert model.inner is inner


def test_a_built_model_may_be_the_first_item():
    x = Input((3,))
    base = Model(x, nn.Linear(3, 2)(x), name="base")
    model = Sequential([base, nn.ReLU()])
    value = torch.randn(2, 3)
    assert torch.equal(model(value), base(value).relu())


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_stay_sequential(duplicate):
    model = Sequential([Input((3,)), *stack()])
    made = duplicate(model)
    value = torch.randn(2, 3)
    assert type(made) is type(model)
    assert torch.equal(made(value), model(value))
    made.add(nn.Linear(2, 1))
    assert made(value).shape == (2, 1)
    assert model(value).shape == (2, 2)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Sequential(nn.Linear(1, 1)), TypeError, "expects one list of layers"),
        (lambda: Sequential([nn.Linear]), TypeError, "the class Linear: call it"),
        (lambda: Sequential([torch.relu]), TypeError, "takes layers and torch modules"),
        (lambda: Sequential([nn.ReLU(), Input((3,))]), ValueError, "only as its first item"),
        (lambda: Sequential([nn.LSTM(3, 3)])(torch.ones(1, 2, 3)), TypeError, "one output each"),
        (lambda: Sequential([nn.ReLU()])([1]), ValueError, "not built yet and expects one tensor"),
        (lambda: Sequential().pop(), IndexError, "no layer to pop"),
    ],
)
def test_what_is_no_stack_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_clone_has_the_same_names_and_fresh_weights():
    x, shared = Input((4,), name="x"), nn.Linear(4, 4)
    inner = Sequential([Input((4,)), nn.Linear(4, 4)], name="inner")
    model = Model([x], {"y": torch.cat([shared(inner(x)), shared(x)], 1)})
    made = clone_model(model)
    assert list(made.state_dict()) == list(model.state_dict())
    assert made.code == model.code
    assert not torch.equal(made.linear_1.weight, model.linear_1.weight)
    assert not torch.equal(made.inner.linear_1.weight, model.inner.linear_1.weight)
    made.load_state_dict(model.state_dict())
    value = torch.randn(2, 4)
    assert torch.equal(made(value)["y"], model(value)["y"])


def test_a_module_that_cannot_be_reset_is_named():
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x):
            return x * self.weight

    x = Input((4,))
    model = Model(x, Odd()(x))
    with pytest.raises(TypeError, match=r"Odd, has parameters but no method reset_parameters"):
        clone_model(model)
    assert clone_model(model, clone_function=lambda m: m).odd_1 is model.odd_1


def test_to_categorical_makes_one_hot_rows():
    assert to_categorical([[0], [2]], 4).tolist() == [[1, 0, 0, 0], [0, 0, 1, 0]]
    with pytest.raises(ValueError, match="labels run from 0 to 5"):
        to_categorical([0, 5], 3)


def test_a_parameter_of_a_subclass_that_a_layer_uses_is_one_parameter():
    class Scaled(Sequential):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.full((3,), 2.0))
            self.add(Input((3,)))
            self.add(keras_layers.Lambda(lambda x: x * self.scale))

    model = Scaled()
    assert list(model.state_dict()) == ["scale"]
    model.scale = nn.Parameter(torch.full((3,), 5.0))
    torch.testing.assert_close(model(torch.ones(1, 3)), torch.full((1, 3), 5.0))
    assert model.nodes[0].args[1] is model.scale
