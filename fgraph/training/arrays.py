"""Arrays in memory, batched by one indexed gather."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..graph.nested import map_leaves
from . import distributed
from .batch import Batch, Source
from .prefetch import prefetched
from .tensors import as_tensor, moved, named_leaves


def check_batch_size(batch_size: Any) -> int:
    """Returns a batch size, or raises `ValueError` or `TypeError` where it is not one."""
    if isinstance(batch_size, bool) or not isinstance(batch_size, int):
        raise TypeError(f"batch_size must be an integer, got {batch_size!r}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    return batch_size


class ArraySource(Source):
    """Arrays in memory, batched by one indexed gather for each array.

    Arrays are shared, not copied: of a memory-mapped array only the rows of the batch are read.

    Args:
        x: Nested arrays of equal length.
        y: Nested arrays, or None.
        sample_weight: Nested arrays, or None.
        batch_size: Samples in a batch (over all processes).
        shuffle: Whether each pass goes in a new order, drawn from torch's global generator.
        device: Where batches go.
        dtype: Dtype of numpy's float64 arrays in batches.

    Raises:
        ValueError: Lengths differ, or there is nothing.
    """

    def __init__(
        self,
        x: Any,
        y: Any,
        sample_weight: Any,
        batch_size: int,
        shuffle: bool,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        named = {"x": x, "y": y, "sample_weight": sample_weight}
        self._parts = {name: part for name, part in named.items() if part is not None}
        self._tensors: list[Tensor] = []
        self._casts: list[bool] = []
        for name, part in self._parts.items():
            for path, leaf in named_leaves(part, name):
                tensor = as_tensor(leaf, path)
                self._tensors.append(tensor)
                # Keras makes numpy's float64 float32; a tensor's dtype was chosen on purpose
                self._casts.append(leaf is not tensor and tensor.dtype == torch.float64)
        self.length = common_length(named)
        self.whole_targets = y
        self.batch_size = check_batch_size(batch_size)
        self.shuffle = shuffle
        self.device = device
        self.dtype = dtype
        self.num_batches = math.ceil(self.length / batch_size)

    def batches(self, skip: int = 0) -> Iterator[Batch]:
        """Begins a pass; see `Source.batches`."""
        if not self.shuffle:
            return prefetched(self._in_order(skip), self.device)
        # drawn here and not in the generator, so that it is drawn when the pass begins
        order = distributed.broadcast(torch.randperm(self.length))
        return prefetched(self._shuffled(order, skip), self.device)

    def _spans(self, skip: int) -> Iterator[tuple[int, int, int]]:
        """Yields each batch's size, and where this process's share begins and ends."""
        alone = distributed.world_size() == 1
        for start in range(skip * self.batch_size, self.length, self.batch_size):
            size = min(self.batch_size, self.length - start)
            first, stop = (0, size) if alone else distributed.share(size)
            yield size, start + first, start + stop

    def _shuffled(self, order: Tensor, skip: int) -> Iterator[Batch]:
        gathers = [self._gather_of(tensor, cast) for tensor, cast in self._columns()]
        orders = [order.to(tensor.device) for tensor in self._tensors]
        shared = len({o.device for o in orders}) == 1
        build = self._builder()
        for size, first, stop in self._spans(skip):
            if shared:
                rows = orders[0][first:stop]
                leaves = [gather(rows) for gather in gathers]
            else:
                leaves = [g(o[first:stop]) for g, o in zip(gathers, orders, strict=True)]
            yield build(leaves, size)

    def _in_order(self, skip: int) -> Iterator[Batch]:
        build = self._builder()
        for size, first, stop in self._spans(skip):
            rows = [self._place(tensor[first:stop], cast) for tensor, cast in self._columns()]
            yield build(rows, size)

    def _columns(self) -> Iterator[tuple[Tensor, bool]]:
        return zip(self._tensors, self._casts, strict=True)

    def _gather_of(self, tensor: Tensor, cast: bool) -> Callable[[Tensor], Tensor]:
        """Returns the function from row numbers to these rows of an array, on the device."""
        if tensor.device == self.device and not cast:
            return partial(tensor.index_select, 0)
        if tensor.device.type == "cpu" and self.device.type == "cuda":
            return partial(self._gather_pinned, tensor, cast)
        return lambda rows: self._place(tensor.index_select(0, rows), cast)

    def _gather_pinned(self, tensor: Tensor, cast: bool, rows: Tensor) -> Tensor:
        shape = (len(rows), *tensor.shape[1:])
        pinned = torch.empty(shape, dtype=tensor.dtype, pin_memory=True)
        return self._place(torch.index_select(tensor, 0, rows, out=pinned), cast)

    def _place(self, tensor: Tensor, cast: bool) -> Tensor:
        tensor = moved(tensor, self.device)
        return tensor.to(self.dtype) if cast else tensor

    def _builder(self) -> Callable[[list[Tensor], int], Batch]:
        """Returns the function from a batch's leaves and size to the batch in its structure."""
        names = list(self._parts)
        if all(hasattr(part, "shape") for part in self._parts.values()):
            if names == ["x", "y"]:
                return lambda leaves, size: Batch(leaves[0], leaves[1], None, size)
            return lambda leaves, size: _batch_of(dict(zip(names, leaves, strict=True)), size)

        def build(leaves: list[Tensor], size: int) -> Batch:
            taken = iter(leaves)
            nested = {n: map_leaves(lambda _: next(taken), p) for n, p in self._parts.items()}
            return _batch_of(nested, size)

        return build


def _batch_of(parts: Mapping[str, Any], size: int) -> Batch:
    return Batch(parts.get("x"), parts.get("y"), parts.get("sample_weight"), size)


def common_length(parts: Mapping[str, Any]) -> int:
    """Returns the number of samples in nested arrays.

    Args:
        parts: Argument name to nested arrays, or to None.

    Returns:
        The length that all arrays have.

    Raises:
        ValueError: Lengths differ, an array has no axis, or there is nothing.
    """
    lengths = {}
    for argument, part in parts.items():
        for name, leaf in named_leaves(part, argument) if part is not None else ():
            tensor = as_tensor(leaf, name)
            if not tensor.ndim:
                raise ValueError(f"{name} is a single number; it needs a first axis of samples")
            lengths[name] = len(tensor)
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} has {n}" for name, n in lengths.items())
        raise ValueError(f"arrays of different lengths: {listed}; all need one row for each sample")
    if not lengths or 0 in lengths.values():
        raise ValueError(f"no data: {', '.join(lengths) or 'x'} is empty")
    return next(iter(lengths.values()))
