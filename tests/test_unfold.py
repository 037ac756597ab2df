"""Opened modules against the modules themselves: the same numbers, keys and names."""

from __future__ import annotations

import copy
import gc
import pickle
import random
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import fgraph
from fgraph import BuildError, Input, Model, layers
from fgraph.viewing.summary import summary_rows

pytestmark = pytest.mark.usefixtures("torch_untouched")


class Block(nn.Module):
    """A residual block that uses one activation twice, in place."""

    def __init__(self, width):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.conv2(y)
        y += x
        return self.relu(y)


class Convolutions(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.layers = nn.Sequential(Block(4), Block(4))  # the name of an attribute of Model
        self.unused = nn.Linear(2, 2)
        self.fc = nn.Linear(4, 5)

    def forward(self, x):
        x = self.layers(F.relu(self.stem(x)))
        return F.dropout(self.fc(torch.flatten(x.mean((2, 3)), 1)), 0.5, self.training)


class Tokens(nn.Module):
    """Parameters and buffers of its own, expanded to the batch; a child that computes with them."""

    def __init__(self):
        super().__init__()
        self.cls = nn.Parameter(torch.randn(1, 1, 6))
        self.register_buffer("shift", torch.arange(6.0), persistent=False)
        self.bias = Bias()
        self.embed = nn.Embedding(9, 6)

    def forward(self, ids):
        x = self.embed(ids)
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], 1) + self.shift.exp().log()
        scores = x @ x.mT + self.bias(x.size(1))
        positions = torch.arange(x.size(1), device=ids.device)
        x = scores.softmax(-1) @ x + positions[:, None]
        return {"hidden": x, "logits": F.linear(x[:, 0], self.embed.weight)}


class Bias(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(2 * 400))

    def forward(self, length):
        steps = torch.arange(length)
        return self.table[steps[:, None] - steps[None, :] + 399] * self.table.mean()


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, x):
        return x + self.scale * torch.randn(4) * torch.rand_like(x)


class ByMode(nn.Module):
    """A child that decides on its mode, and one that only chooses numbers by it."""

    def __init__(self):
        super().__init__()
        self.depth, self.first, self.attention = Depth(), nn.Linear(4, 4), Chooses()

    def forward(self, x):
        return self.attention(self.depth(self.first(x)))


class Depth(nn.Module):
    def forward(self, x):
        return x * 2 if self.training else x


class Chooses(nn.Module):
    """Reads its mode as attention of transformers does, and so does its child."""

    def __init__(self, inner=True):
        super().__init__()
        self.rate, self.out = 0.3, nn.Linear(4, 4)
        self.inner = Chooses(False) if inner else None

    def forward(self, x):
        q = self.out(x) + torch.arange(4) / 10  # a constant of each run
        dropped = 0.0 if not self.training else self.rate
        y = F.scaled_dot_product_attention(q, q, q, dropout_p=dropped)
        y = F.dropout(y, 0.5, self.training and self.rate > 0) * (1 - dropped)
        return y if self.inner is None else self.inner(y)


NETS = {
    "convolutions": (Convolutions, lambda: torch.randn(2, 3, 8, 8), None),
    "tokens": (Tokens, lambda: torch.randint(0, 9, (2, 5)), "int64"),
    "noise": (Noisy, lambda: torch.randn(3, 4), None),
    "a mode": (ByMode, lambda: torch.randn(3, 4), None),
    "sequential": (lambda: nn.Sequential(nn.Linear(4, 3)), lambda: torch.ones(2, 4), None),
}  # fmt: skip


def opened(net, value, dtype=None, **options):
    x = Input(tuple(value.shape[1:]), dtype=dtype)
    return Model(x, fgraph.unfold(net, **options)(x))


