"""The model that every tool is tried on, and the class that a person would write in its place."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from fgraph import Input, Model


class ByHand(nn.Module):
    """Two inputs, a shared encoder, torch functions in between, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(6, 8)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(16, 3)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        a = self.norm(F.relu(self.encode(left)))
        b = self.norm(F.relu(self.encode(right)))
        both = torch.cat([a * b, (a - b).abs()], dim=1)
        return self.head(both.view(both.size(0), -1))


def by_hand() -> ByHand:
    """Return the hand-written class, always with the same weights."""
    torch.manual_seed(0)
    return ByHand()


def as_graph() -> Model:
    """Return the same as a graph, with modules and weights of its own."""
    parts = by_hand()
    left, right = Input((6,), name="left"), Input((6,), name="right")
    a = left(parts.encode, name="encode").relu()(parts.norm, name="norm")
    b = parts.norm(F.relu(parts.encode(right)))
    both = torch.cat([a * b, (a - b).abs()], dim=1)
    return Model([left, right], both.view(both.size(0), -1)(parts.head, name="head"))


def example_inputs(batch: int = 4) -> tuple[Tensor, Tensor]:
    """Return two real inputs, always the same for a batch size."""
    generator = torch.Generator().manual_seed(batch)
    return torch.randn(batch, 6, generator=generator), torch.randn(batch, 6, generator=generator)


def assert_same_result(found: Any, expected: Any) -> None:
    """Compare what a tool gave: tensors by their values, all else by `==`."""
    ours, structure = pytree.tree_flatten(found)
    theirs, wanted = pytree.tree_flatten(expected)
    assert structure == wanted
    for a, b in zip(ours, theirs, strict=True):
        if isinstance(b, Tensor):
            torch.testing.assert_close(a, b)
        else:
            assert a == b
