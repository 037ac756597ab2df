"""Profiles, counts of operations, and the results in between, against closed formulas and torch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fgraph import Input, Model, Sequential, layers
from fgraph.viewing.costs import Profile, Record
from fgraph.viewing.flops import counting_flops


def two_branches() -> Model:
    a, b = Input((8,), name="a"), Input((8,), name="b")
    encode = nn.Linear(8, 4)
    merged = torch.cat([encode(a), encode(b)], dim=1)
    return Model([a, b], nn.Linear(8, 2)(merged.relu()))


def profiled(x: torch.Tensor, *calls: nn.Module, **options) -> Profile:
    start = y = Input(batch_shape=(None, *x.shape[1:]), dtype=x.dtype)
    for call in calls:
        y = call(y)
    return Model(start, y).profile(x, repeat=1, **options)


# ------------------------------------------------------------------ profile


def test_records_are_the_rows_of_the_summary_in_call_order():
    found = two_branches().profile(torch.randn(3, 8), torch.randn(3, 8), repeat=2)
    read = [(r.name, r.kind, r.shape, r.flops, r.memory, r.parameters) for r in found.records]
    assert read == [
        ("linear_1", "Linear", (3, 4), 2 * 3 * 8 * 4, 3 * 4 * 4, 36),
        ("linear_1[1]", "Linear", (3, 4), 2 * 3 * 8 * 4, 3 * 4 * 4, 0),
        ("cat_1", "cat", (3, 8), 0, 3 * 8 * 4, 0),
        ("relu_1", "relu", (3, 8), 0, 3 * 8 * 4, 0),
        ("linear_2", "Linear", (3, 2), 2 * 3 * 8 * 2, 3 * 2 * 4, 18),
    ]
    assert found.repeat == 2
    assert sum(record.share for record in found.records) == pytest.approx(1)
    assert all(record.cpu_ms > 0 and record.cuda_ms is None for record in found.records)
    assert all(record.backward_cpu_ms is None for record in found.records)


def test_the_total_is_the_sum():
    found = two_branches().profile(torch.randn(3, 8), torch.randn(3, 8), repeat=2)
    for name in ("cpu_ms", "flops", "memory", "parameters", "share"):
        whole = sum(getattr(record, name) for record in found.records)
        assert getattr(found.total, name) == pytest.approx(whole)
    assert found.total.parameters == 54


@pytest.mark.parametrize(
    ("module", "shape", "flops"),
    [
        (nn.Linear(8, 4), (2, 8), 2 * 2 * 8 * 4),
        (nn.Linear(8, 4), (2, 5, 8), 2 * 2 * 5 * 8 * 4),
        (nn.Conv2d(3, 8, 3), (2, 3, 10, 10), 2 * 2 * 8 * 8 * 8 * 3 * 9),
        (nn.Conv2d(4, 8, 3, groups=2), (1, 4, 10, 10), 2 * 8 * 8 * 8 * 2 * 9),
        (nn.Conv1d(3, 8, 5, stride=2), (2, 3, 11), 2 * 2 * 8 * 4 * 3 * 5),
        (nn.ConvTranspose1d(3, 8, 5), (2, 3, 11), 2 * 2 * 11 * 8 * 3 * 5),
        (nn.LSTM(8, 16), (5, 2, 8), 2 * 10 * 4 * (8 * 16 + 16 * 16)),
        (nn.GRU(8, 16), (5, 2, 8), 2 * 10 * 3 * (8 * 16 + 16 * 16)),
        (nn.RNN(8, 16), (5, 2, 8), 2 * 10 * (8 * 16 + 16 * 16)),
        (
            nn.LSTM(8, 16, num_layers=2, bidirectional=True, batch_first=True),
            (2, 5, 8),
            2 * 10 * 2 * 4 * (8 * 16 + 16 * 16 + 32 * 16 + 16 * 16),
        ),
        (nn.ReLU(), (2, 8), 0),
    ],
    ids=lambda value: repr(value)[:40],
)
@pytest.mark.parametrize("grad", [False, True])
def test_flops_follow_the_formula(module, shape, flops, grad):
    with torch.set_grad_enabled(grad), counting_flops() as count:
        module(torch.randn(shape))
    assert count() == flops


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("grad", [True, False])
def test_flops_of_attention_do_not_depend_on_the_kernel(training, grad):
    layer = nn.TransformerEncoderLayer(8, 2, 32, batch_first=True).train(training)
    with torch.set_grad_enabled(grad), counting_flops() as count:
        layer(torch.randn(2, 5, 8))
    tokens = 2 * 5
    products = 4 * 8 * 8 + 2 * 8 * 32
    assert count() == 2 * tokens * products + 2 * 2 * tokens * 5 * 8


def test_the_fast_path_is_left_as_it_was():
    before = torch.backends.mha.get_fastpath_enabled()
    with pytest.raises(ZeroDivisionError), counting_flops():
        raise ZeroDivisionError
    assert torch.backends.mha.get_fastpath_enabled() == before


def test_gradients_cost_what_they_need():
    x = torch.randn(2, 8)
    first, second = profiled(x, nn.Linear(8, 4), nn.Linear(4, 3), backward=True).records
    assert (first.flops, first.backward_flops) == (2 * 2 * 8 * 4, 2 * 2 * 8 * 4)  # weights alone
    assert (second.flops, second.backward_flops) == (2 * 2 * 4 * 3, 2 * 2 * 2 * 4 * 3)
    assert first.backward_cpu_ms > 0
    frozen = nn.Linear(8, 4).requires_grad_(False)
    first, second = profiled(x, frozen, nn.Linear(4, 3), backward=True).records
    assert first.backward_flops == 0
    assert second.backward_flops == 2 * 2 * 4 * 3
    (one,) = profiled(x.requires_grad_(), nn.Linear(8, 4), backward=True).records
    assert one.backward_flops == 2 * 2 * 2 * 8 * 4


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_gradients_of_recurrent_layers(kind):
    x = torch.randn(5, 2, 8, requires_grad=True)
    module = kind(8, 16)
    with counting_flops() as count:
        made = module(x)[0]
        forward = count()
        made.sum().backward()
    # the input's gradient, the weights' and the first state's, which nobody asked for
    assert forward < count() - forward <= 2 * forward


def test_gradients_of_attention():
    q = torch.randn(2, 4, 6, 8, requires_grad=True)
    with counting_flops() as count:
        made = F.scaled_dot_product_attention(q, q, q)
        forward = count()
        made.sum().backward()
    assert forward == 2 * 2 * 2 * 4 * 6 * 6 * 8
    assert count() - forward == 5 * 2 * 2 * 4 * 6 * 6 * 8


def test_views_take_no_memory():
    x = Input((3, 4))
    model = Model(x, x.transpose(1, 2).flatten(1)[:, :5].contiguous())
    found = model.profile(torch.randn(2, 3, 4), repeat=1)
    assert [r.memory for r in found.records] == [0, 2 * 12 * 4, 0, 2 * 5 * 4]


def test_a_layer_is_one_record_with_its_activation():
    x = Input((8,))
    model = Model(x, layers.Dense(4, activation="relu")(x))
    (record,) = model.profile(torch.randn(2, 8), repeat=1).records
    assert (record.name, record.shape) == ("dense_1", (2, 4))
    assert record.memory == 2 * (2 * 4 * 4)  # the product and its activation


def test_time_is_where_it_is_spent(monkeypatch):
    """By a clock that only `Slow` and reading it move: the machine's speed does not matter."""
    reading = itertools.count(step=1_000_000)  # nanoseconds
    clock = SimpleNamespace(waited=0, perf_counter_ns=lambda: next(reading) + clock.waited)
    monkeypatch.setattr("fgraph.viewing.stopwatch.time", clock)
    waits: Iterator[int] = iter(())

    class Slow(nn.Module):
        def forward(self, x):
            clock.waited += next(waits, 0) * 1_000_000
            return x + 1

    x = Input((8,))
    model = Model(x, nn.Linear(8, 8)(Slow()(x)))
    waits = iter([100, 1, 9, 500])  # milliseconds: a run to count operations, then three
    found = model.profile(torch.randn(2, 8), repeat=3, sort="time")
    assert [r.kind for r in found.records] == ["Slow", "Linear"]
    assert [r.cpu_ms for r in found.records] == [10, 1]  # the median wait, and one reading
    assert found.records[0].share == pytest.approx(10 / 11)


