"""Plain source computes what the model computes, in a process that has no fgraph."""

from __future__ import annotations

import importlib.util
import math
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from torch import nn
from torch.utils import _pytree as pytree

import fgraph
from fgraph import Input, Model, Sequential, layers
from strategies import assert_same, programs, run

EXAMPLES = Path(__file__).parents[2] / "examples"

RUN = """
import sys

sys.modules["fgraph"] = None  # importing it fails from here on
import importlib.util
from pathlib import Path

import torch
from torch.utils import _pytree as pytree

for folder in sorted(Path(sys.argv[1]).iterdir()):
    spec = importlib.util.spec_from_file_location(folder.name, folder / "net.py")
    module = sys.modules[folder.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    net = module.Net()
    net.load_state_dict(torch.load(folder / "state.pt"))
    inputs, expected = torch.load(folder / "values.pt")
    found = pytree.tree_leaves(net.eval()(*inputs))
    assert len(found) == len(expected), folder
    assert all(torch.equal(a, b) for a, b in zip(found, expected)), folder
    print(folder.name)
"""


def scaled(x, factor=2.0):
    """A function that uses a module of the standard library and another function."""
    return shifted(x) * factor * math.pi


def shifted(x):
    return x + OFFSET


OFFSET = 0.5


class Gate(nn.Module):
    """A module of one's own that keeps its arguments."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.linear = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # a comment that should come along
        return x * torch.sigmoid(self.linear(x))


class Silent(nn.Module):
    """A module whose argument cannot be read back."""

    def __init__(self, size):
        super().__init__()
        self.linear = nn.Linear(size, size)

    def forward(self, x):
        return self.linear(x)


def everything():
    x, y = Input((4,), name="left"), Input((4,), name="class")
    shared = nn.Linear(4, 4)
    h = torch.cat([shared(x), shared(y).relu()], dim=1) + torch.arange(8.0)
    h = nn.Sequential(OrderedDict(first=nn.Linear(8, 6), second=nn.Sequential(nn.GELU())))(h)
    values, indices = h.topk(2, dim=1)
    out, (hidden, _) = nn.LSTM(2, 3, batch_first=True)(values.unsqueeze(1))
    text = {"out": out[:, -1], "hidden": [hidden, indices], "size": h.new_ones(x.size(0), 1)}
    return Model([x, y], {**text, "low": (h == h.min(1, keepdim=True).values).sum(-1)})


def own_code():
    x = Input((4,))
    h = fgraph.apply(scaled, Gate(4)(x), factor=3.0)
    return Model(x, h * nn.Parameter(torch.rand(4)))


def nested():
    x = Input((4,))
    inner = Model(x, nn.Linear(4, 4)(x).tanh(), name="inner part")
    a, b = Input((4,)), Input((4,))
    merged = inner(a) - inner(b)
    stack = Sequential([nn.Linear(4, 3), nn.Softmax(-1)])
    return Model([a, b], stack(merged))


def unusual():
    x = Input((4,))
    module = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.1), nn.Linear(4, 4))
    module[2].weight = module[0].weight
    module[1].p = 0.7
    for parameter in module[0].parameters():
        parameter.requires_grad_(False)
    frozen = nn.Linear(4, 2, dtype=torch.float64).requires_grad_(False)
    return Model(x, frozen(module(x).double()))


def long_lines():
    inputs = [Input((4,), name=f"a_rather_long_name_of_input_{number}") for number in range(6)]
    total = torch.cat(inputs, dim=1)[:, ::2] + torch.stack(inputs).sum(0)[:, None].sum(1).sum()
    return Model(inputs, layers.Dense(2, activation="softmax")(total))


MODELS = {f.__name__: f for f in (everything, own_code, nested, unusual, long_lines)}


def example(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    built = module.build()
    return built if isinstance(built, tuple) else (built,)


def inputs_of(model):
    made = []
    for symbol in model.inputs:
        shape = [2 if size is None else size for size in symbol.spec.shape]
        is_float = symbol.dtype.is_floating_point
        made.append(torch.rand(shape) if is_float else torch.randint(0, 5, shape))
    return made


def write(folder, model):
    folder.mkdir()
    model.eval()
    inputs = inputs_of(model)
    (folder / "net.py").write_text(model.to_source())
    torch.save(model.state_dict(), folder / "state.pt")
    torch.save((inputs, pytree.tree_leaves(model(*inputs))), folder / "values.pt")


def run_without_fgraph(folder):
    command = [sys.executable, "-c", RUN, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_plain_source_computes_the_same_without_fgraph(tmp_path):
    """One process for all models: starting torch is what takes the time."""
    written = []
    models = {name: (make(),) for name, make in MODELS.items()}
    for path in sorted(EXAMPLES.glob("*.py")):
        try:
            models[path.stem] = example(path.stem)
        except ImportError:
            continue  # an example whose data set is not installed
    for name, built in models.items():
        for number, model in enumerate(built):
            written.append(f"{name}_{number}")
            write(tmp_path / written[-1], model)
    assert run_without_fgraph(tmp_path) == sorted(written)


@pytest.mark.parametrize("name", MODELS)
def test_plain_source_is_formatted(name, tmp_path):
    path = tmp_path / "net.py"
    path.write_text(MODELS[name]().to_source())
    for command in (["format", "--diff"], ["check", "--select", "E,F,I"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--isolated", "--quiet", str(path)]
        done = subprocess.run(ruff, capture_output=True, text=True, check=False)
        if "No module named ruff" in done.stderr:
            pytest.skip("ruff is not installed")
        assert done.returncode == 0, done.stdout + done.stderr


OWN_MODULES = frozenset({"split", "halves", "mix", "states"})  # they do not keep their arguments


@settings(max_examples=20, deadline=None)
@given(programs(leave_out=OWN_MODULES))
def test_plain_source_of_random_graphs_computes_the_same(program):
    model, namespace = program.model(), {}
    exec(model.to_source(), namespace)
    net = namespace["Net"]()
    net.load_state_dict(model.state_dict())
    inputs, backward = program.inputs(), program.backward
    assert_same(run(net, inputs, backward=backward), run(model, inputs, backward=backward))


def test_plain_source_reads_like_a_hand_written_class():
    x = Input((4,), name="x")
    model = Model(x, nn.Linear(4, 2)(nn.Linear(4, 4)(x).relu()))
    assert (
        model.to_source("Classifier")
        == """\
