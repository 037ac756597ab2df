"""The steps of a sequence, for modules that run over them one by one."""

from __future__ import annotations

import torch
from torch import Tensor


def steps_of(x: Tensor) -> tuple[Tensor, ...]:
    """Return the steps of `(batch, steps, ...)`.

    On the meta device, where nothing is computed, the first two stand for all of them: the shapes
    of a long sequence would take thousands of calls.
    """
    return (x[:, :2] if x.is_meta else x).unbind(1)


def joined_steps(outputs: list[Tensor], x: Tensor) -> Tensor:
    """Return the outputs of `steps_of(x)` as one tensor, `(batch, steps, ...)`."""
    made = torch.stack(outputs, 1)
    if made.shape[1] == x.shape[1]:
        return made
    return made.new_empty(made.shape[0], x.shape[1], *made.shape[2:])