@pytest.mark.parametrize(
    ("sort", "first"), [("flops", "linear_1"), ("memory", "cat_1"), ("parameters", "linear_1")]
)
def test_sorted_by(sort: str, first: str):
    found = two_branches().profile(torch.randn(3, 8), torch.randn(3, 8), repeat=1, sort=sort)
    values = [getattr(record, sort) for record in found.records]
    assert values == sorted(values, reverse=True)
    assert found.records[0].name == first


def test_the_model_is_left_as_it_was():
    x = Input((8,))
    model = Model(x, nn.Dropout()(nn.BatchNorm1d(4)(nn.ReLU(inplace=True)(nn.Linear(8, 4)(x)))))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    buffers = dict(model.named_buffers())
    state = torch.get_rng_state()
    for backward in (False, True):
        model.profile(torch.randn(5, 8, generator=torch.Generator()), repeat=2, backward=backward)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(buffers[name] is value for name, value in model.named_buffers())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(state, torch.get_rng_state())
    assert torch.is_grad_enabled()


def test_backward_works_without_grad_mode():
    x = Input((8,))
    model = Model(x, nn.Linear(8, 4)(x))
    with torch.no_grad():
        found = model.profile(torch.randn(2, 8), backward=True, repeat=1)
    assert found.total.backward_flops == 2 * 2 * 8 * 4


