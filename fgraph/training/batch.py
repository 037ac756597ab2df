"""One batch, and what yields batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple


class Batch(NamedTuple):
    """One batch on the model's device.

    Args:
        x: the inputs, in the structure that the user gave.
        y: the targets, in the structure that the user gave, or `None`.
        sample_weight: weights, a tensor, or a list or dict by output, or `None`.
        size: the number of samples, over all processes.
    """

    x: Any
    y: Any
    sample_weight: Any
    size: int


class Source:
    """A source of batches. Can be iterated once, or repeatedly if `repeats` is true.

    Attributes:
        num_batches: the number of batches in one pass, `None` if unknown.
        num_samples: the number of samples in one pass, `None` if unknown.
        repeats: whether a second pass is possible.
        whole: all targets and sample weights, if they are in memory, to check them once.
        check: called with the targets and sample weights of each batch while they are on the host,
            if `whole` is `None`.
    """

    num_batches: int | None = None
    num_samples: int | None = None
    repeats: bool = True
    whole: tuple[Any, Any] | None = None
    check: Callable[[Any, Any], None] | None = None

    def batches(self, skip: int = 0) -> Iterator[Batch]:
        """Begin a pass and return its batches, without the first `skip`."""
        raise NotImplementedError

    def first(self) -> Batch | None:
        """Return the first batch without using it up: a pass begun later still yields it.

        `None` if there is no batch. A shuffled pass may begin with another one.
        """
        raise NotImplementedError

    def random_state(self) -> Any:
        """Return the states of random generators of the source's own; plain values only."""
        return None

    def set_random_state(self, state: Any) -> None:
        """Restore the states returned by `random_state`."""
