"""One batch, and the interface of sources of batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from torch import Tensor

from ...graph.nested import iter_leaves


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

    @classmethod
    def of(cls, data: Any) -> Batch:
        """Return the batch for a Keras step's `data`: `x`, `(x, y)` or with weights."""
        if isinstance(data, cls):
            return data
        x, y, sample_weight = (*data, None, None)[:3] if type(data) is tuple else (data, None, None)
        first = next((leaf for leaf in iter_leaves(x) if isinstance(leaf, Tensor)), None)
        return cls(x, y, sample_weight, 0 if first is None else len(first))

    @property
    def data(self) -> Any:
        """The batch as Keras passes it to a step: `x`, `(x, y)` or `(x, y, sample_weight)`."""
        if self.sample_weight is not None:
            return self.x, self.y, self.sample_weight
        if self.y is not None:
            return self.x, self.y
        return (self.x,) if isinstance(self.x, (tuple, list)) else self.x


class PartOfBatch(Batch):
    """A batch with the number of its samples that count in this process.

    Attributes:
        own_size: that number; 0 if the process only keeps in step with the others.
    """

    own_size: int

    def counting(self, own_size: int) -> PartOfBatch:
        """Set `own_size`, and return the batch."""
        self.own_size = own_size
        return self


def samples_in(x: Any) -> int:
    """Return the number of samples in a batch, from its first input.

    Raises:
        TypeError: they hold no array with a first axis.
    """
    for leaf in iter_leaves(x):
        if getattr(leaf, "ndim", 0):
            return int(leaf.shape[0])
    raise TypeError(
        f"a batch must hold tensors or arrays with a first axis, got {type(x).__name__}"
    )


class Source:
    """A source of batches. Can be iterated once, or repeatedly if `repeats` is true.

    Attributes:
        num_batches: the number of batches in one pass, `None` if unknown.
        num_samples: the number of samples in one pass, `None` if unknown.
        repeats: whether a second pass is possible.
        divided: whether each process has its own rows.
        divided_by_sampler: whether a user's sampler divides the rows.
        original_rows: the number of samples if that sampler deals them out one by one, in order.
        in_memory: whether targets and weights of a batch stay valid when the next is drawn.
        batch_sizes: the possible sizes of batches, if known.
        whole: all targets and sample weights, if in memory, to be checked once.
        check: called with the targets and sample weights of each batch while they are on the host,
            if `whole` is `None`.
    """

    num_batches: int | None = None
    num_samples: int | None = None
    repeats: bool = True
    divided: bool = False
    divided_by_sampler: bool = False
    original_rows: int | None = None
    in_memory: bool = False
    batch_sizes: tuple[int, ...] = ()
    whole: tuple[Any, Any] | None = None
    check: Callable[[Any, Any], None] | None = None

    def batches(self, skip: int = 0) -> Iterator[Batch]:
        """Begin a pass and return its batches, without the first `skip`."""
        raise NotImplementedError

    def first(self) -> Batch | None:
        """Return the first batch without consuming it: a later pass still yields it.

        `None` if there is no batch. A shuffled pass may begin with a different one.
        """
        raise NotImplementedError

    def first_whole(self) -> Batch | None:
        """Return the first batch before its division among processes, `None` if it came divided."""
        return None

    def random_state(self) -> Any:
        """Return the states of random generators of the source's own; plain values only."""
        return None

    def set_random_state(self, state: Any) -> None:
        """Restore the states returned by `random_state`."""
