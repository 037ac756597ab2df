"""Large graphs: nothing recurses over the graph, and nothing is searched again and again."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from fgraph import Input, Model


def chain(count: int) -> Model:
    """A chain of modules, each an own one with a weight."""
    x = h = Input((2,))
    for _ in range(count):
        h = nn.PReLU(init=0.5)(h)
    return Model(x, h)


def test_ten_thousand_chained_modules_build_run_and_copy():
    model, data = chain(10_000), torch.tensor([[1.0, -1e30]])
    expected = model(data)
    assert expected[0, 0] == 1
    assert len(model.layers) == 10_001
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(copied(data), expected)
        assert copied.get_layer(index=10_000) is copied.prelu_10000


def test_gradients_flow_through_two_thousand_modules():
    model, data = chain(2_000), torch.ones(1, 2, requires_grad=True)
    model(data).sum().backward()
    assert torch.equal(data.grad, torch.ones(1, 2))


def test_a_hundred_thousand_nodes_in_a_chain_build():
    x = h = Input((2,))
    half = nn.Identity()
    for _ in range(50_000):
        h = half(h) + 1
    assert len(Model(x, h).nodes) == 100_000


@pytest.mark.slow
def test_a_hundred_thousand_nodes_run():
    x = h = Input((2,))
    for _ in range(100_000):
        h = h + 1
    assert torch.equal(Model(x, h)(torch.zeros(1, 2)), torch.full((1, 2), 100_000.0))


def test_a_wide_graph_of_shared_ends_builds():
    """Each value is used by many calls."""
    x = Input((2,))
    ends = [x * number for number in range(3_000)]
    model = Model(x, torch.stack(ends).sum(0))
    total = 3_000 * 2_999 / 2
    assert torch.equal(model(torch.ones(1, 2)), torch.full((1, 2), total))
