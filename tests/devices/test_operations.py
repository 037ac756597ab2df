"""Every operation of `fgraph.ops` on another device, on its tensors and in a graph."""

from __future__ import annotations

import types

import pytest
import torch
from torch.utils import _pytree as pytree

import test_ops
from fgraph import Input, Model, ops

pytestmark = pytest.mark.slow


def _moved(value, device):
    return pytree.tree_map_only(torch.Tensor, lambda t: t.to(device), value)


def _same(found, expected, device):
    """Compare tensors with those of the host; what no tensor went into may stay there."""
    for mine, theirs in zip(pytree.tree_leaves(found), pytree.tree_leaves(expected), strict=True):
        assert mine.device == device
        torch.testing.assert_close(mine.cpu(), theirs, rtol=1e-4, atol=2e-5, equal_nan=True)


def _names(code):
    """Return the names that a function uses, and those inside of it."""
    inner = [part for part in code.co_consts if isinstance(part, types.CodeType)]
    return {*code.co_names, *(name for part in inner for name in _names(part))}


def _with_constants_on(function, device):
    """Return a row's function with the tensors of its file on the device."""
    names = _names(function.__code__)
    moved = {name: _moved(vars(test_ops)[name], device) for name in names & vars(test_ops).keys()}
    scope = {**function.__globals__, **moved}
    return types.FunctionType(
        function.__code__, scope, None, function.__defaults__, function.__closure__
    )


# these make tensors of the host themselves, which belong into a graph
EAGER = [
    row for row in test_ops.ROWS
    if len(row) > 2 and not _names(row[1].__code__) & {"torch", "tensor"}
]  # fmt: skip


@pytest.mark.parametrize("row", EAGER, ids=[row[0] for row in EAGER])
def test_operations_equal_the_host(row, device):
    """Tensors stay where they are; numpy's arrays beside them go there."""
    _, function, *given = row
    found = _with_constants_on(function, device)(ops, *_moved(given, device))
    _same(found, function(ops, *given), device)


@pytest.mark.parametrize("row", test_ops.ROWS, ids=[row[0] for row in test_ops.ROWS])
def test_operations_in_a_model_that_moves(row, device):
    """Constants of the graph move with the model."""
    _, function, *given = row
    inputs = [Input(batch_shape=tuple(t.shape), dtype=t.dtype) for t in given]
    outputs = pytree.tree_leaves(function(ops, *inputs))
    model = Model(inputs, outputs)
    expected = model(*given)
    _same(model.to(device)(*_moved(given, device)), expected, device)
