"""Building a graph does not run over all steps of a sequence."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import fgraph
from fgraph import Input, Model, layers


def cells():
    return layers.RNN([layers.LSTMCell(2), layers.GRUCell(3)], return_sequences=True)


LOOPS = {
    "conv": ((4, 1), lambda: layers.ConvLSTM1D(2, 3, padding="same", return_sequences=True)),
    "cells": ((3,), cells),
    "torch cell": ((3,), lambda: layers.RNN(torch.nn.GRUCell(3, 3), return_sequences=True)),
    "loop": ((3,), lambda: layers.GRU(2, reset_after=False, return_sequences=True)),
}


class Counted(TorchDispatchMode):
    """Counts torch's operations."""

    calls = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("shape", "make"), LOOPS.values(), ids=LOOPS)
def test_the_shape_of_a_long_sequence_takes_few_calls(shape, make):
    with Counted() as counted:
        result = make()(Input((100_000, *shape)))
    assert result.shape[:2] == (None, 100_000)
    assert counted.calls < 10_000


@pytest.mark.parametrize(("shape", "make"), LOOPS.values(), ids=LOOPS)
def test_stacks_of_loops_of_any_length_go_through_a_file(shape, make, tmp_path):
    """Whose reader counts the calls."""
    x = Input((None, *shape))
    h = x
    for _ in range(2):
        h = make()(h)
    model = Model(x, h)
    model.save(tmp_path / "model.fgraph")
    values = torch.randn(2, 5, *shape)
    found = fgraph.load_model(tmp_path / "model.fgraph")(values)
    torch.testing.assert_close(found, model(values))
    assert found.shape[:2] == (2, 5)
