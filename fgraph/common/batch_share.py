"""Losses of a share of a batch, when several processes divide the batch.

The processes average their gradients, weighted by their numbers of samples. That is right for a
mean over samples. A loss that divides by another count, such as the number of unmasked steps, must
divide by the count of the whole batch.
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
        fraction: its fraction of the batch's samples; 0 if the process has none.
        total: returns the sum of a tensor over all shares.
        total_with_gradients: the same, with gradients for the values of other processes.
    """

    fraction: float
    total: Callable[[Tensor], Tensor]
    total_with_gradients: Callable[[Tensor], Tensor]


class _Current(threading.local):
    share: Share | None = None


_current = _Current()


class sharing:
    """Context manager: losses inside are of a share of a batch; `None` for a whole batch."""

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
        count: the denominator, as counted in this share.
        least: the smallest denominator.

    Returns:
        A quotient whose weighted mean over the processes is the whole batch's.
    """
    share = _current.share
    if share is None:
        return total / count.clamp_min(least)
    whole = share.total(count if share.fraction else count * 0).clamp_min(least)
    return total / (whole * share.fraction) if share.fraction else total


def undivided(total: Tensor) -> Tensor:
    """Return a sum scaled so that its weighted mean over the processes is the batch's sum."""
    share = _current.share
    return total if share is None or not share.fraction else total / share.fraction


def whole_sum(part: Tensor) -> Tensor:
    """Return the sum over the whole batch from the sum over this share."""
    share = _current.share
    if share is None:
        return part
    return share.total_with_gradients(part if share.fraction else part * 0)
