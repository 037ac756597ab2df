"""One batch, and what yields batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple


class Batch(NamedTuple):
    """One batch on the model's device.

    Args:
        x: Inputs, in the structure that the user gave.
        y: Targets, in the structure that the user gave, or None.
        sample_weight: Weights, a tensor, or a list or dict by output, or None.
        size: Number of samples, over all processes.
    """

    x: Any
    y: Any
    sample_weight: Any
    size: int


class Source:
    """Batches that can be gone through once or again and again.

    Args:
        num_batches: Batches in one pass, or None where it is not known.
        repeats: Whether a second pass is possible.
    """

    num_batches: int | None = None
    repeats: bool = True
    whole_targets: Any = None
    """All targets where they are in memory, so that they can be checked before the first step."""

    def batches(self, skip: int = 0) -> Iterator[Batch]:
        """Begins a pass.

        Args:
            skip: Number of batches to leave out at the start, as if they had been used.

        Returns:
            An iterator of batches.
        """
        raise NotImplementedError
