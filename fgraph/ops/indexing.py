"""Functions that choose, place and count values by index, or order them."""

from __future__ import annotations

import builtins
import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..graph import SymbolicTensor
from .conversion import DType, promoted, tensor, tensors, to_dtype
from .shape_tensors import numbers

__all__ = [
    "argpartition", "argsort", "bincount", "digitize", "get_item", "histogram", "in_top_k",
    "multi_hot", "nonzero", "one_hot", "scatter", "scatter_update", "searchsorted", "segment_max",
    "segment_min", "segment_prod", "segment_sum", "slice", "slice_update", "sort", "take",
    "take_along_axis", "top_k", "unique", "unravel_index",
]  # fmt: skip


def get_item(x: Any, key: Any) -> Tensor:
    """Return `x[key]`, with numbers, slices, `None`, `...`, tensors, or a tuple of them.

    Slices may have negative steps, as numpy's.
    """
    x, parts = tensor(x), key if isinstance(key, tuple) else (key,)
    if not any(_is_reversed(part) for part in parts):
        return x[key]
    axis, flipped, forward = 0, [], []
    for place, part in enumerate(parts, 1):
        if part is builtins.Ellipsis:
            axis = x.ndim - sum(other is not None for other in parts[place:])
        elif _is_reversed(part):
            flipped.append(axis)
            part = _mirrored(part)
        forward.append(part)
        axis += part is not None and part is not builtins.Ellipsis
    return torch.flip(x, flipped)[tuple(forward)]


def _is_reversed(part: Any) -> bool:
    """Return whether a part of an index has a negative step, which torch does not support."""
    return isinstance(part, builtins.slice) and isinstance(part.step, int) and part.step < 0


def _mirrored(part: Any) -> Any:
    """Return what a slice with a negative step is of the flipped axis."""
    start, stop = (None if end is None else -1 - end for end in (part.start, part.stop))
    return builtins.slice(start, stop, -part.step)


def take(x: Any, indices: Any, axis: int | None = None) -> Tensor:
    """Return the elements at these indices along an axis, or of the flattened tensor.

    Args:
        x: A tensor.
        indices: Whole numbers, of any shape; negative ones count from the end.
        axis: The axis; in the result, the axes of `indices` are in its place.
    """
    x = tensor(x)
    x, axis = (x.flatten(), 0) if axis is None else (x, axis % x.ndim)
    index = indices if isinstance(indices, int) else tensor(indices).long()
    return x[(builtins.slice(None),) * axis + (index,)]


def take_along_axis(x: Any, indices: Any, axis: int | None = None) -> Tensor:
    """Return an element for each index, whose shape is that of `x` but for the axis.

    Args:
        x: A tensor.
        indices: Whole numbers; negative ones count from the end.
        axis: The axis; the flattened tensor for `None`.
    """
    x, index = tensor(x), tensor(indices).long()
    size = x.shape.numel() if axis is None else x.shape[axis]
    return torch.take_along_dim(x, torch.where(index < 0, index + size, index), dim=axis)


def slice(inputs: Any, start_indices: Any, shape: Any) -> Tensor:
    """Return the part of a tensor that begins at these indices and has this shape.

    Args:
        inputs: A tensor.
        start_indices: An index for each axis; a tensor of them may be known only at run time.
        shape: The size along each axis.
    """
    x = tensor(inputs)
    sizes = list(numbers(shape, "ops.slice: shape"))
    if isinstance(start_indices, (Tensor, SymbolicTensor)):
        for axis, size in enumerate(sizes):
            places = start_indices[axis] + torch.arange(size, device=x.device)
            x = x.index_select(axis, places.long())
        return x
    spans = zip(start_indices, sizes, strict=True)
    return x[tuple(builtins.slice(start, start + size) for start, size in spans)]


def slice_update(inputs: Any, start_indices: Any, updates: Any) -> Tensor:
    """Return `inputs` with `updates` in place of the part that begins at these indices."""
    x, updates = tensor(inputs), tensor(updates, tensor(inputs).dtype)
    places = []
    for axis, size in enumerate(updates.shape):
        place = start_indices[axis] + torch.arange(size, device=x.device)
        places.append(place.long().reshape([-1] + [1] * (updates.ndim - axis - 1)))
    return x.index_put(tuple(places), updates)