def results(net, value):
    torch.manual_seed(5)
    found = net(value)
    return list(found.values()) if isinstance(found, dict) else [found]


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize(("make", "data", "dtype"), NETS.values(), ids=list(NETS))
def test_an_opened_module_computes_the_same(make, data, dtype, training):
    torch.manual_seed(1)
    net, value = make(), data()
    twin = copy.deepcopy(net).train(training)
    model = opened(net, value, dtype).train(training)
    assert list(model.state_dict()) == list(twin.state_dict())
    model.load_state_dict(twin.state_dict())
    for _ in range(2):
        found, expected = results(model, value), results(twin, value)
        assert all(map(torch.equal, found, expected))
        sum(part.sum() for part in found).backward()
        sum(part.sum() for part in expected).backward()
    ours, theirs = dict(model.named_parameters()), dict(twin.named_parameters())
    assert list(ours) == list(theirs)
    for name, parameter in theirs.items():
        grad = ours[name].grad
        assert (grad is None) == (parameter.grad is None)
        assert grad is None or torch.equal(grad, parameter.grad), name
    for name, buffer in twin.named_buffers():
        assert torch.equal(dict(model.named_buffers())[name], buffer), name
    assert dict(model.named_parameters())[next(iter(ours))] is dict(net.named_parameters())[next(iter(ours))]  # fmt: skip # noqa: E501


def from_source(model, value):
    namespace = {}
    exec(model.to_source("Net"), namespace)
    net = namespace["Net"]()
    net.load_state_dict(model.state_dict())
    return net


FORMS = {
    "deepcopy": lambda model, value: copy.deepcopy(model),
    "pickle": lambda model, value: pickle.loads(pickle.dumps(model)),
    "source": from_source,
    "fx": lambda model, value: model.to_fx(),
    "export": lambda model, value: torch.export.export(model.eval(), (value,)).module(),
    "compile": lambda model, value: torch.compile(model, backend="eager"),
}


SLOW = {"compile": [pytest.mark.slow]}


@pytest.mark.parametrize(
    "form", [pytest.param(form, id=name, marks=SLOW.get(name, [])) for name, form in FORMS.items()]
)
@pytest.mark.parametrize(("make", "data", "dtype"), NETS.values(), ids=list(NETS))
def test_every_form_of_an_opened_module_computes_the_same(make, data, dtype, form):
    torch._dynamo.reset()
    net, value = make().eval(), data()
    options = {"name": "net"} if form in (FORMS["export"], FORMS["fx"]) else {}
    model = opened(net, value, dtype, **options)
    expected = results(net, value)
    twin = form(model, value)
    found = results(twin, value)
    assert all(map(torch.equal, found, expected))
    if form not in (FORMS["export"], FORMS["fx"]):  # which keep constants
        assert {key.removeprefix("_orig_mod.") for key in twin.state_dict()} == {*net.state_dict()}


def test_an_opened_module_is_written_as_one_flat_file():
    source = opened(Convolutions(), torch.zeros(1, 3, 8, 8)).to_source("Net")
    assert "Block" not in source
    assert "Convolutions" not in source
    assert "layers_0_conv1 = self.layers[0].conv1(relu)" in source


def test_blocks_are_groups_wherever_a_model_is_looked_at():
    net = Convolutions().eval()
    model = opened(net, torch.zeros(1, 3, 8, 8))
    rows = {row.name: row for row in summary_rows(model)}
    assert list(rows) == ["input_1", "stem", "relu", "layers", "mean", "flatten", "fc", "dropout"]
    assert rows["layers"].parameters == sum(p.numel() for p in net.layers.parameters())
    assert rows["layers"].shape == (None, 4, 6, 6)
    assert rows["mean"].sources == ["layers"]
    inner = {row.name: row.depth for row in summary_rows(model, expand_nested=True)}
    assert [inner[name] for name in ("layers", "layers.1", "layers.1.conv2")] == [0, 1, 2]
    assert "layers.1.relu[1]" in inner
    few = model.profile(torch.zeros(2, 3, 8, 8), repeat=1)
    many = model.profile(torch.zeros(2, 3, 8, 8), repeat=1, expand_nested=True)
    assert [record.name for record in few.records] == list(rows)[1:]
    inside = [record for record in many.records if record.name.startswith("layers.")]
    whole = next(record for record in few.records if record.name == "layers")
    assert whole.flops == sum(record.flops for record in inside) > 0
    assert whole.parameters == sum(record.parameters for record in inside)
    boxed = model.to_mermaid(expand_nested=True)
    assert boxed.count("subgraph") == 4  # stem, layers and the two blocks
    assert "subgraph" not in model.to_mermaid()
    assert "layers.0.bn1" in model.activations(torch.zeros(1, 3, 8, 8))


def test_the_model_is_in_the_mode_of_the_opened_module():
    net, value = Convolutions().eval(), torch.randn(2, 3, 8, 8)
    assert torch.equal(opened(net, value)(value), net(value))


