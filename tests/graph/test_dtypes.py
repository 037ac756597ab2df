"""Graphs in other dtypes than they were built in: as eager torch computes, or refused."""

from __future__ import annotations

import copy
import pickle
import warnings

import pytest
import torch
from torch import nn

import fgraph
from fgraph import Input, Model
from fgraph.errors import SaveError


class Reads(nn.Module):
    """Reads dtypes in the ways that public models do."""

    def __init__(self, way):
        super().__init__()
        self.way = way
        self.linear = nn.Linear(4, 4)
        self.register_buffer("table", torch.linspace(0, 1, 4))

    def forward(self, x):
        h = self.linear(x)
        dtype = {
            "input": lambda: x.dtype,
            "result": lambda: h.dtype,
            "parameter": lambda: self.linear.weight.dtype,
            "parameters": lambda: next(self.parameters()).dtype,
            "buffer": lambda: self.table.dtype,
        }[self.way]()
        return h.float().square().to(dtype) + self.table.sin().to(dtype)


WAYS = ["input", "result", "parameter", "parameters", "buffer"]
REFUSED = "dtype of .* was read while the graph was built, as torch.float32"


def opened(net, **options):
    x = Input((4,), **options)
    return Model(x, fgraph.unfold(net)(x))


def data(dtype):
    return torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).to(dtype)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_a_graph_whose_code_read_a_dtype_runs_in_that_dtype_alone(way, dtype):
    net = Reads(way)
    model = opened(net)
    assert torch.equal(model(data(torch.float32)), net(data(torch.float32)))
    model.to(dtype)
    for one in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        with pytest.raises(TypeError, match=REFUSED):
            one(data(dtype))
    net = Reads(way).to(dtype)
    assert torch.equal(opened(net, dtype=dtype)(data(dtype)), net(data(dtype)))


class StaysWhole(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        y = self.linear(x).to(x.dtype)
        return y if y.sum() > 0 else -y


def test_what_a_leaf_reads_is_its_own_affair():
    net = StaysWhole()
    with warnings.catch_warnings(action="ignore"):
        model = opened(net).double()
    assert torch.equal(model(data(torch.float64)), net(data(torch.float64)))


def test_a_conversion_and_back_is_none():
    net = Reads("result")
    model = opened(net)
    expected = net(data(torch.float32))
    assert torch.allclose(model.double().float()(data(torch.float32)), expected)


@pytest.mark.parametrize("way", WAYS)
def test_files_keep_which_dtypes_were_read(way, tmp_path):
    opened(Reads(way)).save(tmp_path / "model.fgraph")
    model = fgraph.load_model(tmp_path / "model.fgraph")
    assert model(data(torch.float32)).shape == (3, 4)
    with pytest.raises(TypeError, match=REFUSED):
        model.double()(data(torch.float64))


def test_no_file_is_made_of_a_converted_graph_whose_code_read_a_dtype(tmp_path):
    with pytest.raises(SaveError, match="were converted to another dtype since code read"):
        opened(Reads("buffer")).double().save(tmp_path / "model.fgraph")


def test_a_dtype_that_the_callers_autocast_changes_is_refused():
    net = Reads("input")  # which autocast leaves as it is
    by_input, by_result = opened(net), opened(Reads("result"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(by_input(data(torch.float32)), net(data(torch.float32)))
        with pytest.raises(TypeError, match=r"Linear.* was read .* in this call it is torch.bfloa"):
            by_result(data(torch.float32))


def test_a_dtype_that_is_read_beside_the_graph_is_checked_too():
    x = Input((4,))
    model = Model(x, x + torch.ones((x.size(0), 4), dtype=x.dtype))
    assert model(data(torch.float32)).dtype == torch.float32
    with pytest.raises(TypeError, match=r"dtype of Input .* in this call it is torch.float64"):
        model(data(torch.float64))


class Computes(nn.Module):
    """Computes with constants of its own, with a parameter and a buffer beside its children."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.weight = nn.Parameter(torch.randn(4, 4))
        self.register_buffer("shift", torch.randn(4))

    def forward(self, x):
        waves = torch.exp(torch.arange(4, dtype=torch.float32) * -0.7)
        return (self.linear(x) + self.shift) @ self.weight, x.float() * 1000 * waves


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_constants_of_an_opened_module_keep_their_dtype(dtype):
    net = Computes()
    model = opened(net).to(dtype)
    expected = copy.deepcopy(net).to(dtype)(data(dtype))
    assert all(map(torch.equal, model(data(dtype)), expected))


def loaded(model, tmp_path):
    model.save(tmp_path / "model.fgraph")
    return fgraph.load_model(tmp_path / "model.fgraph")


def from_source(model, tmp_path):
    names = {}
    exec(model.to_source("Net"), names)
    made = names["Net"]()
    made.load_state_dict(model.state_dict())
    return made


FORMS = {
    "copy": lambda model, _: copy.deepcopy(model),
    "file": loaded,
    "source": from_source,
    "file of a file": lambda model, path: loaded(loaded(model, path).float().double(), path),
    "source of a file": lambda model, path: from_source(loaded(model, path), path),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_converted_model_is_kept_with_the_tensors_that_it_has_now(form, tmp_path):
    net = Computes()
    twin = copy.deepcopy(net).double()
    model = form(opened(net).double(), tmp_path)
    found, expected = model(data(torch.float64)), twin(data(torch.float64))
    assert all(map(torch.equal, found, expected))


def test_models_whose_code_read_sizes_and_dtypes_compile():
    x = Input((None, 4))
    cut = fgraph.apply(lambda x: x[:, :5], x)  # a size that is known from trials alone
    model = Model(x, cut.to(x.dtype) * cut.size(2))
    value = torch.randn(2, 7, 4)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert torch.equal(compiled(value), value[:, :5] * 4)
