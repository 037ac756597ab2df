"""Metrics that wrap others: one chosen by the first batch, torchmetrics', Keras's."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..losses.base import align_target
from .base import Metric, RunningMean


class ResolvedMetric(Metric):
    """A metric that is chosen when the first batch shows the output's shape.

    Args:
        name: key in logs.
        choose: makes the metric from a batch of targets and of predictions.
    """

    direction = "max"
    per_sample = True

    def __init__(self, name: str, choose: Callable[[Tensor, Tensor, str], Metric]) -> None:
        super().__init__(name)
        self.choose = choose
        self.chosen: Metric | None = None
        self._saved: dict[str, Any] | None = None

    def update_state(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> None:
        """Add one batch; see `Metric.update_state`."""
        if self.chosen is None:
            self.chosen = self.choose(y_true, y_pred, self.name)
            if self._saved is not None:
                self.chosen.load_state_dict(self._saved)
        self.chosen.update_state(y_true, y_pred, sample_weight)

    def summary(self) -> Tensor:
        """Return the chosen metric's summary."""
        return self.chosen.summary() if self.chosen else RunningMean().summary()

    def compute(self, summary: Tensor) -> Tensor:
        """Return the chosen metric's value."""
        return self.chosen.compute(summary) if self.chosen else summary.sum()

    def reset_state(self) -> None:
        """Forget all batches, and what was chosen."""
        self.chosen = None
        self._saved = None

    def state_dict(self) -> dict[str, Any]:
        """Return the chosen metric's state."""
        return self.chosen.state_dict() if self.chosen else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Keep the state until the first batch shows which metric it belongs to."""
        self._saved = state or None


class TorchMetric(Metric):
    """Wraps a torchmetrics object or collection.

    Args:
        metric: anything with `update(preds, target)`, `compute()` and `reset()`.
    """

    methods: ClassVar[tuple[str, ...]] = ("update", "compute", "reset")
    takes_weights = False

    def __init__(self, metric: Any) -> None:
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(metric).__name__)
        super().__init__(words.lower())
        self.metric = metric

    @property
    def direction(self) -> str | None:  # type: ignore[override]
        """`"max"` or `"min"` where torchmetrics says `higher_is_better`."""
        higher = getattr(self.metric, "higher_is_better", None)
        return None if higher is None else "max" if higher else "min"

    def update_state(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> None:
        """Add one batch, moving the metric to the batch's device.

        Raises:
            ValueError: weights were given, which torchmetrics does not take.
        """
        if sample_weight is not None:
            raise ValueError(
                f"{type(self.metric).__name__} of torchmetrics takes no sample weights: pass it "
                "in metrics, not in weighted_metrics"
            )
        if hasattr(self.metric, "to"):
            self.metric.to(y_pred.device)
        self.metric.update(y_pred, align_target(y_true, y_pred))

    def result(self) -> Any:
        """Return the computed value, or the dict of a collection, over what this process saw.

        torchmetrics would synchronize with other processes, which may not compute it now.
        """
        members = [m for _, m in self._members() if hasattr(m, "_to_sync")]
        asks = [member._to_sync for member in members]
        try:
            for member in members:
                member._to_sync = False
            return self.metric.compute()
        finally:
            for member, given in zip(members, asks, strict=True):
                member._to_sync = given

    def merge(self, states: list[dict[str, Any]]) -> None:
        """Add the states of other processes, as torchmetrics does when it synchronizes."""
        for name, member in self._members():
            for key, reduce in member._reductions.items():
                own = getattr(member, key)
                others = [state[name]["states"][key] for state in states]
                if isinstance(own, Tensor):
                    stacked = torch.stack([own, *(other.to(own.device) for other in others)])
                    joined = stacked if reduce is None else reduce(stacked)
                else:
                    joined = [item for values in (own, *others) for item in values]
                setattr(member, key, joined)
            member._update_count += sum(state[name]["count"] for state in states)
            member._computed = None

    def _members(self) -> list[tuple[str, Any]]:
        """Return the metrics of a collection by name, or the metric under an empty one."""
        return list(self.metric.items() if hasattr(self.metric, "items") else [("", self.metric)])

    def keys(self, key: str) -> list[str]:
        """Return a collection's names, or the given key."""
        return list(self.metric.keys()) if hasattr(self.metric, "keys") else [key]

    def reset_state(self) -> None:
        """Reset the metric."""
        self.metric.reset()

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the metric, or of each of a collection's."""
        return {
            name: {"states": {k: getattr(m, k) for k in m._defaults}, "count": m._update_count}
            for name, m in self._members()
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the states returned by `state_dict`."""
        for name, member in self._members():
            for key, value in state[name]["states"].items():
                setattr(member, key, value)
            member._update_count = state[name]["count"]


class KerasMetric(Metric):
    """Wraps a metric of Keras (on its torch backend).

    Args:
        metric: anything with `update_state(y_true, y_pred, sample_weight)`, `result()` and
            `reset_state()`.
    """

    methods: ClassVar[tuple[str, ...]] = ("update_state", "result", "reset_state")

    def __init__(self, metric: Any) -> None:
        super().__init__(str(getattr(metric, "name", type(metric).__name__)))
        self.metric = metric

    @property
    def direction(self) -> str | None:  # type: ignore[override]
        """`"max"` or `"min"` if Keras says so."""
        known = {"up": "max", "down": "min"}
        return known.get(str(getattr(self.metric, "_direction", None)))

    def update_state(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> None:
        """Add one batch; see `Metric.update_state`."""
        self.metric.update_state(y_true, y_pred, sample_weight=sample_weight)

    def result(self) -> Any:
        """Return the value over all batches since `reset_state`."""
        return self.metric.result()

    def merge(self, states: list[dict[str, Any]]) -> None:
        """Add the states of other processes to variables that Keras declares as sums.

        Raises:
            TypeError: a variable is no sum.
        """
        for number, variable in enumerate(self.metric.variables):
            if getattr(variable, "aggregation", None) != "sum":
                raise TypeError(
                    f"metric {self.name!r}: variable {variable.name!r} of Keras's "
                    f"{type(self.metric).__name__} is not declared as a sum, so its values in "
                    "several processes cannot be merged: use fgraph's metric, or write one with "
                    "merge(self, states)"
                )
            value = torch.as_tensor(variable.value)
            added = [state["variables"][number].to(value.device) for state in states]
            variable.assign(value + sum(added))

    def reset_state(self) -> None:
        """Forget all batches."""
        self.metric.reset_state()

    def state_dict(self) -> dict[str, Any]:
        """Return the values of the metric's variables."""
        return {"variables": [torch.as_tensor(v.value) for v in self.metric.variables]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state returned by `state_dict`."""
        for variable, value in zip(self.metric.variables, state["variables"], strict=True):
            variable.assign(value)


class TorchOrder:
    """Calls a function of (prediction, target) with (target, prediction)."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.fn = fn

    def __call__(self, y_true: Tensor, y_pred: Tensor) -> Any:
        return self.fn(y_pred, align_target(y_true, y_pred))
