"""Operations on parameters of which some are DTensors and others are not."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn


def kind_of(tensor: Tensor) -> Any:
    """Return the mesh that a DTensor is on; `None` for any other tensor."""
    return getattr(tensor, "device_mesh", None)


def by_kind(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    """Group tensors into lists of one kind: plain, or DTensors on one mesh."""
    kinds: dict[Any, list[Tensor]] = {}
    for tensor in tensors:
        kinds.setdefault(kind_of(tensor), []).append(tensor)
    return list(kinds.values())


def each_kind(first: list[Tensor], *others: list[Tensor]) -> list[tuple[list[Tensor], ...]]:
    """Split parallel lists in the way that `by_kind` splits the first."""
    kinds: dict[Any, list[int]] = {}
    for place, tensor in enumerate(first):
        kinds.setdefault(kind_of(tensor), []).append(place)
    lists = (first, *others)
    return [tuple([given[i] for i in places] for given in lists) for places in kinds.values()]


@torch.no_grad()
def copy_into(parameters: list[Tensor], values: list[Tensor]) -> None:
    """Replace the values of parameters by others, sharded in the same way."""
    for params, kept in each_kind(parameters, values):
        if kind_of(params[0]) is None:
            torch._foreach_copy_(params, kept)
            continue
        for p, value in zip(params, kept, strict=True):
            p.copy_(value)


def clip_norm(parameters: Iterable[Tensor], limit: float) -> None:
    """Scale gradients so that their total norm is at most `limit`, as torch does.

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


class GradScaler(torch.amp.GradScaler):
    """torch's gradient scaler for float16, which also handles partly sharded gradients.

    torch checks all gradients for overflow in one call, which takes one kind of gradients only, and
    communicates by the placement of the first. So this calls it once for each kind.
    """

    def _unscale_grads_(
        self, optimizer: Any, inv_scale: Tensor, found_inf: Tensor, allow_fp16: bool
    ) -> dict[torch.device, Tensor]:
        kinds: dict[Any, list[Tensor]] = {}
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    placements = tuple(getattr(p.grad, "placements", ()))
                    kinds.setdefault((kind_of(p.grad), placements), []).append(p)
        if len(kinds) < 2:
            return super()._unscale_grads_(optimizer, inv_scale, found_inf, allow_fp16)
        found: dict[torch.device, Tensor] = {}
        for params in kinds.values():
            part: Any = SimpleNamespace(param_groups=[{"params": params}])
            for device, value in (
                super()._unscale_grads_(part, inv_scale, found_inf, allow_fp16).items()
            ):
                before = found.get(device)
                found[device] = value if before is None else torch.maximum(value, before)
        return found
