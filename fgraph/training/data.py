"""Sources of batches: arrays in memory, and anything that yields batches by itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from . import distributed
from .structure import as_tensor, flatten, map_leaves, moved, named_leaves, to_device


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
    for leaf in flatten(x):
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


class ClassWeight:
    """Sample weights by class.

    Args:
        weights: Weight of each class, by its index.

    Raises:
        TypeError: It is not a dict of numbers.
    """

    def __init__(self, weights: Any) -> None:
        if not isinstance(weights, Mapping) or not all(
            isinstance(v, int | float) for v in weights.values()
        ):
            raise TypeError(
                f"class_weight must be a dict of class index to number, got {weights!r}"
            )
        if not weights:
            raise ValueError("class_weight is empty; give the weight of every class")
        self.weights = {int(k): float(v) for k, v in weights.items()}
        self._table = torch.full((max(self.weights) + 1,), math.nan)
        for index, weight in self.weights.items():
            self._table[index] = weight

    def times(self, y: Any, sample_weight: Any) -> Any:
        """Returns the weight of each sample, times the given ones.

        Args:
            y: Targets of one output: labels `(N,)` or `(N, 1)`, or one-hot rows `(N, classes)`.
            sample_weight: Weights, or None.

        Returns:
            Weights of shape `(N,)`, or in the shape of `sample_weight`.

        Raises:
            ValueError: There are several outputs, or a class has no weight.
        """
        leaves = flatten(y)
        if len(leaves) != 1 or leaves[0] is None:
            raise ValueError(
                f"class_weight needs a model with one output and its targets, got {len(leaves)} "
                "targets: pass sample_weight by output"
            )
        labels = as_tensor(leaves[0], "y")
        one_hot = labels.ndim > 1 and labels.shape[-1] > 1
        labels = (labels.argmax(-1) if one_hot else labels.reshape(len(labels), -1)[:, 0]).long()
        missing = sorted(set(torch.unique(labels).tolist()) - set(self.weights))
        if missing:
            raise ValueError(
                f"class_weight lacks class {missing[0]} of y (it has {sorted(self.weights)}); "
                "give the weight of every class"
            )
        by_class = self._table.to(labels.device)[labels]
        if sample_weight is None:
            return by_class
        given = as_tensor(flatten(sample_weight)[0], "sample_weight")
        return given * by_class.view(-1, *[1] * (given.ndim - 1)).to(given.dtype)


def prefetched(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """Copies each batch to the device while the one before it is being used.

    Args:
        batches: Batches, whose copies are begun when they are drawn.
        device: Where they go; on anything but CUDA the batches pass through unchanged.

    Returns:
        The same batches.
    """
    return _on_side_stream(batches, device) if device.type == "cuda" else batches


def _on_side_stream(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def draw() -> Batch | None:
        with torch.cuda.stream(stream):
            return next(batches, None)

    ahead = draw()
    while ahead is not None:
        current = torch.cuda.current_stream(device)
        current.wait_stream(stream)
        batch = ahead
        for leaf in flatten(tuple(batch)):
            if isinstance(leaf, Tensor):
                leaf.record_stream(current)  # its memory was allocated on the side stream
        ahead = draw()
        yield batch


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
    return isinstance(x, Dataset | Iterable)
