"""Training under `torchrun`: one process for each device, gradients averaged over processes.

Every process goes through the same batches and computes its share of each, so that neither the
meaning of `batch_size` nor the result depends on the number of processes.
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
    """Join the process group of `torchrun`, unless the script has done so.

    `fit`, `evaluate`, `train_on_batch` and `test_on_batch` call it themselves. Call it in a script
    before making a model to distribute, or for your own training loop. All processes get the same
    seed, so that they make equal models; when training begins they get different ones, for example
    for dropout. Outside of `torchrun` it does nothing.

    Args:
        device: where to compute; by default CUDA if available, else the CPU. CUDA communicates by
            nccl, everything else by gloo.

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
        # gloo besides nccl: for data on the host, such as the metrics of an epoch
        dist.init_process_group("cpu:gloo,cuda:nccl" if found.type == "cuda" else "gloo")
        _seed_alike()
    return found


def _seed_alike() -> None:
    """Set the random states of torch, numpy and Python to those of the first process."""
    state = agreed(get_random_state(cuda=False))
    if rank():
        set_random_state(state)
        if torch.cuda.is_available():
            torch.cuda.manual_seed_all(torch.initial_seed())


def part_seeds(processes: Processes) -> None:
    """Give processes that share batches different seeds, so that their random numbers differ.

    The first process keeps its state. Processes with equal rows keep equal seeds.
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
    """Return the context for losses of a process's share of a batch, `None` for a whole batch.

    Args:
        processes: those that share the batch.
        fraction: this process's fraction of the samples.
    """
    if processes.size == 1:
        return None
    return Share(fraction, processes.total, lambda part: _Summed.apply(part, processes))


class _Summed(torch.autograd.Function):
    """The sum over processes, whose gradient is also summed."""

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
    """Return the model's call through torch's DDP, which averages gradients in the backward pass.

    If gradients of several batches are accumulated, DDP averages after the last; `replicas` is told
    of gradients that are not averaged yet.
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
    """Agree between processes on the step, on stopping, and on the learning rates.

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
