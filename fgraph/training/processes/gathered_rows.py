"""Predictions of several processes, gathered in order."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from ...common.process_group import Processes, exchange_device
from ..sources.batch import Batch, PartOfBatch, Source

Order = list["np.ndarray[Any, np.dtype[np.int64]]"]
"""Where the rows of each process belong; those after the last place repeat others."""


def own_rows(batch: Batch, processes: Processes) -> int | None:
    """Return the number of rows of a batch that count in this process, `None` for all."""
    if processes.size == 1:
        return None
    if isinstance(batch, PartOfBatch):
        return batch.own_size
    return processes.own_size(batch.size)


def row_order(source: Source, processes: Processes, sizes: list[int]) -> Order | None:
    """Return the positions of each process's rows in the result.

    Args:
        source: where the batches came from.
        processes: those that shared them.
        sizes: the samples of each batch.

    Returns:
        The positions of each process's rows; `None` for data that was already divided, whose rows
        are concatenated by process.

    Raises:
        ValueError: a sampler divided the data in an unknown order.
    """
    if source.divided_by_sampler:
        total = source.original_rows
        if total is None:
            raise ValueError(
                "a sampler divides the data among the processes, in an order that is not known "
                "here: pass gather=False for this process's rows, or a loader without it"
            )
        return [np.arange(number, total, processes.size) for number in range(processes.size)]
    if source.divided:
        return None
    places: list[list[Any]] = [[] for _ in range(processes.size)]
    begins = 0
    for size in sizes:
        for number, found in enumerate(places):
            count = processes.own_size(size, number)
            found.append(np.arange(begins, begins + count))
            begins += count
    return [np.concatenate(found) for found in places]


def gathered_rows(rows: Any, processes: Processes, order: Order | None) -> Any:
    """Return all rows, in every process.

    Args:
        rows: those of this process; anything but an array is returned unchanged.
        processes: the processes with the other rows.
        order: their positions, `None` to concatenate them by process.
    """
    if not isinstance(rows, np.ndarray):
        return rows
    counts = processes.gathered(len(rows))
    if order is None:
        ends = np.cumsum(counts)
        order = [np.arange(end - count, end) for end, count in zip(ends, counts, strict=True)]
    whole = np.empty((min(sum(counts), len(np.concatenate(order))), *rows.shape[1:]), rows.dtype)
    row_bytes = whole[:0].itemsize * int(np.prod(rows.shape[1:]))
    device = exchange_device(torch.device("cpu"))
    for number, places in enumerate(order):
        own = np.ascontiguousarray(rows).view(np.uint8).reshape(-1)
        if number == processes.rank:
            sent = torch.from_numpy(own).to(device)
        else:
            sent = torch.empty(counts[number] * row_bytes, dtype=torch.uint8, device=device)
        if len(sent):
            dist.broadcast(sent, group=processes.group, group_src=number)
        found = sent.cpu().numpy().view(rows.dtype).reshape(-1, *rows.shape[1:])
        places = places[: len(found)]
        whole[places] = found[: len(places)]
    return whole
