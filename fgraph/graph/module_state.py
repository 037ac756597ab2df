"""Functions that read a parameter, a buffer or the mode of an unfolded module at run time."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from .specs import REAL, Effects, NumberSpec, TensorSpec


def parameter(tensor: Tensor) -> Tensor:
    """Return a parameter of an unfolded module, as it is when the model runs."""
    return tensor


def buffer(tensor: Tensor) -> Tensor:
    """Return a buffer of an unfolded module, as it is when the model runs."""
    return tensor


def training(module: nn.Module) -> bool:
    """Return whether an unfolded module is in training mode when the model runs."""
    return module.training


READS = (parameter, buffer, training)


def known_of(read: Any, of: Any) -> tuple[list[Any], None, Effects | None]:
    """Return the specs, structure and effects of a call of one of these functions.

    Args:
        read: one of `READS`.
        of: its argument.

    Raises:
        TypeError: the argument is not what the function reads.
    """
    if read is training and isinstance(of, nn.Module):
        return [NumberSpec(True, False)], None, None
    if read is training or not isinstance(of, Tensor):
        raise TypeError(f"an unfolded module has no {read.__name__} {of!r:.80}")
    shape = tuple(of.shape)
    return [TensorSpec(shape, shape, of.dtype)], None, Effects((), ((0, REAL),))