def scatter(indices: Any, values: Any, shape: Any) -> Tensor:
    """Return zeros with values added at these indices.

    Args:
        indices: Whole numbers, `(..., rank of an index)`.
        values: Values, `(..., *shape[rank of an index:])`; those at equal indices are added up.
        shape: The shape of the result.
    """
    values, index = tensor(values), tensor(indices).long()
    return values.new_zeros(tuple(shape)).index_put(_columns(index), values, accumulate=True)


def _columns(index: Tensor) -> tuple[Tensor, ...]:
    """Return the index along each axis, in memory of their own where a graph keeps them."""
    parts = index.unbind(-1)
    return parts if isinstance(index, SymbolicTensor) else tuple(part.clone() for part in parts)


def scatter_update(inputs: Any, indices: Any, updates: Any, reduction: str | None = None) -> Tensor:
    """Return `inputs` with values put in at these indices.

    Args:
        inputs: A tensor.
        indices: Whole numbers, `(number, rank of an index)`.
        updates: Values, `(number, *inputs.shape[rank of an index:])`.
        reduction: `None`, put in; `"add"`, `"mul"`, `"max"` or `"min"`: with what stands there.

    Raises:
        ValueError: The reduction is not known.
    """
    x, index, updates = tensors(inputs, indices, updates)
    index, updates = index.long(), tensor(updates, x.dtype)
    if reduction in (None, "add"):
        return x.index_put(_columns(index), updates, accumulate=reduction == "add")
    known = {"mul": "prod", "max": "amax", "min": "amin"}
    if reduction not in known:
        raise ValueError(f"scatter_update: unknown reduction {reduction!r}; known: add, {known}")
    rank = index.shape[-1]
    place: Any = 0
    for part, size in zip(index.unbind(-1), x.shape, strict=False):
        place = place * size + torch.where(part < 0, part + size, part)
    rows = updates.reshape(index.shape[0], -1)
    flat = x.reshape(math.prod(x.shape[:rank]), -1)
    made = flat.scatter_reduce(0, place.unsqueeze(-1).expand_as(rows), rows, known[reduction])
    return made.reshape(x.shape)


def one_hot(
    x: Any, num_classes: int, axis: int = -1, dtype: DType = None, sparse: bool = False
) -> Tensor:
    """Return 1 at the place of each whole number and 0 elsewhere; zeros for negative numbers.

    Args:
        x: Whole numbers below `num_classes`, of any shape.
        num_classes: Size of the new axis.
        axis: Where the new axis is in the result.
        dtype: Data type of the result. Defaults to torch's default.
        sparse: Only false.

    Raises:
        ValueError: `sparse` is true.
    """
    _refuse_sparse("one_hot", sparse)
    codes = tensor(x).long()
    made = torch.eq(codes.unsqueeze(-1), torch.arange(num_classes, device=codes.device))
    return made.movedim(-1, axis).to(to_dtype(dtype)) if axis != -1 else made.to(to_dtype(dtype))


def multi_hot(
    inputs: Any,
    num_classes: int | None = None,
    axis: int = -1,
    dtype: DType = None,
    sparse: bool = False,
    **kwargs: Any,
) -> Tensor:
    """Return, for each sample, 1 at the places of its whole numbers and 0 elsewhere.

    Args:
        inputs: Whole numbers, `(numbers,)` or `(batch, numbers, ...)`.
        num_classes: Size of the new axis.
        axis: Where the new axis would be in `one_hot`.
        dtype: Data type of the result. Defaults to torch's default.
        sparse: Only false.
        **kwargs: The older name `num_tokens` of `num_classes`.

    Raises:
        ValueError: `sparse` is true, or the size is not given.
    """
    num_classes = kwargs.pop("num_tokens", num_classes)
    if num_classes is None or kwargs:
        raise ValueError(f"multi_hot expects num_classes=, got {num_classes} and {sorted(kwargs)}")
    _refuse_sparse("multi_hot", sparse)
    made = one_hot(inputs, num_classes, axis, dtype)
    return torch.amax(made, dim=1 if tensor(inputs).ndim > 1 else 0)


def _refuse_sparse(name: str, sparse: bool) -> None:
    if sparse:
        raise ValueError(f"{name}: sparse=True is not supported: the result is a dense tensor")


def sort(x: Any, axis: int | None = -1) -> Tensor:
    """Return the elements along an axis, or of the flattened tensor, in ascending order."""
    x = tensor(x)
    x, axis = (x.flatten(), 0) if axis is None else (x, axis)
    return torch.sort(x, dim=axis).values


