"""Modules whose parts take what nobody can read back are made by their own constructors."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fgraph import Input, Model, layers, load_model, register
from fgraph.errors import LoadError, SaveError
from fgraph.saving import model_file


class Config:
    def __init__(self, width=4, depth=2):
        self.width, self.depth = width, depth


class Block(nn.Module):
    def __init__(self, config, number):  # of which it keeps nothing
        super().__init__()
        self.linear = nn.Linear(config.width, config.width)
        self.norm = nn.BatchNorm1d(config.width)
        self.scale = 1.0 + number

    def forward(self, x):
        return x + self.scale * self.norm(self.linear(x)).relu()


@register("parts>Tower")
class Tower(nn.Module):
    def __init__(self, width=4, depth=2):
        super().__init__()
        self.width, self.depth = width, depth
        config = Config(width, depth)
        self.blocks = nn.ModuleList(Block(config, number) for number in range(depth))
        self.same = self.blocks[0].linear
        self.head = nn.Linear(width, 3)
        self.head.weight.requires_grad_(False)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(self.same(x))


def _model(tower):
    x = Input((4,))
    return Model(x, tower(x))


def _changed(**changes):
    def change(tower):
        for path, value in changes.items():
            owner, _, name = path.rpartition("__")
            setattr(tower.get_submodule(owner.replace("__", ".")), name, value)

    return change


SAME = {
    "as it was made": lambda tower: None,
    "trained": lambda tower: torch.nn.init.normal_(tower.blocks[0].linear.weight),
    "partly in evaluation mode": lambda tower: tower.blocks[1].eval(),
    "frozen in part": lambda tower: tower.blocks[1].requires_grad_(False),
    "another setting": _changed(blocks__1__scale=0.5),
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_a_module_of_such_parts_comes_back_as_it_was(change, tmp_path):
    tower = Tower()
    change(tower)
    model, value = _model(tower), torch.randn(5, 4)
    model.save(tmp_path / "m.fgraph")
    loaded = load_model(tmp_path / "m.fgraph")
    kinds = [(name, p.requires_grad) for name, p in model.named_parameters()]
    assert [(name, p.requires_grad) for name, p in loaded.named_parameters()] == kinds
    modes = [(name, part.training) for name, part in model.named_modules()]
    assert [(name, part.training) for name, part in loaded.named_modules()] == modes
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    assert torch.equal(loaded(value), model(value))


REPLACED = {
    "another class": _changed(blocks__0__norm=nn.LayerNorm(4)),
    "another shape": _changed(head=nn.Linear(4, 5)),
    "a part more": lambda tower: tower.blocks[0].add_module("extra", nn.Linear(4, 4)),
    "a part less": lambda tower: tower.blocks.__delitem__(1),
    "an empty one": _changed(blocks__0__norm=nn.Sequential()),
    "shared anew": lambda tower: setattr(tower, "same", tower.blocks[1].linear),
    "no longer shared": _changed(same=nn.Linear(4, 4)),
    "wider": _changed(blocks__0=Block(Config(4), 3), blocks__1__linear=nn.Linear(4, 4, bias=False)),
    "in a container": lambda tower: tower.blocks.append(nn.Sequential(nn.Linear(4, 4))),
}


@pytest.mark.parametrize("change", REPLACED.values(), ids=REPLACED)
def test_a_part_that_the_constructor_does_not_make_comes_back(change, tmp_path):
    tower = Tower()
    change(tower)
    model, value = _model(nn.Sequential(tower)), torch.randn(5, 4)
    model.save(tmp_path / "m.fgraph")
    loaded = load_model(tmp_path / "m.fgraph")
    assert [*loaded.state_dict()] == [*model.state_dict()]
    kinds = [(name, type(part)) for name, part in model.named_modules()][1:]
    assert [(name, type(part)) for name, part in loaded.named_modules()][1:] == kinds
    assert torch.equal(loaded(value), model(value))


UNKNOWN = {
    "an attribute that is no setting": (_changed(blocks__0__linear__note=Config()), "'note' is"),
    "a part that nobody can make": (
        lambda tower: tower.blocks.append(Block(Config(), 2)),
        r"module '.*blocks\.2' \(Block\).*'config' of Block cannot be read back",
    ),
}


@pytest.mark.parametrize(("change", "match"), UNKNOWN.values(), ids=UNKNOWN)
def test_a_part_that_cannot_be_made_is_refused(change, match):
    tower = Tower()
    change(tower)
    with pytest.raises(SaveError, match=match):
        model_file.encode_model(_model(nn.Sequential(tower)))


@pytest.mark.parametrize(
    "of", [[0, "head"], [99, "head"], [1, "__class__"], [1, "nothing"], ["", 0]]
)
def test_a_file_with_other_parts_is_refused(of):
    document, tensors = model_file.encode_model(_model(Tower()))
    part = next(entry for entry in document["objects"] if entry["kind"] == "part")
    part["of"] = of
    with pytest.raises(LoadError, match=r"part|object|number|tensors"):
        model_file.decode_model(document, tensors, {})


@register("parts>Gate")
class Gate(layers.Layer):
    """A layer whose attributes hold what it builds."""

    def build(self, input_shape):
        self.scale = self.add_weight((4,), "ones", name="scale")
        self.dense = nn.Linear(input_shape[-1], 4)
        return nn.Sequential(self.dense, nn.ReLU())

    def call(self, inputs):
        return self.module[:2](inputs) * self.scale


def test_attributes_of_a_layer_hold_the_parts_and_tensors_that_were_loaded(tmp_path):
    x = Input((4,))
    model = Model(x, Gate()(x))
    torch.nn.init.normal_(model.layers[-1].scale)
    model.save(tmp_path / "m.fgraph")
    loaded, value = load_model(tmp_path / "m.fgraph"), torch.randn(5, 4)
    gate = loaded.layers[-1]
    assert gate.dense is gate.module[0] is loaded.gate_1[0]
    assert any(gate.scale is parameter for parameter in loaded.parameters())
    assert torch.equal(gate.scale, model.layers[-1].scale)
    assert torch.equal(loaded(value), model(value))


def test_replaced_modules_of_layers_come_back_beside_others(tmp_path):
    x = Input((6, 4))
    dense, encoder = layers.Dense(4), nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    both = layers.Bidirectional(layers.LSTM(3, return_sequences=True))
    model = Model(x, both(layers.BatchNormalization()(dense(encoder(x)))))
    encoder.linear1 = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 8))
    model.dense_1 = nn.Linear(4, 4, bias=False)
    model.batch_normalization_1 = nn.BatchNorm1d(4)
    model.save(tmp_path / "m.fgraph")
    loaded, value = load_model(tmp_path / "m.fgraph"), torch.randn(5, 6, 4)
    assert [type(part) for part in loaded.modules()] == [type(part) for part in model.modules()]
    assert [name for name, _ in loaded.named_buffers()] == [n for n, _ in model.named_buffers()]
    results = []
    for one in (model, loaded):
        torch.manual_seed(0)
        results.append(one(value))
    assert torch.equal(*results)


def test_causal_models_of_transformers_are_saved_with_their_defaults(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        n_layer=1, n_head=2, n_embd=8, vocab_size=20, n_positions=16, bos_token_id=0, eos_token_id=0
    )
    net, ids = transformers.GPT2LMHeadModel(config).eval(), Input((None,), dtype=torch.int64)
    model = Model(ids, net(ids).logits)
    model.save(tmp_path / "m.fgraph")
    known = {"GPT2LMHeadModel": type(net), "GPT2Config": type(config)}
    loaded = load_model(tmp_path / "m.fgraph", custom_objects=known)
    value = torch.randint(0, 20, (2, 7))
    assert torch.equal(loaded(value), net(value).logits)
