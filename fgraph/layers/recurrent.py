"""Recurrent layers on torch's kernels: `SimpleRNN`, `LSTM` and `GRU`."""

from __future__ import annotations

from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor, nn

from .. import activations
from ..activations import ActivationLike
from ..constraints import ConstraintLike
from ..errors import BuildError
from ..graph import SymbolicTensor, apply
from ..initializers import InitializerLike
from ..regularizers import RegularizerLike
from .arguments import BaseOptions, fraction, integer
from .base import Layer
from .input_checks import Expects
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
from .weight_layout import TRANSPOSED, Layout, Weight


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
    """Base of all recurrent layers: sequences, states and masks."""

    expects = Expects(("batch", "steps", "features"), "floating", features=-1)
    supports_masking = True
    unsupported: ClassVar = {"implementation": "", "time_major": "put the batch first"}
    return_sequences = return_state = go_backwards = stateful = zero_output_for_mask = False

    def _set_sequences(
        self, return_sequences: bool, return_state: bool, go_backwards: bool, stateful: bool
    ) -> None:
        """Keep the arguments about sequences, which all recurrent layers take."""
        self.return_sequences = return_sequences
        self.return_state = return_state
        self.go_backwards = go_backwards
        self.stateful = stateful

    def call(
        self, inputs: Any, initial_state: Any = None, mask: Any = None, training: bool | None = None
    ) -> Any:
        """Record the run over the steps.

        Args:
            inputs: The sequences, or a list of them and the initial states.
            initial_state: One tensor for each state. Defaults to zeros.
            mask: `(batch, steps)`, true where a step counts.
            training: Fixes the mode of the dropouts.
        """
        states = None if initial_state is None else listed(initial_state)
        if self.go_backwards:
            inputs = torch.flip(inputs, (1,))
            mask = None if mask is None else torch.flip(mask, (1,))
        output, states = self.run(inputs, states, mask, training)
        if mask is not None and self.zero_output_for_mask and self.return_sequences:
            output = output * mask.unsqueeze(-1)
        return [output, *states] if self.return_state else output

    def run(self, x: Any, states: Any, mask: Any, training: bool | None) -> tuple[Any, list[Any]]:
        """Record the run; return the output asked for and the states after it."""
        raise NotImplementedError

    def __call__(self, *inputs: Any, **kwargs: Any) -> SymbolicTensor:
        """Record a call; `layer([x, *states])` is `layer(x, initial_state=states)`."""
        if inputs and isinstance(inputs[0], (list, tuple)):
            first, *states = inputs[0]
            inputs = (first, *inputs[1:])
            if states:
                kwargs = {**kwargs, "initial_state": states}
        return super().__call__(*inputs, **kwargs)

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        """Return the mask of the steps, if the output has them."""
        return mask if self.return_sequences else None

    def kept_batch_size(self, input_shape: Any) -> int | None:
        """Return the batch size of states that outlive a call.

        Raises:
            BuildError: It is not known.
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
        """Set the states of a stateful layer to zero."""
        for module in () if self.module is None else self.module.modules():
            if callable(reset := getattr(module, "reset_states", None)):
                reset()

    reset_states = reset_state


def listed(states: Any) -> list[Any]:
    """Return the states as a list: one may be given by itself."""
    return [states] if isinstance(states, SymbolicTensor) else list(states)


class KernelRNN(Recurrent):
    """Base of `SimpleRNN`, `LSTM` and `GRU`, which run on torch's kernels if those can."""

    modules: ClassVar[tuple[type[nn.RNNBase], type[KerasRNN]]]
    state_count: ClassVar[int] = 1

    def _set_cell(
        self,
        units: int,
        activation: ActivationLike,
        recurrent_activation: ActivationLike,
        use_bias: bool,
        dropout: float,
        recurrent_dropout: float,
        seed: int | None,
    ) -> None:
        """Check and keep the arguments about one step, which cells take too."""
        kind = type(self).__name__
        self.units = integer(kind, "units", units)
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
        """Whether torch's own module is not sufficient."""
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
            module = with_one_bias(module) if derived.has_one_bias else module
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
                final_states=self._final_states,
                **self._extra(),
            )
        return module  # type: ignore[no-any-return]

    @property
    def _final_states(self) -> bool:
        """Whether all states after the last step are needed."""
        return self.return_state

    def _extra(self) -> dict[str, Any]:
        """Return further arguments of the derived module."""
        return {}

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


