"""The source of batches for whatever `fit` was given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from .arrays import ArraySource, check_batch_size
from .batch import Source
from .class_weight import ClassWeight
from .loader import LoaderSource, split_batch
from .py_dataset import Passes, PyDataset


def make_source(
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    batch_size: int | None,
    shuffle: bool,
    device: torch.device,
    dtype: torch.dtype,
    input_names: list[str],
    class_weight: Mapping[int, float] | None = None,
) -> Source:
    """Returns the source for whatever `fit`, `evaluate` or `predict` was given.

    Args:
        x: Nested arrays, a `Dataset`, a `DataLoader`, or an iterable of batches.
        y: Nested arrays, or None.
        sample_weight: Nested arrays, or None.
        batch_size: Samples in a batch, or None for 32 (or the loader's own).
        shuffle: Whether arrays and data sets are shuffled.
        device: Where batches go.
        dtype: Dtype of numpy's float64 arrays in batches.
        input_names: Names of the model's inputs, to divide dict batches.
        class_weight: Weight of each class, or None.

    Returns:
        The source.

    Raises:
        ValueError: `y`, `sample_weight` or `batch_size` was given beside a loader, or the data
            is empty or of different lengths.
    """
    weights = None if class_weight is None else ClassWeight(class_weight)
    size = check_batch_size(32 if batch_size is None else batch_size)
    if isinstance(x, TensorDataset) and y is None:
        x, y, sample_weight = split_batch(x.tensors, input_names)
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
            x = _loader_of(x, size, shuffle, device)
        elif batch_size is not None:
            raise ValueError(
                f"batch_size was given beside a {type(x).__name__}, which makes its own batches"
            )
        return LoaderSource(x, device, dtype, input_names, weights)
    if weights is not None:
        sample_weight = weights.times(y, sample_weight)
    return ArraySource(x, y, sample_weight, size, shuffle, device, dtype)


def _loader_of(
    dataset: Dataset[Any], batch_size: int, shuffle: bool, device: torch.device
) -> DataLoader[Any]:
    if not isinstance(dataset, IterableDataset) and len(dataset) == 0:  # type: ignore[arg-type]
        raise ValueError(f"no data: {type(dataset).__name__} is empty")
    shuffled = shuffle and not isinstance(dataset, IterableDataset)
    return DataLoader(dataset, batch_size, shuffled, pin_memory=device.type == "cuda")


def is_loader(x: Any) -> bool:
    """Says whether `x` yields batches by itself: a data set, a loader, an iterable, a generator."""
    if isinstance(x, Tensor | list | tuple | Mapping) or hasattr(x, "__array__"):
        return False
    return isinstance(x, Dataset | Iterable | PyDataset)
