"""Recurrent modules: torch's own with one bias, and loops for what torch's kernels cannot do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .noise import SharedDropout
from .steps import joined_steps, steps_of

Activation = Callable[[Tensor], Tensor]
States = tuple[Tensor, ...]


def with_one_bias(module: nn.RNNBase) -> nn.RNNBase:
    """Make the second bias, which torch adds to the first, a buffer of zeros.

    `state_dict` has torch's keys; an optimizer updates one bias only.
    """
    if module.bias:
        zeros = torch.zeros_like(module.get_parameter("bias_hh_l0").detach())
        del module.bias_hh_l0
        module.register_buffer("bias_hh_l0", zeros)
        module._init_flat_weights()  # the list of weights that the kernel is given
    return module


_CLOSED = 1e4  # an input at which a sigmoid is exactly 0 or 1 in every dtype, and float16 holds


class KerasRNN(nn.Module):
    """Base class: what `KerasLSTM`, `KerasGRU` and `KerasSimpleRNN` add to torch's modules.

    They add masks (a masked step repeats the output and keeps the states), other activations,
    dropout that is the same at every step, and states kept between calls. torch's kernel is used
    where it can compute the result; otherwise the steps run one by one.

    Args:
        input_size: Number of features.
        hidden_size: Number of units.
        bias: Whether biases are added.
        activation: Activation of the new state.
        recurrent_activation: Activation of the gates.
        plain: Whether both are those of torch's kernel.
        dropout: Fraction of the features to drop during training, the same ones at every step.
        recurrent_dropout: Likewise of the state, as the kernels see it.
        batch_size: Batch size of the states kept between calls. Defaults to keeping none.
        seed: Seed of random numbers of the dropouts' own.
        final_states: Whether all states after the last step are needed, not only the first. With a
            mask torch's LSTM needs one more input feature for the second.
    """

    state_count = 1
    has_one_bias = True  # as in Keras; torch's second bias is a buffer of zeros then
    hidden_size: int
    bias: bool
    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        activation: Activation = torch.tanh,
        recurrent_activation: Activation = torch.sigmoid,
        plain: bool = True,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        batch_size: int | None = None,
        seed: int | None = None,
        final_states: bool = True,
    ) -> None:
        super().__init__(input_size, hidden_size, bias=bias, batch_first=True)
        self.final_states = final_states
        self.activation = activation
        self.recurrent_activation = recurrent_activation
        self.plain = plain
        self.input_dropout = SharedDropout(dropout, (None, 1, None), seed) if dropout else None
        self.recurrent_dropout = (
            SharedDropout(recurrent_dropout, None, seed) if recurrent_dropout else None
        )
        self.stateful = batch_size is not None
        if batch_size is not None:
            for index in range(self.state_count):
                self.register_buffer(f"state_{index}", torch.zeros(batch_size, hidden_size))
        if self.has_one_bias:
            with_one_bias(self)  # type: ignore[arg-type]

    def forward(
        self,
        x: Tensor,
        states: States | None = None,
        mask: Tensor | None = None,
        training: bool | None = None,
    ) -> tuple[Tensor, States]:
        """Run over a sequence.

        Args:
            x: `(batch, steps, features)`.
            states: one `(batch, units)` tensor, or two; zeros by default.
            mask: `(batch, steps)`, true where a step counts.
            training: fixes the mode of the dropouts.

        Returns:
            The outputs, `(batch, steps, units)`, and the states after the last step.
        """
        training = self.training if training is None else training
        states = self._start(x) if states is None else tuple(states)
        if self.input_dropout is not None:
            x = self.input_dropout(x, training)
        loops = not self.plain or (self.recurrent_dropout is not None and training)
        if loops:
            outputs, states = self._loop(x, states, mask, training)
        elif mask is None:
            outputs, states = self._kernel(x, states)
        elif x.is_meta:  # lengths are values, and a meta tensor has none: the mask need only fit
            outputs, states = self._kernel(x * mask.unsqueeze(2).to(x.dtype), states)
        else:
            outputs, states = self._masked(x, states, mask)
        if self.stateful:
            for kept, state in zip(self._kept(), states, strict=True):
                kept.copy_(state.detach())
        return outputs, states

    def reset_states(self) -> None:
        """Set the states of a stateful layer to zero."""
        for state in self._kept():
            state.zero_()

    def _kept(self) -> States:
        count = self.state_count if self.stateful else 0
        return tuple(getattr(self, f"state_{index}") for index in range(count))

    def _start(self, x: Tensor) -> States:
        if self.stateful:
            return tuple(state.clone() for state in self._kept())
        zeros = x.new_zeros(x.shape[0], self.hidden_size)
        return (zeros,) * self.state_count

    def _kernel(self, x: Any, states: States) -> tuple[Any, States]:
        """Run torch's kernel on a whole sequence, or a packed one."""
        start: Any = tuple(state.unsqueeze(0) for state in states)
        outputs, last = super().forward(x, start if self.state_count > 1 else start[0])
        last = last if self.state_count > 1 else (last,)
        return outputs, tuple(state.squeeze(0) for state in last)

    def _masked(self, x: Tensor, states: States, mask: Tensor) -> tuple[Tensor, States]:
        """Run torch's kernel on the unmasked steps, moved to the front."""
        compressed, counts = compress_steps(x, mask), mask.sum(1)
        if self.state_count > 1 and (self.final_states or self.stateful):
            padded, last = self._frozen_after(compressed, states, counts)
        else:
            padded, last = self._kernel(compressed, states)
        last = (last_step(padded, mask), *last[1:])
        some = (counts > 0).unsqueeze(1)
        kept = tuple(torch.where(some, new, old) for new, old in zip(last, states, strict=True))
        return spread_steps(padded, mask), kept

    def _frozen_after(self, x: Tensor, states: States, counts: Tensor) -> tuple[Tensor, States]:
        """Run sequences of different lengths; keep all states after their ends."""
        raise NotImplementedError

    def _loop(
        self, x: Tensor, states: States, mask: Tensor | None, training: bool
    ) -> tuple[Tensor, States]:
        """Run the steps one by one."""
        drop = self._recurrent_factor(x, training)
        projected = F.linear(x, self.weight_ih_l0, self._input_bias())
        previous, outputs = x.new_zeros(x.shape[0], self.hidden_size), []
        for index, step in enumerate(steps_of(projected)):
            hidden = states[0] if drop is None else states[0] * drop
            new = self.step(step, hidden, states)
            if mask is not None:
                counts = mask[:, index].unsqueeze(1)
                new = tuple(torch.where(counts, a, b) for a, b in zip(new, states, strict=True))
                previous = torch.where(counts, new[0], previous)
            states = new
            outputs.append(new[0] if mask is None else previous)
        return joined_steps(outputs, projected), states

    def _recurrent_factor(self, x: Tensor, training: bool) -> Tensor | None:
        if self.recurrent_dropout is None:
            return None
        return self.recurrent_dropout(x.new_ones(x.shape[0], self.hidden_size), training)  # type: ignore[no-any-return]

    def _input_bias(self) -> Tensor | None:
        return self.bias_ih_l0 + self.bias_hh_l0 if self.bias else None

    def step(self, x: Tensor, hidden: Tensor, states: States) -> States:
        """Return the states after one step.

        Args:
            x: the step, projected, `(batch, gates * units)`.
            hidden: the first state, some of it dropped, as the recurrent kernel sees it.
            states: the states before the step.
        """
        raise NotImplementedError


