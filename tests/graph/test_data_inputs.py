"""Inputs that are no tensors: what is given at run time arrives as it is."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

import fgraph
from fgraph import Input, Model, SymbolicError


class Flipped(nn.Module):
    """A module that takes a flag, a list and a dict beside its tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(5, 5)

    def forward(self, x, double=False, axes=(), settings=None):
        x = self.linear(x) * (2 if double else 1)
        for axis in axes:
            x = x.flip(axis)
        return x * settings["scale"] if settings else x


CASES = [(True, [0], {"scale": 2.0}), (False, [0, 1], {"scale": 3, "other": "x"}), (False, [], {})]


@pytest.fixture
def flipped():
    block = Flipped()
    x, double = Input((5,)), Input(example=True, name="double")
    axes, settings = Input(example=[0]), Input(example={"scale": 2.0, "kind": "z"}, name="settings")
    y = block(x, double, axes=axes, settings=settings)
    return block, Model([x, double, axes, settings], y)


@pytest.mark.parametrize("given", CASES)
def test_a_flag_a_list_and_a_dict_arrive_as_they_are(flipped, given):
    block, model = flipped
    value = torch.randn(3, 5)
    expected = block(value, given[0], axes=given[1], settings=given[2])
    assert torch.equal(model(value, *given), expected)
    assert torch.equal(model([value, *given]), expected)
    named = {"double": given[0], "input_2": given[1], "settings": given[2]}
    assert torch.equal(model(input_1=value, **named), expected)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(value, *given), expected)
    assert torch.equal(fgraph.models.clone_model(model)(value, *given) * 0, expected * 0)


def test_a_model_that_takes_data_is_called_in_another_graph(flipped):
    block, inner = flipped
    x, flag = Input((5,)), Input(example=False)
    model = Model([x, flag], inner(x, flag, [1], {}))
    value = torch.randn(2, 5)
    assert torch.equal(model(value, True), block(value, True, [1]))


def test_what_calls_return_for_data_is_computed_at_run_time():
    x, settings = Input((5,)), Input(example={"count": 3, "mode": "sum"})
    rows = fgraph.apply(lambda s: (s["count"] + 1, s["mode"]), settings)
    part, twice = x[:, : settings["count"]], x[:, : rows[0] - 1] * 2
    reduced = fgraph.apply(nn.functional.mse_loss, part, twice, reduction=rows[1])
    model = Model([x, settings], reduced * settings["count"])
    value = torch.randn(2, 5)
    for count in (1, 2, 4):
        for mode in ("sum", "mean"):
            part = value[:, :count]
            expected = nn.functional.mse_loss(part, part * 2, reduction=mode) * count
            assert torch.equal(model(value, {"count": count, "mode": mode}), expected)


@pytest.mark.parametrize("number", [1, 2, 4])
def test_a_number_decides_on_sizes(number):
    x, n = Input((5,)), Input(example=3)
    value = torch.randn(2, 5)
    assert torch.equal(Model([x, n], x[:, :n] * n)(value, number), value[:, :number] * number)
    for call in (lambda y: y / y.shape[1], nn.Linear(3, 2)):
        model = Model([x, n], call(x[:, :n]))
        assert torch.equal(model(value, 3), call(value[:, :3]))
        with pytest.raises(
            (ValueError, RuntimeError), match=f"as 3, .* it is {number}|cannot be mul"
        ):
            model(value, number)


@pytest.mark.parametrize(
    "use", [bool, len, list, lambda data: data == 3], ids=["truth", "length", "items", "equality"]
)
@pytest.mark.parametrize("example", [[1, 2], 3])
def test_code_cannot_decide_on_data_while_the_graph_is_built(use, example):
    with pytest.raises((SymbolicError, TypeError)):
        use(Input(example=example))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("a", "'n' expects a number such as 3, got a str"),
        (torch.tensor(3), "'n' expects a number such as 3, got a torch.Tensor"),
    ],
)
def test_another_kind_of_value_is_refused(given, message):
    x, n = Input((5,)), Input(example=3, name="n")
    model = Model([x, n], x * n)
    with pytest.raises(TypeError, match=message):
        model(torch.ones(1, 5), given)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"shape": (3,), "example": 2}, ValueError, "example= stands for shape"),
        ({"example": [torch.ones(1)]}, TypeError, "make an Input of its own for each"),
    ],
)
def test_examples_that_make_no_sense_are_refused(arguments, kind, message):
    with pytest.raises(kind, match=message):
        Input(**arguments)


def test_fit_refuses_a_model_that_takes_data(flipped):
    _, model = flipped
    model.compile("sgd", "mse")
    with pytest.raises(TypeError, match="inputs that are no tensors"):
        model.fit(torch.ones(2, 5), torch.ones(2, 5), verbose=0)


def test_an_input_without_a_batch():
    x, scale = Input((5,)), Input(batch_shape=())
    model = Model([x, scale], x * scale)
    value = torch.randn(2, 5)
    assert model.input_shape == [(None, 5), ()]
    assert torch.equal(model(value, torch.tensor(3.0)), value * 3)
    with pytest.raises(TypeError, match="expects a torch tensor of shape \\(\\), got a float"):
        model(value, 3.0)
