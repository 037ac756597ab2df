"""Programs as torch users write them: a graph gives what the same code gives run eagerly.

Each is built with unknown sizes, as code of the graph, as one leaf, and opened, and compared with
itself at small, prime and large sizes: outputs, `requires_grad`, gradients and buffers.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

import fgraph
from fgraph import Input, Model

SIZES = [(2, 5), (1, 1), (3, 2), (4, 9), (2, 16), (1, 37), (5, 11), (2, 65)]  # of `B` and `T`
PROGRAMS: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {}
DTYPES = {"f": torch.float32, "i": torch.int64, "b": torch.bool}


class Parts(nn.Module):
    """Runs a function that uses a few modules, a parameter and a buffer."""

    def __init__(self, steps: Callable[..., Any]) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)
        self.recur = nn.GRU(8, 8, batch_first=True)
        self.dropout = nn.Dropout(0.3)
        self.scale = nn.Parameter(torch.rand(8))
        self.register_buffer("seen", torch.zeros(8))
        self.calls = 0
        self.steps = steps

    def forward(self, *inputs: Any) -> Any:
        return self.steps(self, *inputs)


def program(*shapes: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add a function of a module and inputs, such as `"f B T 8"`, to the table."""

    def add(steps: Callable[..., Any]) -> Callable[..., Any]:
        PROGRAMS[steps.__name__] = (steps, shapes)
        return steps

    return add


# ------------------------------------------------------------------ attention and positions


