"""Graphs of opened modules come back without the classes of what was opened."""

from __future__ import annotations

import copy
import json
import re

import pytest
import torch
from torch import nn

import fgraph
from fgraph import Input, Model, layers
from fgraph.saving import tensorfile
from fgraph.unfolding.opened_module import OpenedModule
from public_models import MODELS, leaves, make, tensors
from public_models import opened as opened_model
from saving.crafted import Crafted, entry_of, opened_victim
from saving.sameness import assert_same_from_file_and_source, state_of
from test_unfold import AsksForValues, Convolutions, Noisy, Tokens, opened


def reload(model, folder, **options):
    model.save(folder / "model.fgraph")
    return fgraph.load_model(folder / "model.fgraph", **options)


def summary_of(model):
    lines = []
    model.summary(print_fn=lines.append, expand_nested=True, show_trainable=True)
    return lines


def classes_in(path):
    document = json.loads(tensorfile.read(path).texts["fgraph"])
    return {entry["class"] for entry in document["objects"] if "class" in entry}


def partly_frozen():
    net = Convolutions()
    net.layers[0].requires_grad_(False).eval()
    net.layers[1].conv2.weight = net.layers[0].conv2.weight  # tied across blocks
    return net


def one_block_twice():
    net = Convolutions()
    net.layers[1] = net.layers[0]
    return net


def half():
    net = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Dropout(0.5)).to(torch.float16)
    net[0].note = "of a library, for itself"
    return net


NETS = {
    "convolutions": (Convolutions, lambda: torch.randn(2, 3, 8, 8), {}),
    "tokens": (Tokens, lambda: torch.randint(0, 9, (2, 5)), {"dtype": "int64"}),
    "noise": (Noisy, lambda: torch.randn(3, 4), {}),
    "named": (Tokens, lambda: torch.randint(0, 9, (2, 5)), {"dtype": "int64", "name": "left"}),
    "partly frozen": (partly_frozen, lambda: torch.randn(2, 3, 8, 8), {}),
    "one block twice": (one_block_twice, lambda: torch.randn(2, 3, 8, 8), {}),
    "half": (half, lambda: torch.randn(2, 4).half(), {"dtype": torch.float16}),
}  # fmt: skip


@pytest.mark.parametrize(("build", "data", "options"), NETS.values(), ids=NETS)
def test_an_opened_module_comes_back(build, data, options, tmp_path, monkeypatch):
    torch.manual_seed(0)
    value = data()
    model = opened(build(), value, **options)
    loaded = assert_same_from_file_and_source(
        model, [value], tmp_path, monkeypatch, kind=lambda part: part._get_name()
    )
    assert loaded.code == model.code
    assert summary_of(loaded) == summary_of(model)
    assert loaded.to_source() == model.to_source()
    assert loaded.to_mermaid(expand_nested=True) == model.to_mermaid(expand_nested=True)
    assert {name.partition(".")[0] for name in classes_in(tmp_path / "model.fgraph")} <= {"torch", "fgraph"}  # noqa: E501 # fmt: skip
    again = reload(loaded, tmp_path)
    assert state_of(again) == state_of(model)
    fresh = fgraph.models.model_from_json(model.to_json())
    assert fresh.code == model.code
    assert list(fresh.state_dict()) == list(model.state_dict())


def test_a_loaded_graph_is_cut_trained_and_shared_as_the_opened_one(tmp_path):
    net = Convolutions()
    value = torch.randn(2, 3, 8, 8)
    model = opened(net, value)
    loaded = reload(model, tmp_path)
    for name in ("layers", "layers.0", "layers.1.conv2", "stem"):
        cuts = [Model(m.input, m.output_of(name)).eval() for m in (model, loaded)]
        assert torch.equal(cuts[0](value), cuts[1](value))
        assert list(cuts[0].state_dict()) == list(cuts[1].state_dict())
        again = reload(cuts[1], tmp_path)
        assert list(again.state_dict()) == list(cuts[0].state_dict())
        assert torch.equal(again(value), cuts[0](value))
    for m in (model, loaded):
        torch.manual_seed(3)
        m.train()
        m.compile("adam", nn.CrossEntropyLoss())
        m.fit(value, torch.tensor([0, 1]), epochs=2, verbose=0)
    assert state_of(loaded) == state_of(model)
    assert state_of(reload(loaded, tmp_path)) == state_of(model)
    assert state_of(copy.deepcopy(loaded)) == state_of(model)


