"""Data that is already divided among the processes when `fit` gets it."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from itertools import chain, repeat
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DistributedSampler, Sampler

from ...common.process_group import Processes, exchanged, world_size
from ...graph.nested import iter_leaves
from .batch import Batch, PartOfBatch
from .placement import as_tensor

# samplers' attributes for the number of processes and the rank: torch, accelerate
_NUMBERS = (("num_replicas", "rank"), ("num_processes", "process_index"))


def samplers_of(loader: Any) -> list[Any]:
    """Return a loader's samplers, and those within them, each once."""
    found: dict[int, Any] = {}
    left = [getattr(loader, name, None) for name in ("batch_sampler", "sampler")]
    while left:
        sampler = left.pop()
        if sampler is None or id(sampler) in found:
            continue
        found[id(sampler)] = sampler
        left += [v for v in getattr(sampler, "__dict__", {}).values() if _is_sampler(v)]
    return list(found.values())


def _is_sampler(value: Any) -> bool:
    return isinstance(value, Sampler) or _numbers(value) is not None


def _numbers(sampler: Any) -> tuple[int, int] | None:
    """Return the number of processes that a sampler divides among, and the rank it serves."""
    for count, own in _NUMBERS:
        found = getattr(sampler, count, None), getattr(sampler, own, None)
        if all(isinstance(number, int) for number in found):
            return found  # type: ignore[return-value]
    return None


def is_divided(loader: Any, processes: Processes) -> bool:
    """Return whether a sampler of a loader gives each process its own samples.

    Raises:
        ValueError: it divides among other processes than those that share batches.
    """
    if world_size() == 1:
        return False
    for sampler in samplers_of(loader):
        numbers = _numbers(sampler)
        if numbers is None or numbers[0] == 1:
            continue
        if numbers != (processes.size, processes.rank):
            raise ValueError(
                f"a {type(sampler).__name__} of the data gives this process part {numbers[1]} of "
                f"{numbers[0]}, but here batches are divided into {processes.size} parts, of which "
                f"this process needs part {processes.rank}: leave it out, since fit divides the "
                "batches itself"
            )
        return True
    return False


def original_rows(loader: Any) -> int | None:
    """Return how many samples a loader's `DistributedSampler` divides one by one, in order.

    `None` if another sampler chooses the samples, or theirs is another order.
    """
    sampler = getattr(loader, "sampler", None)
    inner = getattr(getattr(loader, "batch_sampler", None), "sampler", None)
    for found in (sampler, inner):
        if type(found) is DistributedSampler and not found.shuffle:
            return min(len(found.dataset), found.total_size)  # type: ignore[arg-type]
    return None


def keeping_step(batches: Iterator[Batch], processes: Processes) -> Iterator[Batch]:
    """Let all processes make the same number of steps with their own batches.

    Args:
        batches: this process's batches.
        processes: those that make steps together.

    Yields:
        Each batch, with the number of samples of all processes in its step. A process without
        further batches repeats its last one with weight 0.

    Raises:
        ValueError: a process has no batch at all.
    """
    last: Batch | None = None
    for batch in chain(batches, repeat(None)):
        own = 0 if batch is None else batch.size
        total = int(processes.total(torch.tensor(own)))
        if not total:
            return
        last = last if batch is None else batch
        empty = processes.total(torch.tensor(int(last is None)))
        if int(empty):
            raise ValueError(
                f"no data: {int(empty)} of {processes.size} processes were given no batch of their "
                "own: divide the data among all of them, or start fewer"
            )
        assert last is not None
        yield PartOfBatch(last.x, last.y, last.sample_weight, total).counting(own)


def check_equal(batch: Batch | None) -> None:
    """Refuse data that differs between processes, since each would use only a part of its own.

    Args:
        batch: the first batch before it is divided; all processes must call this.

    Raises:
        ValueError: another process has another batch.
    """
    if len(set(exchanged(None if batch is None else _fingerprint(batch)))) > 1:
        raise ValueError(
            "the processes were given different data, and each would use its share of its own: "
            "pass sharded_data=True if the data is divided among the processes already; otherwise "
            "give all of them the same, for example by the same seeds"
        )


def _fingerprint(batch: Batch) -> tuple[Any, ...]:
    found: list[Any] = []
    for leaf in iter_leaves(tuple(batch[:3])):
        if isinstance(leaf, Tensor) or hasattr(leaf, "__array__"):
            tensor = as_tensor(leaf, "x").detach().cpu().contiguous()
            values = tensor.reshape(-1).view(torch.uint8) if tensor.numel() else tensor
            found.append((tuple(tensor.shape), zlib.crc32(values.numpy().tobytes())))
        else:
            found.append(repr(leaf) if leaf is None or isinstance(leaf, (int, float, str)) else "")
    return tuple(found)