def argsort(x: Any, axis: int | None = -1) -> Tensor:
    """Return the indices that put the elements into ascending order, equal ones as they were."""
    x = tensor(x)
    x, axis = (x.flatten(), 0) if axis is None else (x, axis)
    return torch.argsort(x, dim=axis, stable=True).to(torch.int32)


def argpartition(x: Any, kth: int, axis: int | None = -1) -> Tensor:
    """Return indices, those of the `kth` smallest elements before all others; they are sorted."""
    return argsort(x, axis)


def top_k(x: Any, k: int, sorted: bool = True) -> Any:
    """Return the `k` largest elements along the last axis, and their indices."""
    values, indices = torch.topk(tensor(x), k, sorted=sorted)
    return values, indices


def in_top_k(targets: Any, predictions: Any, k: int) -> Tensor:
    """Return whether each target is among the `k` largest of its predictions.

    Args:
        targets: Whole numbers, `(batch,)`.
        predictions: Scores, `(batch, classes)`.
        k: How many.
    """
    scores = tensor(predictions)
    chosen = torch.take_along_dim(scores, tensor(targets).long().unsqueeze(-1), dim=-1)
    return torch.any(chosen >= torch.topk(scores, k).values, dim=-1)


def searchsorted(sorted_sequence: Any, values: Any, side: str = "left") -> Tensor:
    """Return where values belong in an ascending sequence of one axis, as int32."""
    ordered, values = promoted(sorted_sequence, values)
    if ordered.ndim != 1:
        raise ValueError(f"searchsorted expects a sequence of one axis, got shape {ordered.shape}")
    return torch.searchsorted(ordered, values, side=side, out_int32=True)


def digitize(x: Any, bins: Any) -> Tensor:
    """Return the number of the range that each element falls into, between ascending bounds."""
    values, bounds = promoted(x, bins)
    return torch.bucketize(values, bounds, right=True, out_int32=True)


def bincount(x: Any, weights: Any = None, minlength: int = 0, sparse: bool = False) -> Tensor:
    """Return how often each whole number occurs, in each row of a matrix.

    Args:
        x: Whole numbers from 0, `(numbers,)` or `(batch, numbers)`; a real tensor, as the size of
            the result depends on the values: in a graph, write `ops.sum(ops.one_hot(x, n), -2)`.
        weights: The weight of each number, of the shape of `x`.
        minlength: The smallest size of the result.
        sparse: Only false.

    Raises:
        ValueError: `sparse` is true.
        TypeError: `x` is symbolic.
    """
    _refuse_sparse("bincount", sparse)
    _refuse_symbolic("bincount", x, "`ops.sum(ops.one_hot(x, num_classes), axis=-2)`")
    codes = tensor(x).long()
    given = None if weights is None else tensor(weights)
    dtype = torch.int32 if given is None else torch.promote_types(tensor(x).dtype, given.dtype)
    if codes.ndim == 1:
        return torch.bincount(codes, given, minlength).to(dtype)
    length = builtins.max(minlength, int(codes.max()) + 1) if codes.numel() else minlength
    rows = [
        torch.bincount(row, None if given is None else given[i], length)
        for i, row in enumerate(codes)
    ]
    return torch.stack(rows).to(dtype)


def _refuse_symbolic(name: str, x: Any, instead: str) -> None:
    if isinstance(x, SymbolicTensor):
        raise TypeError(
            f"{name} expects a real tensor: the size of its result depends on the values, which a "
            f"symbolic one does not have yet; write {instead}"
        )


_IN_FUNCTION = "it inside a function for `fgraph.apply(function, x, output_shape=...)`"


def nonzero(x: Any) -> Tensor:
    """Return the indices of elements that are not 0, one row for each axis; of a real tensor."""
    _refuse_symbolic("nonzero", x, _IN_FUNCTION)
    return torch.nonzero(tensor(x)).T.to(torch.int32)


def histogram(x: Any, bins: int = 10, range: tuple[float, float] | None = None) -> Any:
    """Return how many values fall into each of some ranges of equal width, and their bounds."""
    values = tensor(x)
    _refuse_symbolic("histogram", x, _IN_FUNCTION)
    found = torch.histogram(values.float().flatten(), bins=bins, range=range)
    return found.hist, found.bin_edges


