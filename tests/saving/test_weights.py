"""Weights alone: written, read back, and refused where they do not fit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import fgraph
import fgraph.saving.weight_files
from fgraph import Input, Model


def tied():
    x, first, second = Input((4,)), nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    return Model(x, nn.BatchNorm1d(4)(second(first(x))))


def assert_equal_weights(model, other):
    for name, tensor in other.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name


@pytest.mark.parametrize("ending", ["safetensors", "pt", "pth", "weights", "fgraph"])
def test_weights_come_back(ending, tmp_path):
    first, second = tied(), tied()
    first.save_weights(tmp_path / f"model.{ending}")
    kept = second.linear_1.weight
    second.load_weights(tmp_path / f"model.{ending}")
    assert_equal_weights(second, first)
    assert second.linear_1.weight is kept


def test_weights_are_read_from_a_whole_model(tmp_path):
    first, second = tied(), tied()
    first.compile("adam", "mse")
    first.fit(torch.rand(8, 4), torch.rand(8, 4), verbose=0)
    first.save(tmp_path / "model.fgraph")
    second.load_weights(tmp_path / "model.fgraph")
    assert_equal_weights(second, first)


def test_safetensors_reads_what_is_written_and_the_other_way_round(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    first, second = tied(), tied()
    first.save(tmp_path / "model.fgraph")
    found = safetensors.load_file(tmp_path / "model.fgraph")
    assert torch.equal(found["linear_1.weight"], first.linear_1.weight)
    safetensors.save_file(found, tmp_path / "model.safetensors")
    second.load_weights(tmp_path / "model.safetensors")
    assert_equal_weights(second, first)


def test_any_dtype_and_layout_comes_back(tmp_path):
    module = nn.Module()
    tensors = {
        "scalar": torch.tensor(2.5, dtype=torch.float64),
        "nothing": torch.empty(0, 3),
        "flags": torch.tensor([True, False, True]),
        "odd": torch.arange(7, dtype=torch.int8),
        "short": torch.rand(33, 3).bfloat16(),
        "imaginary": torch.rand(3, dtype=torch.complex64).conj(),
        "transposed": torch.rand(5, 3).T,
        "strided": torch.rand(10)[::2],
        "large": torch.rand(300, 300),
    }
    for name, tensor in tensors.items():
        module.register_buffer(name, tensor)
    fgraph.saving.weight_files.save_weights(module, tmp_path / "all.safetensors")
    found = fgraph.saving.tensorfile.read(tmp_path / "all.safetensors").tensors
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name


def wider():
    x = Input((4,))
    return Model(x, nn.BatchNorm1d(8)(nn.Linear(4, 8)(nn.Linear(4, 4)(x))))


def untied():
    x = Input((4,))
    return Model(x, nn.BatchNorm1d(4)(nn.Linear(4, 4)(nn.Linear(4, 4)(x))))


def other_names():
    x = Input((4,))
    return Model(x, nn.Conv1d(1, 1, 1)(x.unsqueeze(1)))


@pytest.mark.parametrize(
    ("make", "text"),
    [(wider, r"'linear_2\.weight' has shape \(4, 4\) in the file, but \(8, 4\)"),
     (other_names, r"missing \['conv1d_1\.weight'.*unknown \[.*'linear_1\.weight'")],
)  # fmt: skip
@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_weights_that_do_not_fit_change_nothing(make, text, ending, tmp_path):
    path = tmp_path / f"model.{ending}"
    untied().save_weights(path)
    model = make()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(fgraph.LoadError, match=text):
        model.load_weights(path)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_a_torch_file_of_something_else_is_refused(tmp_path):
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(fgraph.LoadError, match=r"holds no state_dict.*list"):
        tied().load_weights(tmp_path / "list.pt")


def test_a_file_of_weights_is_no_model(tmp_path):
    tied().save_weights(tmp_path / "weights.safetensors")
    with pytest.raises(fgraph.LoadError, match=r"weights but no model.*load_weights"):
        fgraph.load_model(tmp_path / "weights.safetensors")


def test_meta_tensors_cannot_be_saved(tmp_path):
    x = Input((4,))
    model = Model(x, nn.Linear(4, 2)(x)).to("meta")
    with pytest.raises(fgraph.SaveError, match=r"linear_1\.weight.*not a dense tensor with values"):
        model.save_weights(tmp_path / "model.safetensors")