def test_random_graph_with_sizes_structures_and_constants():
    x = Input((5, 8))
    out, (h, _) = nn.LSTM(8, 4, batch_first=True)(x)
    y = out.reshape(x.size(0), -1) * torch.ones(20) + h[0].repeat(1, 5)
    found = Model(x, y).profile(torch.randn(3, 5, 8), repeat=1, backward=True)
    assert found.records[0].shape == ((3, 5, 4), ((1, 3, 4), (1, 3, 4)))
    assert found.records[-1].shape == (3, 20)


def test_text():
    def record(name: str, **numbers: float) -> Record:
        return Record(
            **{
                "name": name, "kind": "Linear", "shape": (3, 4), "cpu_ms": 0.5, "cuda_ms": None,
                "backward_cpu_ms": None, "backward_cuda_ms": None, "share": 0.5, "flops": 1500,
                "backward_flops": None, "memory": 2048, "parameters": 36,
            }
            | numbers
        )  # fmt: skip

    found = Profile([record("linear_1"), record("linear_2", flops=5, parameters=0)], 10)
    assert repr(found).splitlines() == [
        "─" * 73,
        "Layer (type)       Output shape  CPU ms   Share   FLOPs   Memory  Param #",
        "─" * 73,
        "linear_1 (Linear)  (3, 4)         0.500   50.0%  1.50 k  2.00 KB       36",
        "linear_2 (Linear)  (3, 4)         0.500   50.0%       5  2.00 KB        0",
        "─" * 73,
        "total                             1.000  100.0%  1.50 k  4.00 KB       36",
        "─" * 73,
        "Times are medians of 10 runs.",
    ]
    timed = [record("a", cuda_ms=3.0, backward_cpu_ms=1.0, backward_cuda_ms=6.0, backward_flops=2)]
    header = Profile(timed, 1).table(line_length=150).splitlines()[1]
    assert "CPU ms  CUDA ms  backward CPU ms  backward CUDA ms" in header
    assert timed[0].time_ms == 9.0
    assert max(map(len, Profile(timed, 1).table(line_length=90).splitlines())) <= 90


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"repeat": 0}, ValueError, r"repeat= must be at least 1, got 0"),
        ({"repeat": 1.5}, TypeError, r"repeat= expects a whole number, got 1.5"),
        ({"sort": "flop"}, ValueError, r"unknown sort 'flop'; did you mean 'flops'"),
    ],
)
def test_options_out_of_range_are_refused(options, kind, message):
    with pytest.raises(kind, match=message):
        two_branches().profile(torch.randn(3, 8), torch.randn(3, 8), **options)


@pytest.mark.parametrize("method", ["profile", "activations"])
def test_inputs_are_checked_as_in_a_call(method: str):
    with pytest.raises(ValueError, match="b"):
        getattr(two_branches(), method)(torch.randn(3, 8), torch.randn(3, 9))
    with pytest.raises(AttributeError, match="is not built yet"):
        getattr(Sequential([nn.Linear(2, 2)]), method)(torch.randn(3, 2))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_the_device_is_timed():
    model = Sequential([Input((512,)), nn.Linear(512, 4096), nn.Linear(4096, 8)]).cuda()
    found = model.profile(torch.randn(2048, 512, device="cuda"), backward=True)
    assert all(r.cuda_ms > 0 and r.backward_cuda_ms > 0 for r in found.records)
    assert found.records[0].share > found.records[1].share