def unique(
    x: Any,
    sorted: bool = True,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
    size: int | None = None,
    fill_value: Any = None,
) -> Any:
    """Return the different values of a real tensor.

    Args:
        x: A real tensor.
        sorted: Whether they are in ascending order.
        return_index: Whether to return where each occurs first, too.
        return_inverse: Whether to return, for each element, the index of its value, too.
        return_counts: Whether to return how often each occurs, too.
        axis: The axis whose slices are compared; elements for `None`.
        size: How many values to return: more are cut off, and fewer filled up.
        fill_value: What to fill up with. Defaults to 0.

    Returns:
        The values, or a tuple of them and what else is asked for.

    Raises:
        TypeError: `x` is symbolic.
    """
    _refuse_symbolic("unique", x, _IN_FUNCTION)
    x = tensor(x)
    values, inverse, counts = torch.unique(
        x, sorted=sorted, return_inverse=True, return_counts=True, dim=axis
    )
    dim = 0 if axis is None else axis % x.ndim
    flat = inverse.flatten()
    places = torch.arange(flat.numel(), device=x.device)
    first = flat.new_empty(values.shape[dim]).scatter_reduce(
        0, flat, places, "amin", include_self=False
    )
    if size is not None:
        values = _resized(values, size, dim, 0 if fill_value is None else fill_value)
        counts, first = _resized(counts, size, 0, 0), _resized(first, size, 0, 1)
    asked = ((return_index, first), (return_inverse, inverse), (return_counts, counts))
    found = (values, *(value for wanted, value in asked if wanted))
    return found if len(found) > 1 else values


def _resized(x: Tensor, size: int, axis: int, value: Any) -> Tensor:
    """Return `x` cut off or filled up to a size along an axis."""
    missing = size - x.shape[axis]
    if missing <= 0:
        return x.narrow(axis, 0, size)
    return F.pad(x, [0, 0] * (x.ndim - 1 - axis) + [0, missing], value=value)


def unravel_index(indices: Any, shape: Any) -> tuple[Tensor, ...]:
    """Return the index along each axis for indices into the flattened tensor."""
    places = tensor(indices)
    return tuple(part.to(places.dtype) for part in torch.unravel_index(places.long(), tuple(shape)))


def segment_sum(
    data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False
) -> Tensor:
    """Return the sums of the rows of each segment.

    Args:
        data: Values, `(rows, ...)`.
        segment_ids: The segment of each row; rows with a number out of range are left out.
        num_segments: Number of segments. Defaults to the largest number plus 1, of a real tensor.
        sorted: Whether the numbers ascend; it makes no difference.

    Raises:
        TypeError: `segment_ids` is symbolic, and the number of segments is not given.
    """
    return _segments("segment_sum", "sum", data, segment_ids, num_segments)


def segment_prod(
    data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False
) -> Tensor:
    """Return the products of the rows of each segment; see `segment_sum`."""
    return _segments("segment_prod", "prod", data, segment_ids, num_segments)


def segment_max(
    data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False
) -> Tensor:
    """Return the largest of the rows of each segment, the lowest number where it has none."""
    return _segments("segment_max", "amax", data, segment_ids, num_segments)


def segment_min(
    data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False
) -> Tensor:
    """Return the smallest of the rows of each segment, the highest number where it has none."""
    return _segments("segment_min", "amin", data, segment_ids, num_segments)


def _segments(name: str, kind: str, data: Any, segment_ids: Any, count: int | None) -> Tensor:
    data, ids = tensors(data, segment_ids)
    ids = ids.long()
    if count is None:
        _refuse_symbolic(name, segment_ids, "`num_segments=`")
        count = int(ids.max()) + 1
    inside = torch.where((ids >= 0) & (ids < count), ids, count)
    index = inside.reshape([-1] + [1] * (data.ndim - 1)).expand_as(data)
    start = data.new_full((count + 1, *data.shape[1:]), _neutral(kind, data.dtype))
    return start.scatter_reduce(0, index, data, kind).narrow(0, 0, count)


def _neutral(kind: str, dtype: torch.dtype) -> float:
    """Return the number that does not change a reduction."""
    if kind in ("sum", "prod"):
        return 0 if kind == "sum" else 1
    if dtype.is_floating_point:
        return -float("inf") if kind == "amax" else float("inf")
    return torch.iinfo(dtype).min if kind == "amax" else torch.iinfo(dtype).max