@program("f B T 8")
def causal_attention(net, x):
    batch, steps, width = x.size()
    q, k, v = (net.a(x).view(batch, steps, 2, width // 2).transpose(1, 2) for _ in range(3))
    weights = q @ k.transpose(-2, -1) * (1.0 / math.sqrt(k.size(-1)))
    hidden = torch.triu(torch.ones((steps, steps), dtype=torch.bool, device=x.device), diagonal=1)
    y = weights.masked_fill(hidden, float("-inf")).softmax(-1) @ v
    return y.transpose(1, 2).contiguous().view(batch, steps, width)


@program("f B T 8")
def rotary_positions(net, x):
    frequencies = 1.0 / (10000 ** (torch.arange(0, x.shape[-1], 2).float() / x.shape[-1]))
    angles = torch.outer(torch.arange(x.shape[1], device=x.device).float(), frequencies)
    even, odd, cos, sin = x[..., ::2], x[..., 1::2], angles.cos(), angles.sin()
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)


@program("f B T 8")
def sinusoids_in_place(net, x):
    table = torch.zeros((x.size(1), 8))
    places = torch.arange(x.size(1)).unsqueeze(1)
    rates = torch.exp(torch.arange(0, 8, 2) * (-math.log(10000.0) / 8))
    table[:, 0::2] = torch.sin(places * rates)
    table[:, 1::2] = torch.cos(places * rates)
    return x + table


@program("f B T 8")
def relative_distances(net, x):
    place = torch.arange(x.size(1))
    near = (place[None] - place[:, None]).clamp(-5, 5) + 5
    return torch.arange(11.0)[near] * 0.1 + x @ x.mT * x.size(1) ** -0.5


@program("f B T 8")
def windows_of_four(net, x):
    batch, steps, width = x.shape
    more = -steps % 4
    y = F.pad(x, (0, 0, 0, more)).view(batch, (steps + more) // 4, 4, width)
    return ((y @ y.mT).softmax(-1) @ y).reshape(batch, steps + more, width)[:, :steps]


@program("f B T 8")
def shifted_scores(net, x):
    scores = x @ x.mT
    batch, rows, columns = scores.shape
    return F.pad(scores, (1, 0)).view(batch, columns + 1, rows)[:, 1:].reshape(scores.shape)


# ------------------------------------------------------------------ sizes


@program("f B T 8")
def ends_and_limits(net, x):
    first, last, inner = x[:, :10], x[:, -12:-2], x[:4, 1:-1]
    return first.sum(1) / first.size(1), last.sum(1) * last.size(1), inner.sum((0, 1)) / x.size(0)


@program("f B T 8")
def sizes_as_numbers(net, x):
    n = x.size(1)
    whole, rest = divmod(n, 5)
    x = x * torch.sym_max(n, 10) + torch.sym_min(whole, 2) - rest / x.numel()
    return x[:, : torch.sym_int(n * 0.7)].sum(1) + math.floor(n / 2) + round(n * 0.3), x * (n > 10)


@program("f B T 8")
def changed_by_a_size(net, x):
    x *= x.size(1)
    x += x.size(0) / 2
    return x


@program("f B T 8")
def facts_about_a_tensor(net, x):
    known = x.ndimension() == 3 and x.is_floating_point() and x.element_size() == 4
    return x * (2 if known else 3) + x.nelement() + x.stride(1) + x.requires_grad


@program("f B 3 T T")
def unet_sizes(net, x):
    up = F.interpolate(x[:, :, ::2, ::2], scale_factor=2)
    rows, columns = x.size(2) - up.size(2), x.size(3) - up.size(3)
    up = F.pad(up, [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2])
    return up + F.interpolate(F.max_pool2d(x, 2, ceil_mode=True), size=x.shape[2:])


# ------------------------------------------------------------------ sizes that values decide


@program("f B T 8", "b B T")
def masked_rows(net, x, mask):
    rows = x[mask]
    rows.add_(1)
    first = rows[:10]
    return net.a(rows), rows.sum(0) / (rows.size(0) + 1), first.sum(0) / (first.size(0) + 1), x


@program("f B T 8", "b B T")
def masked_changes(net, x, mask):
    y = torch.zeros_like(x)
    y[mask] = x[mask] * 3
    y[~mask] -= 1
    x[:, mask[0]] = 0
    return y, x


@program("f B T 8")
def masked_reconstruction(net, x):
    batch, steps, width = x.shape
    mask = torch.zeros((batch, steps), dtype=torch.bool, device=x.device)
    mask[:, : steps // 2] = True
    return net.a(x[~mask].reshape(batch, -1, width)), x[mask].reshape(batch, -1, width)


@program("f B T 8")
def mixture_of_experts(net, x):
    flat = x.reshape(-1, 8)
    best, chosen = net.a(flat)[:, :2].softmax(-1).max(-1)
    out = torch.zeros_like(flat)
    for number, expert in enumerate((net.a, net.b)):
        (rows,) = torch.where(chosen == number)
        out.index_add_(0, rows, expert(flat[rows]) * best[rows, None])
    return out.view(x.shape)


@program("f B T", "i B")
def places_and_repeats(net, x, times):
    rows, columns = torch.where(x > 0)
    found, place, count = torch.unique(times, return_inverse=True, return_counts=True)
    x = x + found.sum() + place.unsqueeze(1) * count.sum() + x.round().unique(dim=1).size(1)
    return (x > 0).nonzero(), x[rows, columns], x[x > 1], x.repeat_interleave(times, dim=0)


@program("f 4 8")
def a_mask_on_known_sizes(net, x):
    found = x[x > 0]
    return found.sum() / found.size(0), found[:10] * found[:10].size(0), x.masked_select(x < 0)


# ------------------------------------------------------------------ in place, modes, gradients


@program("f B T 8")
def views_of_views(net, x):
    h = net.a(x)
    part = h[:, 1:]
    part[..., ::2].mul_(3)
    first, second = h[..., :4], h[..., 4:]
    first.add_(second)
    h.transpose(1, 2)[:, 0] = -1
    with torch.no_grad():
        h[:, :1].zero_()
    return h, part


@program("f B T 8")
def modes_inside_modes(net, x):
    with torch.no_grad():
        h = net.a(net.dropout(x))
        with torch.enable_grad():
            g = net.b(x)
        h = h + g
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = net.b(h)
        with torch.autocast("cpu", enabled=False):
            h = net.a(h)
    return h, y, g


@program("f B T 8")
def forces_of_an_energy(net, x):
    x.requires_grad_(True)
    energy = net.b(net.a(x).tanh()).pow(2).sum()
    return energy, -torch.autograd.grad(energy, x, create_graph=True)[0]


@program("f B T 8")
def gradients_of_a_detached_copy(net, x):
    place = x.detach()
    place.requires_grad = True
    (force,) = torch.autograd.grad([net.a(place).pow(2).sum()], [place], create_graph=True)
    return force * x


class Reversed(torch.autograd.Function):
    """Turns the gradient round."""

    @staticmethod
    def forward(x, by):
        return x.view_as(x), x.argmax(-1)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.by = inputs[1]
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx, gradient, _):
        return -ctx.by * gradient, None


@program("f B T 8")
def reversed_gradients(net, x):
    turned, best = Reversed.apply(net.a(x), x.size(1))
    return turned, best


class Pair(NamedTuple):
    """A named tuple of a user."""

    left: Any
    right: Any


@program("f B T 8")
def structures(net, x):
    return Pair(net.a(x), {"a.b": [x * 2, (x,)], "c": torch.max(x, 1)})


# ------------------------------------------------------------------ state


@program("f B T 8")
def a_buffer_assigned(net, x):
    net.seen = 0.9 * net.seen + 0.1 * x.detach().mean((0, 1))
    return net.a(x - net.seen)


@program("f B T 8")
def a_buffer_changed(net, x):
    with torch.no_grad():
        net.seen.mul_(0.9).add_(x.mean((0, 1)), alpha=0.1)
    return net.a(x - net.seen)


@program("f B T 8")
def calls_counted(net, x):
    net.calls += 1
    return net.a(x) * net.calls


@program("f B T 8")
def borrowed_weights(net, x):
    return torch.func.functional_call(net.a, {"weight": net.b.weight}, (x,))


@program("f B T 8")
def gradient_of_a_function(net, x):
    return torch.func.grad(lambda z: net.a(z).pow(2).sum())(x)


@program("f B T 8")
def sizes_one_by_one(net, x):
    batch, steps, width = x.shape
    mask = torch.tril(torch.ones(steps, steps)).log()
    start = torch.zeros(batch, 1, width, device=x.device)
    spread = torch.zeros(*x.shape[:2], 1) + torch.tensor(steps) + torch.eye(steps).sum()
    return torch.cat((start, (x @ x.mT + mask).softmax(-1) @ x), 1), x + spread


@program("f B T 8")
def tables_filled_with_values(net, x):
    table, picked = torch.zeros(3, 8), torch.full((2,), 7.0)
    table[0], table[1:] = x.mean((0, 1)), 1.0
    picked[x.argmax() % 2] = 0
    table[..., x[0, 0].argmax()] += 1
    return table, picked


@program("f B T 8")
def numbers_by_mode(net, x):
    rate = 0.3 if net.training else 0.0
    q = net.a(x)
    y = F.scaled_dot_product_attention(q, q, q, dropout_p=rate)
    return F.dropout(y, rate, net.training and rate > 0.1) * (1 - rate)


@program("f B T 8", "i B")
def packed_sequences(net, x, lengths):
    lengths = (lengths.abs() % x.size(1) + 1).cpu()
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths, True, enforce_sorted=False)
    packed, last = net.recur(packed)
    y, lengths = nn.utils.rnn.pad_packed_sequence(packed, batch_first=True)
    return y.sum(1) / y.size(1), last, lengths


@program("f B T 8")
def hooks_on_values(net, x):
    y = net.a(x)
    y.retain_grad()
    y.register_hook(lambda gradient: gradient * 2)
    return y


# those that change or lend real tensors, read values, or ask for a real mode cannot be code of the
# graph itself; nor what torch's own parser refuses, `torch.zeros(n, 8)`
LEAVES = {
    "sizes_one_by_one", "tables_filled_with_values", "packed_sequences", "hooks_on_values",
    "numbers_by_mode", "a_buffer_assigned", "a_buffer_changed", "calls_counted", "borrowed_weights",
    "gradient_of_a_function",
}  # fmt: skip


# ------------------------------------------------------------------ comparing


def shape_of(text: str, sizes: dict[str, Any]) -> tuple[int | None, ...]:
    return tuple(int(s) if s.isdigit() else sizes[s] for s in text.split()[1:])


def values(shapes: tuple[str, ...], sizes: dict[str, int]) -> Iterator[torch.Tensor]:
    made = torch.Generator().manual_seed(1)
    for text in shapes:
        x = torch.randn(shape_of(text, sizes), generator=made)
        yield {"f": x, "i": (x * 9).long() % 5, "b": x > -0.5}[text[0]]


def outcome(call: Callable[..., Any], owner: nn.Module, inputs: list[torch.Tensor]) -> list[Any]:
    """Return outputs, what requires gradients, gradients of inputs and parameters, and buffers."""
    roots = [x.requires_grad_(x.is_floating_point()) for x in inputs]
    owner.zero_grad(set_to_none=True)
    torch.manual_seed(0)
    found = pytree.tree_leaves(call(*[x * 1 if x.requires_grad else x for x in roots]))
    trained = [y for y in found if y.requires_grad]
    if trained:
        weights = [torch.arange(y.numel()).view(y.shape).cos() for y in trained]
        sum((y.float() * w).sum() for y, w in zip(trained, weights, strict=True)).backward()
    gradients = [x.grad for x in (*roots, *owner.parameters())]
    return [*found, [y.requires_grad for y in found], *gradients, *owner.buffers()]


def assert_equal(found: list[Any], expected: list[Any]) -> None:
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        if isinstance(theirs, torch.Tensor):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5, equal_nan=True)
        else:
            assert ours == theirs