class KerasLSTM(KerasRNN, nn.LSTM):  # type: ignore[misc]
    """An `nn.LSTM` with masks, other activations, recurrent dropout and kept states."""

    state_count = 2

    def _frozen_after(self, x: Tensor, states: States, counts: Tensor) -> tuple[Tensor, States]:
        """Run torch's kernel on sequences of different lengths; keep the cell after their ends.

        Packed sequences would need the lengths on the host. Here one more feature is 1 after the
        end, where its weights close the input gate and open the forget gate, both exactly: the
        cell becomes `1 * cell + 0 * new`.

        Args:
            x: `(batch, steps, features)`, the steps that count first.
            states: the states before the first step.
            counts: the number of steps that count, `(batch,)`.
        """
        ended = (torch.arange(x.shape[1], device=x.device) >= counts.unsqueeze(1)).unsqueeze(2)
        x = torch.cat([x.masked_fill(ended, 0), ended.to(x.dtype)], 2)
        gates = x.new_zeros(4, self.hidden_size)  # input, forget, cell, output, as in torch
        gates[0], gates[1] = -_CLOSED, _CLOSED
        kernel, *rest = self._flat_weights
        assert isinstance(kernel, Tensor)
        kernel = torch.cat([kernel, gates.view(-1, 1).to(kernel.dtype)], 1)
        weights = _contiguous([kernel, *rest])
        start = [state.unsqueeze(0) for state in states]
        outputs, hidden, cell = torch.lstm(
            x, start, weights, self.bias, 1, 0.0, self.training, False, True
        )
        return outputs, (hidden.squeeze(0), cell.squeeze(0))

    def step(self, x: Tensor, hidden: Tensor, states: States) -> States:
        """Return the states after one step."""
        i, f, g, o = F.linear(hidden, self.weight_hh_l0).add(x).chunk(4, 1)
        gate = self.recurrent_activation
        cell = gate(f) * states[1] + gate(i) * self.activation(g)
        return gate(o) * self.activation(cell), cell


