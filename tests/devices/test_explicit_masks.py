"""Layers that are given a mask by `mask=`, on another device: numbers, gradients, and no wait."""

from __future__ import annotations

import copy
import inspect

import pytest
import torch

from fgraph import Input, Model, layers
from fgraph.graph.nested import iter_leaves
from layers.rows import EXAMPLES


def _takes_mask(row):
    """Return whether a row has one input of several steps, and its layer's call takes a mask."""
    shape = row[2]
    if not isinstance(shape, tuple) or len(shape) < 2 or shape[0] == "integers" or len(row) > 3:
        return False
    return "mask" in inspect.signature(type(row[1](layers)).call).parameters


MASKED = {name: row for name, row in EXAMPLES.items() if _takes_mask(row)}


def test_the_table_has_the_layers_that_use_masks():
    assert {"LSTM", "GRU", "Bidirectional", "BatchNormalization", "TimeDistributed"} <= set(MASKED)


@pytest.mark.slow
@pytest.mark.parametrize("name", MASKED)
def test_masked_layers_equal_the_host(name, device, no_waiting, same_numbers):
    _, make, shape = MASKED[name]
    shape = tuple(size or 6 for size in shape)
    positions = shape[:-1] if name == "BatchNormalization" else shape[:1]
    x, mask = Input(shape), Input(positions, dtype="bool")
    model = Model([x, mask], make(layers)(x, mask=mask))
    twin = copy.deepcopy(model).to(device)
    values = torch.rand(3, *shape, requires_grad=True)
    placed = values.detach().to(device).requires_grad_()
    right = torch.arange(shape[0]) < torch.tensor([[shape[0]], [1], [2]])
    right = right.reshape(3, -1, *[1] * (len(positions) - 1)).expand(3, *positions)
    there = right.to(device)
    for training in (False, True):
        torch.manual_seed(1)
        expected = list(iter_leaves(model.train(training)(values, right)))
        torch.manual_seed(1)
        with no_waiting():
            found = list(iter_leaves(twin.train(training)(placed, there)))
        if same_numbers or not training:
            for mine, theirs in zip(found, expected, strict=True):
                torch.testing.assert_close(mine.cpu(), theirs, rtol=1e-4, atol=1e-5)
    if not expected[0].requires_grad:
        return
    expected[0].float().square().mean().backward()
    with no_waiting():
        found[0].float().square().mean().backward()
    if same_numbers:
        torch.testing.assert_close(placed.grad.cpu(), values.grad, rtol=1e-3, atol=1e-5)
