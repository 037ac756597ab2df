"""Calls whose results have sizes that values decide, on meta tensors: masks, nonzero, unique.

Each rule takes `count`, the function and its arguments. `count(most)` returns a stand-in for the
number of elements selected among `most`; it differs between lanes, so such a size is always
unknown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Count = Callable[[int], int]


def _places(count: Count, mask: Tensor) -> tuple[Tensor, ...]:
    found = count(mask.numel())
    return tuple(mask.new_empty(found, dtype=torch.long) for _ in range(mask.dim()))


def _nonzero(count: Count, func: Any, x: Tensor, *, as_tuple: bool = False) -> Any:
    places = _places(count, x)
    return places if as_tuple else x.new_empty((count(x.numel()), x.dim()), dtype=torch.long)


def _masked_select(count: Count, func: Any, x: Tensor, mask: Tensor) -> Tensor:
    return x.new_empty(count(torch.broadcast_tensors(x, mask)[0].numel()))


def _where(count: Count, func: Any, condition: Tensor, *values: Any, **named: Any) -> Any:
    if values or named:
        return func(condition, *values, **named)
    return _places(count, condition)


_PLACES = (torch.int8, torch.int16, torch.int32, torch.int64)


def _indexed(count: Count, func: Any, x: Any, index: Any, *value: Any) -> Any:
    """Call with places where the index has masks: `x[mask]`, `x[:, mask] = value`."""
    found: list[Any] = []
    for item in index if isinstance(index, tuple) else (index,):
        if type(item) is list and item and type(item[0]) is bool:
            found.append([place for place, taken in enumerate(item) if taken])
            continue
        if isinstance(item, Tensor) and not item.dim() and item.dtype in _PLACES:
            found.append(0)  # what torch reads is a number, and the result a view, as for any
            continue
        is_mask = isinstance(item, Tensor) and item.dtype in (torch.bool, torch.uint8)
        found += _places(count, item) if is_mask and item.dim() else (item,)
    return func(x, tuple(found) if isinstance(index, tuple) or len(found) > 1 else found[0], *value)


def _repeated(
    count: Count, func: Any, x: Tensor, repeats: Any = None, dim: int | None = None, **named: Any
) -> Any:
    if repeats is None:  # the places of repeated elements
        return x.new_empty(named.get("output_size") or count(x.numel()))
    if not isinstance(repeats, Tensor) or named.get("output_size") is not None:
        return func(x, repeats, dim, **named)
    x, dim = (x.flatten(), 0) if dim is None else (x, dim)
    return x.index_select(dim, repeats.new_empty(count(x.size(dim)), dtype=torch.long))


def _unique(
    count: Count,
    func: Any,
    x: Tensor,
    *,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    of = x.flatten() if dim is None else x.movedim(dim, 0)
    values = of.new_empty((count(of.size(0)), *of.shape[1:]))
    inverse = x.new_empty(x.shape if dim is None else (x.size(dim),), dtype=torch.long)
    parts = [values if dim is None else values.movedim(0, dim)]
    parts += [inverse] * return_inverse + [values.new_empty(len(values)).long()] * return_counts
    return parts[0] if len(parts) == 1 else tuple(parts)


def _counts(
    count: Count, func: Any, x: Tensor, weights: Tensor | None = None, minlength: int = 0
) -> Tensor:
    found = max(minlength, count(x.numel()))
    return x.new_empty(found, dtype=torch.long if weights is None else weights.dtype)


def _one_hot(count: Count, func: Any, x: Tensor, num_classes: int = -1) -> Tensor:
    classes = count(x.numel()) if num_classes == -1 else num_classes
    return x.new_empty((*x.shape, classes))


# Packed sequences: all of a batch may be shorter than what they were padded to. `PackedSequence`
# wants `batch_sizes` on the CPU, and modules read the first one, which is the size of the batch.


def pack(count: Count, func: Any, x: Tensor, lengths: Tensor, batch_first: bool) -> Any:
    """Return what `torch._pack_padded_sequence` does: the steps of all rows, and their counts."""
    batch, steps = x.shape[:2] if batch_first else (x.size(1), x.size(0))
    steps = max(1, min(steps, (count(steps) + 1) // 2))
    sizes = torch.full((steps,), batch, dtype=torch.long, device="cpu")
    return x.new_empty((batch * steps, *x.shape[2:])), sizes


def _pad(
    count: Count, func: Any, x: Tensor, sizes: Tensor, batch_first: bool, value: Any, most: int
) -> Any:
    batch = int(sizes[0])
    shape = (batch, most) if batch_first else (most, batch)
    return x.new_empty((*shape, *x.shape[1:])), x.new_empty(batch, dtype=torch.long)


SIZED_BY_VALUES: dict[str, Callable[..., Any]] = {
    "nonzero": _nonzero, "argwhere": _nonzero, "masked_select": _masked_select, "where": _where,
    "unique": _unique, "unique_consecutive": _unique,
    "__getitem__": _indexed, "__setitem__": _indexed, "setitem": _indexed,
    "repeat_interleave": _repeated,
    "bincount": _counts, "one_hot": _one_hot,
    "_pack_padded_sequence": pack, "_pad_packed_sequence": _pad,
}  # fmt: skip
