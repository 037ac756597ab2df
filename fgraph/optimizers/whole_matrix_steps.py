"""Steps of optimizers that need whole matrices, for sharded parameters."""

from __future__ import annotations

from typing import Any

import torch

from ..common.mixed_parameters import kind_of


class WholeSteps:
    """Gathers DTensors before a step and shards the updated values; the state stays whole.

    Every process computes the whole step, which costs memory but gives the same result as torch's
    rule on whole matrices.
    """

    def __init__(self) -> None:
        self._replaced: list[tuple[list[Any], int, Any]] = []

    def attach(self, optimizer: Any) -> None:
        """Register the hooks with an optimizer, unless no parameter is sharded."""
        params = [p for group in optimizer.param_groups for p in group["params"]]
        if any(kind_of(p) is not None for p in params):
            optimizer.register_step_pre_hook(self._gather)
            optimizer.register_step_post_hook(self._shard)

    @torch.no_grad()
    def _gather(self, optimizer: Any, *_: Any) -> None:
        for group in optimizer.param_groups:
            params = group["params"]
            for place, p in enumerate(params):
                if kind_of(p) is None or p.grad is None:
                    continue
                whole = p.full_tensor().detach().clone()
                whole.grad = p.grad.full_tensor()
                if p in optimizer.state:
                    optimizer.state[whole] = optimizer.state.pop(p)
                self._replaced.append((params, place, p))
                params[place] = whole

    @torch.no_grad()
    def _shard(self, optimizer: Any, *_: Any) -> None:
        from torch.distributed.tensor import distribute_tensor

        for params, place, p in self._replaced:
            whole, params[place] = params[place], p
            if whole in optimizer.state:
                optimizer.state[p] = optimizer.state.pop(whole)
            mesh = p.device_mesh
            p.copy_(distribute_tensor(whole, mesh, p.placements, src_data_rank=None))
        self._replaced = []
