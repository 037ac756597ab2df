"""What the loss of one process's share of a batch needs to know of the other shares.

The processes average their gradients, weighted by their numbers of samples. A mean over samples
comes out right by that alone; what divides by another count, such as the steps that are not
masked, must divide by its part of the count in the whole batch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Share:
    """One process's share of a batch.

    Args:
        fraction: its part of the batch's samples; 0 if the process has none and only keeps step.
        total: returns the sum of a tensor over all shares.
        total_with_gradients: likewise, with gradients for what the other processes computed.
    """

    fraction: float
    total: Callable[[Tensor], Tensor]
    total_with_gradients: Callable[[Tensor], Tensor]


class _Current(threading.local):
    share: Share | None = None


_current = _Current()


class sharing:
    """Compute losses of a share of a batch within: a context manager; `None` is a whole batch."""

    def __init__(self, share: Share | None) -> None:
        self._share = share

    def __enter__(self) -> None:
        self._outer, _current.share = _current.share, self._share

    def __exit__(self, *_: object) -> None:
        _current.share = self._outer


def current_share() -> Share | None:
    """Return the share whose loss is being computed, `None` for a whole batch."""
    return _current.share


def divided_by(total: Tensor, count: Tensor, least: float) -> Tensor:
    """Return `total / count`, with the count of the whole batch.

    Args:
        total: a sum over this process's share.
        count: what it is to be divided by, as counted in this share.
        least: the least number to divide by.

    Returns:
        A quotient whose mean over all samples' processes is the whole batch's.
    """
    share = _current.share
    if share is None:
        return total / count.clamp_min(least)
    whole = share.total(count if share.fraction else count * 0).clamp_min(least)
    return total / (whole * share.fraction) if share.fraction else total


def undivided(total: Tensor) -> Tensor:
    """Return a sum in the form whose mean over all samples' processes is the whole batch's sum."""
    share = _current.share
    return total if share is None or not share.fraction else total / share.fraction


def whole_sum(part: Tensor) -> Tensor:
    """Return the sum over the whole batch, of sums over shares."""
    share = _current.share
    if share is None:
        return part
    return share.total_with_gradients(part if share.fraction else part * 0)
