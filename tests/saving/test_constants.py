"""Constants in graphs and modules come back exactly, or are refused when they are saved."""

from __future__ import annotations

import collections
import enum
import math
import os
import sys
import types

import numpy as np
import pytest
import torch
import torch.nn.utils.prune
from torch import nn

import fgraph
from fgraph import Input, Model

seen = []


@fgraph.register("tests>note")
def note(x, value):
    """Note what arrives."""
    seen.append(value)
    return x


class Rate(float):
    """A number of one's own."""


class Count(int):
    """Another one."""


class Text(str):
    """A text of one's own."""

    __slots__ = ()


class Items(list):
    """A list of one's own."""


class Table(dict):
    """A dict of one's own."""


@fgraph.register("tests>Color")
class Color(enum.Enum):
    """A choice."""

    RED = 1
    BLUE = "b"


@fgraph.register("tests>Level")
class Level(enum.IntEnum):
    """A choice that is a number."""

    LOW = 1


Pair = fgraph.register("tests>Pair")(collections.namedtuple("Pair", "left right"))

KEPT = {
    "numbers": [0, -0.0, 1.5e300, math.inf, -math.inf, 2**63, -(2**63), True, None],
    "complex": [complex("nan+infj"), complex(-0.0, 2), 1j],
    "texts": ["", "\n\\\"'{x}", "\u2028\ud800", "{'$name': 1}"],
    "containers": [(), (1, (2, [3, {}])), {"a": ()}, {1: 2, (1, 2): None}, {"$name": "os.system"}],
    "ordered": collections.OrderedDict([("b", 1), ("a", 2.0)]),
    "counter": collections.Counter("aab"),
    "sets": [{1, 2}, frozenset({"a"}), set()],
    "slices": [slice(None), slice(1, None, -2), ..., b"\x00\xff", range(3, 9, 2)],
    "torch": [torch.Size((2, 3)), torch.float16, torch.device("cpu"), torch.channels_last],
    "layouts": [torch.strided, torch.sparse_coo],
    "numpy": [np.float32(0.1), np.int64(7), np.bool_(True), np.complex64(1 + 2j)],
    "choices": [Color.RED, Color.BLUE, Level.LOW],
    "named": Pair(1, [2]),
    "functions": [torch.relu, nn.functional.gelu, note],
}


def kinds(value):
    """Return the exact types in a value, and what it prints as."""
    if isinstance(value, dict):
        return type(value), [(kinds(k), kinds(v)) for k, v in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value), [kinds(item) for item in value]
    return type(value), repr(value)


@pytest.mark.parametrize("name", KEPT)
def test_constants_come_back_exactly(name, tmp_path):
    x = Input((2,))
    model = Model(x, fgraph.apply(note, x, KEPT[name]))
    model.save(tmp_path / "model.fgraph")
    loaded = fgraph.load_model(tmp_path / "model.fgraph")
    again = fgraph.models.model_from_json(model.to_json())
    for found in (loaded, again):
        seen.clear()
        found(torch.zeros(1, 2))
        assert kinds(seen[0]) == kinds(KEPT[name])


@pytest.mark.parametrize("name", [n for n in KEPT if n not in ("choices", "named", "functions")])
def test_constants_come_back_from_source(name, monkeypatch):
    x = Input((2,))
    source = Model(x, fgraph.apply(remembered, x, KEPT[name])).to_source()
    module = types.ModuleType("generated")
    monkeypatch.setitem(sys.modules, "generated", module)
    module.__dict__["kept"] = kept = []
    exec(compile(source, "generated.py", "exec"), vars(module))
    module.Net()(torch.zeros(1, 2))
    assert kinds(kept[0]) == kinds(KEPT[name])


def remembered(x, value):
    import sys

    sys.modules["generated"].kept.append(value) if "generated" in sys.modules else None
    return x


REFUSED = {
    "a float": Rate(0.5), "an int": Count(3), "a str": Text("a"), "a list": Items([1]),
    "a dict": Table(a=1), "a defaultdict": collections.defaultdict(int, a=1),
    "a large int": 10**5000, "an array of objects": np.array([object()]), "len": len, "int": int,
    "a method": [].append, "a method of a model": nn.ReLU().forward, "a module": math,
    "a lambda": lambda x: x, "print": print, "a generator": iter([]),
    "a deque": collections.deque([1]), "a namespace": types.SimpleNamespace(a=1),
    "a ufunc": np.add, "a lazy module": nn.LazyLinear(3), "a closure": (lambda n: lambda x: n)(3),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_come_back_changed_is_refused_when_saved(name, tmp_path):
    x = Input((2,))
    model = Model(x, fgraph.apply(note, x, [REFUSED[name]]))
    with pytest.raises(fgraph.SaveError, match=r"the call of .*note.* cannot be saved|cannot be"):
        model.save(tmp_path / "model.fgraph")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "change",
    [
        nn.utils.parametrizations.weight_norm,
        nn.utils.spectral_norm,
        lambda linear: nn.utils.prune.l1_unstructured(linear, "weight", 0.5),
    ],
)
def test_weights_that_are_computed_are_refused_with_the_way_out(change, tmp_path):
    linear = nn.Linear(2, 2)
    change(linear)
    x = Input((2,))
    model = Model(x, linear(x))
    with pytest.raises(fgraph.SaveError, match=r"remove_parametrizations.*save_weights\(path\)"):
        model.save(tmp_path / "model.fgraph")


def scaled(factor):
    """Make a function with the name of others."""

    def f(x):
        return x * factor

    return f


def test_two_functions_of_one_name_are_told_apart(tmp_path):
    x = Input((2,))
    model = Model(x, fgraph.apply(scaled(2), x) + fgraph.apply(scaled(5), x))
    with pytest.raises(fgraph.SaveError, match=r"are both named 'f'.*fgraph\.register"):
        model.save(tmp_path / "model.fgraph")
    first, second = (fgraph.register(f"tests>scaled{n}")(scaled(n)) for n in (2, 5))
    model = Model(x, fgraph.apply(first, x) + fgraph.apply(second, x))
    model.save(tmp_path / "model.fgraph")
    loaded = fgraph.load_model(tmp_path / "model.fgraph")
    assert torch.equal(loaded(torch.ones(1, 2)), torch.full((1, 2), 7.0))


def block_class(factor):
    """Make a class with the name of others."""

    class Block(nn.Module):
        """A module."""

        def forward(self, x):
            return x * factor

    return Block


def test_two_classes_of_one_name_are_told_apart(tmp_path):
    x = Input((2,))
    model = Model(x, block_class(2)()(x) + block_class(5)()(x))
    with pytest.raises(fgraph.SaveError, match=r"are both named 'Block'"):
        model.save(tmp_path / "model.fgraph")


@fgraph.register("tests>WithChoice")
class WithChoice(nn.Module):
    """A module with an Enum among its settings."""

    def __init__(self, color=Color.RED):
        super().__init__()
        self.color = color

    def forward(self, x):
        return x if self.color is Color.RED else -x


def test_modules_keep_choices(tmp_path):
    x = Input((2,))
    Model(x, WithChoice(Color.BLUE)(x)).save(tmp_path / "model.fgraph")
    loaded = fgraph.load_model(tmp_path / "model.fgraph")
    assert loaded.with_choice_1.color is Color.BLUE


class MyModel(Model):
    """A subclass that is registered nowhere."""

    def __init__(self):
        x = Input((2,))
        super().__init__(x, nn.Linear(2, 2)(x))


def test_a_class_knows_itself():
    model = MyModel()
    again = MyModel.from_config(model.get_config())
    assert isinstance(again, MyModel)
    assert again.code == model.code
