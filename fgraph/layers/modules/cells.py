"""Run one-step cells over the steps of a sequence."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from .recurrent import KerasRNN
from .steps import joined_steps, steps_of


class CellLoop(nn.Module):
    """Runs a stack of cells over sequences.

    Modules made for whole sequences (`KerasLSTM` and similar) run over all steps at once, each
    on the outputs of the one below. Other cells are run step by step: `nn.LSTMCell`, `nn.GRUCell`,
    `nn.RNNCell`, or any module with `state_size`, a number or a list of numbers, whose
    `forward(inputs, states)` returns the output and the new states.

    Args:
        cells: the modules, the lowest first.
    """

    def __init__(self, cells: Iterable[nn.Module]) -> None:
        super().__init__()
        self.cells = nn.ModuleList(cells)

    def forward(
        self,
        x: Tensor,
        states: Any = None,
        mask: Tensor | None = None,
        training: bool | None = None,
    ) -> tuple[Tensor, list[list[Tensor]]]:
        """Run over the steps.

        Args:
            x: `(batch, steps, ...)`.
            states: for each cell a list of states; zeros by default.
            mask: `(batch, steps)`, true where a step counts.
            training: fixes the mode of dropouts.

        Returns:
            The outputs of the last cell, `(batch, steps, ...)`, and the states of each cell.
        """
        last: list[list[Tensor]] = []
        for index, cell in enumerate(self.cells):
            start = None if states is None else list(states[index])
            if isinstance(cell, KerasRNN):
                x, after = cell(x, start, mask, training)
            else:
                x, after = _run_cell(cell, x, start, mask)
            last.append(list(after))
        return x, last


def _run_cell(
    cell: nn.Module, x: Tensor, states: list[Tensor] | None, mask: Tensor | None
) -> tuple[Tensor, list[Tensor]]:
    """Run one cell step by step; a masked step repeats the output and keeps the states."""
    if states is None:
        states = [x.new_zeros(x.shape[0], size) for size in state_sizes(cell)]
    previous, outputs = None, []
    for index, step in enumerate(steps_of(x)):
        output, new = one_step(cell, step, states)
        if mask is not None:
            counts = mask[:, index]
            new = [_where(counts, a, b) for a, b in zip(new, states, strict=True)]
            before = torch.zeros_like(output) if previous is None else previous
            output = previous = _where(counts, output, before)
        states = new
        outputs.append(output)
    return joined_steps(outputs, x), states


class RecordedStep(nn.Module):
    """One step of a cell that is written as a layer.

    Args:
        step: From inputs and states, `(batch, features)` each, to the output and the new states.
        state_size: The sizes of the states.
        hidden_size: The number of features of the output.
    """

    def __init__(self, step: nn.Module, state_size: list[int], hidden_size: int) -> None:
        super().__init__()
        self.step = step
        self.state_size = state_size
        self.hidden_size = hidden_size

    def forward(self, inputs: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Return the output and the new states."""
        output, *new = self.step(inputs, *states)
        return output, new


def state_sizes(cell: Any) -> list[int]:
    """Return the sizes of a cell's states."""
    if isinstance(cell, nn.RNNCellBase):
        return [cell.hidden_size] * (2 if isinstance(cell, nn.LSTMCell) else 1)
    size = cell.state_size
    return [size] if isinstance(size, int) else list(size)


def one_step(cell: nn.Module, x: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Return the output and the new states of one step of a cell.

    Args:
        cell: A torch cell, or a module as `CellLoop` takes it.
        x: `(batch, features)`.
        states: The states before the step.
    """
    if isinstance(cell, nn.LSTMCell):
        hidden, memory = cell(x, tuple(states))
        return hidden, [hidden, memory]
    if isinstance(cell, nn.RNNCellBase):
        hidden = cell(x, states[0])
        return hidden, [hidden]
    output, new = cell(x, states)
    return output, [new] if isinstance(new, Tensor) else pytree.tree_leaves(new)


def _where(counts: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(counts.view(-1, *(1,) * (new.dim() - 1)), new, old)
