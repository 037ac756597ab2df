"""Recurrent layers made of cells: `RNN`, and the cells of `SimpleRNN`, `LSTM` and `GRU`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from .arguments import Expects
from .base import Layer
from .modules.cells import CellLoop
from .recurrent import GRU, LSTM, Recurrent, SimpleRNN, _KernelRNN, listed


class _Cell(_KernelRNN):
    """What cells share: a call makes one step.

    A cell takes the arguments of the layer that it is one step of, those about sequences aside.
    """

    expects = Expects(("batch", "features"), "floating", features=-1)

    @property
    def _needs_more(self) -> bool:
        return True

    def call(self, x: Any, states: Any, training: bool | None = None) -> Any:  # type: ignore[override]
        """Record one step; return the output and the list of new states."""
        outputs, after = self._module(x.unsqueeze(1), listed(states), None, training)
        return outputs[:, 0], list(after)

    def __call__(self, *inputs: Any, **kwargs: Any) -> Any:
        """Record a call on `(x, states)`."""
        return Layer.__call__(self, *inputs, **kwargs)


class SimpleRNNCell(_Cell, SimpleRNN):
    """One step of `SimpleRNN`, as Keras's `SimpleRNNCell`.

    Args: those of `SimpleRNN`, those about sequences aside.

    Input shape: `(batch, features)` and one state `(batch, units)`. Output: `(batch, units)` and
    the list of new states.
    """


class LSTMCell(_Cell, LSTM):
    """One step of `LSTM`, as Keras's `LSTMCell`.

    Args: those of `LSTM`, those about sequences aside.

    Input shape: `(batch, features)` and two states `(batch, units)`. Output: `(batch, units)` and
    the list of new states.
    """


class GRUCell(_Cell, GRU):
    """One step of `GRU`, as Keras's `GRUCell`.

    Args: those of `GRU`, those about sequences aside.

    Input shape: `(batch, features)` and one state `(batch, units)`. Output: `(batch, units)` and
    the list of new states.
    """


class StackedRNNCells:
    """Cells on top of each other, as Keras's `StackedRNNCells`, for `RNN`.

    Args:
        cells: the cells, the lowest first.
    """

    def __init__(self, cells: Sequence[Any]) -> None:
        self.cells = list(cells)


class RNN(Recurrent):
    """Runs a cell over sequences, as Keras's `RNN`.

    Args:
        cell: a cell layer, a torch cell (`nn.LSTMCell`), a module of your own with `state_size` and
            `forward(inputs, states)` returning the output and the new states, or a list or
            `StackedRNNCells` of those.
        **options: those of `Recurrent` and of every `Layer`.

    Input shape: `(batch, steps, features)`. Output shape: `(batch, units)`, or `(batch, steps,
    units)` with `return_sequences`; with `return_state` a list of it and the states, of each cell
    in a list of its own where there are several.

    Raises:
        TypeError: a cell is none of these.
    """

    def __init__(self, cell: Any, **options: Any) -> None:
        super().__init__(**options)
        if isinstance(cell, StackedRNNCells):
            cell = cell.cells
        self.cells = list(cell) if isinstance(cell, (list, tuple)) else [cell]
        self._stacked = isinstance(cell, (list, tuple))
        for part in self.cells:
            ready = isinstance(part, nn.RNNCellBase) or hasattr(part, "state_size")
            if not isinstance(part, _Cell) and not (isinstance(part, nn.Module) and ready):
                raise TypeError(
                    "RNN expects a cell layer, a torch cell, or a module with state_size and "
                    f"forward(inputs, states), got {part!r}"
                )
            if isinstance(part, _Cell):
                part.stateful = self.stateful

    def inner_layers(self) -> list[Layer]:
        """Return the cells that are layers."""
        return [cell for cell in self.cells if isinstance(cell, Layer)]

    def build(self, *input_shapes: Any) -> nn.Module:
        """Build the cells, each for the outputs of the one below."""
        shape = input_shapes[0]
        features: Any = shape[-1]
        modules: list[Any] = []
        for cell in self.cells:
            made = cell.make_module((shape[0], features)) if isinstance(cell, Layer) else cell
            modules.append(made)
            features = getattr(made, "hidden_size", None)
        return CellLoop(modules)

    def run(self, x: Any, states: Any, mask: Any, training: bool | None) -> tuple[Any, list[Any]]:
        """Record the loop."""
        if states is not None and not self._stacked:
            states = [states]
        outputs, after = self._module(x, states, mask, training)
        last = after if self._stacked else after[0]
        return outputs if self.return_sequences else outputs[:, -1], last
