"""Recurrent layers made of cells: `RNN`, and the cells of `SimpleRNN`, `LSTM` and `GRU`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

from torch import nn

from ..activations import ActivationLike
from ..constraints import ConstraintLike
from ..errors import BuildError
from ..graph import SymbolicTensor
from ..initializers import InitializerLike
from ..regularizers import RegularizerLike
from .arguments import LayerOptions
from .base import Layer
from .cell_step import recorded_step
from .input_checks import Expects
from .modules.cells import CellLoop, one_step, state_sizes
from .recurrent import GRU, LSTM, KernelRNN, Recurrent, SimpleRNN, listed


class _Cell(KernelRNN):
    """Base of the cells: a call makes one step.

    A cell takes the arguments of its recurrent layer, except those about sequences.
    """

    expects = Expects(("batch", "features"), "floating", features=-1)

    @property
    def _needs_more(self) -> bool:
        return True

    @property
    def _final_states(self) -> bool:
        return True

    @property
    def state_size(self) -> int | list[int]:
        """The size of the state, or a list of sizes."""
        return self.units if self.state_count == 1 else [self.units] * self.state_count

    @property
    def output_size(self) -> int:
        """The number of outputs."""
        return self.units

    def call(self, inputs: Any, states: Any, training: bool | None = None) -> Any:  # type: ignore[override]
        """Record one step; return the output and the list of new states."""
        outputs, after = self._module(inputs.unsqueeze(1), listed(states), None, training)
        return outputs[:, 0], list(after)

    def __call__(self, *inputs: Any, **kwargs: Any) -> SymbolicTensor:
        """Record a call on `(inputs, states)`."""
        return Layer.__call__(self, *inputs, **kwargs)


class SimpleRNNCell(_Cell, SimpleRNN):
    """Make one step of `SimpleRNN`.

    Equivalent to Keras's `SimpleRNNCell`; for `RNN`, or to call with states.

    Args:
        units: Number of units.
        activation: Activation of the new state, name or function.
        use_bias: Whether to add a bias.
        kernel_initializer, recurrent_initializer, bias_initializer: Initial values, by name, object
            or function.
        kernel_regularizer, recurrent_regularizer, bias_regularizer: Penalties on the weights.
        kernel_constraint, recurrent_constraint, bias_constraint: Functions applied to the weights
            after each step of training.
        dropout: Fraction of the features to drop during training, the same at each step.
        recurrent_dropout: Fraction of the state to drop during training, the same at each step.
        seed: Seed of the layer's own random generator. Defaults to torch's global generator.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, features)`, and one state `(batch, units)`.

    Output shape: `(batch, units)`, and a list of the new states.

    Raises:
        ValueError: `units` is not positive, or a name is not known.

    Example:
        >>> x, states = Input((8,)), Input((16,))
        >>> output, states = layers.SimpleRNNCell(16)(x, states)
        >>> output.shape
        (None, 16)
    """

    def __init__(
        self,
        units: int,
        activation: ActivationLike = "tanh",
        use_bias: bool = True,
        kernel_initializer: InitializerLike = "glorot_uniform",
        recurrent_initializer: InitializerLike = "orthogonal",
        bias_initializer: InitializerLike = "zeros",
        kernel_regularizer: RegularizerLike = None,
        recurrent_regularizer: RegularizerLike = None,
        bias_regularizer: RegularizerLike = None,
        kernel_constraint: ConstraintLike = None,
        recurrent_constraint: ConstraintLike = None,
        bias_constraint: ConstraintLike = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        Layer.__init__(self, **options)
        self._set_weight_options(locals())
        self._set_cell(units, activation, "sigmoid", use_bias, dropout, recurrent_dropout, seed)


class LSTMCell(_Cell, LSTM):
    """Make one step of `LSTM`.

    Equivalent to Keras's `LSTMCell`; for `RNN`, or to call with states.

    Args:
        units: Number of units.
        activation: Activation of the cell's input and output, name or function.
        recurrent_activation: Activation of the gates, name or function.
        use_bias: Whether to add a bias.
        kernel_initializer, recurrent_initializer, bias_initializer: Initial values, by name, object
            or function.
        unit_forget_bias: Whether the bias of the forget gate begins at one.
        kernel_regularizer, recurrent_regularizer, bias_regularizer: Penalties on the weights.
        kernel_constraint, recurrent_constraint, bias_constraint: Functions applied to the weights
            after each step of training.
        dropout: Fraction of the features to drop during training, the same at each step.
        recurrent_dropout: Fraction of the state to drop during training, the same at each step.
        seed: Seed of the layer's own random generator. Defaults to torch's global generator.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, features)`, and a list of two states `(batch, units)`.

    Output shape: `(batch, units)`, and a list of the new states.

    Raises:
        ValueError: `units` is not positive, or a name is not known.

    Example:
        >>> x, states = Input((8,)), [Input((16,)), Input((16,))]
        >>> output, states = layers.LSTMCell(16)(x, states)
        >>> output.shape
        (None, 16)
    """

    def __init__(
        self,
        units: int,
        activation: ActivationLike = "tanh",
        recurrent_activation: ActivationLike = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: InitializerLike = "glorot_uniform",
        recurrent_initializer: InitializerLike = "orthogonal",
        bias_initializer: InitializerLike = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: RegularizerLike = None,
        recurrent_regularizer: RegularizerLike = None,
        bias_regularizer: RegularizerLike = None,
        kernel_constraint: ConstraintLike = None,
        recurrent_constraint: ConstraintLike = None,
        bias_constraint: ConstraintLike = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        Layer.__init__(self, **options)
        self._set_weight_options(locals())
        self._set_cell(
            units, activation, recurrent_activation, use_bias, dropout, recurrent_dropout, seed
        )
        self.unit_forget_bias = unit_forget_bias


class GRUCell(_Cell, GRU):
    """Make one step of `GRU`.

    Equivalent to Keras's `GRUCell`; for `RNN`, or to call with states.

    Args:
        units: Number of units.
        activation: Activation of the new state, name or function.
        recurrent_activation: Activation of the gates, name or function.
        use_bias: Whether to add a bias.
        kernel_initializer, recurrent_initializer, bias_initializer: Initial values, by name, object
            or function.
        kernel_regularizer, recurrent_regularizer, bias_regularizer: Penalties on the weights.
        kernel_constraint, recurrent_constraint, bias_constraint: Functions applied to the weights
            after each step of training.
        dropout: Fraction of the features to drop during training, the same at each step.
        recurrent_dropout: Fraction of the state to drop during training, the same at each step.
        reset_after: Whether the reset gate acts after the recurrent kernel, or before.
        seed: Seed of the layer's own random generator. Defaults to torch's global generator.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, features)`, and one state `(batch, units)`.

    Output shape: `(batch, units)`, and a list of the new states.

    Raises:
        ValueError: `units` is not positive, or a name is not known.

    Example:
        >>> x, states = Input((8,)), Input((16,))
        >>> output, states = layers.GRUCell(16)(x, states)
        >>> output.shape
        (None, 16)
    """

    def __init__(
        self,
        units: int,
        activation: ActivationLike = "tanh",
        recurrent_activation: ActivationLike = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: InitializerLike = "glorot_uniform",
        recurrent_initializer: InitializerLike = "orthogonal",
        bias_initializer: InitializerLike = "zeros",
        kernel_regularizer: RegularizerLike = None,
        recurrent_regularizer: RegularizerLike = None,
        bias_regularizer: RegularizerLike = None,
        kernel_constraint: ConstraintLike = None,
        recurrent_constraint: ConstraintLike = None,
        bias_constraint: ConstraintLike = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        reset_after: bool = True,
        seed: int | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        Layer.__init__(self, **options)
        self._set_weight_options(locals())
        self._set_cell(
            units, activation, recurrent_activation, use_bias, dropout, recurrent_dropout, seed
        )
        self.reset_after = reset_after


class StackedRNNCells(Layer):
    """Stack cells: each works on the output of the one below.

    Equivalent to Keras's `StackedRNNCells`; for `RNN`, or to call with states.

    Args:
        cells: The cells, the lowest first.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, features)`, and for each cell its state or states.

    Output shape: that of the last cell, and for each cell a list of its new states.

    Raises:
        TypeError: A cell is neither a layer nor a module with `state_size`.

    Example:
        >>> cells = layers.StackedRNNCells([layers.LSTMCell(16), layers.GRUCell(4)])
        >>> layers.RNN(cells)(Input((10, 8))).shape
        (None, 4)
    """

    expects = Expects(("batch", "features"), "floating", features=-1)

    def __init__(self, cells: Sequence[Any], **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.cells = [_checked(cell, "StackedRNNCells") for cell in cells]

    @property
    def state_size(self) -> list[Any]:
        """The sizes of the states of each cell."""
        return [state_sizes(cell) for cell in self.cells]

    @property
    def output_size(self) -> int:
        """The number of outputs of the last cell."""
        return int(state_sizes(self.cells[-1])[0])

    def build(self, *input_shapes: Any) -> nn.Module:
        """Build the cells, each for the outputs of the one below."""
        return nn.ModuleList(_built(self.cells, input_shapes[0]))

    def call(self, inputs: Any, states: Any, training: bool | None = None) -> Any:
        """Record one step of each cell; return the output and the new states."""
        after: list[Any] = []
        output: Any = inputs
        for cell, module, given in zip(self.cells, self._module, states, strict=True):
            new: Any
            if isinstance(cell, Layer):
                options = {"training": training} if _takes_mode(cell) else {}
                output, new = cell(output, given, **options)
            else:
                output, new = one_step(module, output, listed(given))
            after.append(new)
        return output, after


class RNN(Recurrent):
    """Run a cell over sequences.

    Equivalent to Keras's `RNN`.

    Args:
        cell: Cell layer, torch cell (`nn.LSTMCell`), layer of your own with `state_size` and
            `call(inputs, states)`, or module with `forward(inputs, states)`, that returns the
            output and the new states, or a list of those.
        return_sequences: Whether to return the output of every step, not only of the last.
        return_state: Whether to return the states after the last step as well.
        go_backwards: Whether to run from the last step to the first.
        stateful: Whether the states after one batch are the initial states of the next;
            `reset_state()` sets them to zero.
        unroll: Accepted for compatibility with Keras; ignored.
        zero_output_for_mask: Whether a masked step outputs zeros instead of the previous output.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, steps, features)`, floating-point; `initial_state=`, `mask=` and
    `training=` at the call. With `initial_state=`, only a mask passed at the call is used, as in
    Keras.

    Output shape: `(batch, units)`, or `(batch, steps, units)` with `return_sequences`; with
    `return_state` a list of it and the states, those of each cell in a list if there are several.

    Differs from Keras: states of cells of your own are tensors, not nested.

    Raises:
        TypeError: A cell is none of these.

    Example:
        >>> x = Input((10, 8))
        >>> layers.RNN([layers.LSTMCell(16), layers.GRUCell(4)])(x).shape
        (None, 4)
    """

    def __init__(
        self,
        cell: Any,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self._set_sequences(return_sequences, return_state, go_backwards, stateful)
        self.zero_output_for_mask = zero_output_for_mask
        if isinstance(cell, StackedRNNCells):
            cell = cell.cells
        self._stacked = isinstance(cell, (list, tuple))
        self.cells = [_checked(part, "RNN") for part in (cell if self._stacked else [cell])]
        for part in self.cells:
            if isinstance(part, _Cell):
                part.stateful = stateful

    def build(self, *input_shapes: Any) -> nn.Module:
        """Build the cells, each for the outputs of the one below."""
        shape = input_shapes[0]
        return CellLoop(_built(self.cells, (shape[0], shape[-1])))

    def run(self, x: Any, states: Any, mask: Any, training: bool | None) -> tuple[Any, list[Any]]:
        """Record the loop."""
        if states is not None:
            states = [listed(own) for own in (states if self._stacked else [states])]
            if len(states) != len(self.cells):
                raise BuildError(
                    f"RNN expects initial_state= for each of {len(self.cells)} cells, got "
                    f"{len(states)}: a list of several tensors for a cell with several states"
                )
        if training is not None:
            for cell in self.cells:
                if not isinstance(cell, _Cell) and _takes_mode(cell):
                    raise BuildError(
                        f"RNN: training= at a call does not reach {cell!r}: leave it out, and "
                        "set the mode of the model"
                    )
        outputs, after = self._module(x, states, mask, training)
        last = after if self._stacked else after[0]
        return outputs if self.return_sequences else outputs[:, -1], last


def _takes_mode(cell: Any) -> bool:
    return isinstance(cell, Layer) and "training" in cell._parameters("call")


def _checked(cell: Any, owner: str) -> Any:
    """Return a cell.

    Raises:
        TypeError: It is not one.
    """
    ready = isinstance(cell, nn.RNNCellBase) or hasattr(cell, "state_size")
    if not isinstance(cell, (Layer, nn.Module)) or not ready:
        raise TypeError(
            f"{owner} expects a cell layer, a torch cell, a layer with state_size and "
            f"call(inputs, states), or a module with state_size and forward(inputs, states), got "
            f"{cell!r}"
        )
    return cell


def _built(cells: Sequence[Any], input_shape: tuple[Any, ...]) -> list[nn.Module]:
    """Return the modules of cells, each built for the outputs of the one below."""
    batch, features = input_shape
    modules: list[Any] = []
    for cell in cells:
        if isinstance(cell, _Cell):
            made = cell.make_module((batch, features))
        else:
            made = recorded_step(cell, batch, features) if isinstance(cell, Layer) else cell
        modules.append(made)
        features = getattr(made, "hidden_size", None)
    return modules