from torch import nn


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear_1 = nn.Linear(4, 4)
        self.linear_2 = nn.Linear(4, 2)

    def forward(self, x):
        linear_1 = self.linear_1(x)
        relu_1 = linear_1.relu()
        linear_2 = self.linear_2(relu_1)
        return linear_2
"""
    )


def test_a_module_that_cannot_be_written_out_is_named():
    x = Input((4,))
    model = Model(x, Silent(4)(x))
    with pytest.raises(fgraph.SaveError, match=r"'silent_1' \(Silent\).*'size'.*constructors="):
        model.to_source()
    text = model.to_source(
        constructors={"silent_1": "Silent(4)"}, imports=["from mine import Silent"]
    )
    assert "from mine import Silent\n" in text
    assert "self.silent_1 = Silent(4)\n" in text


class Doubled(Model):
    """A model with a graph and a forward around it."""

    def __init__(self):
        x = Input((4,))
        super().__init__(x, nn.Linear(4, 4)(x))

    def forward(self, x):
        return super().forward(x) * 2


def test_a_forward_written_by_hand_is_not_left_out():
    with pytest.raises(fgraph.SaveError, match="forward of Doubled is written by hand"):
        Doubled().to_source()
    x = Input((4,))
    with pytest.raises(fgraph.SaveError, match=r"'doubled_1' \(Doubled\).*written by hand"):
        Model(x, Doubled()(x)).to_source()


@pytest.mark.parametrize("function", [lambda x: x + 1, (lambda n: lambda x: x + n)(1)])
def test_a_function_without_source_of_its_own_is_named(function):
    x = Input((4,))
    with pytest.raises(fgraph.SaveError, match=r"lambda.*does not stand by itself"):
        Model(x, fgraph.apply(function, x)).to_source()


def test_a_class_name_must_be_a_name():
    with pytest.raises(ValueError, match=r"class_name='my net'"):
        nested().to_source("my net")


def test_a_transposed_constant_and_a_view_of_it_stay_apart():
    kernel = torch.arange(9.0).view(3, 3).mT[None]
    x = Input((3, 3))
    model = Model(x, [x @ kernel, x @ kernel.mT])
    names = {}
    exec(model.to_source("Net"), names)
    net = names["Net"]()
    net.load_state_dict(model.state_dict())
    values = torch.randn(2, 3, 3)
    for found, expected in zip(net(values), model(values), strict=True):
        torch.testing.assert_close(found, expected)


class Twice(torch.autograd.Function):
    """A function whose calls in an opened module are named as its class."""

    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, grad):
        return grad * 2


class CallsByName(nn.Module):
    def forward(self, x):
        return Twice.apply(fgraph.apply(shifted, Twice.apply(x)))


def test_no_variable_hides_a_function_that_the_file_defines():
    x = Input((3,))
    model = Model(x, fgraph.unfold(CallsByName())(x))
    names = {}
    exec(model.to_source("Net"), names)
    value = torch.randn(2, 3)
    assert torch.equal(names["Net"]()(value), model(value))
    y = Input((3,), name="shifted")
    with pytest.raises(fgraph.errors.SaveError, match=r"inputs \['shifted'\] have the names"):
        Model(y, fgraph.apply(shifted, y)).to_source()


def test_a_sparse_constant_is_refused_by_its_layout():
    x = Input((3,), batch_size=3)
    model = Model(x, torch.sparse.mm(torch.eye(3).to_sparse(), x))
    with pytest.raises(fgraph.errors.SaveError, match=r"a torch.sparse_coo tensor of shape"):
        model.to_source()


class Turns(nn.Module):
    def forward(self, x):
        return torch.view_as_complex(x) * torch.polar(torch.ones(3), torch.arange(3.0))


def test_complex_constants_are_written():
    x = Input((3, 2))
    model = Model(x, fgraph.unfold(Turns())(x))
    names = {}
    exec(model.to_source("Net"), names)
    value = torch.randn(2, 3, 2)
    assert torch.equal(names["Net"]()(value), model(value))
