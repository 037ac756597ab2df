"""Large graphs: nothing recurses over the graph, and nothing is searched again and again."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from fgraph import Input, Model


def chain(count: int) -> Model:
    """A chain of modules, each its own, the first and the last with a weight."""
    x = Input((2,))
    h = nn.PReLU(init=0.5)(x)
    for _ in range(count - 2):
        h = nn.Identity()(h)
    return Model(x, nn.PReLU(init=0.5)(h))


@pytest.mark.parametrize("count", [2_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_so_many_chained_modules_build_run_and_copy(count):
    model, data = chain(count), torch.tensor([[1.0, -1.0]])
    expected = torch.tensor([[1.0, -0.25]])
    assert torch.equal(model(data), expected)
    assert len(model.layers) == count + 1
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(copied(data), expected)
        assert copied.get_layer(index=count) is copied.prelu_2


def test_gradients_flow_through_two_thousand_modules():
    model, data = chain(2_000), torch.ones(1, 2, requires_grad=True)
    model(data).sum().backward()
    assert torch.equal(data.grad, torch.ones(1, 2))


@pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_a_chain_of_so_many_calls_builds_and_runs(count):
    """Half of them of one shared module, half of a function."""
    x = h = Input((2,))
    same = nn.Identity()
    for _ in range(count // 2):
        h = same(h) + 1
    model = Model(x, h)
    assert len(model.nodes) == count
    assert torch.equal(model(torch.zeros(1, 2)), torch.full((1, 2), count / 2))


def test_a_wide_graph_of_shared_ends_builds():
    """Each value is used by many calls."""
    x = Input((2,))
    ends = [x * number for number in range(500)]
    model = Model(x, torch.stack(ends).sum(0))
    total = 500 * 499 / 2
    assert torch.equal(model(torch.ones(1, 2)), torch.full((1, 2), total))
