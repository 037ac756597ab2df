"""`PyDataset`: batches computed one by one, by a user's class."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any

import torch
from torch.utils.data import DataLoader


class PyDataset:
    """A data set of batches by index, like `keras.utils.PyDataset`: `fit(MyData(...))`.

    Subclasses define `__getitem__(index)`, which returns the batch `(x, y)` or `(x, y,
    sample_weight)`, and `__len__()`, the number of batches.

    Args:
        workers: the number of processes that compute batches, if `use_multiprocessing`.
        use_multiprocessing: whether to compute batches in other processes, instead of when needed.
        max_queue_size: how many batches the processes compute ahead, in total.

    Example:
        >>> class Squares(PyDataset):
        ...     def __len__(self):
        ...         return 3
        ...     def __getitem__(self, index):
        ...         x = torch.arange(4.0).reshape(4, 1) + index
        ...         return x, x * x
        >>> model = Sequential([nn.Linear(1, 1)])
        >>> x, y = Squares()[0]
        >>> x.shape
        torch.Size([4, 1])
    """

    def __init__(
        self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10
    ) -> None:
        self.workers = workers
        self.use_multiprocessing = use_multiprocessing
        self.max_queue_size = max_queue_size

    def __getitem__(self, index: int) -> Any:
        """Return the batch of this number."""
        raise NotImplementedError(f"{type(self).__name__} needs a method __getitem__(self, index)")

    @property
    def num_batches(self) -> int | None:
        """The number of batches, `None` if endless; `fit` then needs `steps_per_epoch`."""
        try:
            return len(self)  # type: ignore[arg-type]
        except TypeError:
            raise NotImplementedError(
                f"{type(self).__name__} needs a method __len__(self): the number of batches"
            ) from None

    def on_epoch_begin(self) -> None:
        """Called before each pass over the batches; does nothing by default."""

    def on_epoch_end(self) -> None:
        """Called after each pass over the batches; does nothing by default."""


class Passes:
    """The batches of a `PyDataset`, pass by pass.

    Args:
        data: the data set.
        shuffle: whether each pass has a new order of batches, drawn from torch's global generator;
            endless batches stay in order.
    """

    def __init__(self, data: PyDataset, shuffle: bool) -> None:
        self.data = data
        self.shuffle = shuffle
        self._total = data.num_batches

    def __len__(self) -> int:
        if self._total is None:
            raise TypeError(f"{type(self.data).__name__} has no end")
        return self._total

    def first(self) -> Any:
        """Return the first batch, without a pass."""
        return self.data[0]

    def __iter__(self) -> Iterator[Any]:
        self.data.on_epoch_begin()
        yield from self._batches()
        self.data.on_epoch_end()

    def _batches(self) -> Iterable[Any]:
        order: Iterable[int] = count() if self._total is None else range(self._total)
        if self.shuffle and self._total is not None:
            order = torch.randperm(self._total).tolist()
        if not self.data.use_multiprocessing or self.data.workers < 1:
            return map(self.data.__getitem__, order)
        return DataLoader(
            self.data,  # type: ignore[arg-type]
            batch_size=None,
            sampler=order,
            num_workers=self.data.workers,
            prefetch_factor=max(self.data.max_queue_size // self.data.workers, 1),
            collate_fn=_as_it_is,
        )


def _as_it_is(batch: Any) -> Any:
    return batch
