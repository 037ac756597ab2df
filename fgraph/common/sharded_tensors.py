"""DTensors: parameters of which each process may hold a part."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def is_dtensor(tensor: Any) -> bool:
    """Return whether a tensor is a DTensor, of which each process may hold a part."""
    if not dist.is_available() or not dist.is_initialized():
        return False
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)


def is_sharded(model: nn.Module) -> bool:
    """Return whether parameters are DTensors: of FSDP2 (`fully_shard`) or of a parallel plan."""
    if not dist.is_available() or not dist.is_initialized():
        return False
    return bool(_fsdp_modules(model)) or any(is_dtensor(p) for p in model.parameters())


def _fsdp_modules(model: nn.Module) -> list[Any]:
    from torch.distributed.fsdp import FSDPModule

    return [module for module in model.modules() if isinstance(module, FSDPModule)]


def reshard(model: nn.Module) -> None:
    """Reshard modules of FSDP2, which may hold whole parameters after a forward."""
    if dist.is_available() and dist.is_initialized():
        for module in _fsdp_modules(model):
            module.reshard()


def fsdp_parameters(model: nn.Module) -> set[int]:
    """Return the ids of the parameters that FSDP2 shards, and whose gradients it averages."""
    if not dist.is_available() or not dist.is_initialized():
        return set()
    reshard(model)
    parameters = {id(p) for m in _fsdp_modules(model) for p in m.parameters() if is_dtensor(p)}
    return parameters


def whole_tensor(tensor: Any) -> Any:
    """Return the whole value of a DTensor; all processes must call it. Others are unchanged.

    Its gradient is the mean over the processes, whose losses are shares of one.
    """
    return _EqualGradients.apply(tensor.full_tensor()) if is_dtensor(tensor) else tensor


class _EqualGradients(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, whole: Tensor) -> Tensor:
        return whole.view_as(whole)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        mean = gradients[0].clone()
        dist.all_reduce(mean)
        return mean / dist.get_world_size()


def like_parameter(parameter: Any, value: Any) -> Any:
    """Return a whole value in the form of a parameter: sharded like it, on its device."""
    if not is_dtensor(parameter) or is_dtensor(value) or not isinstance(value, Tensor):
        return value
    if value.shape != parameter.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    mesh = parameter.device_mesh
    # every process has the whole value, so nothing needs to be sent
    return distribute_tensor(
        value.to(mesh.device_type), mesh, parameter.placements, src_data_rank=None
    )
