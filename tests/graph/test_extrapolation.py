"""Modules that take an unknown size up to a limit of their own, below the stand-ins for it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import fgraph
from fgraph import Input, Model, layers
from fgraph.errors import BuildError
from fgraph.graph.inference import extrapolation

BLOCK = 20


class Positions(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(1, BLOCK, 6))

    def forward(self, x):
        return x + self.table[:, : x.size(1)]


class Transformer(nn.Module):
    """As written for a language model with a fixed window."""

    def __init__(self):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(30, 8), nn.Embedding(BLOCK, 8)
        self.qkv, self.head = nn.Linear(8, 24), nn.Linear(8, 30)
        self.register_buffer("mask", torch.tril(torch.ones(BLOCK, BLOCK))[None, None])

    def forward(self, ids):
        batch, length = ids.size()
        assert length <= BLOCK, f"{length} tokens, the window has {BLOCK}"
        x = self.tokens(ids) + self.positions(torch.arange(length, device=ids.device))
        q, k, v = self.qkv(x).view(batch, length, 3, 2, 4).permute(2, 0, 3, 1, 4)
        scores = q @ k.mT * 0.5
        hidden = self.mask[:, :, :length, :length] == 0
        mixed = scores.masked_fill(hidden, float("-inf")).softmax(-1) @ v
        return {"logits": self.head(mixed.mT.reshape(batch, length, 8)), "count": batch * length}


def _table(x):
    table = torch.arange(BLOCK * 6.0).view(1, BLOCK, 6)
    return fgraph.apply(lambda x, t: x * t[:, : x.size(1)], x, table)


PROGRAMS = {
    "a table of positions": (lambda: Positions(), BLOCK),
    "a function": (lambda: _table, BLOCK),
    "two limits": (lambda: nn.Sequential(Positions(), nn.ConstantPad2d((0, 0, 3, 2), 0.5)), BLOCK),
    "after doubling": (
        lambda: lambda x: _table(torch.cat([x, x], 1)), BLOCK // 2,
    ),
    "a longer result": (
        lambda: lambda x: fgraph.apply(
            lambda x, t: torch.cat([x, x * t[: x.size(1)], t[:3].expand(x.size(0), 3, 6)], 1),
            x, torch.ones(BLOCK, 1),
        ), BLOCK,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "limit"), PROGRAMS.values(), ids=PROGRAMS)
def test_every_length_up_to_the_limit_equals_eager(make, limit):
    program, x = make(), Input((None, 6))
    model = Model(x, layers.GlobalAveragePooling1D()(program(x) * 2))
    for length in range(1, limit + 1):
        value = torch.randn(2, length, 6)
        real = Input((length, 6))  # every size is known: nothing has to be found out
        expected = Model(real, layers.GlobalAveragePooling1D()(program(real) * 2))(value)
        assert torch.equal(model(value), expected)
    with pytest.raises(RuntimeError, match="must match"):
        model(torch.randn(2, limit + 1, 6))


def test_a_language_model_with_a_window():
    net, ids = Transformer(), Input((None,), dtype=torch.int64)
    found = net(ids)
    assert found["logits"].shape == (None, None, 30)
    model = Model(ids, {"logits": found["logits"], "mean": found["logits"].sum() / found["count"]})
    for batch, length in ((1, 1), (2, 7), (3, BLOCK)):
        value = torch.randint(0, 30, (batch, length))
        expected = net(value)
        outputs = model(value)
        assert torch.equal(outputs["logits"], expected["logits"])
        assert torch.equal(outputs["mean"], expected["logits"].sum() / (batch * length))
    with pytest.raises(AssertionError, match=f"{BLOCK + 1} tokens, the window has {BLOCK}"):
        model(torch.zeros(1, BLOCK + 1, dtype=torch.int64))


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x + torch.zeros(3, 6),  # fits one length, and three
        lambda x: x + torch.zeros(1, 7),
        lambda x: nn.Linear(7, 2)(x),
        lambda x: fgraph.apply(lambda x: x[:, : x.size(1) // (x.size(1) % 2)], x),
    ],
)
def test_what_fits_only_some_sizes_is_refused(call):
    with pytest.raises(BuildError, match="cannot be called on"):
        call(Input((None, 6)))


@pytest.mark.parametrize(
    ("lengths", "taken", "fits"),
    [
        ([1, 2, 3, 4, 7], [1, 1, 1, 1, 0], True),
        ([7, 4, 3, 2, 1], [0, 1, 1, 1, 1], True),
        ([1, 2, 3, 4, 7, 9], [0, 1, 1, 1, 1, 0], True),
        ([1, 2, 3, 4, 7], [1, 1, 0, 1, 1], False),
        ([1, 2, 3, 4, 7], [1, 0, 0, 0, 0], False),
        ([1, 2, 3, 4, 7], [0, 0, 0, 0, 0], False),
        ([1, 1, 1, 1, 7], [1, 1, 1, 1, 0], False),
    ],
)
def test_lanes_that_are_taken_have_to_be_the_small_ones(lengths, taken, fits):
    assert extrapolation.takes_only_small(lengths, [bool(took) for took in taken]) is fits


@pytest.mark.parametrize(
    ("values", "continued"),
    [
        ([4, 4, 4], [4, 4]),
        ([1, 2, 5], [192, 288]),
        ([5, 7, 13], [387, 579]),
        ([2, 6, 20], [24 * 192, 36 * 288]),
        ([1, 4, 25], [192**2, 288**2]),
        ([0.5, 1.0, 2.5], [96.0, 144.0]),
        ([1, 2, 4], None),
        ([True, False, False], None),
        ([True, 2, 5], None),
    ],
)
def test_numbers_are_continued_by_a_rule_or_not_at_all(values, continued):
    unknown = [([2, 3, 4], (24, 36)), ([1, 2, 5], (192, 288))]
    found = extrapolation.extrapolated(values, unknown)
    assert found is None if continued is None else list(found) == continued
