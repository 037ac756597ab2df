"""Split a data set into two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.utils.data import Dataset, IterableDataset, Subset

from ..graph.nested import iter_leaves, map_leaves
from ..training.sources.array_source import common_length
from ..training.sources.placement import as_tensor


class _Samples(Dataset[Any]):
    """Nested arrays as a data set: sample `i` is the structure of their rows `i`."""

    def __init__(self, structure: Any) -> None:
        self.structure = map_leaves(lambda leaf: as_tensor(leaf, "dataset"), structure)

    def __len__(self) -> int:
        return len(next(iter_leaves(self.structure)))

    def __getitem__(self, index: int) -> Any:
        return map_leaves(lambda leaf: leaf[index], self.structure)


def split_dataset(
    dataset: Any,
    left_size: float | None = None,
    right_size: float | None = None,
    shuffle: bool = False,
    seed: int | None = None,
) -> tuple[Dataset[Any], Dataset[Any]]:
    """Split a data set into two, like `keras.utils.split_dataset`.

    Args:
        dataset: an array or tensor, arrays nested in tuples, lists or dicts, or a
            `torch.utils.data.Dataset` with a length.
        left_size: the samples of the first part: their number, or a fraction from 0 to 1. By
            default all that `right_size` leaves.
        right_size: likewise for the second part.
        shuffle: whether the samples are shuffled first.
        seed: the seed of the shuffle; torch's global generator by default.

    Returns:
        Two torch data sets, which `fit` and `DataLoader` take.

    Raises:
        TypeError: the data has no length, or a size is no number.
        ValueError: no size is given, a size is out of range, or a part would be empty.

    Example:
        >>> left, right = split_dataset(np.arange(10), left_size=0.8)
        >>> len(left), len(right)
        (8, 2)
    """
    if isinstance(dataset, IterableDataset) or not (
        isinstance(dataset, (Dataset, torch.Tensor, tuple, list, Mapping))
        or hasattr(dataset, "__array__")
    ):
        raise TypeError(
            "split_dataset expects arrays, or a torch Dataset with a length, got "
            f"{type(dataset).__name__}"
        )
    if not isinstance(dataset, Dataset):
        common_length({"dataset": dataset})
        dataset = _Samples(dataset)
    total = len(dataset)
    left, right = _sizes(left_size, right_size, total)
    order = list(range(total))
    if shuffle:
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        order = torch.randperm(total, generator=generator).tolist()
    return Subset(dataset, order[:left]), Subset(dataset, order[left : left + right])


def _sizes(left: float | None, right: float | None, total: int) -> tuple[int, int]:
    """Return how many samples each part has."""
    if left is None and right is None:
        raise ValueError("split_dataset expects left_size=, right_size=, or both")
    found: list[int | None] = []
    for name, size in (("left_size", left), ("right_size", right)):
        if size is None:
            found.append(None)
            continue
        if isinstance(size, bool) or not isinstance(size, (int, float)):
            raise TypeError(f"split_dataset: {name}= expects a number, got {size!r}")
        largest = 1 if isinstance(size, float) else total
        if not 0 < size <= largest:
            raise ValueError(
                f"split_dataset: {name}={size!r} should be above 0 and at most {largest}: the "
                f"data has {total} samples, and a float is a fraction of them"
            )
        found.append(round(size * total) if isinstance(size, float) else size)
    first, second = found
    first = total - (second or 0) if first is None else first
    second = total - first if second is None else second
    if first + second > total or min(first, second) < 1:
        raise ValueError(
            f"split_dataset: left_size={left!r} and right_size={right!r} would make parts of "
            f"{first} and {second} out of {total} samples"
        )
    return first, second
