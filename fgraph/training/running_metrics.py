"""Losses and metrics of all outputs, accumulated over batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import metrics as metric_functions
from ..common.process_group import Processes
from ..losses.base import apply_mask, widened
from ..metrics.base import Metric, RunningMean
from .output_losses import mask_of
from .output_structure import OutputStructure
from .processes.merged_metrics import adds_up, result_across

_ALONE = Processes()


class MetricEntry(NamedTuple):
    """One metric of one output, under its name in logs."""

    output: int
    weighted: bool
    name: str
    metric: Metric


class RunningMetrics:
    """The results of `fit` and `evaluate`: the loss, each output's loss, and the metrics.

    Args:
        metrics: as `compile` takes them.
        weighted_metrics: as `compile` takes them.
        outputs: the model's outputs.

    Raises:
        ValueError: their numbers or names are not those of the outputs.
    """

    def __init__(self, metrics: Any, weighted_metrics: Any, outputs: OutputStructure) -> None:
        self.entries: list[MetricEntry] = []
        names = outputs.names
        for weighted, given in ((False, metrics), (True, weighted_metrics)):
            argument = "weighted_metrics" if weighted else "metrics"
            listed = outputs.per_output(given, argument, spread=False, nested=True)
            for i, entry in enumerate(listed):
                prefix = f"{names[i]}_" if len(names) > 1 else ""
                for metric in map(metric_functions.get, _flattened(entry)):
                    name = self._free_name(prefix, metric.name, weighted)
                    self.entries.append(MetricEntry(i, weighted, name, metric))
        self.means: dict[str, RunningMean] = {}
        self.own: dict[str, Metric] = {}  # updated by a custom step
        self.seen: bool = False
        self.blank: bool = False  # whether no sample counted so far
        self.reset()

    def _free_name(self, prefix: str, name: str, weighted: bool) -> str:
        """Return a name not yet taken, by Keras's rule: `weighted_<name>`, then `<name>_1`."""
        taken = {entry.name for entry in self.entries}
        wanted = prefix + name
        if wanted in taken and weighted:
            wanted = f"{prefix}weighted_{name}"
        free, count = wanted, 0
        while free in taken:
            count += 1
            free = f"{wanted}_{count}"
        return free

    def reset(self) -> None:
        """Reset everything, as at the beginning of an epoch."""
        self.means = {"loss": RunningMean()}
        self.own = {}
        self.seen = self.blank = False
        self.earlier: dict[str, Tensor] = {}  # summaries of a run that is resumed
        for entry in self.entries:
            entry.metric.reset_state()

    def add_mean(self, name: str, value: Tensor, size: float) -> None:
        """Add a batch's mean `value` over `size` samples to a running mean."""
        if name not in self.means:
            self.means[name] = RunningMean()
        if size:
            self.means[name].add(without_graph(value), size, size)

    def add_losses(self, names: list[str], total: Tensor, parts: list[Tensor], size: float) -> None:
        """Add a batch's loss, and those of its outputs if there are several."""
        self.add_mean("loss", total, size)
        if len(parts) > 1:
            for name, part in zip(names, parts, strict=True):
                self.add_mean(name, part, size)

    def add_penalty(self, value: Tensor, size: float) -> None:
        """Add a penalty to the loss of a batch whose samples are already counted."""
        self.means["loss"].add(without_graph(value), size, 0)

    def expect(self, names: list[str]) -> None:
        """Announce the losses of these outputs in the logs, if there are several."""
        if len(names) > 1:
            for name in names:
                self.means.setdefault(name, RunningMean())

    def update(
        self,
        targets: list[Any],
        outputs: list[Tensor],
        sample_weights: list[Any],
        counts: bool = True,
    ) -> None:
        """Update the metrics with one batch; masked steps are left out.

        Args:
            targets: one for each output.
            outputs: the model's outputs, in flat order.
            sample_weights: one for each output, or `None`.
            counts: whether the batch counts; a process without samples still needs its structure.

        Raises:
            ValueError: an output with a metric has no target.
        """
        if self.seen and not counts:
            return
        if self.blank:
            for entry in self.entries:
                entry.metric.reset_state()
        self.seen, self.blank = True, not counts
        for i, weighted, name, metric in self.entries:
            if targets[i] is None:
                raise ValueError(f"no target for the output of metric {name!r}")
            weight = sample_weights[i] if weighted else None
            mask = mask_of(outputs[i])
            y_pred = without_graph(outputs[i])
            try:
                if mask is None:
                    metric.update_state(targets[i], y_pred, weight)
                elif metric.takes_weights:
                    metric.update_state(targets[i], y_pred, apply_mask(weight, mask))
                else:  # leave out masked steps
                    metric.update_state(targets[i][mask], y_pred[mask], weight)
            except Exception as error:
                error.add_note(
                    f"in metric {name!r}, given a target of shape {tuple(targets[i].shape)} and "
                    f"an output of shape {tuple(y_pred.shape)}"
                )
                raise

    def read(self, across: Processes = _ALONE) -> dict[str, Any]:
        """Return all values as plain floats, sorted by name as Keras sorts them.

        Args:
            across: the processes to merge over; all of them must call this.
        """
        logs: dict[str, Any] = {}
        for name, mean in self.means.items():
            total, weight = across.total(mean.summary().cpu()).tolist()
            if weight:
                logs[name] = total / weight
        seen = {entry.name: entry.metric for entry in self.entries} if self.seen else {}
        for name, metric in (seen | self.own).items():
            value = result_across(
                metric, across, self.blank and name not in self.own, self.earlier.get(name)
            )
            several = value if isinstance(value, Mapping) else {name: value}
            logs.update({name: _plain(item) for name, item in several.items()})
        return dict(sorted(logs.items()))

    def names(self) -> list[str]:
        """Return the names of the metrics in logs, in the order of the outputs."""
        return [name for entry in self.entries for name in entry.metric.keys(entry.name)]

    def direction(self, name: str) -> str | None:
        """Return `"max"`, `"min"` or `None` for the metric of that name."""
        return next((e.metric.direction for e in self.entries if e.name == name), None)

    def state_dict(self) -> dict[str, Any]:
        """Return the running sums, for an exact resume."""
        return {
            "means": {name: mean.state_dict() for name, mean in self.means.items()},
            "metrics": [entry.metric.state_dict() for entry in self.entries],
            "seen": self.seen,
            "blank": self.blank,
            "earlier": dict(self.earlier),
            "summaries": [
                entry.metric.summary() if adds_up(entry.metric) else None for entry in self.entries
            ],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the sums returned by `state_dict`."""
        self.reset()
        for name, mean in state["means"].items():
            self.means[name] = RunningMean()
            self.means[name].load_state_dict(mean)
        for entry, saved in zip(self.entries, state["metrics"], strict=True):
            entry.metric.load_state_dict(saved)
        self.seen, self.blank = state["seen"], state["blank"]
        self.earlier = dict(state["earlier"])

    def load_merged(self, states: list[dict[str, Any]]) -> None:
        """Restore the merged state of several processes in this process only.

        Args:
            states: the `state_dict()` of each process.
        """
        self.reset()
        for name in dict.fromkeys(name for state in states for name in state["means"]):
            total, weight = 0.0, 0.0
            for state in states:
                part = RunningMean()
                if name in state["means"]:
                    part.load_state_dict(state["means"][name])
                own_total, own_weight = part.summary().tolist()
                total, weight = total + own_total, weight + own_weight
            self.means[name] = RunningMean()
            mean = torch.tensor(total / weight if weight else 0.0, dtype=torch.float64)
            self.means[name].add(mean, weight, weight)
        counting = [state for state in states if state["seen"] and not state["blank"]]
        for number, entry in enumerate(self.entries):
            if counting and adds_up(entry.metric):
                name = entry.name
                parts = [state["summaries"][number] for state in counting]
                parts += [s["earlier"][name] for s in states if name in s["earlier"]]
                self.earlier[name] = torch.stack([part.cpu() for part in parts]).sum(0)
            elif counting:
                entry.metric.load_state_dict(counting[0]["metrics"][number])
                entry.metric.merge([state["metrics"][number] for state in counting[1:]])
        self.seen = bool(counting)


def _flattened(entry: Any) -> list[Any]:
    """Return the metrics of one output as a flat list."""
    if isinstance(entry, list | tuple):
        return [metric for item in entry for metric in _flattened(item)]
    return [] if entry is None else [entry]


def _plain(value: Any) -> Any:
    """Return a float, or a list of floats for a metric with several values."""
    if isinstance(value, Tensor):
        return value.item() if value.numel() == 1 else value.tolist()
    if hasattr(value, "tolist"):
        return value.tolist()
    return float(value) if isinstance(value, int | float) else value


def without_graph(tensor: Tensor) -> Tensor:
    """Return a detached tensor, in a dtype that is precise enough for sums."""
    return widened(tensor.detach() if tensor.requires_grad else tensor)
