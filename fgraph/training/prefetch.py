"""Copies to CUDA that overlap with computing."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..graph.nested import iter_leaves
from .batch import Batch


def prefetched(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """Copies each batch to the device while the one before it is being used.

    Args:
        batches: Batches, whose copies are begun when they are drawn.
        device: Where they go; on anything but CUDA the batches pass through unchanged.

    Returns:
        The same batches.
    """
    return _on_side_stream(batches, device) if device.type == "cuda" else batches


def _on_side_stream(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    stream = torch.cuda.Stream(device)

    def draw() -> Batch | None:
        with torch.cuda.stream(stream):
            return next(batches, None)

    ahead = draw()
    while ahead is not None:
        current = torch.cuda.current_stream(device)
        current.wait_stream(stream)
        batch = ahead
        for leaf in iter_leaves(tuple(batch)):
            if isinstance(leaf, Tensor):
                leaf.record_stream(current)  # its memory was allocated on the side stream
        ahead = draw()
        yield batch
