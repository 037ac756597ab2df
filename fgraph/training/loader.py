"""Batches from anything that yields them by itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import torch

from ..graph.nested import iter_leaves, map_leaves
from . import distributed
from .batch import Batch, Source
from .class_weight import ClassWeight
from .prefetch import prefetched
from .tensors import to_device


class LoaderSource(Source):
    """Anything that yields batches: a `DataLoader`, an iterable, a generator.

    Args:
        loader: Yields `x`, `(x, y)`, `(x, y, sample_weight)` or dicts.
        device: Where batches go.
        dtype: Dtype of numpy's float64 arrays in batches.
        input_names: Names by which a dict batch is divided into inputs and targets.
        class_weight: Weight of each class, or None.
    """

    def __init__(
        self,
        loader: Iterable[Any],
        device: torch.device,
        dtype: torch.dtype,
        input_names: list[str],
        class_weight: ClassWeight | None = None,
    ) -> None:
        self.loader = loader
        self.device = device
        self.dtype = dtype
        self.input_names = input_names
        self.class_weight = class_weight
        self.repeats = not isinstance(loader, Iterator)
        try:
            self.num_batches = len(loader)  # type: ignore[arg-type]
        except TypeError:  # no __len__, or an IterableDataset without one
            self.num_batches = None
        if self.num_batches == 0:
            raise ValueError(f"no data: {type(loader).__name__} has no batches")
        sampler = getattr(loader, "sampler", None)
        self._sharded = isinstance(sampler, torch.utils.data.DistributedSampler)
        self._passes = 0

    def batches(self, skip: int = 0) -> Iterator[Batch]:
        """Begins a pass; see `Source.batches`."""
        sampler = getattr(self.loader, "sampler", None)
        if sampler is not None and hasattr(sampler, "set_epoch"):
            sampler.set_epoch(self._passes)
        self._passes += 1
        if not self._sharded:
            distributed.align_random_state()
        iterator = iter(self.loader)
        next(islice(iterator, skip, skip), None)
        return prefetched(map(self._batch, iterator), self.device)

    def _batch(self, item: Any) -> Batch:
        x, y, sample_weight = split_batch(item, self.input_names)
        if self.class_weight is not None:
            sample_weight = self.class_weight.times(y, sample_weight)
        size = _size(x)
        world = distributed.world_size()
        if world > 1 and not self._sharded:
            first, stop = distributed.share(size)
            x, y, sample_weight = (
                map_leaves(lambda leaf: leaf if leaf is None else leaf[first:stop], part)
                for part in (x, y, sample_weight)
            )
        elif world > 1:
            size *= world
        x, y, sample_weight = to_device((x, y, sample_weight), self.device, self.dtype)
        return Batch(x, y, sample_weight, size)


def _size(x: Any) -> int:
    for leaf in iter_leaves(x):
        if getattr(leaf, "ndim", 0):
            return int(leaf.shape[0])
    raise TypeError(
        f"a batch must hold tensors or arrays with a first axis, got {type(x).__name__}"
    )


def split_batch(item: Any, input_names: list[str]) -> tuple[Any, Any, Any]:
    """Divides what a loader yields into inputs, targets and weights, as Keras does.

    Args:
        item: `x`, `(x, y)`, `(x, y, sample_weight)`, or a dict. Of a dict, the keys in
            `input_names` are inputs and the others targets; without any other key, or without
            known names, all of it is input.
        input_names: Names of the model's inputs.

    Returns:
        The triple, None for what is missing.

    Raises:
        ValueError: A tuple has more than three parts.
    """
    if isinstance(item, Mapping):
        x = {key: value for key, value in item.items() if key in input_names}
        y = {key: value for key, value in item.items() if key not in input_names}
        if not x or not y:
            return item, None, None
        return x, next(iter(y.values())) if len(y) == 1 else y, None
    if isinstance(item, list | tuple) and not hasattr(item, "_fields"):
        if not 1 <= len(item) <= 3:
            raise ValueError(
                f"a batch of {len(item)} parts; expected x, (x, y) or (x, y, sample_weight): "
                "several inputs belong into one tuple, ((a, b), y)"
            )
        return (*item, None, None)[:3]
    return item, None, None
