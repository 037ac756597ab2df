"""Stages of a cut model compute what the whole does, and share its names and weights."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import nn
from torch.utils import _pytree as pytree

import fgraph
from fgraph import Input, Model, layers, parallel
from strategies import assert_same, in_both_sizes, programs, run, state


class Chained(nn.Module):
    """Stages run one after the other."""

    def __init__(self, stages):
        super().__init__()
        self.stages = nn.ModuleList(stages)

    def forward(self, *values):
        for stage in self.stages[:-1]:
            made = stage(*values)
            assert isinstance(made, (torch.Tensor, tuple))
            values = made if isinstance(made, tuple) else (made,)
        return self.stages[-1](*values)


def check(model, inputs, n, by="flops"):
    """Cut a model; compare keys, results, gradients and buffers with those of a copy."""
    whole = copy.deepcopy(model)
    stages = parallel.stages(model, n, inputs, by)
    assert len(stages) == n
    own = model.state_dict()
    kept = {key: value for stage in stages for key, value in stage.state_dict().items()}
    assert kept.keys() == own.keys()
    assert all(value.data_ptr() == own[key].data_ptr() for key, value in kept.items())
    for net in (whole, Chained(stages)):
        torch.manual_seed(4)
        made = net(*inputs)
        assert pytree.tree_structure(made) == pytree.tree_structure(whole._output_template)
        found = [y for y in pytree.tree_leaves(made) if y.requires_grad]
        sum((y * y).float().mean() for y in found).backward()
    assert_same(state(model), state(whole))
    return stages


def deep(width=16, depth=6):
    x = h = Input((width,))
    for _ in range(depth):
        h = nn.Linear(width, width)(h).relu()
    return Model(x, h)


# ------------------------------------------------------------------ random and public graphs


@in_both_sizes(25, program=programs(leave_out={"dropout"}), n=st.integers(2, 4))
def test_random_graphs_compute_the_same_in_stages(program, n):
    twin, model = program.twin(), program.model()
    inputs = program.inputs()
    try:
        stages = parallel.stages(model, n, inputs)
    except ValueError as error:
        assume("cannot be cut into" not in str(error))
        raise
    chained = Chained(stages)
    assert_same(run(chained, inputs, 1, program.backward), run(twin, inputs, 1, program.backward))
    assert_same(state(program), state(twin))


PUBLIC = ["torchvision resnet18", "timm vit_tiny_patch16_224", "transformers GPT-2"]


@pytest.mark.parametrize("name", PUBLIC)
def test_public_models_in_stages(name):
    models = pytest.importorskip("public_models")
    try:
        net, inputs, options = models.make(name)
    except ImportError:
        pytest.skip(f"{name.split()[0]} is not installed")
    model = models.opened(net.train(), inputs, options)
    stages = check(model, list(inputs.values()), 3)
    counts = [sum(p.numel() for p in stage.parameters()) for stage in stages]
    assert max(counts) < sum(counts)


# ------------------------------------------------------------------ what goes between stages


def late_input():
    a, b = Input((8,)), Input((8,))
    h = a
    for _ in range(4):
        h = nn.Linear(8, 8)(h).relu()
    return Model([a, b], nn.Bilinear(8, 8, 4)(h, b)), [torch.randn(5, 8), torch.randn(5, 8)]


def early_output():
    x = Input((8,))
    first = nn.Linear(8, 8)(x).relu()
    h = first
    for _ in range(4):
        h = nn.Linear(8, 8)(h).relu()
    return Model(x, {"early": first, "late": {"last": h, "same": h, "x": x}}), [torch.randn(5, 8)]


def skips():
    x = h = Input((3, 16, 16))
    kept = []
    for width in (4, 8):
        h = nn.LazyConv2d(width, 3, padding=1)(h).relu()
        kept.append(h)
        h = nn.MaxPool2d(2)(h)
    for skip in reversed(kept):
        h = torch.cat([nn.Upsample(scale_factor=2)(h), skip], 1)
        h = nn.BatchNorm2d(4)(nn.LazyConv2d(4, 3, padding=1)(h)).relu()
    return Model(x, h), [torch.randn(2, 3, 16, 16)]


def masks():
    words = Input((7,), dtype="int64")
    h = layers.Embedding(20, 8, mask_zero=True)(words)
    for _ in range(3):
        h = layers.LSTM(8, return_sequences=True)(h)
    out = layers.Dense(3)(layers.GlobalAveragePooling1D()(h))
    return Model(words, out), [torch.randint(0, 4, (6, 7))]


def keyword_tensors():
    x, mask = Input((6, 8)), Input((6,), dtype="bool")
    h = nn.Linear(8, 8)(x)
    for _ in range(2):
        attention = nn.MultiheadAttention(8, 2, batch_first=True)
        h = attention(h, h, h, key_padding_mask=mask, need_weights=False)[0] + h
        h = nn.Linear(8, 8)(h)
    return Model([x, mask], h), [torch.randn(3, 6, 8), torch.rand(3, 6) > 0.8]


def sizes():
    x = Input((None, 8))
    batch, steps, _ = x.shape
    h = nn.Linear(8, 8)(x)
    for _ in range(3):
        h = nn.Linear(8, 8)(h.reshape(batch * steps, 8)).relu().view(batch, steps, 8)
    return Model(x, h.mean(1) / steps), [torch.randn(3, 5, 8)]


def devices():
    x = Input((8,))
    where = x.device
    h = x
    for _ in range(3):
        h = nn.Linear(8, 8)(h) + torch.arange(8, device=where)
    return Model(x, h), [torch.randn(3, 8)]


def in_place():
    x = h = Input((8,))
    for _ in range(4):
        h = nn.ReLU(inplace=True)(nn.Linear(8, 8)(h)) * 2
        h[:, 0] = 0
        y = h[:, 1:]
        y.mul_(2)
        h = h + 1
    return Model(x, h), [torch.randn(3, 8)]


def modes():
    x = h = Input((8,))
    for _ in range(3):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            h = nn.Linear(8, 8)(h).relu()
            with torch.no_grad():
                scale = nn.Linear(8, 8)(h).sigmoid()
            h = h * scale
        h = nn.Linear(8, 8)(h.float())
    return Model(x, h), [torch.randn(3, 8)]


def nested():
    x = Input((8,))
    h = nn.Linear(8, 8)(x)
    for _ in range(3):
        y = Input((8,))
        inner = Model(y, nn.Linear(8, 8)(torch.sin(nn.Linear(8, 8)(y))))
        h = torch.tanh(inner(h))
    return Model(x, h), [torch.randn(3, 8)]


def own_tensors():
    x = h = Input((8,))
    for _ in range(4):
        h = torch.tanh(h * nn.Parameter(torch.randn(8)) + torch.randn(8)) @ torch.eye(8)
    return Model(x, h), [torch.randn(3, 8)]


def dropout():
    x = h = Input((8,))
    for number in range(4):
        h = layers.Dropout(0.5, seed=number or None)(nn.BatchNorm1d(8)(nn.Linear(8, 8)(h)))
    return Model(x, h), [torch.randn(9, 8)]


KINDS = [late_input, early_output, skips, masks, keyword_tensors, sizes, devices, in_place, modes,
         nested, own_tensors, dropout]  # fmt: skip


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_what_later_stages_need_is_handed_on(make, n):
    check(*make(), n)


def test_sizes_go_between_stages_and_stay_symbolic():
    model, inputs = sizes()
    chained = Chained(parallel.stages(model, 3, inputs))
    other = torch.randn(2, 9, 8)
    assert torch.equal(chained(other), model(other))


# ------------------------------------------------------------------ where the graph is cut


@pytest.mark.parametrize("by", ["flops", "bytes", "parameters", "time"])
def test_every_cost_can_be_what_is_even(by):
    check(deep(), [torch.randn(4, 16)], 3, by)


def test_costs_are_even():
    stages = parallel.stages(deep(depth=8), 4, torch.randn(4, 16))
    assert [sum(n.op == "module" for n in stage.nodes) for stage in stages] == [2, 2, 2, 2]
    x = h = Input((16,))
    h = nn.Linear(4, 16)(nn.Linear(16, 4)(nn.Linear(4, 16)(nn.Linear(16, 4)(h))))
    h = nn.Linear(256, 256)(nn.Linear(16, 256)(h))
    first, second = parallel.stages(Model(x, h), 2, torch.randn(4, 16), by="parameters")
    assert "linear_1.weight" in first.state_dict()
    assert "linear_6.weight" in second.state_dict()


def test_few_bytes_go_between_stages():
    x = h = Input((4,))
    for _ in range(6):
        h = nn.Linear(64, 4)(nn.Linear(4, 64)(h).relu())
    stages = parallel.stages(Model(x, h), 3, torch.randn(8, 4))
    assert [stage.output_shape for stage in stages] == [(None, 4)] * 3


def test_stages_are_models_with_the_names_of_the_whole():
    model = deep(depth=4)
    first, second = parallel.stages(model, 2, torch.randn(2, 16))
    assert [*first.state_dict(), *second.state_dict()] == [*model.state_dict()]
    assert second.linear_3 is model.linear_3
    assert second.input_names == ["linear_2"]
    assert "relu_2 = linear_2.relu()" in second.code
    assert model.get_layer("linear_1") is first.get_layer("linear_1")
    for again in (pickle.loads(pickle.dumps(second)), copy.deepcopy(second)):
        assert torch.equal(again(torch.ones(2, 16)), second(torch.ones(2, 16)))
    assert len(pickle.dumps(second)) < 0.7 * len(pickle.dumps(model))


def test_cutting_a_model_does_not_change_it():
    x = Input((8,))
    dense = layers.Dense(8)
    model = Model(x, layers.Dense(3)(layers.BatchNormalization()(dense(x))))
    before, numbers = model.code, copy.deepcopy(model.state_dict())
    parallel.stages(model, 2, torch.randn(4, 8))
    assert model.code == before
    assert dense.output.shape == (None, 8)  # it still has one call
    assert_same(list(model.state_dict().values()), list(numbers.values()))


def test_opened_blocks_are_divided():
    class Net(nn.Sequential):
        def forward(self, x):
            return self[1](self[0](x))

    block = nn.Sequential(nn.Linear(8, 8), nn.Sequential(nn.Tanh(), nn.Linear(8, 8)), nn.Tanh())
    net = Net(block, copy.deepcopy(block), nn.Linear(2, 2))
    x = Input((8,))
    model = Model(x, fgraph.unfold(net, name="net")(x))
    stages = check(model, [torch.randn(2, 8)], 4)
    assert list(stages[0].state_dict()) == ["net.0.0.weight", "net.0.0.bias"]
    assert "net.2.weight" in stages[-1].state_dict()


def test_modes_of_opened_modules_follow_the_stage():
    class Switch(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            h = nn.functional.dropout(self.a(x), 0.5, self.training)
            return nn.functional.dropout(self.b(h), 0.5, self.training)

    x = Input((4,))
    model = Model(x, fgraph.unfold(Switch())(x))
    first, second = check(model, [torch.randn(6, 4)], 2)
    inputs = torch.randn(6, 4)
    assert torch.equal(second.eval()(first.eval()(inputs)), model.eval()(inputs))


# ------------------------------------------------------------------ what is refused


def test_a_shared_layer_stays_in_one_stage():
    x = Input((8,))
    shared = nn.Linear(8, 8)
    h = shared(torch.sin(shared(x)))
    for _ in range(4):
        h = nn.Linear(8, 8)(h).relu()
    model = Model(x, h)
    stages = check(model, [torch.randn(3, 8)], 3)
    assert [sum("linear_1.weight" in stage.state_dict() for stage in stages)] == [1]
    tied = Model(x, shared(model(shared(x))))
    with pytest.raises(ValueError, match=r"into 2 stages, but into 1 .*both sides.*deepcopy"):
        parallel.stages(tied, 2, torch.randn(3, 8))


def test_more_stages_than_nodes_are_refused():
    with pytest.raises(ValueError, match="cannot be cut into 5 stages, but into 2 at most"):
        parallel.stages(deep(depth=1), 5, torch.randn(2, 16))


@pytest.mark.parametrize(
    ("given_", "error", "text"),
    [
        ({"n": 0}, ValueError, "at least 1, got 0"),
        ({"n": 2.0}, TypeError, "whole number, got 2.0"),
        ({"by": "weight"}, ValueError, "unknown by 'weight'"),
        ({"example": None}, TypeError, "expected example="),
        ({"example": torch.zeros(2, 3)}, ValueError, "16"),
    ],
)
def test_wrong_arguments_are_refused(given_, error, text):
    with pytest.raises(error, match=text):
        parallel.stages(deep(), **{"n": 2, "example": torch.randn(2, 16), **given_})


def test_a_stage_needs_a_process_group():
    with pytest.raises(RuntimeError, match=r"no process group: call fgraph\.parallel\.start"):
        parallel.stage(deep(), torch.randn(2, 16))
