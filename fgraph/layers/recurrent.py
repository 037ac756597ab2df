"""Recurrent layers on torch's kernels: `SimpleRNN`, `LSTM` and `GRU`."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .. import activations
from ..errors import BuildError
from ..graph import SymbolicTensor, apply
from .arguments import Expects, fraction, whole
from .base import Layer
from .modules.recurrent import (
    KerasGRU,
    KerasLSTM,
    KerasRNN,
    KerasSimpleRNN,
    compress_steps,
    last_step,
    spread_steps,
    with_one_bias,
)
from .weight_spec import TRANSPOSED, Layout, Weight


def _swapped(gates: Tensor) -> Tensor:
    """Swap the first two of three blocks of the last axis: Keras has z r h, torch r z n."""
    first, second, third = gates.chunk(3, -1)
    return torch.cat([second, first, third], -1)


_GRU_KERNEL = Layout(
    lambda tensors, _: _swapped(tensors[0].mT), lambda value, _: [_swapped(value).mT]
)


def _gru_bias_to_keras(tensors: list[Tensor], module: nn.Module) -> Tensor:
    """Return both biases as rows of one matrix, or the only one."""
    if "bias_hh_l0" in module._buffers:
        return _swapped(tensors[0])
    return _swapped(torch.stack(tensors))


def _gru_bias_to_torch(value: Tensor, module: nn.Module) -> list[Tensor]:
    swapped = _swapped(value)
    return list(swapped) if value.dim() == 2 else [swapped, torch.zeros_like(swapped)]


_GRU_BIAS = Layout(_gru_bias_to_keras, _gru_bias_to_torch)


def _recurrent_weights(kernel: Layout, bias: Weight) -> tuple[Weight, ...]:
    return (
        Weight("kernel", ("weight_ih_l0",), kernel, "glorot_uniform"),
        Weight("recurrent_kernel", ("weight_hh_l0",), kernel, "orthogonal", option="recurrent"),
        bias,
    )


class Recurrent(Layer):
    """What all recurrent layers share: sequences, states and masks.

    Args:
        return_sequences: whether the output has every step, and not only the last.
        return_state: whether the states after the last step are returned, too.
        go_backwards: whether the steps are run from the last to the first; outputs come in the
            order in which they are made.
        stateful: whether the states after one batch are those before the next; `reset_state()`
            sets them to zero.
        zero_output_for_mask: whether a masked step gives zeros, and not the output before it.
        **options: those of every `Layer`.
    """

    expects = Expects(("batch", "steps", "features"), "floating", features=-1)
    supports_masking = True

    def __init__(
        self,
        *,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        zero_output_for_mask: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.zero_output_for_mask = zero_output_for_mask
        self.return_sequences = return_sequences
        self.return_state = return_state
        self.go_backwards = go_backwards
        self.stateful = stateful

    def call(
        self, x: Any, initial_state: Any = None, mask: Any = None, training: bool | None = None
    ) -> Any:
        """Record the run over the steps.

        Args:
            x: the sequences; a list of them and the states is taken, too.
            initial_state: one tensor for each state, zeros by default.
            mask: `(batch, steps)`, true where a step counts.
            training: fixes the mode of the dropouts.
        """
        states = None if initial_state is None else listed(initial_state)
        if self.go_backwards:
            x, mask = torch.flip(x, (1,)), None if mask is None else torch.flip(mask, (1,))
        output, states = self.run(x, states, mask, training)
        if mask is not None and self.zero_output_for_mask and self.return_sequences:
            output = output * mask.unsqueeze(-1)
        return [output, *states] if self.return_state else output

    def run(self, x: Any, states: Any, mask: Any, training: bool | None) -> tuple[Any, list[Any]]:
        """Record the run; return the output asked for and the states after it."""
        raise NotImplementedError

    def __call__(self, *inputs: Any, **kwargs: Any) -> Any:
        """Record a call; `layer([x, *states])` is `layer(x, initial_state=states)`."""
        if inputs and isinstance(inputs[0], (list, tuple)):
            first, *states = inputs[0]
            inputs = (first, *inputs[1:])
            if states:
                kwargs = {**kwargs, "initial_state": states}
        return super().__call__(*inputs, **kwargs)

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        """Return the mask of the steps, where the output has them."""
        return mask if self.return_sequences else None

    def kept_batch_size(self, input_shape: Any) -> int | None:
        """Return the batch size of states that outlive a call.

        Raises:
            BuildError: it is not known.
        """
        if not self.stateful:
            return None
        if input_shape[0] is None:
            raise BuildError(
                f"{type(self).__name__}(stateful=True) keeps a state for each sample and needs to "
                "know the batch size: write Input(shape, batch_size=...)"
            )
        return int(input_shape[0])

    def reset_state(self) -> None:
        """Set states that outlive a call to zero."""
        for module in () if self.module is None else self.module.modules():
            if callable(reset := getattr(module, "reset_states", None)):
                reset()

    reset_states = reset_state


def listed(states: Any) -> list[Any]:
    """Return the states as a list: one may be given by itself."""
    return [states] if isinstance(states, SymbolicTensor) else list(states)


class _KernelRNN(Recurrent):
    """Base of `SimpleRNN`, `LSTM` and `GRU`, which run on torch's kernels where those can."""

    modules: ClassVar[tuple[type[nn.RNNBase], type[KerasRNN]]]
    state_count: ClassVar[int] = 1

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        *,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        unroll: bool = False,
        use_cudnn: Any = "auto",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        kind = type(self).__name__
        self.units = whole(kind, "units", units)
        self.activation = activations.get(activation)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.use_bias = use_bias
        self.dropout = fraction(kind, "dropout", dropout)
        self.recurrent_dropout = fraction(kind, "recurrent_dropout", recurrent_dropout)
        self.seed = seed

    @property
    def _plain(self) -> bool:
        """Whether torch's kernel has these activations."""
        return (
            self.activation is activations.tanh and self.recurrent_activation is activations.sigmoid
        )

    @property
    def _needs_more(self) -> bool:
        """Whether torch's own module will not do."""
        # with a mask torch's states are those after the last step, not after the last that counts
        more = self.dropout or self.recurrent_dropout or self.stateful or self.return_state
        return not self._plain or bool(more)

    def build(self, *input_shapes: Any) -> nn.Module:
        """Make torch's own module, or, for what that cannot do, one derived from it."""
        shape = input_shapes[0]
        standard, derived = self.modules
        module: Any
        if not self._needs_more:
            module = standard(shape[-1], self.units, bias=self.use_bias, batch_first=True)  # type: ignore[call-arg]
        else:
            module = derived(
                shape[-1],
                self.units,
                self.use_bias,
                activation=self.activation,
                recurrent_activation=self.recurrent_activation,
                plain=self._plain,
                dropout=self.dropout,
                recurrent_dropout=self.recurrent_dropout,
                batch_size=self.kept_batch_size(shape),
                seed=self.seed,
                **self._extra(),
            )
        return self._biased(module)

    def _extra(self) -> dict[str, Any]:
        """Return further arguments of the derived module."""
        return {}

    def _biased(self, module: nn.RNNBase) -> nn.RNNBase:
        return with_one_bias(module)

    def run(self, x: Any, states: Any, mask: Any, training: bool | None) -> tuple[Any, list[Any]]:
        """Record torch's own module, with masked steps out of the way, or the derived one."""
        if states is not None and len(states) != self.state_count:
            raise BuildError(
                f"{type(self).__name__} expects {self.state_count} tensors in initial_state=, got "
                f"{len(states)}"
            )
        if isinstance(self.module, KerasRNN):
            outputs, last = self._module(x, states, mask, training)
            return outputs if self.return_sequences else outputs[:, -1], list(last)
        if mask is not None:
            x = apply(compress_steps, x, mask)
        outputs, last = self._run_kernel(x, states)
        if mask is None:
            return outputs if self.return_sequences else last[0], last
        if self.return_sequences:
            return apply(spread_steps, outputs, mask), last
        return apply(last_step, outputs, mask), last

    def _run_kernel(self, x: Any, states: Any) -> tuple[Any, list[Any]]:
        """Record torch's own module."""
        if states is None:
            outputs, last = self._module(x)
        else:
            start = tuple(state.unsqueeze(0) for state in states)
            outputs, last = self._module(x, start if self.state_count > 1 else start[0])
        last = last if self.state_count > 1 else (last,)
        return outputs, [state[0] for state in last]