def test_a_new_head_on_cut_features_comes_back(tmp_path):
    x = Input((3, 8, 8))
    body = Model(x, fgraph.unfold(Convolutions())(x)).output_of("layers.1")
    model = Model(x, layers.Dense(7, name="head")(body.mean((2, 3)))).eval()
    loaded = reload(model, tmp_path)
    value = torch.randn(2, 3, 8, 8)
    assert torch.equal(loaded(value), model(value))
    assert list(loaded._modules) == list(model._modules) == ["stem", "layers", "head"]
    assert summary_of(loaded) == summary_of(model)


def test_a_replaced_part_comes_back(tmp_path):
    value = torch.randn(2, 3, 8, 8)
    model = opened(Convolutions(), value).eval()
    model.fc = nn.Linear(4, 9)
    model.get_submodule("layers.0").conv2 = nn.Conv2d(4, 4, 1)
    loaded = reload(model, tmp_path)
    assert loaded(value).shape == (2, 9)
    assert torch.equal(loaded(value), model(value))
    assert state_of(loaded) == state_of(model)
    assert summary_of(loaded) == summary_of(model)


def test_two_opened_modules_come_back(tmp_path):
    left, right, x = Convolutions(), Convolutions(), Input((3, 8, 8))
    both = fgraph.unfold(left, name="left")(x) + fgraph.unfold(right, name="right")(x.flip(3))
    model = Model(x, layers.Dense(2)(both)).eval()
    loaded, value = reload(model, tmp_path), torch.randn(2, 3, 8, 8)
    assert state_of(loaded) == state_of(model)
    assert torch.equal(loaded(value), model(value))
    assert summary_of(loaded) == summary_of(model)


def test_an_opened_module_inside_another_model_comes_back(tmp_path):
    inner, x = opened(Convolutions(), torch.zeros(1, 3, 8, 8)), Input((3, 8, 8))
    model = Model(x, layers.Dense(2)(inner(x) + inner(x.flip(3)))).eval()
    loaded, value = reload(model, tmp_path), torch.randn(2, 3, 8, 8)
    assert torch.equal(loaded(value), model(value))
    assert state_of(loaded) == state_of(model)


def test_an_opened_block_from_a_file_has_parts_but_no_forward(tmp_path):
    loaded = reload(opened(Convolutions(), torch.zeros(1, 3, 8, 8)), tmp_path)
    block = loaded.get_layer("layers.0").module
    assert isinstance(block, OpenedModule)
    assert repr(block).startswith("Block(\n  (conv1): Conv2d(4, 4,")
    with pytest.raises(NotImplementedError, match=r"this Block was opened by `unfold`.*cut"):
        block(torch.zeros(1, 4, 6, 6))


