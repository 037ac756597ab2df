"""Under `torchrun`, each process computes on its own CUDA device."""

from __future__ import annotations

import os
from itertools import chain
from typing import Any, Self

import torch
import torch.distributed as dist

from ...common.sharded_tensors import is_sharded


def own_device_index() -> int | None:
    """Return the index of the CUDA device that `torchrun` assigns to this process.

    Returns:
        `LOCAL_RANK`, or `None` if there is no choice: outside of `torchrun`, without CUDA, or if
        `CUDA_VISIBLE_DEVICES` shows each process a single device.

    Raises:
        RuntimeError: there are several devices, but fewer than processes.
    """
    local_rank = os.environ.get("LOCAL_RANK")
    if local_rank is None or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return None
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count < 2:
        return None
    if int(local_rank) >= count:
        raise RuntimeError(
            f"LOCAL_RANK is {local_rank}, but this machine shows {count} CUDA devices: start at "
            f"most {count} processes on it (torchrun --nproc-per-node={count}), or train on the CPU"
        )
    return int(local_rank)


def use_own_device() -> None:
    """Make `"cuda"` this process's own device, unless the script has chosen one."""
    index = own_device_index()
    if index is not None and torch.cuda.current_device() == 0:
        torch.cuda.set_device(index)


def move_to_own_device(model: Any) -> None:
    """Move a model that is on CUDA to this process's device, and make that the current one.

    A script that calls `model.cuda()` before a device was chosen puts the models of all processes
    on the first device. A model that the script put on another device stays there.

    Args:
        model: the model; the state of its optimizer is moved, too.
    """
    if "LOCAL_RANK" not in os.environ:  # checked in each `train_on_batch`
        return
    devices = {t.device for t in chain(model.parameters(), model.buffers())}
    if len(devices) != 1 or next(iter(devices)).type != "cuda" or is_sharded(model):
        return
    index = own_device_index()
    if index is None:
        return
    device = devices.pop()
    shared = dist.is_available() and dist.is_initialized() and dist.get_backend() == "gloo"
    if device.index == 0 and index != 0 and not shared:  # with gloo, this may be intended
        device = torch.device("cuda", index)
        model.to(device)
        state = model._trainer
        if state is not None and state.optimizer is not None:
            state.optimizer.load_state_dict(state.optimizer.state_dict())
    torch.cuda.set_device(device)


class OnOwnDevice:
    """Makes `model.cuda()` and `model.to("cuda")` use this process's device under `torchrun`."""

    def cuda(self, device: int | torch.device | None = None) -> Self:
        """Move to a CUDA device, as `torch.nn.Module.cuda`.

        Args:
            device: the device; by default the current one, under `torchrun` that of `LOCAL_RANK`.

        Returns:
            The model itself.
        """
        if device is None:
            use_own_device()
        return super().cuda(device)  # type: ignore[misc,no-any-return]

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move to a device or another dtype, as `torch.nn.Module.to`.

        Args:
            *args: as in torch; under `torchrun`, `"cuda"` is the device of `LOCAL_RANK`.
            **kwargs: as in torch.

        Returns:
            The model itself.
        """
        wanted = kwargs.get("device", args[0] if args else None)
        if isinstance(wanted, str | torch.device) and torch.device(wanted) == torch.device("cuda"):
            use_own_device()
        return super().to(*args, **kwargs)  # type: ignore[misc,no-any-return]
