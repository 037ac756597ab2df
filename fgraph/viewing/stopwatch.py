"""Time pieces of work on the host and on a CUDA device."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from typing import Any

import torch


class Stopwatch:
    """Times pieces of work, each in several runs.

    Work on a GPU is timed by CUDA events, which are read after the run, so that nothing waits
    during the run.

    Args:
        on_cuda: whether to take the time on the current CUDA device too.
    """

    def __init__(self, on_cuda: bool) -> None:
        self._on_cuda = on_cuda
        self._cpu: dict[Hashable, list[float]] = defaultdict(list)
        self._cuda: dict[Hashable, list[float]] = defaultdict(list)
        self._events: list[tuple[Hashable, torch.cuda.Event, torch.cuda.Event]] = []

    def time(self, key: Hashable, work: Callable[[], Any]) -> Any:
        """Do the work, store its time under `key`, and return its result."""
        if self._on_cuda:
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
        began = time.perf_counter_ns()
        result = work()
        self._cpu[key].append((time.perf_counter_ns() - began) / 1e6)
        if self._on_cuda:
            end.record()
            self._events.append((key, start, end))
        return result

    def end_of_run(self) -> None:
        """Wait for the GPU and read its times."""
        if self._on_cuda:
            torch.cuda.synchronize()
            for key, start, end in self._events:
                self._cuda[key].append(start.elapsed_time(end))
            self._events.clear()

    def medians(self, keys: Iterable[Hashable]) -> tuple[float, float | None]:
        """Return the milliseconds of all pieces of work in `keys` together, on host and GPU."""
        keys = list(keys)
        cpu = sum(statistics.median(self._cpu[key] or [0.0]) for key in keys)
        cuda = sum(statistics.median(self._cuda[key] or [0.0]) for key in keys)
        return cpu, cuda if self._on_cuda else None
