"""Whatever torch code runs on symbolic tensors: the graph gives what the code gives."""

from __future__ import annotations

import copy
import warnings
from collections import defaultdict, namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from fgraph import Input, Model, SymbolicTensor, apply, unfold
from fgraph.graph.inference import shapes
from strategies import assert_same, run, state

BATCH, STEPS, WIDTH = 3, 5, 8
Pair = namedtuple("Pair", "first second")


@dataclass
class Outcome:
    """A structured result that pytree knows."""

    value: torch.Tensor
    count: int = 1


pytree.register_dataclass(Outcome)


class Structured(nn.Module):
    """Returns what `form` makes of two tensors; takes nested arguments and a keyword."""

    def __init__(self, form):
        super().__init__()
        self.form = form
        self.scale = nn.Parameter(torch.rand(WIDTH))

    def forward(self, parts, *, flag=None, options=None):
        first, rest = parts[0], parts[1]["rest"]
        out = first * self.scale
        if flag is not None:
            out = out + rest[0]
        if options is not None:
            out = out * options["by"][0]
        return self.form(out, out.sum(-1))


class Normed(nn.Module):
    """Its weight is parametrised."""

    def __init__(self):
        super().__init__()
        self.linear = nn.utils.parametrizations.weight_norm(nn.Linear(WIDTH, 4))

    def forward(self, x):
        return self.linear(x)


class Branching(nn.Module):
    """Chooses by a value, which is not known when the graph is built."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        return self.linear(x) if x.sum() > 0 else x * 2


class Counting(nn.Module):
    """Counts its calls in a buffer and reads the count."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.tensor(0))
        self.register_buffer("ready", torch.tensor(False))
        self.register_buffer("shift", torch.zeros(WIDTH))

    def forward(self, x):
        if not self.ready:
            self.shift.copy_(x.detach().mean(tuple(range(x.dim() - 1))))
            self.ready.fill_(True)
        self.calls += 1
        return (x - self.shift) / float(self.calls)


class Uses(nn.Module):
    """A module made of parts and an expression, to be run directly or on symbolic tensors."""

    def __init__(self, expression, **parts):
        super().__init__()
        self.expression = expression
        for name, part in parts.items():
            setattr(self, name, part() if isinstance(part, type) or callable(part) else part)

    def forward(self, x, s):
        return self.expression(self, x, s)


def lazily(*modules):
    return lambda: nn.Sequential(*(make() for make in modules))


def causal(steps):
    return nn.Transformer.generate_square_subsequent_mask(steps)


def call(fn, *args, output_shape=None, **kwargs):
    """Call a function in the graph as one node, or directly."""
    if any(type(arg).__name__.startswith("Symbolic") for arg in args):
        return apply(fn, *args, output_shape=output_shape, **kwargs)
    return fn(*args, **kwargs)


def linear():
    return nn.Linear(WIDTH, WIDTH)


