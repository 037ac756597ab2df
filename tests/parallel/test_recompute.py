"""Recomputation changes memory, and nothing else."""

from __future__ import annotations

import copy
import pickle
import re

import pytest
import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import nn

import fgraph
from fgraph import Input, Model, layers
from fgraph.model.training_view import view_of
from fgraph.parallel.footprint import measure
from fgraph.parallel.recompute import _Limits, bytes_of, rerun
from fgraph.parallel.recompute_plan import MemoryEstimate, NodeRange
from memory_peak import peak_bytes
from strategies import assert_same, in_both_sizes, programs, run, state


def chain(depth: int = 6, width: int = 64, per_block=lambda h: h) -> Model:
    """A model of blocks, each a nested model named `block_<number>`."""
    x = h = Input((width,))
    for number in range(1, depth + 1):
        y = Input((width,))
        inner = torch.tanh(nn.Linear(width, width)(y).sin())
        h = per_block(Model(y, inner + y, name=f"block_{number}")(h))
    return Model(x, nn.Linear(width, 3)(h))


def recompute_runs(model, runs):
    """Compute again the nodes from the first to the last of each pair."""
    rerun(model, [NodeRange(first, last + 1, True) for first, last in runs])


def results(model, inputs, steps=2, seed=1):
    """Outputs and gradients of some training steps, then the buffers."""
    model.zero_grad()
    torch.manual_seed(seed)
    found = []
    for _ in range(steps):
        given = [x.clone().requires_grad_(x.is_floating_point()) for x in inputs]
        outputs = [y for y in fgraph_leaves(model(*given)) if y.requires_grad]
        sum((y * y).float().mean() for y in outputs).backward()
        found += [*(y.detach() for y in outputs), *(x.grad for x in given)]
    return [*found, *state(model)]


def fgraph_leaves(result):
    return [leaf for leaf in torch.utils._pytree.tree_leaves(result) if torch.is_tensor(leaf)]


def assert_equal_runs(model, plain, *inputs):
    assert_same(results(model, inputs), results(plain, inputs))


def peak_without(model, example) -> int:
    memory = MemoryEstimate(measure(model, example))
    return memory.peak([NodeRange(0, memory.count, False)])


# ------------------------------------------------------------------ nothing else changes


@in_both_sizes(25, program=programs(), part=st.floats(0.1, 0.9), seed=st.integers(1, 3))
def test_random_graphs_compute_the_same_within_a_budget(program, part, seed):
    twin, model = program.twin(), program.model()
    peak = peak_without(model, program.inputs())
    assume(peak > 0)
    try:
        model.recompute(int(peak * part) + 1, program.inputs())
    except ValueError as error:
        found = model.recompute(least_of(error), program.inputs())
        assert found.peak <= peak
    backward = program.backward
    ours = run(model, program.inputs(), seed, backward)
    assert_same(ours, run(twin, program.inputs(), seed, backward))
    assert_same(state(program), state(twin))


@in_both_sizes(25, program=programs(), data=st.data())
def test_any_runs_of_nodes_that_are_allowed_compute_the_same(program, data):
    twin, model = program.twin(), program.model()
    limits = _Limits(model._graph)
    segments, at = [], 0
    while at < len(model.nodes):
        end = data.draw(st.integers(at + 1, len(model.nodes)))
        if data.draw(st.booleans()) and limits.why_not(at, end) is None:
            segments.append((at, end - 1))
        at = end
    recompute_runs(model, segments)
    assert model.code.count("    def segment_") == len(segments)
    ours = run(model, program.inputs(), 1, program.backward)
    assert_same(ours, run(twin, program.inputs(), 1, program.backward))
    assert_same(state(program), state(twin))


class Counted(nn.Module):
    """Scales by a buffer that each call changes, so a second run would give other numbers."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return torch.sin(x * self.calls)


class Swapped(nn.Module):
    """Puts a new tensor in the place of a buffer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.ones(8))

    def forward(self, x):
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        return torch.tanh(x * self.mean)


