"""What callbacks and the trainer ask about a run of several processes."""

from __future__ import annotations

from typing import Any

import torch.distributed as dist
from torch import nn


def world_size() -> int:
    """Return the number of processes that train together, 1 outside `torchrun`."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return this process's number, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def is_sharded(model: nn.Module) -> bool:
    """Return whether FSDP2 (`fully_shard`) divided a model's parameters."""
    if not dist.is_available():
        return False
    from torch.distributed.tensor import DTensor

    return any(isinstance(p, DTensor) for p in model.parameters())


def full_state_dict(model: nn.Module) -> dict[str, Any]:
    """Return a model's whole `state_dict`, gathered on the host where it is sharded.

    Every process of a sharded model must call this.
    """
    if not is_sharded(model):
        return model.state_dict()
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return dict(get_model_state_dict(model, options=options))
