"""Tensors that lie in the memory of others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import SaveError


def views_among(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return owner, offset, shape and stride of each tensor that lies in another one's memory."""
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
            if kinds[0] != kinds[1] or not dense or not is_within(whole.numel(), *view):
                raise SaveError(
                    f"the tensors {name!r} and {owner!r} overlap in memory: clone one of them"
                )
            views[name] = [owner, *view]
    return views


def _overlap(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors of one storage have bytes between the same bounds."""
    (a, b), (c, d) = map(_bounds, (first, second))
    return a < d and c < b


def _bounds(tensor: Tensor) -> tuple[int, int]:
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    last = sum((size - 1) * stride for size, stride in steps)
    begin = int(tensor.storage_offset())
    return begin * tensor.element_size(), (begin + last + 1) * tensor.element_size()


def is_within(count: int, offset: int, shape: list[int], stride: list[int]) -> bool:
    """Whether a view with these bounds lies within `count` elements."""
    last = sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    return min([offset, *stride, *shape]) >= 0 and offset + last < count
