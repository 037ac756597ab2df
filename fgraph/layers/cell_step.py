"""Custom cells: one step of a cell that is a layer, as a torch module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ..errors import BuildError
from ..graph import Input
from ..graph.nested import iter_leaves
from ..graph.node import recording_apart
from .base import Layer
from .modules.cells import RecordedStep, state_sizes

# makes a module that computes outputs from inputs; a room above this one, `model`, puts it here
graph_modules: list[Callable[[Any, Any], nn.Module]] = []


def recorded_step(cell: Layer, batch: int | None, features: int) -> nn.Module:
    """Return a module for one step of a cell, whose `call(inputs, states)` is recorded once.

    Args:
        cell: A layer with `state_size`, a number or a list of numbers.
        batch: The batch size, `None` if it is not known.
        features: The number of features of a step.

    Raises:
        BuildError: The cell returns anything but an output and its new states, or its initial
            states are not zero.
    """
    kind = type(cell).__name__
    sizes = state_sizes(cell)
    _refuse_other_beginnings(cell)
    with recording_apart():
        x = Input((features,), batch_size=batch)
        states = [Input((size,), batch_size=batch) for size in sizes]
        made = cell(x, states)
        if not isinstance(made, (tuple, list)) or len(made) != 2:
            raise BuildError(
                f"{kind}.call: a cell returns its output and its new states, got {made!r}"
            )
        output, new = made[0], list(iter_leaves(made[1]))
        if len(new) != len(sizes):
            raise BuildError(
                f"{kind}.call returned {len(new)} new states, and its state_size is {sizes}"
            )
        step = graph_modules[0]([x, *states], [output, *new])
    return RecordedStep(step, sizes, output.shape[-1])


def _refuse_other_beginnings(cell: Any) -> None:
    """Refuse a cell whose initial states are not zero.

    Raises:
        BuildError: They do not.
    """
    if not hasattr(type(cell), "get_initial_state"):
        return
    found = list(iter_leaves(cell.get_initial_state(batch_size=1)))
    if any(not isinstance(state, torch.Tensor) or bool(state.any()) for state in found):
        raise BuildError(
            f"{type(cell).__name__}.get_initial_state: states that are not zero are given at the "
            "call: rnn(x, initial_state=...)"
        )
