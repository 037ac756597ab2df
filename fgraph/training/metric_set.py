"""The figures of a run: losses and metrics of all outputs, streamed over batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .. import metrics as metric_functions
from ..metrics.base import Metric, RunningMean
from . import distributed
from .per_output import per_output


class MetricSet:
    """The metrics of a model's outputs, by their names in logs.

    Args:
        metrics: As `compile` takes them.
        weighted_metrics: As `compile` takes them.
        names: The outputs' names.
    """

    def __init__(self, metrics: Any, weighted_metrics: Any, names: list[str]) -> None:
        self.entries: list[tuple[int, bool, str, Metric]] = []
        for is_weighted, given in ((False, metrics), (True, weighted_metrics)):
            argument = "weighted_metrics" if is_weighted else "metrics"
            for i, listed in enumerate(_lists(given, names, argument)):
                prefix = f"{names[i]}_" if len(names) > 1 else ""
                for metric in map(metric_functions.get, listed):
                    key = self._free_key(prefix, metric.name, is_weighted)
                    self.entries.append((i, is_weighted, key, metric))

    def _free_key(self, prefix: str, name: str, is_weighted: bool) -> str:
        """Returns a key not yet taken, by Keras's rule: `weighted_<name>`, then `<name>_1`."""
        taken = {key for _, _, key, _ in self.entries}
        key = prefix + name
        if key in taken and is_weighted:
            key = f"{prefix}weighted_{name}"
        count = 0
        free = key
        while free in taken:
            count += 1
            free = f"{key}_{count}"
        return free

    def update(self, targets: list[Any], outputs: list[Tensor], sample_weights: list[Any]) -> None:
        """Takes in one batch; outputs without a target are left out."""
        for i, is_weighted, _, metric in self.entries:
            if targets[i] is not None:
                weight = sample_weights[i] if is_weighted else None
                metric.update_state(targets[i], outputs[i], weight)

    def reset(self) -> None:
        """Forgets all batches."""
        for _, _, _, metric in self.entries:
            metric.reset_state()

    def results(self, across: bool) -> dict[str, Any]:
        """Returns each metric's value by its key; collections give several.

        Args:
            across: Whether to add up over all processes.
        """
        results: dict[str, Any] = {}
        for _, _, key, metric in self.entries:
            value = _value(metric, across)
            if isinstance(value, Mapping):
                results.update(value)
            else:
                results[key] = value
        return results

    def direction(self, key: str) -> str | None:
        """Returns `"max"`, `"min"` or None for the metric of a key."""
        return next((m.direction for _, _, name, m in self.entries if name == key), None)


def _lists(given: Any, names: list[str], argument: str) -> list[list[Any]]:
    """Returns the metrics of each output; a flat list is for the only output."""
    if len(names) == 1 and isinstance(given, list | tuple) and not _is_nested(given):
        return [list(given)]
    entries = per_output(given, names, argument, spread=False)
    return [
        list(entry) if isinstance(entry, list | tuple) else [] if entry is None else [entry]
        for entry in entries
    ]


def _is_nested(given: Any) -> bool:
    return any(isinstance(entry, list | tuple) for entry in given)


def _value(metric: Metric, across: bool) -> Any:
    own_result = type(metric).result is not Metric.result
    if own_result or not across or distributed.world_size() == 1:
        return metric.result()
    return metric.compute(distributed.total(metric.summary()))


class Figures:
    """All running figures of one pass: the loss, each output's loss, and the metrics.

    Args:
        metrics: The metrics.
    """

    def __init__(self, metrics: MetricSet) -> None:
        self.metrics = metrics
        self.means: dict[str, RunningMean] = {"loss": RunningMean()}

    def reset(self) -> None:
        """Forgets all batches."""
        self.means = {"loss": RunningMean()}
        self.metrics.reset()

    def add(self, name: str, value: Tensor, size: float) -> None:
        """Adds a batch's mean `value` of `size` samples to a figure."""
        if name not in self.means:
            self.means[name] = RunningMean()
        self.means[name].add(value, size, size)

    def read(self, across: bool = False) -> dict[str, Any]:
        """Returns all figures as plain floats, sorted by name as Keras sorts them.

        Args:
            across: Whether to add up over all processes, which all of them must then call.
        """
        figures: dict[str, Any] = {}
        for name, mean in self.means.items():
            pair = mean.summary()
            total, weight = (distributed.total(pair) if across else pair).tolist()
            if weight:
                figures[name] = total / weight
        figures.update({k: _plain(v) for k, v in self.metrics.results(across).items()})
        return dict(sorted(figures.items()))

    def state_dict(self) -> dict[str, Any]:
        """Returns the running sums, to continue from bit for bit."""
        return {
            "means": {name: mean.state_dict() for name, mean in self.means.items()},
            "metrics": [metric.state_dict() for _, _, _, metric in self.metrics.entries],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over the sums that `state_dict` returned."""
        self.reset()
        for name, mean in state["means"].items():
            self.means[name] = RunningMean()
            self.means[name].load_state_dict(mean)
        for (_, _, _, metric), saved in zip(self.metrics.entries, state["metrics"], strict=True):
            metric.load_state_dict(saved)


def _plain(value: Any) -> Any:
    """Returns a float, or a list of floats for a metric with several values."""
    if isinstance(value, Tensor):
        return value.item() if value.numel() == 1 else value.tolist()
    if hasattr(value, "tolist"):
        return value.tolist()
    return float(value) if isinstance(value, int | float) else value


def detached(tensor: Tensor) -> Tensor:
    """Returns a tensor without its graph, in a dtype that sums keep their digits in."""
    tensor = tensor.detach()
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