class SimpleRNN(KernelRNN):
    """Run a fully connected recurrent layer over sequences.

    Equivalent to Keras's `SimpleRNN`; the module is an `nn.RNN`, or one derived from it for what
    that cannot do.

    Args:
        units: Number of units.
        activation: Activation of the new state, name or function.
        use_bias: Whether to add a bias.
        kernel_initializer, recurrent_initializer, bias_initializer: Initial values, by name, object
            or function.
        kernel_regularizer, recurrent_regularizer, bias_regularizer: Penalties on the weights.
        activity_regularizer: Penalty on the output.
        kernel_constraint, recurrent_constraint, bias_constraint: Functions applied to the weights
            after each step of training.
        dropout: Fraction of the features to drop during training, the same at each step.
        recurrent_dropout: Fraction of the state to drop during training, the same at each step.
        return_sequences: Whether to return the output of every step, not only of the last.
        return_state: Whether to return the states after the last step as well.
        go_backwards: Whether to run from the last step to the first.
        stateful: Whether the states after one batch are the initial states of the next;
            `reset_state()` sets them to zero.
        unroll: Accepted for compatibility with Keras; ignored.
        seed: Seed of the layer's own random generator. Defaults to torch's global generator.
        zero_output_for_mask: Whether a masked step outputs zeros instead of the previous output.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`.

    Input shape: `(batch, steps, features)`, floating-point; `initial_state=`, `mask=` and
    `training=` at the call. With `initial_state=`, only a mask passed at the call is used, as in
    Keras.

    Output shape: `(batch, units)`, or `(batch, steps, units)` with `return_sequences`; with
    `return_state` a list of the output and the state.

    Differs from Keras: `unroll` changes nothing.

    Raises:
        ValueError: `units` is not positive, or a name is not known.
        BuildError: The number of features is not known, or with `stateful` the batch size.

    Example:
        >>> x = Input((10, 8))
        >>> layers.SimpleRNN(16, return_sequences=True)(x).shape
        (None, 10, 16)
    """

    modules = (nn.RNN, KerasSimpleRNN)
    keras_weights = _recurrent_weights(TRANSPOSED, Weight("bias", ("bias_ih_l0",)))

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
        activity_regularizer: RegularizerLike = None,
        kernel_constraint: ConstraintLike = None,
        recurrent_constraint: ConstraintLike = None,
        bias_constraint: ConstraintLike = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        seed: int | None = None,
        *,
        zero_output_for_mask: bool = False,
        **options: Unpack[BaseOptions],
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **options)
        self._set_weight_options(locals())
        self._set_cell(units, activation, "sigmoid", use_bias, dropout, recurrent_dropout, seed)
        self._set_sequences(return_sequences, return_state, go_backwards, stateful)
        self.zero_output_for_mask = zero_output_for_mask


class LSTM(KernelRNN):
    """Run a long short-term memory over sequences.

    Equivalent to Keras's `LSTM` (Hochreiter and Schmidhuber, 1997); the module is an `nn.LSTM`, or
    a subclass for options that `nn.LSTM` lacks. torch's second bias is a buffer of zeros here, so
    that there is one trainable bias, as in Keras.

    Args:
        units: Number of units.
        activation: Activation of the cell's input and output, name or function.
        recurrent_activation: Activation of the gates, name or function.
        use_bias: Whether to add a bias.
        kernel_initializer, recurrent_initializer, bias_initializer: Initial values, by name, object
            or function.
        unit_forget_bias: Whether the bias of the forget gate begins at one.
        kernel_regularizer, recurrent_regularizer, bias_regularizer: Penalties on the weights.
        activity_regularizer: Penalty on the output.
        kernel_constraint, recurrent_constraint, bias_constraint: Functions applied to the weights
            after each step of training.
        dropout: Fraction of the features to drop during training, the same at each step.
        recurrent_dropout: Fraction of the state to drop during training, the same at each step.
        seed: Seed of the layer's own random generator. Defaults to torch's global generator.
        return_sequences: Whether to return the output of every step, not only of the last.
        return_state: Whether to return the states after the last step as well.
        go_backwards: Whether to run from the last step to the first.
        stateful: Whether the states after one batch are the initial states of the next;
            `reset_state()` sets them to zero.
        unroll: Accepted for compatibility with Keras; ignored.
        use_cudnn: Accepted for compatibility with Keras; torch chooses the kernel.
        zero_output_for_mask: Whether a masked step outputs zeros instead of the previous output.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`.

    Input shape: `(batch, steps, features)`, floating-point; `initial_state=`, `mask=` and
    `training=` at the call. With `initial_state=`, only a mask passed at the call is used, as in
    Keras.

    Output shape: `(batch, units)`, or `(batch, steps, units)` with `return_sequences`; with
    `return_state` a list of the output and the two states, each `(batch, units)`.

    Differs from Keras: `unroll` and `use_cudnn` change nothing.

    Raises:
        ValueError: `units` is not positive, or a name is not known.
        BuildError: The number of features is not known, or with `stateful` the batch size.

    Example:
        >>> x = Input((10, 8))
        >>> layers.LSTM(16, return_sequences=True)(x).shape
        (None, 10, 16)
    """

    modules = (nn.LSTM, KerasLSTM)
    state_count = 2
    keras_weights = _recurrent_weights(TRANSPOSED, Weight("bias", ("bias_ih_l0",)))

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
        activity_regularizer: RegularizerLike = None,
        kernel_constraint: ConstraintLike = None,
        recurrent_constraint: ConstraintLike = None,
        bias_constraint: ConstraintLike = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        use_cudnn: bool | str = "auto",
        *,
        zero_output_for_mask: bool = False,
        **options: Unpack[BaseOptions],
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **options)
        self._set_weight_options(locals())
        self._set_cell(
            units, activation, recurrent_activation, use_bias, dropout, recurrent_dropout, seed
        )
        self._set_sequences(return_sequences, return_state, go_backwards, stateful)
        self.zero_output_for_mask = zero_output_for_mask
        self.unit_forget_bias = unit_forget_bias

    def _initialize(self) -> None:
        super()._initialize()
        if self.use_bias and self.unit_forget_bias:
            with torch.no_grad():
                self._module.bias_ih_l0[self.units : 2 * self.units].fill_(1.0)


