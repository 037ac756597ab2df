"""Code that asks `isinstance(x, torch.Tensor)` goes the way it goes with real tensors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch import Tensor as T

from fgraph import Input, Model, unfold
from fgraph.graph.recording.symbolic import SymbolicTensor

pytestmark = pytest.mark.usefixtures("torch_untouched")
KINDS = (list, torch.Tensor)


class Holder:
    kinds = Tensor


def _local(x):
    kind = torch.Tensor
    return isinstance(x, kind)


def _outer(x):
    kind = torch.Tensor

    def inner():
        return isinstance(x, kind)

    return inner()


ASKED = {
    "attribute": lambda x: isinstance(x, torch.Tensor),
    "name": lambda x: isinstance(x, Tensor),
    "other name": lambda x: isinstance(x, T),
    "tuple": lambda x: isinstance(x, (int, torch.Tensor, list)),
    "tuple by name": lambda x: isinstance(x, KINDS),
    "nested tuple": lambda x: isinstance(x, (int, KINDS)),
    "union": lambda x: isinstance(x, int | torch.Tensor),
    "of an object": lambda x: isinstance(x, Holder.kinds),
    "local": _local,
    "of a closure": _outer,
    "is_tensor": torch.is_tensor,
    "in a comprehension": lambda x: all([isinstance(y, torch.Tensor) for y in (x, x + 1)]),
    "not a list": lambda x: not isinstance(x, (list, tuple)),
    "not a parameter": lambda x: not isinstance(x, nn.Parameter),
    "of this package": lambda x: isinstance(x, SymbolicTensor),
}


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_a_symbolic_tensor_passes_for_a_tensor(asked):
    x = Input((4,))
    for _ in range(100):  # Python replaces instructions of code that runs often
        assert asked(x)
    assert asked(torch.relu(x))


def test_sizes_devices_and_others_are_what_they_are():
    x = Input((None, 4))
    assert not isinstance(x.size(1), torch.Tensor)
    assert not isinstance(x.device, torch.Tensor)
    assert not torch.is_tensor(x.shape)
    assert type(x) is SymbolicTensor
    assert x.__class__ is SymbolicTensor


def _first(x):
    return x[0] if not isinstance(x, torch.Tensor) else x * 2


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        return self.linear(_first([_first(x)] if isinstance(x, torch.Tensor) else x))


def test_programs_that_branch_on_the_class_equal_eager_ones():
    x, value, net = Input((4,)), torch.randn(3, 4), Branching()
    assert torch.equal(Model(x, _first(x))(value), value * 2)
    assert torch.equal(Model(x, unfold(net, strict=True)(x))(value), net(value))


@pytest.mark.parametrize(
    "call",
    [
        lambda x: torch.tensor(x) if isinstance(x, torch.Tensor) else None,
        lambda x: torch.as_tensor([x]) if isinstance(x, torch.Tensor) else None,
        lambda x: torch.Tensor(x) if isinstance(x, torch.Tensor) else None,
        lambda x: torch.Tensor._make_subclass(torch.Tensor, x) if torch.is_tensor(x) else None,
        lambda x: nn.Parameter(x) if isinstance(x, torch.Tensor) else None,
    ],
)
def test_what_takes_only_real_tensors_raises(call):
    with pytest.raises((TypeError, ValueError, RuntimeError, AttributeError), match=r"\w"):
        call(Input((4,)))


@pytest.mark.parametrize("length", [None, 4])
def test_einops_takes_symbolic_tensors(length):
    einops = pytest.importorskip("einops")

    def program(x):
        return (
            einops.rearrange(x, "b t (h d) -> b h t d", h=4),
            einops.reduce(x, "b t d -> b d", "max"),
            einops.repeat(x, "b t d -> b (t k) d", k=3),
            einops.einsum(x, x, "b i d, b j d -> b i j"),
            einops.rearrange(x, "b (t k) d -> (b t) (k d)", k=2),
            einops.rearrange([x, x + 1], "n b t d -> b (n t) d"),
            einops.pack([x, x[:, 0]], "b * d")[0],
        )

    x = Input((length, 8))
    model = Model(x, program(x))
    for value in (torch.randn(3, 4, 8), torch.randn(2, length or 6, 8)):
        for found, wanted in zip(model(value), program(value), strict=True):
            assert torch.equal(found, wanted)