def test_nodes_have_qualified_names():
    net = Convolutions()
    model = opened(net, torch.zeros(1, 3, 8, 8))
    assert model.output_of("layers.1.conv2").shape == (None, 4, 6, 6)
    assert model.get_layer("layers.0.conv1").module is net.layers[0].conv1
    block = model.get_layer("layers.0")
    assert block.module is net.layers[0]
    assert block.output_shape == block.input_shape == (None, 4, 6, 6)
    assert block.output == model.output_of("layers.0") == model.output_of("layers.0.relu", 1)
    assert model.get_layer("layers.0.relu").output == block.output
    with pytest.raises(fgraph.AmbiguousNodeError, match=r"'layers.0.relu' is called 2 times"):
        model.output_of("layers.0.relu")
    half = Model(model.input, model.output_of("layers.0"))
    value = torch.randn(2, 3, 8, 8)
    net.eval(), half.eval()
    assert torch.equal(half(value), net.layers[0](F.relu(net.stem(value))))
    assert list(half._modules) == ["stem", "layers"]


def test_two_modules_in_one_model_have_names():
    value = torch.randn(2, 4)
    x = Input((4,))
    left, right = nn.Sequential(nn.Linear(4, 2)), nn.Sequential(nn.Linear(4, 2))
    both = fgraph.unfold(left, name="left")(x) + fgraph.unfold(right, name="right")(x)
    model = Model(x, layers.Dense(1)(both))
    assert list(model.state_dict())[:4] == ["left.0.weight", "left.0.bias", "right.0.weight", "right.0.bias"]  # fmt: skip # noqa: E501
    assert torch.equal(model(value), model.dense_1(left(value) + right(value)))
    with pytest.raises(ValueError, match=r"'0' is given to two things.*unfold\(module, name=...\)"):
        Model(x, fgraph.unfold(left)(x) + fgraph.unfold(right)(x))


def test_an_opened_module_is_shared():
    net, (a, b) = Convolutions().eval(), (Input((3, 8, 8)), Input((3, 8, 8)))
    opened_net = fgraph.unfold(net)
    model = Model([a, b], opened_net(a) - opened_net(b)).eval()
    first, second = torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8)
    assert torch.equal(model(first, second), net(first) - net(second))
    assert list(model.state_dict()) == list(net.state_dict())


def test_a_module_that_decides_on_its_mode_is_taken_in_its_present_one():
    class Root(nn.Module):
        def forward(self, x):
            return x * 2 if self.training else x

    x, value = Input((4,)), torch.ones(1, 4)
    with pytest.warns(UserWarning, match="Root decides on its mode, at .*in evaluation mode"):
        model = Model(x, fgraph.unfold(Root().eval())(x + 1))
    assert torch.equal(model.train()(value), value + 1)
    with pytest.raises(BuildError, match="Root decides on its mode"):
        fgraph.unfold(Root(), strict=True)(x)


def test_numbers_chosen_by_the_mode_are_chosen_at_run_time():
    net = Chooses()
    x, value = Input((4,)), torch.randn(3, 4)
    model = Model(x, fgraph.unfold(net, strict=True)(x))
    assert [node.name for node in model.nodes if node.op == "module"] == ["out", "inner.out"]
    assert [node.name for node in model.nodes if "scaled" in node.name] == [
        "scaled_dot_product_attention", "inner.scaled_dot_product_attention",
    ]  # fmt: skip
    for training in (True, False):
        assert torch.equal(*(results(m.train(training), value)[0] for m in (net, model)))
    net.inner.train()  # each part has a mode of its own
    assert not torch.equal(results(model, value)[0], results(model.eval(), value)[0])


class AsksForValues(nn.Module):
    def forward(self, x):
        return x * 2 if x.sum() > 0 else x


def test_a_part_that_cannot_be_recorded_is_a_leaf_with_a_warning():
    net, value = nn.Sequential(nn.Linear(4, 4), AsksForValues(), AsksForValues()), torch.randn(3, 4)
    x = Input((4,))
    with pytest.warns(UserWarning, match=r"AsksForValues is kept as a leaf.*test_unfold.py:\d+ \(return x \* 2 if.*: '1', '2'"):  # noqa: E501 # fmt: skip
        model = Model(x, fgraph.unfold(net)(x))
    assert torch.equal(model(value), net(value))
    assert [node.kind for node in model.nodes] == ["Linear", "AsksForValues", "AsksForValues"]
    with pytest.raises(BuildError, match=r"AsksForValues is kept as a leaf.*'1'"):
        fgraph.unfold(net, strict=True)(x)