class KerasGRU(KerasRNN, nn.GRU):  # type: ignore[misc]
    """An `nn.GRU` with masks, other activations, recurrent dropout and kept states.

    Args:
        reset_after: Whether the reset gate acts after the recurrent kernel, as in torch's kernel,
            or before; the other arguments are those of `KerasRNN`.
    """

    has_one_bias = False

    def __init__(self, *args: Any, reset_after: bool = True, **options: Any) -> None:
        self.has_one_bias = not reset_after  # read by the constructor of `KerasRNN`
        super().__init__(*args, **options)
        self.reset_after = reset_after
        self.plain = self.plain and reset_after

    def _input_bias(self) -> Tensor | None:
        return self.bias_ih_l0 if self.bias else None

    def step(self, x: Tensor, hidden: Tensor, states: States) -> States:
        """Return the state after one step."""
        xr, xz, xn = x.chunk(3, 1)
        units = self.hidden_size
        weight, bias = self.weight_hh_l0, self.bias_hh_l0 if self.bias else None
        if self.reset_after:
            hr, hz, hn = F.linear(hidden, weight, bias).chunk(3, 1)
        else:
            hr, hz = F.linear(hidden, weight[: 2 * units]).chunk(2, 1)
        reset, update = self.recurrent_activation(xr + hr), self.recurrent_activation(xz + hz)
        if self.reset_after:
            hn = reset * hn
        else:
            hn = F.linear(reset * hidden, weight[2 * units :])
        return (update * states[0] + (1 - update) * self.activation(xn + hn),)


class KerasSimpleRNN(KerasRNN, nn.RNN):  # type: ignore[misc]
    """An `nn.RNN` with masks, other activations, recurrent dropout and kept states."""

    def step(self, x: Tensor, hidden: Tensor, states: States) -> States:
        """Return the state after one step."""
        return (self.activation(x + F.linear(hidden, self.weight_hh_l0)),)


# -------------------------------------------------------- masked steps, for torch's kernels


def _contiguous(weights: list[Any]) -> list[Tensor]:
    """Return weights as parts of one tensor, as cuDNN wants them."""
    whole = torch.cat([weight.reshape(-1) for weight in weights])
    parts = whole.split([weight.numel() for weight in weights])
    return [part.view(weight.shape) for part, weight in zip(parts, weights, strict=True)]


def compress_steps(x: Tensor, mask: Tensor) -> Tensor:
    """Move the unmasked steps to the front, in order.

    Args:
        x: `(batch, steps, features)`.
        mask: `(batch, steps)`, true where a step counts.
    """
    order = torch.argsort(mask.logical_not().to(torch.uint8), dim=1, stable=True)
    return x.gather(1, order.unsqueeze(2).expand(-1, -1, x.shape[2]))


def spread_steps(outputs: Tensor, mask: Tensor) -> Tensor:
    """Put the outputs of compressed steps back in place; a masked step repeats the one before.

    Args:
        outputs: `(batch, steps, units)`, of steps moved by `compress_steps`.
        mask: `(batch, steps)`, true where a step counts. Before the first such step it is zero.
    """
    counts = mask.cumsum(1)
    index = (counts - 1).clamp(min=0).unsqueeze(2).expand(-1, -1, outputs.shape[2])
    return outputs.gather(1, index) * (counts > 0).unsqueeze(2)


def last_step(outputs: Tensor, mask: Tensor) -> Tensor:
    """Return the output of the last unmasked step, zeros where there is none.

    Args:
        outputs: `(batch, steps, units)`, of steps moved by `compress_steps`.
        mask: `(batch, steps)`, true where a step counts.
    """
    counts = mask.sum(1)
    index = (counts - 1).clamp(min=0).view(-1, 1, 1).expand(-1, -1, outputs.shape[2])
    return outputs.gather(1, index).squeeze(1) * (counts > 0).unsqueeze(1)
