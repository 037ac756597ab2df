"""Arrays in memory, batched by one indexed gather."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, repeat
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...graph.nested import iter_leaves, leaves_with_paths, map_leaves
from .batch import Batch, Source
from .device_copies import begin_copies
from .placement import Placement, as_tensor, check_fits, named_leaves, path_text
from .sharded_data import keeping_step

_CUT_AT_ONCE = 64  # batches

Columns = list[tuple[Tensor, torch.dtype]]


class ArraySource(Source):
    """Arrays in memory, batched by one indexed gather for each array.

    Arrays are shared, not copied: only the rows of each batch are read from a memory-mapped array.

    Args:
        x: nested arrays of equal length.
        y: nested arrays, or `None`.
        sample_weight: nested arrays, or `None`.
        batch_size: the number of samples in a batch, over all processes.
        shuffle: whether each pass has a new order, drawn from torch's global generator.
        placement: where batches go, and in which dtypes.

    Raises:
        ValueError: lengths differ, or there is nothing.
        TypeError: something is not an array of numbers.
    """

    in_memory = True

    def __init__(
        self,
        x: Any,
        y: Any,
        sample_weight: Any,
        batch_size: int,
        shuffle: bool,
        placement: Placement,
    ) -> None:
        named = {"x": x, "y": y, "sample_weight": sample_weight}
        self.num_samples = self._length = common_length(named)
        self._processes, self.divided = placement.processes, placement.sharded
        if self.divided:  # each process takes its part of a batch from its own rows
            batch_size = max(self._processes.own_size(batch_size), 1)
            self.num_samples = None
        self.num_batches = math.ceil(self._length / batch_size)
        if not self.divided:
            self.batch_sizes = (min(batch_size, self._length), self._length % batch_size)
        self._parts = {name: part for name, part in named.items() if part is not None}
        self._columns = self._make_columns(placement)
        self._batch_size = batch_size
        self._shuffle = shuffle
        self._placement = placement
        on_disk = [isinstance(leaf, np.memmap) for leaf in iter_leaves([y, sample_weight])]
        if not any(on_disk):
            self.whole = self._as_tensors(y, "y"), self._as_tensors(sample_weight, "sample_weight")

    def _make_columns(self, placement: Placement) -> Columns:
        columns = []
        for name, part in self._parts.items():
            for index, (path, leaf) in enumerate(leaves_with_paths(part)):
                if leaf is None:  # for an output without a loss, or without weights
                    continue
                text = path_text(name, path)
                tensor = as_tensor(leaf, text)
                dtype = placement.dtype(name, path, index, leaf, tensor)
                check_fits(tensor, dtype, text)
                columns.append((tensor, dtype))
        return columns

    @staticmethod
    def _as_tensors(part: Any, name: str) -> Any:
        return map_leaves(lambda leaf: leaf if leaf is None else as_tensor(leaf, name), part)

    def batches(self, skip: int = 0) -> Iterator[Batch]:
        """Begin a pass; see `Source.batches`."""
        begin_copies(self._placement.device)
        if self._shuffle:
            # drawn here, when the pass begins, and not at the generator's first step
            with self._placement.random:
                order = torch.randperm(self._length)
            batches = self._shuffled(order, skip)
        else:
            batches = self._in_order(skip)
        return keeping_step(batches, self._processes) if self.divided else batches

    def first(self) -> Batch:
        """Return the first batch in order."""
        return next(self._in_order(0, at_once=1))

    def first_whole(self) -> Batch | None:
        """Return the first rows of all arrays; see `Source.first_whole`."""
        if self.divided:
            return None
        size = self.batch_sizes[0]
        return self._nested([tensor[:size] for tensor, _ in self._columns], self._length)

    def random_state(self) -> Any:
        """Return the state of the generator of orders, unless it is the global one."""
        return self._placement.random.state

    def set_random_state(self, state: Any) -> None:
        """Restore the state returned by `random_state`."""
        self._placement.random.restore(state)

    def _cut(self, tensor: Tensor, skip: int, at_once: int = _CUT_AT_ONCE) -> Iterator[Tensor]:
        """Return this process's rows of each batch, sliced many at a time, which is cheaper."""
        size, many = self._batch_size, self._batch_size * at_once
        starts = range(skip * size, self._length, many)
        batches = chain.from_iterable(tensor[at : at + many].split(size) for at in starts)
        if self.divided or self._processes.size == 1:
            return batches
        return (rows[slice(*self._processes.share(len(rows)))] for rows in batches)

    def _shuffled(self, order: Tensor, skip: int) -> Iterator[Batch]:
        columns = [
            map(self._gather_of(tensor, dtype), self._cut(order.to(tensor.device), skip))
            for tensor, dtype in self._columns
        ]
        return self._joined(columns, skip)

    def _in_order(self, skip: int, at_once: int = _CUT_AT_ONCE) -> Iterator[Batch]:
        columns = [
            self._placed(*column, self._cut(column[0], skip, at_once)) for column in self._columns
        ]
        return self._joined(columns, skip)

    def _placed(
        self, tensor: Tensor, dtype: torch.dtype, rows: Iterator[Tensor]
    ) -> Iterator[Tensor]:
        """Return this process's rows of each batch, on the device."""
        if tensor.device == self._placement.device and tensor.dtype is dtype:
            return rows
        return (self._placement.place(part, dtype) for part in rows)

    def _joined(self, columns: Sequence[Iterator[Tensor]], skip: int) -> Iterator[Batch]:
        """Combine the parts of batches; in C, if none is nested."""
        full, rest = divmod(self._length, self._batch_size)
        sizes = chain(repeat(self._batch_size, max(full - skip, 0)), [rest] if rest else [])
        if all(hasattr(part, "shape") for part in self._parts.values()):
            by_name = dict(zip(self._parts, columns, strict=True))
            fields = [by_name.get(name, repeat(None)) for name in ("x", "y", "sample_weight")]
            batches: Iterator[Batch] = map(_new_batch, zip(*fields, sizes))  # noqa: B905 - endless
        else:
            batches = map(self._nested, zip(*columns, strict=True), sizes)
        return batches if self.whole is not None else self._checked(batches)

    def _nested(self, leaves: Sequence[Tensor], size: int) -> Batch:
        left = iter(leaves)
        parts = map_leaves(lambda leaf: None if leaf is None else next(left), self._parts)
        return Batch(parts.get("x"), parts.get("y"), parts.get("sample_weight"), size)

    def _checked(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        for batch in batches:
            if self.check is not None:
                self.check(batch.y, batch.sample_weight)
            yield batch

    def _gather_of(self, tensor: Tensor, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        """Return a function from row indices to these rows of an array, on the device."""
        place, device = self._placement.place, self._placement.device
        if tensor.device == device and tensor.dtype is dtype:
            return partial(tensor.index_select, 0)
        if tensor.device.type == "cpu" and device.type == "cuda":
            return partial(self._gather_pinned, tensor, dtype)
        return lambda rows: place(tensor.index_select(0, rows), dtype)

    def _gather_pinned(self, tensor: Tensor, dtype: torch.dtype, rows: Tensor) -> Tensor:
        shape = (len(rows), *tensor.shape[1:])
        pinned = torch.empty(shape, dtype=tensor.dtype, pin_memory=True)
        return self._placement.place(torch.index_select(tensor, 0, rows, out=pinned), dtype)


_new_batch = partial(tuple.__new__, Batch)  # the constructor of a tuple, without a call in Python


def common_length(parts: Mapping[str, Any]) -> int:
    """Return the number of samples in nested arrays.

    Args:
        parts: argument name to nested arrays, or to `None`.

    Raises:
        ValueError: lengths differ, an array has no axis, or there is nothing.
    """
    lengths = {}
    for argument, part in parts.items():
        for name, leaf in named_leaves(part, argument):
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