STATEFUL = {
    "batch norm": lambda: nn.BatchNorm1d(8),
    "cumulative batch norm": lambda: nn.BatchNorm1d(8, momentum=None),
    "keras batch norm": lambda: layers.BatchNormalization(),
    "spectral norm": lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8)),
    "weight norm": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(8, 8)),
    "dropout": lambda: nn.Dropout(0.5),
    "seeded noise": lambda: layers.GaussianNoise(0.5, seed=3),
    "seeded dropout": lambda: layers.Dropout(0.5, seed=3),
    "a counter": Counted,
    "a buffer that is replaced": Swapped,
}


@pytest.mark.parametrize("make", STATEFUL.values(), ids=STATEFUL)
def test_what_modules_keep_changes_once_and_is_the_same_in_the_second_run(make):
    x = h = Input((8,))
    for _ in range(3):
        h = torch.tanh(make()(torch.sin(nn.Linear(8, 8)(h))))
    model = Model(x, h)
    plain = copy.deepcopy(model)
    recompute_runs(model, [(0, 5), (7, len(model.nodes) - 1)])
    assert_equal_runs(model, plain, torch.randn(5, 8))


def test_the_second_run_uses_weights_given_for_one_call():
    x = Input((4,))
    model = Model(x, torch.sin(nn.Linear(4, 4)(torch.sin(x))))
    other = {name: torch.randn_like(p).requires_grad_() for name, p in model.named_parameters()}
    inputs = torch.randn(3, 4)

    def gradients():
        made = torch.func.functional_call(model, other, inputs)
        return torch.autograd.grad(made.sin().sum(), list(other.values()))

    expected = gradients()
    recompute_runs(model, [(0, 2)])
    assert_same(gradients(), expected)


def test_a_graph_that_is_kept_can_be_gone_through_twice():
    model = chain(2)
    plain = copy.deepcopy(model)
    model.recompute(["block_*"])
    inputs = torch.randn(3, 64)
    for net in (model, plain):
        made = net(inputs).sin().sum()
        made.backward(retain_graph=True)
        made.backward()
    assert_same(state(model), state(plain))


def test_weights_changed_before_the_backward_pass_are_an_error_as_without():
    model = chain(2)
    model.recompute(["block_*"])
    made = model(torch.randn(2, 64)).sum()
    with torch.no_grad():
        next(model.parameters()).mul_(2)
    with pytest.raises(RuntimeError, match=r"'weight' of shape .* was changed in place"):
        made.backward()


@pytest.mark.parametrize("transform", ["vmap", "grad"])
def test_function_transforms_run_without_checkpoints(transform):
    model = chain(2)
    plain = copy.deepcopy(model)
    model.recompute(["block_*"])
    inputs = torch.randn(3, 5, 64)

    def made(net):
        if transform == "vmap":
            return torch.vmap(net)(inputs)
        return torch.func.grad(lambda x: net(x).sum())(inputs[0])

    torch.testing.assert_close(made(model), made(plain))


# ------------------------------------------------------------------ budgets


SIZES = {
    "2 GB": 2 * 10**9, "500 MiB": 500 * 2**20, "1.5 KiB": 1536, "7kb": 7000, "100": 100,
    "1_000 B": 1000, "3 G": 3 * 10**9, "2e3": 2000, 12: 12, 2.5e6: 2_500_000,
}  # fmt: skip


@pytest.mark.parametrize("written", SIZES, ids=str)
def test_sizes(written):
    assert bytes_of(written) == SIZES[written]


@pytest.mark.parametrize(
    "wrong", ["block_*", "", "2 XB", "-3 MB", "0", 0, -5, float("nan"), "1.2.3"]
)
def test_what_is_no_size_is_refused(wrong):
    with pytest.raises(ValueError, match="is no size"):
        bytes_of(wrong)


