"""The same script under `torchrun`: one process a device, gradients averaged by torch's DDP.

Every process goes through the same batches and takes its share of each, so that `batch_size`
means the same however many processes there are, and so does the result.
"""

from __future__ import annotations

import os
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..callbacks.processes import is_sharded as is_sharded
from ..callbacks.processes import rank as rank
from ..callbacks.processes import world_size as world_size


def start(device: torch.device) -> None:
    """Joins the processes that `torchrun` started, unless the script did so itself.

    Args:
        device: The model's device; CUDA talks over nccl, everything else over gloo.
    """
    launched = int(os.environ.get("WORLD_SIZE", "1")) > 1 and "MASTER_ADDR" in os.environ
    if launched and dist.is_available() and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")


def share(size: int) -> tuple[int, int]:
    """Returns where this process's part of a batch begins and ends.

    Args:
        size: Samples in the batch.

    Returns:
        First index and end. A batch with fewer samples than processes leaves some processes the
        last sample, which then counts 0 (see `scale`).
    """
    world = world_size()
    if world == 1:
        return 0, size
    first, stop = (size * rank()) // world, (size * (rank() + 1)) // world
    return (first, stop) if stop > first else (size - 1, size)


def own_size(size: int) -> int:
    """Returns how many of a batch's samples this process counts."""
    world = world_size()
    return size if world == 1 else (size * (rank() + 1)) // world - (size * rank()) // world


def scale(size: int) -> float:
    """Returns the factor of this process's mean loss, so that the average is the batch's mean."""
    return own_size(size) * world_size() / size


def broadcast(tensor: Tensor) -> Tensor:
    """Returns the first process's tensor, in every process."""
    if world_size() > 1:
        device = _device()
        moved = tensor.to(device)
        dist.broadcast(moved, 0)
        return moved.to(tensor.device)
    return tensor


def align_random_state() -> None:
    """Seeds all processes alike, so that they draw the same order from a shuffling loader."""
    if world_size() > 1:
        torch.manual_seed(int(broadcast(torch.randint(2**31, (1,)))))


def total(tensor: Tensor) -> Tensor:
    """Returns the sum of a tensor over all processes."""
    if world_size() > 1:
        moved = tensor.to(_device(), copy=True)
        dist.all_reduce(moved)
        return moved
    return tensor


def _device() -> torch.device:
    nccl = dist.get_backend() == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if nccl else torch.device("cpu")


class _CallWithLogits(nn.Module):
    """The call that DDP wraps: the model's own, with its logits."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Any) -> Any:
        return self.model._call_with_logits(inputs)


def wrap(model: Any) -> Any:
    """Returns what a training step calls: the model's call, through DDP where it is needed.

    Args:
        model: The model; one that `fully_shard` divided averages its gradients itself.

    Returns:
        A callable of the inputs that returns `(flat outputs, logits)`.
    """
    if world_size() == 1 or is_sharded(model):
        return model._call_with_logits
    device = next(model.parameters()).device
    ids = [device.index] if device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(_CallWithLogits(model), device_ids=ids)