# ------------------------------------------------------------------ activations


def test_activations_are_what_torch_computes():
    model = two_branches()
    a, b = torch.randn(3, 8), torch.randn(3, 8)
    found = model.activations(a, b)
    assert list(found) == ["linear_1", "linear_1[1]", "cat_1", "relu_1", "linear_2"]
    first, last = model.linear_1, model.linear_2
    merged = torch.cat([F.linear(a, first.weight, first.bias), first(b)], 1)
    assert torch.equal(found["cat_1"], merged)
    assert torch.equal(found["relu_1"], merged.relu())
    assert torch.equal(found["linear_2"], last(merged.relu()))
    assert torch.equal(found["linear_2"], model(a, b))


@pytest.mark.parametrize("given", ["list", "dict"])
def test_inputs_are_given_as_in_a_call(given: str):
    a, b = torch.randn(3, 8), torch.randn(3, 8)
    model = two_branches()
    inputs = [a, b] if given == "list" else {"b": b, "a": a}
    assert torch.equal(model.activations(inputs)["linear_2"], model(a, b))


def test_only_what_the_names_need_is_run():
    class Refuse(nn.Module):
        def forward(self, x):
            if x.device.type != "meta":
                raise RuntimeError("not to be run")
            return x + 1

    x = Input((8,), name="x")
    model = Model(x, Refuse()(nn.Linear(8, 4)(x).relu()))
    value = torch.randn(2, 8)
    found = model.activations(value, names=["relu_1", "x", "linear_1"])
    assert list(found) == ["relu_1", "x", "linear_1"]
    assert found["x"] is value
    assert torch.equal(found["relu_1"], model.linear_1(value).relu())
    assert list(model.activations(value, names="linear_1")) == ["linear_1"]
    with pytest.raises(RuntimeError, match="not to be run") as caught:
        model.activations(value)
    assert caught.value.__notes__ == ["in Refuse()"]


def test_a_structure_comes_back_as_it_is():
    x = Input((5, 8))
    lstm = nn.LSTM(8, 4, batch_first=True)
    out, (_, c) = lstm(x)
    model = Model(x, out[:, -1] + c[0])
    value = torch.randn(2, 5, 8)
    torch.testing.assert_close(model.activations(value)["lstm_1"], lstm(value), rtol=0, atol=0)


def test_what_comes_before_an_in_place_layer_stays_as_it_was():
    x = Input((8,))
    linear = nn.Linear(8, 4)
    model = Model(x, F.elu(nn.Sequential(nn.ReLU(inplace=True))(linear(x)), inplace=True))
    value = torch.randn(2, 8)
    assert torch.equal(model.activations(value)["linear_1"], linear(value))


def test_gradients_flow_through_activations():
    model = two_branches()
    a = torch.randn(3, 8, requires_grad=True)
    found = model.activations(a, torch.randn(3, 8), names=["linear_1"])["linear_1"]
    (gradient,) = torch.autograd.grad(found.sum(), a)
    assert torch.allclose(gradient, model.linear_1.weight.sum(0).expand(3, 8))


def test_a_replaced_child_is_run():
    model = two_branches()
    model.linear_1 = nn.Sequential(nn.Linear(8, 4), nn.Tanh())
    a = torch.randn(3, 8)
    found = model.activations(a, a)
    assert torch.equal(found["linear_1"], model.linear_1(a))
    assert torch.equal(found["linear_2"], model(a, a))


def test_random_numbers_are_drawn_as_in_a_call():
    x = Input((50,))
    model = Model(x, nn.Dropout()(x) + nn.Dropout()(x))
    value = torch.ones(2, 50)
    torch.manual_seed(1)
    called = model(value)
    torch.manual_seed(1)
    assert torch.equal(model.activations(value)["add_1"], called)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match=r"'linear_1\[2\]'; did you mean 'linear_1\[1\]'"):
        two_branches().activations(torch.ones(1, 8), torch.ones(1, 8), names=["linear_1[2]"])


def test_a_chain_of_thousands_is_run():
    x = y = Input((2,))
    for _ in range(5000):
        y = y + 1
    found = Model(x, y).activations(torch.zeros(1, 2))
    assert found["add_5000"].tolist() == [[5000.0, 5000.0]]
