"""Copies of a model: class, weights, ties, mode, hooks, attributes, and a live graph."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize, prune

from fgraph import BuildError, Input, Model, apply, clone_model, layers
from fgraph.graph.inference.lanes import lane_of


class Named(Model):
    """A person's own subclass."""

    def describe(self) -> str:
        return f"{self.name} of {len(self.nodes)} calls"


def count_call(module, args, output) -> None:
    """A hook that can be pickled: it counts on the module."""
    module.calls = getattr(module, "calls", 0) + 1


def tied() -> Named:
    """A model with a shared layer, a tied weight, a parameter, a hook and an attribute."""
    left, right = Input((4,), name="left"), Input((4,), name="right")
    encode = nn.Linear(4, 4)
    both = torch.cat([left(encode, name="encode"), encode(right)], 1)
    mixed = layers.Dense(4, activation="relu", name="mix")(both) * nn.Parameter(torch.ones(4))
    out = F.linear(mixed, encode.weight)
    model = Named([left, right], {"out": out, "mixed": mixed}, name="tied").eval()
    model.encode.register_forward_hook(count_call)
    model.note = {"made": "by hand"}
    model.encode.bias.requires_grad_(False)
    return model


def averaged(model):
    return torch.optim.swa_utils.AveragedModel(model).module


def saved(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIERS = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "torch.save": saved,
    "AveragedModel": averaged,
    "copy of a copy": lambda model: copy.deepcopy(pickle.loads(pickle.dumps(model))),
}


@pytest.fixture(params=COPIERS.values(), ids=COPIERS)
def copier(request):
    return request.param


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(3, 4), torch.randn(3, 4)


def assert_equal(found, expected) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_a_copy_gives_the_same_and_shares_nothing(copier):
    model = tied()
    copied, data = copier(model), inputs()
    assert_equal(copied(*data), model(*data))
    assert list(copied.state_dict()) == list(model.state_dict())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert copied(*data)["mixed"].abs().sum() > 0


def test_a_copy_keeps_class_mode_hooks_and_attributes(copier):
    model = tied()
    copied = copier(model)
    assert isinstance(copied, Named)
    assert type(copied) is type(model)
    assert copied.describe() == model.describe()
    assert copied.training is False
    assert copied.note == {"made": "by hand"}
    assert copied.encode.bias.requires_grad is False
    copied(*inputs())
    assert copied.encode.calls == 2
    assert not hasattr(model.encode, "calls")


def test_a_copy_keeps_ties(copier):
    """The weight that is used a second time by a function is still the layer's."""
    copied = copier(tied())
    assert 'self._modules["encode"].weight' in copied.code
    assert sum(name.startswith("encode") for name in copied.state_dict()) == 2
    with torch.no_grad():
        copied.encode.weight.zero_()
    assert copied(*inputs())["out"].abs().sum() == 0


def test_the_graph_of_a_copy_is_alive_and_holds_its_own_modules(copier):
    model = tied()
    copied, data = copier(model), inputs()
    assert copied.get_layer("encode") is copied.encode
    assert copied.get_layer("mix").module is copied.mix
    assert copied.get_layer("mix") is not model.get_layer("mix")
    part = Model(copied.inputs, copied.get_layer("mix").output)
    assert part.mix is copied.mix
    with torch.no_grad():
        model.mix.weight.zero_()
    assert torch.equal(part(*data), torch.relu(copied.mix(part_input(copied, data))))


def part_input(model, data):
    return torch.cat([model.encode(x) for x in data], 1)


def test_a_copy_can_be_extended(copier):
    copied = copier(tied())
    more = Model(copied.inputs, layers.Dense(2)(copied.output["out"]))
    assert more(*inputs()).shape == (3, 2)
    assert more.encode is copied.encode


REPLACE = {
    "attribute": lambda model, new: setattr(model, "mix", new),
    "set_submodule": lambda model, new: model.set_submodule("mix", new),
    "_modules": lambda model, new: model._modules.__setitem__("mix", new),
    "add_module": lambda model, new: model.add_module("mix", new),
}


@pytest.mark.parametrize("replace", REPLACE.values(), ids=REPLACE)
def test_a_replaced_child_counts_at_once_and_in_copies(replace):
    model, new, data = tied(), nn.Linear(8, 4), inputs()
    model(*data)
    replace(model, new)
    expected = torch.relu(new(part_input(model, data)))
    assert torch.equal(model(*data)["mixed"], expected)
    copied = copy.deepcopy(model)
    assert torch.equal(copied(*data)["mixed"], expected)
    part = Model(copied.inputs, copied.get_layer("mix").output)
    assert torch.equal(part(*data), expected)
    assert part.mix is copied.mix