# x has shape (batch, 8), s has shape (batch, 5, 8)
CASES = {
    # modules
    "tuple result": (
        (lambda m, x, s: m.a([x, {"rest": (x,)}])[0]),
        {"a": lambda: Structured(lambda *r: r)},
    ),
    "named tuple": (
        (lambda m, x, s: m.a([x, {"rest": []}]).second),
        {"a": lambda: Structured(Pair)},
    ),
    "dict result": (
        (lambda m, x, s: m.a([x, {"rest": [x]}], flag=1)["b"]),
        {"a": lambda: Structured(lambda p, q: {"a": p, "b": q, "none": None})},
    ),
    "nested result": (
        (lambda m, x, s: [(r := m.a([s, {"rest": ()}]))[0]["p"], r[1][0]]),
        {"a": lambda: Structured(lambda p, q: ({"p": p}, [q, None, 3]))},
    ),
    "dataclass": (
        (lambda m, x, s: m.a([x, {"rest": ()}]).value),
        {"a": lambda: Structured(Outcome)},
    ),
    "keywords": (
        (lambda m, x, s: m.a(parts=[x, {"rest": (s[:, 0],)}], flag=True, options={"by": [x, 2]})),
        {"a": lambda: Structured(lambda p, q: p)},
    ),
    "lstm states": (
        (lambda m, x, s: (lambda out, hc: (out, *hc))(*m.a(s))),
        {"a": lambda: nn.LSTM(WIDTH, 4, 2, batch_first=True, bidirectional=True)},
    ),
    "lstm with given states": (
        (lambda m, x, s: m.a(s, (x[None, :, :4], x[None, :, 4:]))[0]),
        {"a": lambda: nn.LSTM(WIDTH, 4, batch_first=True)},
    ),
    "lstm with projections": (
        (lambda m, x, s: m.a(s)[0]),
        {"a": lambda: nn.LSTM(WIDTH, 6, proj_size=2, batch_first=True)},
    ),
    "gru over time first": (
        (lambda m, x, s: m.a(s.transpose(0, 1))[1][-1]),
        {"a": lambda: nn.GRU(WIDTH, 4)},
    ),
    "rnn": ((lambda m, x, s: m.a(s)[0][:, -1]), {"a": lambda: nn.RNN(WIDTH, 4, batch_first=True)}),
    "gru cell": ((lambda m, x, s: m.a(x, s[:, 0])), {"a": lambda: nn.GRUCell(WIDTH, WIDTH)}),
    "attention": (
        (lambda m, x, s: m.a(s, s, s, need_weights=False)[0]),
        {"a": lambda: nn.MultiheadAttention(WIDTH, 2, batch_first=True)},
    ),
    "attention weights": (
        (lambda m, x, s: m.a(s, s, s, attn_mask=causal(STEPS))[1]),
        {"a": lambda: nn.MultiheadAttention(WIDTH, 2, batch_first=True)},
    ),
    "transformer layer": (
        (lambda m, x, s: m.a(s)),
        {"a": lambda: nn.TransformerEncoderLayer(WIDTH, 2, 16, batch_first=True)},
    ),
    "transformer with a mask": (
        (lambda m, x, s: m.a(s, mask=causal(STEPS))),
        {
            "a": lambda: nn.TransformerEncoder(
                nn.TransformerEncoderLayer(WIDTH, 2, 16, batch_first=True, norm_first=True),
                2,
                enable_nested_tensor=False,
            )
        },
    ),
    "transformer with a symbolic padding mask": (
        (lambda m, x, s: m.a(s, src_key_padding_mask=s[..., 0] > 1)),
        {
            "a": lambda: nn.TransformerEncoder(
                nn.TransformerEncoderLayer(WIDTH, 2, 16, batch_first=True), 1
            )
        },
    ),
    "encoder and decoder": (
        (lambda m, x, s: m.a(s, s[:, :3], tgt_mask=causal(3), tgt_is_causal=True)),
        {"a": lambda: nn.Transformer(WIDTH, 2, 1, 1, 16, batch_first=True)},
    ),
    "lazy in a container": (
        (lambda m, x, s: m.a(x)),
        {"a": lazily(lambda: nn.LazyLinear(4), nn.ReLU, lambda: nn.LazyLinear(2))},
    ),
    "lazy norm": ((lambda m, x, s: m.a(x)), {"a": nn.LazyBatchNorm1d}),
    "parametrised": ((lambda m, x, s: m.a(x) + m.a(s[:, 0])), {"a": Normed}),
    "spectral norm": (
        (lambda m, x, s: m.a(x)),
        {"a": lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(WIDTH, 4))},
    ),
    "double precision": (
        (lambda m, x, s: m.a(x.double()).float()),
        {"a": lambda: nn.Linear(WIDTH, 4).double()},
    ),
    "half precision": (
        (lambda m, x, s: m.a(x.bfloat16())),
        {"a": lambda: nn.Linear(WIDTH, 4).bfloat16()},
    ),
    "cumulative batch norm": (
        (lambda m, x, s: m.a(x)),
        {"a": lambda: nn.BatchNorm1d(WIDTH, momentum=None)},
    ),
    "a module that branches on values": ((lambda m, x, s: m.a(x) + m.a(-x)), {"a": Branching}),
    "a module that counts its calls": ((lambda m, x, s: m.a(x) + m.a(s).sum(1)), {"a": Counting}),
    "a part of a module": (
        (lambda m, x, s: m.a(x) + m.a[0](x)),
        {"a": lambda: nn.Sequential(linear(), nn.Tanh())},
    ),
    "a loss": ((lambda m, x, s: m.a(x, s[:, 0])), {"a": nn.SmoothL1Loss}),
    "embedding of a symbolic index": (
        (lambda m, x, s: m.a(x.argmax(1)) + m.a((s > 0).long()).sum((1, 2))),
        {"a": lambda: nn.Embedding(WIDTH, 3)},
    ),
    # functions and methods
    "functions with constants": (
        (lambda m, x, s: F.gelu(torch.clamp(x, min=-1.0, max=float("inf")), approximate="tanh")),
        {},
    ),
    "einsum": ((lambda m, x, s: torch.einsum("bi,bti->bt", x, s)), {}),
    "cat of nested": ((lambda m, x, s: torch.cat([x, *s.unbind(1)], dim=-1)), {}),
    "several results": (
        (lambda m, x, s: (x.max(1), torch.topk(s, 2).values, x.chunk(2, 1)[1])),
        {},
    ),
    "split sizes": ((lambda m, x, s: torch.split(s, [2, 3], dim=1)[1]), {}),
    "dtype and device": (
        (lambda m, x, s: x.to(torch.float64).to("cpu") + torch.ones_like(x, dtype=torch.float64)),
        {},
    ),
    "attention function": (
        (lambda m, x, s: F.scaled_dot_product_attention(s, s, s, is_causal=True)),
        {},
    ),
    "pad and pool": ((lambda m, x, s: F.max_pool1d(F.pad(s, (1, 1)), 2)), {}),
    "attributes": ((lambda m, x, s: x.T @ x + s.mT.sum((0, 2)) + x.real.sum()), {}),
    "functional dropout": ((lambda m, x, s: F.dropout(x, 0.5) + torch.rand_like(x)), {}),
    "random with a device": (
        (lambda m, x, s: x + torch.randn_like(x, device="cpu") + torch.normal(x, 1.0)),
        {},
    ),
    # operators
    "operators": (
        (lambda m, x, s: 2 - x * 3 / (1 + x**2) % 5 + 2.0 ** (-x) + abs(x) * (x.detach() // 1)),
        {},
    ),
    "reflected with real tensors": (
        (lambda m, x, s: torch.ones(WIDTH) - x + torch.ones(WIDTH) @ x.T.mean(1)),
        {},
    ),
    "comparisons": (
        (lambda m, x, s: torch.where((x > 0) & ~(x >= 1) | (x == 0.5) ^ (x != x), x, 1 / x)),
        {},
    ),
    "matmul from both sides": (
        (lambda m, x, s: (torch.ones(2, WIDTH) @ x.T).T @ torch.ones(2, 2)),
        {},
    ),
    # indexing and sizes
    "slices": ((lambda m, x, s: s[..., None, 1:-1:2][:, ::2, 0] + s[:, -1:, None, 0]), {}),
    "index by tensors": (
        (
            lambda m, x, s: (
                s[:, torch.tensor([0, 2])] + s[:, [1, 3]] + x[x.argmax(1) % x.size(0)][:, None]
            )
        ),
        {},
    ),
    "index by a list of symbols": ((lambda m, x, s: s[:, x.argmax(1) % STEPS]), {}),
    "view by size": ((lambda m, x, s: s.view(s.size(0), -1) + s.reshape(s.size(0) * 1, 40)), {}),
    "new zeros by size": ((lambda m, x, s: torch.cat([x, x.new_zeros(x.size(0), 2)], 1)), {}),
    "arithmetic of sizes": (
        (lambda m, x, s: s.flatten(0, 1)[: s.size(0) * STEPS - 1] / (s.size(0) + 1)),
        {},
    ),
    "sizes unpacked": ((lambda m, x, s: x.view(*x.size()) + x.expand(x.size()) * x.numel()), {}),
    "sizes in slices": ((lambda m, x, s: x[: x.size(0) // 2 + 1, :2]), {}),
    # real tensors
    "parameter": (
        (lambda m, x, s: F.linear(x, m.w) * 2 + call(_row, x, m.w)),
        {"w": lambda: nn.Parameter(torch.rand(WIDTH, WIDTH))},
    ),
    "weights of a child": (
        (lambda m, x, s: F.linear(m.a(x), m.a.weight) + m.a.bias),
        {"a": linear},
    ),
    # any callable
    "apply": ((lambda m, x, s: call(lambda a, n: a.flip(1) * n, x, n=3)), {}),
    "apply with a shape": ((lambda m, x, s: call(_positive, x, output_shape=(None,))), {}),
    "apply of a size": ((lambda m, x, s: x + call(torch.arange, x.size(0))[:, None]), {}),
}


def _positive(x):
    return x[x > 0]


def _row(x, w):
    return w[0]


def graph_of(name):
    """Make a module, and a graph of it."""
    expression, parts = CASES[name]
    uses = Uses(expression, **parts)
    x, s = Input((WIDTH,)), Input((STEPS, WIDTH))
    leaves = pytree.tree_leaves(uses.forward(x, s))
    return uses, Model([x, s], [leaf for leaf in leaves if isinstance(leaf, SymbolicTensor)])


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("name", CASES)
def test_the_graph_gives_what_the_code_gives(name, training):
    """Outputs, gradients and buffers, over two runs."""
    uses, model = graph_of(name)
    uses.train(training)
    model.train(training)
    twin = copy.deepcopy(uses)
    inputs = [torch.randn(BATCH, WIDTH), torch.randn(BATCH, STEPS, WIDTH)]
    for seed in (1, 2):
        assert_same(run(model, inputs, seed), run(Tensors(twin), inputs, seed))
        assert_same(state(uses), state(twin))


class Tensors(nn.Module):
    """Leaves out of a result what is not a tensor."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, *inputs):
        leaves = pytree.tree_leaves(self.module(*inputs))
        return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


@pytest.mark.parametrize("name", CASES)
def test_building_leaves_no_trace(name, monkeypatch):
    """No random number is drawn, no parameter, buffer, gradient, mode or hook changes."""
    monkeypatch.setattr(shapes, "_cache", {})  # a remembered result would leave no trace anyway
    expression, parts = CASES[name]
    uses, fired = Uses(expression, **parts), []
    if any(isinstance(p, nn.UninitializedParameter) for p in uses.parameters()):
        uses.eval()(torch.ones(BATCH, WIDTH), torch.ones(BATCH, STEPS, WIDTH))
        uses.train()
    for part in uses.modules():
        part.register_forward_hook(lambda *call: fired.append(call))
        part.register_forward_pre_hook(lambda *call: fired.append(call))
    before = copy.deepcopy(uses.state_dict())
    modes = [part.training for part in uses.modules()]
    random = torch.get_rng_state()
    x, s = Input((WIDTH,)), Input((STEPS, WIDTH))
    outputs = uses.forward(x, s)
    del outputs
    assert torch.equal(torch.get_rng_state(), random)
    assert_same(list(uses.state_dict().values()), list(before.values()))
    assert [part.training for part in uses.modules()] == modes
    assert not any(p.grad is not None for p in uses.parameters())
    assert not any(
        isinstance(leaf, torch.Tensor) for call in fired for leaf in pytree.tree_leaves(call[1])
    )


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_a_scripted_module_is_one_call():
    scripted = torch.jit.script(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)))
    x = Input((4,))
    model = Model(x, scripted(x).relu())
    data = torch.randn(5, 4)
    assert model.output_shape == (None, 3)
    torch.testing.assert_close(model.eval()(data), scripted.eval()(data).relu())
    assert {p.data_ptr() for p in model.parameters()} == {
        p.data_ptr() for p in scripted.parameters()
    }


class Collects(nn.Module):
    """Registers hooks in its first call, as transformers' models do, and counts in containers."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.counts = {"calls": [0], "of": defaultdict(int)}
        self.hooked = False

    def forward(self, x):
        found = []
        if not self.hooked:
            self.hooked = True
            for layer in self.layers:
                layer.register_forward_hook(lambda module, given, result: self.seen.append(result))
        self.seen = found
        self.counts["calls"][0] += 1
        self.counts["of"][tuple(x.shape[1:])] += 1
        for layer in self.layers:
            x = layer(x)
        return x, tuple(found)


@pytest.mark.parametrize("opened", [False, True], ids=["leaf", "unfold"])
def test_building_leaves_hooks_and_containers_alone_and_sees_what_hooks_collect(opened):
    net = Collects()
    twin = copy.deepcopy(net)
    x = Input((4,))
    with warnings.catch_warnings(action="ignore"):
        y, seen = (unfold(net) if opened else net)(x)
    assert len(seen) == 2
    assert not any(layer._forward_hooks for layer in net.layers)
    assert net.counts == {"calls": [0], "of": {}}
    model = Model(x, [y, *seen])
    value = torch.randn(3, 4)
    for _ in range(2):
        found, (expected, others) = model(value), twin(value)
        assert all(map(torch.equal, found, [expected, *others]))
    assert net.counts == twin.counts