class GRU(KernelRNN):
    """Run a gated recurrent unit over sequences.

    Equivalent to Keras's `GRU` (Cho et al., 2014); the module is an `nn.GRU`, or a subclass for
    options that `nn.GRU` lacks.

    Args:
        units: Number of units.
        activation: Activation of the new state, name or function.
        recurrent_activation: Activation of the gates, name or function.
        use_bias: Whether to add a bias.
        kernel_initializer, recurrent_initializer, bias_initializer: Initial values, by name, object
            or function.
        kernel_regularizer, recurrent_regularizer, bias_regularizer: Penalties on the weights.
        activity_regularizer: Penalty on the output.
        kernel_constraint, recurrent_constraint, bias_constraint: Functions applied to the weights
            after each step of training.
        dropout: Fraction of the features to drop during training, the same at each step.
        recurrent_dropout: Fraction of the state to drop during training, the same at each step.
        seed: Seed of the layer's own random generator. Defaults to torch's global generator.
        return_sequences: Whether to return the output of every step, not only of the last.
        return_state: Whether to return the states after the last step as well.
        go_backwards: Whether to run from the last step to the first.
        stateful: Whether the states after one batch are the initial states of the next;
            `reset_state()` sets them to zero.
        unroll: Accepted for compatibility with Keras; ignored.
        reset_after: Whether the reset gate acts after the recurrent kernel, as in torch's kernel,
            or before, which is run step by step.
        use_cudnn: Accepted for compatibility with Keras; torch chooses the kernel.
        zero_output_for_mask: Whether a masked step outputs zeros instead of the previous output.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`.

    Input shape: `(batch, steps, features)`, floating-point; `initial_state=`, `mask=` and
    `training=` at the call. With `initial_state=`, only a mask passed at the call is used, as in
    Keras.

    Output shape: `(batch, units)`, or `(batch, steps, units)` with `return_sequences`; with
    `return_state` a list of the output and the state.

    Differs from Keras: `unroll` and `use_cudnn` change nothing.

    Raises:
        ValueError: `units` is not positive, or a name is not known.
        BuildError: The number of features is not known, or with `stateful` the batch size.

    Example:
        >>> x = Input((10, 8))
        >>> layers.GRU(16, return_sequences=True)(x).shape
        (None, 10, 16)
    """

    modules = (nn.GRU, KerasGRU)
    keras_weights = _recurrent_weights(
        _GRU_KERNEL, Weight("bias", ("bias_ih_l0", "bias_hh_l0"), _GRU_BIAS)
    )

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
        activity_regularizer: RegularizerLike = None,
        kernel_constraint: ConstraintLike = None,
        recurrent_constraint: ConstraintLike = None,
        bias_constraint: ConstraintLike = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        reset_after: bool = True,
        use_cudnn: bool | str = "auto",
        *,
        zero_output_for_mask: bool = False,
        **options: Unpack[BaseOptions],
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **options)
        self._set_weight_options(locals())
        self._set_cell(
            units, activation, recurrent_activation, use_bias, dropout, recurrent_dropout, seed
        )
        self._set_sequences(return_sequences, return_state, go_backwards, stateful)
        self.zero_output_for_mask = zero_output_for_mask
        self.reset_after = reset_after

    @property
    def _needs_more(self) -> bool:
        return super()._needs_more or not self.reset_after

    def _extra(self) -> dict[str, Any]:
        return {"reset_after": self.reset_after}
