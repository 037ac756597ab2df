"""Tensors that share memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import LoadError, SaveError


def views_among(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return owner, offset, shape and stride of each tensor that views another's memory.

    Sparse tensors are left out: no other tensor can be a view of them.
    """
    tensors = {name: t for name, t in tensors.items() if t.layout is torch.strided}
    by_storage: dict[Any, list[str]] = {}
    for name in sorted(tensors, key=lambda name: -tensors[name].nbytes):
        tensor = tensors[name]
        if tensor.numel():
            by_storage.setdefault((tensor.device, tensor.untyped_storage().data_ptr()), []).append(
                name
            )
    views: dict[str, Any] = {}
    for names in by_storage.values():
        owners: list[str] = []
        for name in names:
            owner = next((o for o in owners if _overlap(tensors[name], tensors[o])), None)
            if owner is None:
                owners.append(name)
                continue
            tensor, whole = tensors[name], tensors[owner]
            offset = tensor.storage_offset() - whole.storage_offset()
            view = int(offset), list(tensor.shape), list(tensor.stride())
            dense = torch.empty_like(whole, device="meta").stride() == whole.stride()
            kinds = [(t.dtype, t.is_conj(), t.is_neg()) for t in (tensor, whole)]
            if kinds[0] != kinds[1] or not dense or not _is_within(whole.numel(), *view):
                raise SaveError(
                    f"the tensors {name!r} and {owner!r} overlap in memory: clone one of them"
                )
            views[name] = [owner, *view]
    return views


def with_views(tensors: Mapping[str, Tensor], views: Mapping[str, Any]) -> dict[str, Tensor]:
    """Add the tensors that share memory with others.

    Args:
        tensors: the tensors that own memory, by name.
        views: owner, offset, shape and stride of the others, in elements. A tensor that is its own
            owner is stored contiguously, and gets these strides.
    """
    found = dict(tensors)
    for name, (owner, offset, shape, stride) in views.items():
        whole = found[owner]
        known = name in tensors and name != owner
        if known or not all(type(n) is int for n in (offset, *shape, *stride)):
            raise LoadError(f"the tensor {name!r} is said to be part of {owner!r}")
        fits = _is_within(whole.numel(), offset, shape, stride)
        if not fits or math.prod(shape) > whole.numel():  # the larger one owns the memory
            raise LoadError(f"the tensor {name!r} is not within {owner!r}")
        if name == owner:
            found[name] = whole.new_empty_strided(shape, stride).copy_(whole)
        else:
            found[name] = torch.as_strided(whole, shape, stride, offset)
    return found


def _overlap(first: Tensor, second: Tensor) -> bool:
    """Return whether two tensors of one storage overlap."""
    (a, b), (c, d) = map(_bounds, (first, second))
    return a < d and c < b


def _bounds(tensor: Tensor) -> tuple[int, int]:
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    last = sum((size - 1) * stride for size, stride in steps)
    begin = int(tensor.storage_offset())
    return begin * tensor.element_size(), (begin + last + 1) * tensor.element_size()


def _is_within(count: int, offset: int, shape: list[int], stride: list[int]) -> bool:
    """Return whether a view with these bounds lies within `count` elements."""
    last = sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    return min([offset, *stride, *shape]) >= 0 and offset + last < count