class SetsBuffer(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("table", torch.zeros(1))

    def forward(self, x):
        self.table = torch.arange(4.0)
        return x + self.table


class DrawsOfNumpy(nn.Module):
    def forward(self, x):
        return x * float(np.random.rand())


class DrawsOfPython(nn.Module):
    def forward(self, x):
        return x + random.random()


class HidesBlocks(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.ModuleList([Depth(), Depth()])

    def forward(self, x):
        return self.inner[0](x) if self.training else self.inner[1](x) + 1


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (SetsBuffer, r"it sets its buffer 'table', which the model would not keep"),
        (DrawsOfNumpy, "it draws random numbers of numpy or Python"),
        (DrawsOfPython, "it draws random numbers of numpy or Python"),
        (HidesBlocks, r"it decides on self\.training"),
    ],
)
def test_what_would_be_lost_is_a_leaf_with_a_warning(module, reason):
    net, twin, x = nn.Sequential(module()), nn.Sequential(module()), Input((4,))
    before = random.getstate(), np.random.get_state()[2]
    with pytest.warns(UserWarning, match=rf"{module.__name__} is kept as a leaf, .*{reason}.*'0'"):
        model = Model(x, fgraph.unfold(net)(x))
    assert (random.getstate(), np.random.get_state()[2]) == before
    for _ in range(2):
        found = []
        for m in (model, twin):
            random.seed(1), np.random.seed(1)
            found.append(m(torch.ones(2, 4)))
        assert torch.equal(*found)
    assert all(map(torch.equal, model.buffers(), twin.buffers()))


@pytest.mark.parametrize("leaf", [Block, "layers.*", lambda module: isinstance(module, Block)])
def test_more_leaves_are_chosen_by_class_name_or_function(leaf):
    net = Convolutions()
    model = opened(net, torch.zeros(1, 3, 8, 8), leaf=leaf)
    assert [node.kind for node in model.nodes].count("Block") == 2
    assert list(model.state_dict()) == list(net.state_dict())


def test_modules_with_hooks_stay_whole_and_fire_them():
    net, seen = Convolutions().eval(), []
    net.layers[0].register_forward_hook(lambda *_: seen.append(1))
    with pytest.warns(UserWarning, match=r"Block is kept as a leaf, .*hooks.*'layers.0'"):
        model = opened(net, torch.zeros(1, 3, 8, 8)).eval()
    value = torch.randn(1, 3, 8, 8)
    assert torch.equal(model(value), net(value))
    assert len(seen) == 2


def test_no_symbolic_value_is_left_in_a_cycle():
    opened(nn.Linear(1, 1), torch.zeros(1, 1))  # torch imports its compiler, and keeps the frames
    gc.collect()
    gc.disable()
    try:
        for net, size in ((Convolutions(), (3, 8, 8)), (nn.Sequential(AsksForValues()), (4,))):
            with warnings.catch_warnings(action="ignore"):
                opened(net, torch.zeros(1, *size))
            assert nn.Module.__call__ is nn.Module._wrapped_call_impl
    finally:
        gc.enable()


def test_real_tensors_run_the_module_itself():
    net, value = Convolutions().eval(), torch.randn(1, 3, 8, 8)
    assert torch.equal(fgraph.unfold(net)(value), net(value))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"module": 3}, "unfold expects a torch module, got int"),
        ({"module": nn.ReLU(), "name": "a.b"}, "name= expects a string without dots"),
        ({"module": nn.ReLU(), "leaf": 3}, "leaf= expects classes, name patterns or functions"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(TypeError, match=message):
        fgraph.unfold(**arguments)


def test_an_opened_module_is_fitted():
    net = Convolutions()
    model = opened(net, torch.zeros(1, 3, 8, 8))
    before = net.fc.weight.detach().clone()
    model.compile("sgd", nn.CrossEntropyLoss())
    model.fit(torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, 3]), verbose=0)
    assert not torch.equal(net.fc.weight, before)