def test_a_leaf_that_is_not_torchs_needs_its_class(tmp_path):
    x, net = Input((4,)), nn.Sequential(nn.Linear(4, 4), AsksForValues())
    with pytest.warns(UserWarning, match="AsksForValues is kept as a leaf"):
        model = Model(x, fgraph.unfold(net)(x))
    with pytest.raises(fgraph.LoadError, match=r"needs 'AsksForValues'.*custom_objects"):
        reload(model, tmp_path)
    loaded = reload(model, tmp_path, custom_objects={"AsksForValues": AsksForValues})
    value = torch.randn(3, 4)
    assert torch.equal(loaded(value), model(value))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda g: g["homes"].clear(), "number 0 of 0|named 'layers'"),
        (lambda g: g["homes"][0].__setitem__(0, {"$object": 0}), "parts that are not|named"),
        (lambda g: g["homes"][0].__setitem__(0, 3), "int.* has no attribute '_modules'"),
        (lambda g: g["homes"][0].__setitem__(1, "fc.x"), "parts that are not|named"),
        (lambda g: g["homes"][0].__setitem__(1, 1), "parts that are not|named|iterable"),
        (lambda g: g["scopes"][1].__setitem__(2, 1), "number 1 of 1"),
        (lambda g: g["scopes"][1].__setitem__(2, -1), "number -1 of 1"),
        (lambda g: g["scopes"][1].__setitem__(0, 4), "number 4 of 1"),
        (lambda g: g["scopes"][1].__setitem__(1, "stem.__class__"), "not at"),
        (lambda g: g["scopes"][1].__setitem__(1, "a\n"), "named"),
        (lambda g: g["scopes"][1].__setitem__(4, 3), "no inputs or outputs"),
        (lambda g: g["scopes"][1].__setitem__(3, []), "no inputs or outputs"),
        (lambda g: g["nodes"][0].update(scope=-1), "number -1 of"),
        (lambda g: g["nodes"][0].update(scope=True), "number True of"),
    ],
)
def test_a_file_with_other_blocks_is_refused(change, match, tmp_path):
    path = tmp_path / "model.fgraph"
    opened(Convolutions(), torch.zeros(1, 3, 8, 8)).save(path)
    file = tensorfile.read(path)
    document = json.loads(file.texts["fgraph"])
    change(document["objects"][document["root"]]["graph"])
    tensorfile.write(path, file.tensors, {"fgraph": json.dumps(document)})
    with pytest.raises(fgraph.LoadError, match=match):
        fgraph.load_model(path)


def test_a_block_that_no_graph_opens_is_refused(tmp_path):
    made = Crafted(opened_victim(), tmp_path)
    path = made.write(lambda d, t: entry_of(d, "OpenedModule")["children"].__delitem__("0"))
    with pytest.raises(fgraph.LoadError, match=r"no graph calls the parts of Residual"):
        fgraph.load_model(path)


def test_an_opened_module_of_other_tensors_is_refused(tmp_path):
    made = Crafted(opened_victim(), tmp_path)

    def change(document, tensors):
        entry_of(document, "OpenedModule")["tensors"] = [["scale", "parameter", "0.scale"]]

    with pytest.raises(fgraph.LoadError, match=r"opened module '' has parts that are not"):
        fgraph.load_model(made.write(change))


OF_SETTINGS = {"BatchNormAct2d", "DropPath", "StochasticDepth"}  # leaves that files can hold


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_opened_public_models_come_back_without_their_packages(name, tmp_path):
    try:
        net, inputs, options = make(name)
    except ImportError as error:
        pytest.skip(f"{error.name} is not installed")
    model, values = opened_model(net.eval(), inputs, options), list(inputs.values())
    custom = {type(part).__name__: type(part) for part in net.modules()}
    if leaves(model) - OF_SETTINGS:  # leaves of which nobody can read what they are made of
        with pytest.raises(
            fgraph.SaveError, match=r"module '.+' \(\w+\) cannot be written as data"
        ):
            model.save(tmp_path / "model.fgraph")
        return
    loaded = reload(model, tmp_path, custom_objects={n: custom[n] for n in leaves(model)})
    assert all(map(torch.equal, tensors(loaded(*values)), tensors(model(*values))))
    assert list(loaded.state_dict()) == list(net.state_dict())
    assert loaded.code == model.code
    assert [re.sub(r"\s+", " ", line) for line in summary_of(loaded)] == [
        re.sub(r"\s+", " ", line) for line in summary_of(model)
    ]
    if not leaves(model):
        own = {n for n in classes_in(tmp_path / "model.fgraph") if not n.startswith("torch.nn")}
        assert own - {"fgraph.unfolding.opened_module.OpenedModule"} == {"fgraph.Model"}
