"""Parameters of which some are sharded (DTensors), for functions that take one kind at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


def kind_of(tensor: Tensor) -> Any:
    """Return the mesh that a DTensor is on; `None` for any other tensor."""
    return getattr(tensor, "device_mesh", None)


def by_kind(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    """Divide tensors into lists of one kind."""
    kinds: dict[Any, list[Tensor]] = {}
    for tensor in tensors:
        kinds.setdefault(kind_of(tensor), []).append(tensor)
    return list(kinds.values())


def each_kind(first: list[Tensor], *others: list[Tensor]) -> list[tuple[list[Tensor], ...]]:
    """Divide lists that belong together as `by_kind` divides the first of them."""
    kinds: dict[Any, list[int]] = {}
    for place, tensor in enumerate(first):
        kinds.setdefault(kind_of(tensor), []).append(place)
    lists = (first, *others)
    return [tuple([given[i] for i in places] for given in lists) for places in kinds.values()]


def clip_norm(parameters: Iterable[Tensor], limit: float) -> None:
    """Scale gradients so that their norm together is at most `limit`, as torch does.

    Args:
        parameters: parameters, those without a gradient are left out.
        limit: the largest norm.
    """
    kinds = by_kind(p for p in parameters if p.grad is not None)
    if len(kinds) == 1 and kind_of(kinds[0][0]) is None:
        nn.utils.clip_grad_norm_(kinds[0], limit)
        return
    norms: list[Any] = []
    for kind in kinds:
        norm: Any = nn.utils.get_total_norm([p.grad for p in kind if p.grad is not None])
        norms.append(norm if kind_of(norm) is None else norm.full_tensor())
    for kind in kinds:
        nn.utils.clip_grads_with_norm_(kind, limit, torch.linalg.vector_norm(torch.stack(norms)))
