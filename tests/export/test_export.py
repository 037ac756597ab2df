"""Exported models compute what the model computes, for every size that the graph leaves open."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest
import torch
from torch import nn

import fgraph
from fgraph import Input, Model, layers
from fgraph.export.pt2_and_onnx import ExportError


def two_inputs():
    a, b = Input((4,), name="left"), Input((4,), name="right")
    shared = nn.Linear(4, 3)
    joined = torch.cat([shared(a), shared(b)], 1)
    return Model([a, b], {"sum": joined.sum(1), "joined": joined})


def any_length():
    x = Input((None, 4), name="tokens")
    return Model(x, nn.Linear(4, 2)(x).mean(1))


def any_batch_dropout():
    x = Input((1, 8, 8))
    h = nn.Flatten()(nn.Conv2d(1, 2, 3)(x).relu())
    return Model(x, nn.Dropout(0.5)(nn.Linear(72, 3)(h)))


def nested():
    x = Input((4,))
    inner = Model(x, nn.Linear(4, 4)(x).tanh())
    y = Input((4,))
    return Model(y, layers.Dense(2)(inner(inner(y))))


MODELS = {
    "two_inputs": (two_inputs, [(3, 4), (3, 4)]),
    "any_length": (any_length, [(5, 7, 4)]),
    "any_batch": (any_batch_dropout, [(2, 1, 8, 8)]),
    "nested": (nested, [(6, 4)]),
}


def outputs(model, inputs):
    mode = model.training
    found = model.eval()(*inputs)
    model.train(mode)
    return list(found.values()) if isinstance(found, dict) else [found]


@pytest.mark.filterwarnings("ignore:The given buffer is not writable")  # torch 2.9 of itself
@pytest.mark.parametrize("name", MODELS)
def test_pt2_computes_the_same_for_other_sizes(name, tmp_path):
    make, shapes = MODELS[name]
    model, inputs = make(), [torch.rand(shape) for shape in shapes]
    model.export(tmp_path / "model.pt2")
    assert model.training
    loaded = torch.export.load(tmp_path / "model.pt2").module()
    found = loaded(*inputs)
    found = list(found.values()) if isinstance(found, dict) else [found]
    for ours, theirs in zip(found, outputs(model, inputs), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODELS)
def test_onnx_computes_the_same_under_the_same_names(name, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    make, shapes = MODELS[name]
    model, inputs = make(), [torch.rand(shape) for shape in shapes]
    model.export(tmp_path / "model.onnx")
    session = runtime.InferenceSession(tmp_path / "model.onnx")
    assert [value.name for value in session.get_inputs()] == model.input_names
    assert [value.name for value in session.get_outputs()] == model.output_names
    feed = {n: x.numpy() for n, x in zip(model.input_names, inputs, strict=True)}
    for ours, theirs in zip(session.run(None, feed), outputs(model, inputs), strict=True):
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_what_torch_cannot_export_is_named(tmp_path):
    def decide(x):
        return x + 1 if float(x.sum()) > 0 else x - 1

    x = Input((4,))
    model = Model(
        x, fgraph.apply(decide, nn.Linear(4, 4)(x), name="choice", output_shape=(None, 4))
    )
    with pytest.raises(ExportError, match=r"cannot export 'choice'.*decide"):
        model.export(tmp_path / "model.pt2")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["model.h5", "model", "model.pt"])
def test_other_endings_are_refused(name, tmp_path):
    with pytest.raises(ValueError, match=rf"{re.escape(name)}.*\.pt2.*\.onnx"):
        nested().export(tmp_path / name)


def test_missing_onnx_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r"fgraph\[onnx\]"):
        nested().export(tmp_path / "model.onnx")
