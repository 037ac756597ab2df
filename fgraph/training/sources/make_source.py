"""`make_source`: the source of batches for any data that `fit` accepts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from ...common.number_checks import whole_number
from .array_source import ArraySource
from .batch import Source
from .class_weight import ClassWeight
from .loader_source import LoaderSource, split_batch
from .placement import Placement, is_sparse
from .py_dataset import Passes, PyDataset


def make_source(
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    batch_size: int | None,
    placement: Placement,
    shuffle: bool = False,
    class_weight: Mapping[int, float] | None = None,
    takes_labels: Callable[[Tensor], bool] = lambda _: False,
) -> Source:
    """Return the source of batches for the data given to `fit`, `evaluate` or `predict`.

    Args:
        x: nested arrays, a `Dataset`, a `DataLoader`, or an iterable of batches.
        y: nested arrays, or `None`.
        sample_weight: nested arrays, or `None`.
        batch_size: the number of samples in a batch, `None` for 32 (or the loader's own).
        placement: where batches go, and in which dtypes.
        shuffle: whether arrays and data sets are shuffled.
        class_weight: the weight of each class, or `None`.
        takes_labels: whether the loss treats targets as class indices; for `class_weight`.

    Raises:
        ValueError: `y`, `sample_weight` or `batch_size` was given with a loader, or the data is
            empty or of different lengths.
        TypeError: something is neither an array nor an iterable of batches.
    """
    weights = None if class_weight is None else ClassWeight(class_weight, takes_labels)
    size = whole_number(32 if batch_size is None else batch_size, "batch_size")
    if x is None:
        raise ValueError("no data: x is None; pass arrays, a data set or a loader")
    if isinstance(x, TensorDataset) and y is None:
        x, y, sample_weight = split_batch(x.tensors, placement.input_names)
    if isinstance(x, PyDataset):
        x = Passes(x, shuffle)
    if is_loader(x):
        extra = {"y": y, "sample_weight": sample_weight}
        for name, value in extra.items():
            if value is not None:
                raise ValueError(
                    f"{name} was given beside a {type(x).__name__}, which yields it by itself, as "
                    "in (x, y, sample_weight)"
                )
        if isinstance(x, Dataset):
            own = max(placement.processes.own_size(size), 1) if placement.sharded else size
            x = _loader_of(x, own, shuffle, placement)
        elif batch_size is not None:
            raise ValueError(
                f"batch_size was given beside a {type(x).__name__}, which makes its own batches"
            )
        return LoaderSource(x, placement, weights)
    if weights is not None:
        sample_weight = weights.times(y, sample_weight)
    return ArraySource(x, y, sample_weight, size, shuffle, placement)


def _loader_of(
    dataset: Dataset[Any], batch_size: int, shuffle: bool, placement: Placement
) -> DataLoader[Any]:
    pin = placement.device.type == "cuda"
    if isinstance(dataset, IterableDataset):
        return DataLoader(dataset, batch_size, pin_memory=pin)
    if not hasattr(dataset, "__len__"):
        raise TypeError(
            f"{type(dataset).__name__} has no __len__, so its samples cannot be counted: define "
            "it, or derive from torch.utils.data.IterableDataset and define __iter__"
        )
    if len(dataset) == 0:
        raise ValueError(f"no data: {type(dataset).__name__} is empty")
    return DataLoader(dataset, batch_size, shuffle, pin_memory=pin)


def is_loader(x: Any) -> bool:
    """Return whether `x` yields batches: a data set, a loader, an iterable, a generator."""
    arrays = isinstance(x, Tensor | list | tuple | Mapping | str | bytes)
    if arrays or hasattr(x, "__array__") or is_sparse(x):
        return False
    return isinstance(x, Dataset | Iterable | PyDataset)
