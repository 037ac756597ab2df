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
    """Join the processes that `torchrun` started, unless the script did so itself.

    Args:
        device: the model's device; CUDA communicates by nccl, everything else by gloo.
    """
    launched = int(os.environ.get("WORLD_SIZE", "1")) > 1 and "MASTER_ADDR" in os.environ
    if launched and dist.is_available() and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")


def share(size: int) -> tuple[int, int]:
    """Return where this process's part of a batch of `size` samples begins and ends.

    A batch with fewer samples than processes leaves some processes the last sample, which then
    counts 0 (see `scale`).
    """
    world = world_size()
    if world == 1:
        return 0, size
    first, stop = (size * rank()) // world, (size * (rank() + 1)) // world
    return (first, stop) if stop > first else (size - 1, size)


def own_size(size: int) -> int:
    """Return how many of a batch's samples count in this process."""
    world = world_size()
    return size if world == 1 else (size * (rank() + 1)) // world - (size * rank()) // world


def scale(size: int) -> float:
    """Return the factor of this process's mean loss whose average is the batch's mean loss."""
    return own_size(size) * world_size() / size


def broadcast(tensor: Tensor) -> Tensor:
    """Return the first process's tensor, in every process."""
    if world_size() > 1:
        device = _device()
        moved = tensor.to(device)
        dist.broadcast(moved, 0)
        return moved.to(tensor.device)
    return tensor


def align_random_state() -> None:
    """Seed all processes alike, so that they draw the same order from a shuffling loader."""
    if world_size() > 1:
        torch.manual_seed(int(broadcast(torch.randint(2**31, (1,)))))


def total(tensor: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes."""
    if world_size() > 1:
        moved = tensor.to(_device(), copy=True)
        dist.all_reduce(moved)
        return moved
    return tensor


def _device() -> torch.device:
    nccl = dist.get_backend() == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if nccl else torch.device("cpu")


class _CallForLoss(nn.Module):
    """The call that DDP wraps."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Any) -> Any:
        return self.model._call_for_loss(inputs)


def wrap(model: Any, own_step: bool) -> Any:
    """Return what a training step calls: the model's call, through DDP where it is needed.

    Args:
        model: the model; one that `fully_shard` divided averages its gradients itself.
        own_step: whether `train_step` is overridden; `Replicas` averages its gradients then.
    """
    if world_size() == 1 or own_step or is_sharded(model):
        return model._call_for_loss
    device = next(model.parameters()).device
    ids = [device.index] if device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(_CallForLoss(model), device_ids=ids)


class Replicas:
    """Keeps the processes' replicas equal where `train_step` is overridden.

    An overridden step may call the model in any way, which DDP does not allow: gradients are
    averaged in `optimizer_step` instead. A step that goes around `backward` or `optimizer_step`
    is an error, since the replicas would drift apart.

    Args:
        model: the model.
        optimizer: its optimizer.
    """

    def __init__(self, model: Any, optimizer: Any) -> None:
        self._model = model
        self._averages = not is_sharded(model)
        self._may_step = False
        self._hook = optimizer.register_step_pre_hook(self._before_step)
        self._share_buffers()

    def average_gradients(self) -> None:
        """Average the gradients over all processes, and let the optimizer take one step."""
        self._may_step = True
        if not self._averages:
            return
        for parameter in self._model.parameters():
            if parameter.requires_grad:
                if parameter.grad is None:  # another process may have one
                    parameter.grad = torch.zeros_like(parameter)
                dist.all_reduce(parameter.grad)
                parameter.grad /= world_size()
        self._share_buffers()

    def _share_buffers(self) -> None:
        """Give all processes the first one's buffers, such as running statistics, as DDP does."""
        for buffer in self._model.buffers() if self._averages else ():
            dist.broadcast(buffer, 0)

    def check(self, did_backward: bool) -> None:
        """Raise unless a step called `backward`."""
        if not did_backward:
            self._refuse("self.backward(loss) in place of loss.backward()")

    def _before_step(self, *_: Any) -> None:
        if not self._may_step:
            self._refuse("self.optimizer_step() in place of optimizer.step()")
        self._may_step = False

    def _refuse(self, instead: str) -> None:
        raise RuntimeError(
            f"train_step of {type(self._model).__name__} goes around the trainer, so the "
            f"{world_size()} processes would train different models: call {instead}"
        )

    def close(self) -> None:
        """Let the optimizer step without these checks again."""
        self._hook.remove()