def test_a_replaced_parameter_counts():
    model, data = tied(), inputs()
    before = model(*data)["mixed"]
    model.parameter_1 = nn.Parameter(torch.full((4,), 2.0))
    assert torch.equal(model(*data)["mixed"], 2 * before)
    assert torch.equal(copy.deepcopy(model)(*data)["mixed"], 2 * before)


def test_a_setting_changed_between_two_calls_in_one_graph_is_refused():
    x, dropout = Input((4,)), nn.Dropout(0.1)
    h = dropout(x)
    dropout.p = 0.5
    with pytest.raises(BuildError, match="another p= than before in the same graph"):
        dropout(h)


def test_a_setting_may_change_once_the_model_is_built():
    x, dropout = Input((4,)), nn.Dropout(0.1)
    model = Model(x, dropout(nn.Linear(4, 4)(x)))
    dropout.p = 0.5
    model.linear_1 = nn.Linear(4, 4)  # the graph is made anew, the dropout's node with it
    assert [node.kind for node in model.nodes] == ["Linear", "Dropout"]
    assert model.nodes[1].target is dropout


def test_modules_with_other_settings_are_told_apart_in_a_copy():
    """Sizes are remembered by the settings of a module, which nodes of a copy have as well."""
    x = Input((2, None))
    model = Model(x, [nn.MaxPool1d(2)(x), nn.MaxPool1d(3)(x), nn.MaxPool1d(5, 1)(x)])
    found = [[lane_of(node, n) for n in range(10)] for node in copy.deepcopy(model).nodes]
    assert found == [[lane_of(node, n) for n in range(10)] for node in model.nodes]
    assert found[0][9] == [(3, 2, 48)]
    assert found[1][9] == [(3, 2, 32)]


def test_a_setting_changed_later_does_not_spoil_what_is_remembered():
    """The sizes in a lane are those of the settings with which it is run."""
    x, changed = Input((2, None)), nn.MaxPool1d(7)
    node = changed(x).node
    changed.kernel_size = changed.stride = 5
    node.lanes = None
    assert lane_of(node, 9) == [(3, 2, 19)]
    other = nn.MaxPool1d(7)
    y = other(x)
    assert lane_of(y.node, 9) == [(3, 2, 13)]


def other_for_thirteen(x: torch.Tensor) -> torch.Tensor:
    return x.new_ones((x.shape[0], 3 if x.shape[1] == 13 else 10))


@pytest.mark.parametrize("again", [*COPIERS.values(), clone_model], ids=[*COPIERS, "clone_model"])
def test_a_copy_compares_sizes_that_were_read_with_the_real_ones(again):
    x = Input((None, 4))
    h = apply(other_for_thirteen, x)
    model = again(Model(x, h * h.size(1)))
    assert model(torch.ones(2, 12, 4)).sum() == 2 * 10 * 10
    with pytest.raises(ValueError, match="was read while the graph was built, as 10"):
        model(torch.ones(2, 13, 4))
    unused = again(Model(x, x * h.size(1)))  # h itself is no part of it
    assert unused(torch.ones(1, 12, 4)).sum() == 12 * 4 * 10
    with pytest.raises(ValueError, match="was read while the graph was built, as 10"):
        unused(torch.ones(2, 13, 4))
    with pytest.raises(ValueError, match="was read while the graph was built, as 10"):
        Model(y := Input((None, 4)), model(y))(torch.ones(2, 13, 4))


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


class Scaled(Model):
    """Uses one parameter of its own in its graph, and not the other."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.scale = nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))
        self.unused = nn.Parameter(torch.ones(1))

    def call(self, x):
        return self.linear(x) @ self.linear.weight * self.scale


CHANGES = {
    "own parametrization": lambda m: parametrize.register_parametrization(m, "scale", Doubled()),
    "child's parametrization": lambda m: parametrize.register_parametrization(
        m.linear, "weight", Doubled()
    ),
    "pruning": lambda m: prune.l1_unstructured(m, "scale", amount=1),
    "deletion": lambda m: delattr(m, "unused"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_models_whose_tensors_are_computed_or_gone_keep_their_graph(name):
    model, x = Scaled(), torch.randn(2, 3)
    model(x)
    CHANGES[name](model)
    expected = model.linear(x) @ model.linear.weight * model.scale
    torch.testing.assert_close(model(x), expected)
    assert len(model.nodes) == 3
    if name != "pruning":  # torch itself cannot copy a pruned module
        torch.testing.assert_close(copy.deepcopy(model)(x), expected)
