"""The same script under `torchrun`: one process a device, gradients averaged over processes.

Every process goes through the same batches and takes its share of each, so that `batch_size`
means the same however many processes there are, and so does the result.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ...common.batch_share import Share
from ...common.process_group import Processes, agreed, exchange_device, exchanged, rank, world_size
from ..sources.random_state import get_random_state, set_random_state
from .own_device import use_own_device
from .replicas import Replicas


def start(device: str | torch.device | None = None) -> torch.device:
    """Join the processes that `torchrun` started, unless the script did so itself.

    `fit`, `evaluate`, `train_on_batch` and `test_on_batch` call it by themselves; a script calls it
    before it makes a model that is to be distributed, or for a loop of its own. The processes are
    seeded alike, so that they make equal models; when training begins their seeds part, so that
    they drop different units. Outside `torchrun` it does nothing.

    Args:
        device: where to compute; by default CUDA if there is one, else the CPU. CUDA
            communicates by nccl, everything else by gloo.

    Returns:
        This process's device: on CUDA that of `LOCAL_RANK`, which becomes the current one.

    Raises:
        RuntimeError: there are fewer CUDA devices than processes on this machine.

    Example:
        >>> import fgraph
        >>> fgraph.parallel.start("cpu")
        device(type='cpu')
    """
    found = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if found.type == "cuda":
        use_own_device()
        if found.index is None:
            found = torch.device("cuda", torch.cuda.current_device())
    launched = int(os.environ.get("WORLD_SIZE", "1")) > 1 and "MASTER_ADDR" in os.environ
    if launched and dist.is_available() and not dist.is_initialized():
        # gloo beside nccl: for what is on the host, such as the figures of an epoch
        dist.init_process_group("cpu:gloo,cuda:nccl" if found.type == "cuda" else "gloo")
        _seed_alike()
    return found


def _seed_alike() -> None:
    """Give every process the first one's random states of torch, numpy and Python."""
    state = agreed(get_random_state(cuda=False))
    if rank():
        set_random_state(state)
        if torch.cuda.is_available():
            torch.cuda.manual_seed_all(torch.initial_seed())


def part_seeds(processes: Processes) -> None:
    """Seed the processes that share batches apart, so that their random numbers differ.

    The first one's state stays as it is. Processes with equal rows keep drawing alike.
    """
    if world_size() == 1:
        return
    state = agreed(torch.get_rng_state())
    if processes.rank:
        torch.manual_seed(zlib.crc32(state.numpy().tobytes()) + processes.rank)
    elif rank():
        torch.set_rng_state(state)


def broadcast(tensor: Tensor) -> Tensor:
    """Return the first process's tensor, in every process."""
    if world_size() == 1:
        return tensor
    sent = tensor.to(exchange_device(tensor.device), copy=True)
    dist.broadcast(sent, 0)
    return sent.to(tensor.device)


def share_of(processes: Processes, fraction: float) -> Share | None:
    """Return what the losses of a process's share of a batch need, `None` for a whole batch.

    Args:
        processes: those that share the batch.
        fraction: this one's part of its samples.
    """
    if processes.size == 1:
        return None
    return Share(fraction, processes.total, lambda part: _Summed.apply(part, processes))


class _Summed(torch.autograd.Function):
    """The sum over processes; so is its gradient."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, processes: Processes) -> Tensor:
        ctx.processes = processes
        return processes.total(part.detach())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.processes.total(gradients[0]), None


class _CallForLoss(nn.Module):
    """The call that DDP wraps."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Any) -> Any:
        return self.model._call_for_loss(inputs)


def through_ddp(model: Any, processes: Processes, replicas: Replicas) -> Callable[[Any], Any]:
    """Return the model's call through torch's DDP, which averages gradients in the backward.

    Of batches whose gradients make one step together, DDP averages after the last; `replicas`
    is told what it left.
    """
    device = next(model.parameters()).device
    ids = [device.index] if device.type == "cuda" else None
    ddp = nn.parallel.DistributedDataParallel(
        _CallForLoss(model), device_ids=ids, process_group=processes.group
    )
    state = model._trainer
    count = state.settings.gradient_accumulation_steps

    def call(inputs: Any) -> Any:
        replicas.owes = state.accumulated + 1 < count and torch.is_grad_enabled()
        with ddp.no_sync() if replicas.owes else nullcontext():
            return ddp(inputs)

    return call if count > 1 else ddp


def settle(model: Any, at: tuple[int, int]) -> None:
    """Agree on where the run is, whether it stops, and the learning rates.

    Args:
        model: the model; all processes must call this.
        at: the epoch and the step.

    Raises:
        RuntimeError: the processes are at different steps.
    """
    if world_size() == 1:
        return
    groups = model._trainer.optimizer.param_groups
    found = exchanged((at, model.stop_training, [_plain(group["lr"]) for group in groups]))
    if any(other[0] != at for other in found):
        listed = ", ".join(f"process {n} at {place}" for n, (place, _, _) in enumerate(found))
        raise RuntimeError(
            f"the processes are at different epochs and steps: {listed}. Give all of them the same "
            "data, epochs and steps_per_epoch"
        )
    model.stop_training = any(stop for _, stop, _ in found)
    for group, rate in zip(groups, found[0][2], strict=True):
        if _plain(group["lr"]) != rate:
            group["lr"] = rate


def _plain(rate: Any) -> float:
    return float(rate)