class SimpleRNN(_KernelRNN):
    """A fully connected recurrent layer, as Keras's `SimpleRNN`; the module is an `nn.RNN`.

    Args:
        units: the number of units.
        activation: what the new state goes through, a name or function.
        use_bias: whether a bias is added.
        **options: `dropout` and `recurrent_dropout`, the shares of features and of the state
            that training drops, the same at every step; initializers, regularizers and
            constraints of `kernel`, `recurrent` and `bias`; those of `Recurrent` and of `Layer`.

    Input shape: `(batch, steps, features)`. Output shape: `(batch, units)`, or `(batch, steps,
    units)` with `return_sequences`; with `return_state` a list of it and the state.
    """

    modules = (nn.RNN, KerasSimpleRNN)
    keras_weights = _recurrent_weights(TRANSPOSED, Weight("bias", ("bias_ih_l0",)))

    def __init__(
        self, units: int, activation: Any = "tanh", use_bias: bool = True, **options: Any
    ) -> None:
        super().__init__(units, activation, "sigmoid", use_bias, **options)


class LSTM(_KernelRNN):
    """A long short-term memory, as Keras's `LSTM`; the module is an `nn.LSTM`.

    Torch adds a second bias to the first; here it is a buffer of zeros, so that there is one bias
    to train, as in Keras.

    Args:
        units: the number of units.
        activation: what the cell's input and output go through, a name or function.
        recurrent_activation: what the gates go through.
        use_bias: whether a bias is added.
        unit_forget_bias: whether the bias of the forget gate begins at one.
        **options: `dropout` and `recurrent_dropout`, the shares of features and of the state
            that training drops, the same at every step; initializers, regularizers and
            constraints of `kernel`, `recurrent` and `bias`; those of `Recurrent` and of `Layer`.

    Input shape: `(batch, steps, features)`. Output shape: `(batch, units)`, or `(batch, steps,
    units)` with `return_sequences`; with `return_state` a list of it and the two states.
    """

    modules = (nn.LSTM, KerasLSTM)
    state_count = 2
    keras_weights = _recurrent_weights(TRANSPOSED, Weight("bias", ("bias_ih_l0",)))

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        *,
        unit_forget_bias: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(units, activation, recurrent_activation, use_bias, **options)
        self.unit_forget_bias = unit_forget_bias

    def _initialize(self) -> None:
        super()._initialize()
        if self.use_bias and self.unit_forget_bias:
            with torch.no_grad():
                self._module.bias_ih_l0[self.units : 2 * self.units].fill_(1.0)


