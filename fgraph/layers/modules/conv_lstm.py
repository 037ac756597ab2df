"""`ConvLSTM`: a long short-term memory whose states are images."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..data_format import pad_to_same
from .noise import SharedDropout
from .recurrent import Activation
from .steps import joined_steps, steps_of


class ConvLSTM(nn.Module):
    """Runs over the steps; inputs and states go through convolutions (Shi et al., 2015).

    Args:
        input_conv: from the channels to four times the filters, without padding.
        recurrent_conv: from the filters to four times the filters, likewise.
        activation: what the cell's input and output go through.
        recurrent_activation: what the gates go through.
        same: whether inputs are padded so that sizes stay; states always are.
        dropout: the share of input values that training drops, the same ones at every step.
        recurrent_dropout: likewise of the state, as the recurrent convolution sees it.
        state_shape: the shape of states that outlive a call, `(batch, filters, ...)`.
        seed: gives the dropouts random numbers of their own.
    """

    def __init__(
        self,
        input_conv: nn.Module,
        recurrent_conv: nn.Module,
        activation: Activation,
        recurrent_activation: Activation,
        *,
        same: bool = False,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        state_shape: tuple[int, ...] | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.input_conv = input_conv
        self.recurrent_conv = recurrent_conv
        self.activation = activation
        self.recurrent_activation = recurrent_activation
        self.same = same
        rank = recurrent_conv.get_parameter("weight").dim()
        shape = (None, 1, *(None,) * (rank - 1))
        self.input_dropout = SharedDropout(dropout, shape, seed) if dropout else None
        self.recurrent_dropout = (
            SharedDropout(recurrent_dropout, None, seed) if recurrent_dropout else None
        )
        self.stateful = state_shape is not None
        if state_shape is not None:
            self.register_buffer("state_0", torch.zeros(state_shape))
            self.register_buffer("state_1", torch.zeros(state_shape))

    def forward(
        self,
        x: Tensor,
        states: Any = None,
        mask: Tensor | None = None,
        training: bool | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Run over a sequence.

        Args:
            x: `(batch, steps, channels, ...)`.
            states: two tensors `(batch, filters, ...)`; zeros by default.
            mask: `(batch, steps)`, true where a step counts.
            training: fixes the mode of the dropouts.

        Returns:
            The outputs, `(batch, steps, filters, ...)`, and both states after the last step.
        """
        if self.input_dropout is not None:
            x = self.input_dropout(x, training)
        images = x.flatten(0, 1)
        images = _padded(images, self.input_conv) if self.same else images
        steps = self.input_conv(images).unflatten(0, (-1, x.shape[1]))  # all steps at once
        hidden, cell = self._start(steps) if states is None else states
        drop = self._recurrent_factor(hidden, training)
        outputs = []
        for index, step in enumerate(steps_of(steps)):
            seen = hidden if drop is None else hidden * drop
            new, memory = self._step(step, seen, cell)
            if mask is not None:
                counts = mask[:, index].view(-1, *(1,) * (new.dim() - 1))
                new, memory = torch.where(counts, new, hidden), torch.where(counts, memory, cell)
            hidden, cell = new, memory
            outputs.append(hidden)
        if self.stateful:
            self.get_buffer("state_0").copy_(hidden.detach())
            self.get_buffer("state_1").copy_(cell.detach())
        return joined_steps(outputs, steps), (hidden, cell)

    def reset_states(self) -> None:
        """Set the states of a stateful layer to zero."""
        for buffer in self.buffers(recurse=False):
            buffer.zero_()

    def _start(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        if self.stateful:
            return self.get_buffer("state_0").clone(), self.get_buffer("state_1").clone()
        gates = steps[:, 0]
        zeros = gates.new_zeros(gates.shape[0], gates.shape[1] // 4, *gates.shape[2:])
        return zeros, zeros

    def _recurrent_factor(self, hidden: Tensor, training: bool | None) -> Tensor | None:
        if self.recurrent_dropout is None:
            return None
        return self.recurrent_dropout(torch.ones_like(hidden), training)  # type: ignore[no-any-return]

    def _step(self, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        i, f, g, o = (x + self.recurrent_conv(_padded(hidden, self.recurrent_conv))).chunk(4, 1)
        gate = self.recurrent_activation
        memory = gate(f) * cell + gate(i) * self.activation(g)
        return gate(o) * self.activation(memory), memory


def _padded(x: Tensor, conv: Any) -> Tensor:
    """Pad as `padding="same"` does, which `nn.Conv` cannot do with strides."""
    return pad_to_same(x, conv.kernel_size, conv.stride, conv.dilation, 0.0)