WAYS = {
    "code": lambda net, inputs: net.forward(*inputs),
    "leaf": lambda net, inputs: net(*inputs),
    "opened": lambda net, inputs: fgraph.unfold(net)(*inputs),
}


def check(steps: Callable[..., Any], shapes: tuple[str, ...], way: str) -> None:
    """Compare a program's graph with the program at all sizes."""
    torch.manual_seed(0)
    net = Parts(steps)
    twin = copy.deepcopy(net)
    inputs = [
        Input(batch_shape=shape_of(text, {"B": None, "T": None}), dtype=DTYPES[text[0]])
        for text in shapes
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a part kept as a leaf
        model = Model(inputs, WAYS[way](net, inputs))
    for batch, steps_of in SIZES:
        sizes = {"B": batch, "T": steps_of}
        expected = outcome(twin, twin, list(values(shapes, sizes)))
        assert_equal(outcome(model, net, list(values(shapes, sizes))), expected)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_graph_equals_the_same_code_run_eagerly(name, way):
    if way == "code" and name in LEAVES:
        return
    check(*PROGRAMS[name], way)


@pytest.mark.parametrize("name", ["borrowed_weights", "gradient_of_a_function"])
def test_functions_that_swap_or_wrap_tensors_are_to_be_recorded_whole(name):
    with pytest.raises(TypeError, match=r"(?s)real\s+tensors|lends.*fgraph\.apply"):
        PROGRAMS[name][0](Parts(lambda net, x: x), Input((None, 8)))


def test_a_forward_that_sets_attributes_is_kept_as_a_leaf_which_is_told():
    def sets(net, x):
        net.last = net.a(x)
        return net.last

    net, x = Parts(sets), Input((8,))
    with pytest.warns(UserWarning, match=r"kept as a leaf.*it sets self\.last, which"):
        model = Model(x, fgraph.unfold(net)(x))
    given = torch.randn(2, 8)
    assert model(given) is net.last


def test_lengths_that_values_decide_are_never_taken_for_equal():
    x = Input((8,))
    first, second = x[x[:, 0] > 0], x[x[:, 0] < 0]
    assert first.shape != (None, 7)
    with pytest.raises(fgraph.SymbolicError, match="compared"):
        assert first.shape == second.shape