@pytest.mark.parametrize("wrong", [True, 3 + 2j, object()])
def test_what_is_no_budget_at_all_is_refused(wrong):
    with pytest.raises(TypeError, match="expects a budget"):
        chain(1).recompute(wrong)


def unet():
    x = h = Input((3, 32, 32))
    skips = []
    for width in (8, 16):
        h = nn.BatchNorm2d(width)(nn.LazyConv2d(width, 3, padding=1)(h)).relu()
        skips.append(h)
        h = nn.MaxPool2d(2)(h)
    h = nn.LazyConv2d(32, 3, padding=1)(h).relu()
    for width, skip in zip((16, 8), reversed(skips), strict=True):
        h = torch.cat([nn.Upsample(scale_factor=2)(h), skip], dim=1)
        h = nn.BatchNorm2d(width)(nn.LazyConv2d(width, 3, padding=1)(h)).relu()
    return Model(x, nn.LazyConv2d(1, 1)(h)), torch.randn(8, 3, 32, 32)


def transformer():
    x = h = Input((32, 64))
    for _ in range(4):
        a = layers.LayerNormalization()(h)
        h = h + layers.Dropout(0.1)(layers.MultiHeadAttention(4, 16)(a, a))
        a = layers.Dense(256, activation="gelu")(layers.LayerNormalization()(h))
        h = h + layers.Dense(64)(a)
    return Model(x, layers.Dense(5)(h)), torch.randn(16, 32, 64)


def convolutions():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
            self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
            self.relu = nn.ReLU(inplace=True)

        def forward(self, x):
            out = self.relu(self.bn1(self.conv1(x)))
            out = self.bn2(self.conv2(out))
            out += x
            return self.relu(out)

    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), *(Block() for _ in range(5)))
    x = Input((3, 24, 24))
    return Model(x, fgraph.unfold(net)(x)), torch.randn(8, 3, 24, 24)


KINDS = {"u-net": unet, "transformer": transformer, "in-place blocks": convolutions}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_the_allocator_sees_what_was_expected(make):
    model, inputs = make()
    plain = copy.deepcopy(model)

    def seen():
        model(inputs).mean().backward()  # makes the gradients of weights
        return peak_bytes(lambda: model(inputs).mean().backward())

    expected, most = [peak_without(model, inputs)], [seen()]
    for part in (0.7, 0.5, 0.0):
        try:
            plan = model.recompute(max(int(expected[0] * part), 1), inputs)
        except ValueError as error:
            least = least_of(error)
            plan = model.recompute(least, inputs)
        else:
            least = expected[0] * part
        assert plan.peak <= least <= 0.7 * expected[0]
        assert plan.peak_without == expected[0]
        model.load_state_dict(plain.state_dict())
        assert_equal_runs(model, copy.deepcopy(plain), inputs)
        expected.append(plan.peak)
        most.append(seen())
    # kernels take some memory of their own, and so do the gradients of weights
    for number in range(1, 4):
        saved, wanted = most[0] - most[number], expected[0] - expected[number]
        assert abs(saved - wanted) < 0.1 * most[0]


def least_of(error: ValueError) -> int:
    return int(re.search(r"\(([\d,]+) bytes\)", str(error))[1].replace(",", ""))


def test_a_budget_that_cannot_be_met_says_what_can_and_changes_nothing():
    model, inputs = unet()
    before = model.code
    with pytest.raises(ValueError, match=r"a budget of 1 kB cannot be met.* at least .* bytes"):
        model.recompute("1 kB", inputs)
    assert model.code == before


def test_less_memory_costs_more_work():
    model, inputs = transformer()
    most = peak_without(model, inputs)
    work = [model.recompute(int(most * part), inputs).work for part in (1, 0.8, 0.6, 0.4, 0.3)]
    assert work[0] == 0
    assert work == sorted(work)
    assert work[-1] < 1