class GRU(_KernelRNN):
    """A gated recurrent unit, as Keras's `GRU`; the module is an `nn.GRU`.

    Args:
        units: the number of units.
        activation: what the new state goes through, a name or function.
        recurrent_activation: what the gates go through.
        use_bias: whether biases are added.
        reset_after: whether the reset gate acts after the recurrent kernel, as torch's kernel
            does, or before, which is run step by step.
        **options: `dropout` and `recurrent_dropout`, the shares of features and of the state
            that training drops, the same at every step; initializers, regularizers and
            constraints of `kernel`, `recurrent` and `bias`; those of `Recurrent` and of `Layer`.

    Input shape: `(batch, steps, features)`. Output shape: `(batch, units)`, or `(batch, steps,
    units)` with `return_sequences`; with `return_state` a list of it and the state.
    """

    modules = (nn.GRU, KerasGRU)
    keras_weights = _recurrent_weights(
        _GRU_KERNEL, Weight("bias", ("bias_ih_l0", "bias_hh_l0"), _GRU_BIAS)
    )

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        *,
        reset_after: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(units, activation, recurrent_activation, use_bias, **options)
        self.reset_after = reset_after

    @property
    def _needs_more(self) -> bool:
        return super()._needs_more or not self.reset_after

    def _extra(self) -> dict[str, Any]:
        return {"reset_after": self.reset_after}

    def _biased(self, module: nn.RNNBase) -> nn.RNNBase:
        return module if self.reset_after else with_one_bias(module)
