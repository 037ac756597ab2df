"""The processes of a run: which of them share a batch, and communication between them.

Everything is built on a few calls of `torch.distributed`. A single process communicates nothing.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from .sharded_tensors import fsdp_parameters, is_dtensor, is_sharded


def world_size() -> int:
    """Return the number of processes that train together; 1 outside of `torchrun`."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return this process's number, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


@dataclass(frozen=True)
class Processes:
    """The processes among which each batch is divided, and the rank of this one.

    Args:
        size: how many there are.
        rank: this one's number, from 0.
        group: torch's process group, `None` for that of all processes.
    """

    size: int = 1
    rank: int = 0
    group: Any = None

    def share(self, size: int) -> tuple[int, int]:
        """Return where this process's part of a batch of `size` samples begins and ends.

        If a batch has fewer samples than processes, some processes get the last sample, with weight
        0 (see `own_size`).
        """
        if self.size == 1:
            return 0, size
        first, stop = self._begin(size, self.rank), self._begin(size, self.rank + 1)
        return (first, stop) if stop > first else (size - 1, size)

    def _begin(self, size: int, rank: int) -> int:
        """Return where the part of a process begins; the first one has a sample if there is any."""
        return -(-size * rank // self.size)

    def own_size(self, size: int, rank: int | None = None) -> int:
        """Return how many samples of a batch count in this process, or in that of `rank`."""
        at = self.rank if rank is None else rank
        return self._begin(size, at + 1) - self._begin(size, at)

    def total(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor over these processes, on the tensor's device."""
        if self.size == 1:
            return tensor
        summed = tensor.to(exchange_device(tensor.device), copy=True)
        dist.all_reduce(summed, group=self.group)
        return summed.to(tensor.device)

    def gathered(self, value: Any) -> list[Any]:
        """Return a plain value of each of these processes, in their order."""
        if self.size == 1:
            return [value]
        found = exchanged((self.rank, value))
        return [next(v for at, v in found if at == number) for number in range(self.size)]


_of_models: weakref.WeakKeyDictionary[nn.Module, Processes] = weakref.WeakKeyDictionary()


def remember(model: nn.Module, processes: Processes) -> None:
    """Divide a model's batches among these processes from now on."""
    _of_models[model] = processes


def processes_of(model: Any) -> Processes:
    """Return the processes among which a model's batches are divided: all, or its mesh's data axis.

    Raises:
        RuntimeError: parameters are sharded over a mesh whose axes are not known.
    """
    world = world_size()
    if world == 1:
        return Processes()
    known = _of_models.get(model)
    if known is not None:
        return known
    if is_sharded(model) and not _is_sharded_over_data(model):
        raise RuntimeError(
            f"parameters of this {type(model).__name__} are DTensors on a mesh of which it is not "
            "known which axis divides batches, and which processes need equal rows: call "
            "fgraph.parallel.distribute(model, mesh, plan) in place of parallelize_module, or "
            "fgraph.parallel.distribute(model, mesh) after it"
        )
    return Processes(world, rank())


def _is_sharded_over_data(model: nn.Module) -> bool:
    """Return whether FSDP2, over all processes, sharded all DTensors of a model, and it alone."""
    managed = fsdp_parameters(model)
    for parameter in model.parameters():
        if is_dtensor(parameter):
            mesh: Any = parameter.device_mesh  # type: ignore[attr-defined]
            outer = parameter.placements[:-1]  # type: ignore[attr-defined]
            alone = mesh.ndim == 1 or all(placement.is_replicate() for placement in outer)
            if id(parameter) not in managed or not alone or mesh.size() != world_size():
                return False
    return True


# ---- agreement of all processes


_host_groups: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


def _host_group() -> Any:
    """Return a group of all processes that can exchange data in host memory."""
    whole = dist.group.WORLD
    if "gloo" in str(dist.get_backend_config(whole)):
        return whole
    if whole not in _host_groups:
        _host_groups[whole] = dist.new_group(backend="gloo")
    return _host_groups[whole]


def exchange_device(device: torch.device) -> torch.device:
    """Return the device on which tensors of `device` are exchanged."""
    on_host = "gloo" in str(dist.get_backend_config(dist.group.WORLD))
    if device.type != "cpu" or on_host:
        return device
    return torch.device("cuda", torch.cuda.current_device())


def exchanged(value: Any) -> list[Any]:
    """Return a plain value of each process, by rank; all processes must call it."""
    world = world_size()
    if world == 1:
        return [value]
    found: list[Any] = [None] * world
    dist.all_gather_object(found, value, group=_host_group())
    return found


def agreed(value: Any) -> Any:
    """Return the first process's value, in every process; all processes must call it."""
    if world_size() == 1:
        return value
    found = [value]
    dist.broadcast_object_list(found, 0, group=_host_group())
    return found[0]


def agreed_any(flag: bool) -> bool:
    """Return whether a flag is true in any process; all processes must call it."""
    if world_size() == 1:
        return flag
    found = torch.tensor(int(flag))
    dist.all_reduce(found, group=_host_group())
    return bool(found)


def wait_for_all() -> None:
    """Return once every process has called this."""
    if world_size() > 1:
        dist.barrier(group=_host_group())
