"""Merging the states of metrics over several processes."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor

from ...common.process_group import Processes
from ...metrics.base import Metric


def can_merge(metric: Metric) -> bool:
    """Return whether the states of several processes can be merged."""
    by_merge = type(metric).merge is not Metric.merge or bool(metric.variables)
    return adds_up(metric) or by_merge


def adds_up(metric: Metric) -> bool:
    """Return whether the metric's result is computed from a summary, and summaries add up."""
    return type(metric).result is Metric.result


def result_across(
    metric: Metric, processes: Processes, blank: bool, earlier: Tensor | None = None
) -> Any:
    """Return the result over the samples of all these processes; all of them must call this.

    Args:
        metric: the metric of this process.
        processes: the processes to merge over.
        blank: whether this process has no samples that count.
        earlier: the summary from before a resume, if the metric does not include it.

    Raises:
        TypeError: the metric cannot be merged.
    """
    if processes.size == 1 and earlier is None:
        return metric.result()
    if adds_up(metric):
        own = metric.summary()
        if earlier is not None:
            own = (own * 0 if blank else own) + earlier.to(own.device)
            blank = False
        # on the host: a process without samples does not know the device
        whole = processes.total((own * 0 if blank else own).cpu())
        return metric.compute(whole.to(own.device))
    refuse_unmergeable(metric)
    gathered = processes.gathered(None if blank else metric.state_dict())
    states = [state for state in gathered if state is not None]
    merged = copy.deepcopy(metric)
    merged.load_state_dict(states[0])
    merged.merge(states[1:])
    return merged.result()


def refuse_unmergeable(metric: Metric) -> None:
    """Refuse a metric whose states of several processes cannot be merged.

    Raises:
        TypeError: it is one.
    """
    if not can_merge(metric):
        raise TypeError(
            f"metric {metric.name!r}: each process has seen a part of the samples, and "
            f"{type(metric).__name__} does not say how to put their results together: define "
            "merge(self, states), which adds the state_dict()s of the other processes to its own, "
            "or summary() and compute(summary) in place of result()"
        )
