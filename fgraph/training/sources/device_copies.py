"""Copies from the host to CUDA that overlap with the computation of the previous step.

Batches are drawn one by one, in the caller's stream and never ahead of time, so that a user's
generator may compute on the device, and a backup has the random states and positions of the last
step. Copies overlap nevertheless: the host runs ahead of the device, and starts the copy of a batch
in a separate stream while the device computes the previous step.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor


@functools.cache
def _stream(device: torch.device) -> Any:
    """Return the stream of copies to a device."""
    return torch.cuda.Stream(device)


def begin_copies(device: torch.device) -> None:
    """Make copies wait for work queued on the device so far, such as writes to pinned memory."""
    if device.type == "cuda":
        _stream(device).wait_stream(torch.cuda.current_stream(device))


def copied(tensor: Tensor, device: torch.device, written: bool) -> Tensor:
    """Return a copy on a CUDA device, for use in the current stream; the host does not wait.

    The copy goes through pinned memory, without which `non_blocking` has no effect.

    Args:
        tensor: a tensor on the host.
        device: a CUDA device.
        written: whether a pinned tensor is known to hold its values. Otherwise it may be the target
            of an unfinished copy in the current stream, which is waited for.
    """
    stream, current = _stream(device), torch.cuda.current_stream(device)
    if not tensor.is_pinned():
        tensor = tensor.pin_memory()
    elif not written:
        stream.wait_stream(current)
    with torch.cuda.stream(stream):
        moved = tensor.to(device, non_blocking=True)
    current.wait_stream(stream)
    moved.record_stream(current)  # its memory was allocated in the copy stream
    return moved