def test_bytes_decide_where_the_graph_is_cut():
    """Between wide parts lie narrow waists, which are what is kept."""
    x = h = Input((4,))
    for _ in range(5):
        h = nn.Linear(512, 4)(torch.sin(torch.tanh(nn.Linear(4, 512)(h))))
    model = Model(x, h)
    plan = model.recompute("4 MB", torch.randn(256, 4))
    assert plan.peak <= 4e6 < plan.peak_without
    taken = re.findall(r"def segment_\d+\((.*?)\)", model.code)
    assert taken
    assert all(re.fullmatch(r"linear_\d*[02468]|input_1", name) for name in taken)


def test_no_example_is_an_error():
    with pytest.raises(TypeError, match="expected example="):
        chain(1).recompute("2 GB")


def test_measuring_leaves_no_trace():
    x = Input((8,))
    h = layers.GaussianNoise(0.5, seed=1)(Counted()(nn.BatchNorm1d(8)(nn.Dropout(0.5)(x))))
    model = Model(x, h).eval()
    plain = copy.deepcopy(model)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    measure(model, torch.randn(4, 8, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(torch.get_rng_state(), before)
    assert not model.training
    assert_equal_runs(model.train(), plain.train(), torch.randn(4, 8))


# ------------------------------------------------------------------ names


def test_each_named_block_is_one_segment():
    model = chain(3)
    plain = copy.deepcopy(model)
    plan = model.recompute(["block_*"])
    assert plan.segments == [["block_1"], ["block_2"], ["block_3"]]
    assert "block_1 = recomputed(self, segment_1, input_1)" in model.code
    assert list(model.state_dict()) == list(plain.state_dict())
    assert_equal_runs(model, plain, torch.randn(4, 64))
    assert model.recompute(None).segments == []
    assert model.code == plain.code


def test_blocks_of_opened_modules_have_names():
    model, inputs = convolutions()
    plain = copy.deepcopy(model)
    plan = model.recompute(["[1-5]"], inputs)
    assert len(plan.segments) == 5
    assert plan.segments[0][0] == "1.conv1"
    assert plan.peak < plan.peak_without
    assert_equal_runs(model, plain, inputs)


@pytest.mark.parametrize(
    ("names", "error", "text"),
    [
        (["blok_*"], ValueError, r"blok_\*"),
        (["block_1", "head"], ValueError, "head"),
        ([1], TypeError, "names of layers, got 1"),
    ],
)
def test_names_that_fit_nothing_are_refused(names, error, text):
    with pytest.raises(error, match=text):
        chain(2).recompute(names)


def test_a_layer_whose_input_is_changed_in_place_is_not_computed_again():
    x = Input((4,))
    model = Model(x, nn.ReLU(inplace=True)(nn.Linear(4, 4)(x)))
    with pytest.raises(ValueError, match=r"'relu_1' cannot be computed again alone: .* in place"):
        model.recompute(["relu_1"])


# ------------------------------------------------------------------ beside other tools


def test_no_checkpoint_without_gradients(monkeypatch):
    model = chain(2)
    expected = model(torch.ones(2, 64)).detach()
    model.recompute(["block_*"])
    monkeypatch.setattr(
        "fgraph.parallel.activation_checkpointing.checkpoint", None
    )  # cannot be called
    with torch.no_grad():
        assert torch.equal(model(torch.ones(2, 64)), expected)
    assert torch.equal(torch.from_numpy(model.predict(torch.ones(2, 64), verbose=0)), expected)


def test_fit_is_the_same_with_logits_and_masks():
    words = Input((7,), dtype="int64")
    h = layers.Embedding(20, 8, mask_zero=True)(words)
    h = layers.Dropout(0.2)(layers.LSTM(8)(h))
    for _ in range(3):
        h = layers.BatchNormalization()(layers.Dense(8, activation="relu")(h))
    model = Model(words, layers.Dense(4, activation="softmax")(h))
    plain = copy.deepcopy(model)
    recompute_runs(model, [(3, 6), (7, len(model.nodes) - 1)])
    x, y = torch.randint(0, 20, (40, 7)), torch.randint(0, 4, (40,))
    found = []
    for net in (model, plain):
        torch.manual_seed(5)
        net.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        found.append(net.fit(x, y, epochs=2, verbose=0).history)
    assert "def segment_1" in view_of(model).source.text
    assert found[0] == found[1]
    assert_same(list(model.state_dict().values()), list(plain.state_dict().values()))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_keep_the_plan(copied):
    model = chain(2)
    model.recompute(["block_*"])
    again = copied(model)
    assert again.code == model.code
    assert_equal_runs(again, model, torch.randn(3, 64))


def test_files_and_sources_leave_the_plan_out(tmp_path):
    model = chain(2)
    plain = model.code
    model.recompute(["block_*"])
    model.save(tmp_path / "m.fgraph")
    loaded = fgraph.load_model(tmp_path / "m.fgraph")
    assert loaded.code == plain
    inputs = torch.randn(2, 64)
    assert torch.equal(loaded(inputs), model(inputs))
    assert "segment" not in model.to_source()
    assert torch.equal(model.to_fx()(inputs), model(inputs))
    program = torch.export.export(model, (inputs,), strict=False)
    assert torch.equal(program.module()(inputs), model(inputs))


def test_compiled_models_recompute_too():
    model, inputs = convolutions()
    plain = copy.deepcopy(model)
    model.recompute([str(number) for number in range(1, 6)])
    torch.compiler.reset()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    for net in (compiled, plain):
        net(inputs).mean().backward()
    for ours, theirs in zip(state(model), state(plain), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_nested_models_can_have_plans_of_their_own():
    y = h = Input((16,))
    for _ in range(4):
        h = torch.sin(nn.BatchNorm1d(16)(nn.Linear(16, 16)(h)))
    inner = Model(y, h, name="inner")
    x = Input((16,))
    model = Model(x, nn.Linear(16, 2)(inner(torch.sin(x))))
    plain = copy.deepcopy(model)
    inputs = torch.randn(64, 16)
    before = peak_without(model, inputs)
    recompute_runs(inner, [(0, 4), (5, 10)])
    assert peak_without(model, inputs) < before
    model.recompute(["inner"])
    assert_equal_runs(model, plain, inputs)


def test_modes_stay_as_recorded():
    x = Input((8,))
    shared = nn.Linear(8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        h = shared(torch.sin(shared(x)))
        with torch.no_grad():
            scale = shared(h).sigmoid()
        h = torch.tanh(h * scale)
    model = Model(x, nn.Linear(8, 2)(h.float()))
    plain = copy.deepcopy(model)
    limits = _Limits(model._graph)
    inputs = torch.randn(4, 8)
    tried = 0
    for first in range(len(model.nodes)):
        for end in range(first + 1, len(model.nodes) + 1):
            if limits.why_not(first, end) is None:
                recompute_runs(model, [(first, end - 1)])
                assert_equal_runs(model, plain, inputs)
                tried += 1
    assert tried > 10


def test_errors_inside_segments_name_the_layer():
    x = Input((None, 4))
    model = Model(x, torch.sin(fgraph.apply(lambda t: t.view(-1, 8), torch.sin(x), name="folded")))
    model.recompute(["folded"])
    with pytest.raises(RuntimeError) as caught:
        model(torch.zeros(1, 3, 4, requires_grad=True))
    assert "layer 'folded'" in "".join(caught.value.__notes__)


def test_a_forward_by_hand_is_refused():
    class Mine(Model):
        def forward(self, x):
            return super().forward(x)

    x = Input((3,))
    with pytest.raises(TypeError, match="write checkpoints into a forward of your own"):
        Mine(x, nn.Linear(3, 3)(x)).recompute(["*"])
