"""Keras's methods for metrics: `metrics`, `reset_metrics`, `compute_metrics` and so on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..graph.nested import iter_leaves
from ..metrics.base import Metric
from .output_structure import OutputStructure
from .prediction import Prediction
from .running_metrics import RunningMetrics
from .sources.batch import Batch
from .state import Step, TrainingState


class MetricMethods(Prediction):
    """The metrics of `compile` and of custom steps."""

    @property
    def metrics(self) -> list[Metric]:
        """A mean named `loss`, the metrics given to `compile`, and attributes that are metrics.

        All are reset at the beginning of an epoch and of an evaluation. Your own `train_step` has
        to update the metrics whose results it returns; `fit` averages the losses that it does not
        put into `loss`.
        """
        state = self._trainer
        running = None if state is None else state.metrics
        compiled = [] if state is None else [state.loss_tracker]
        given = [] if running is None else [entry.metric for entry in running.entries]
        own = [value for value in vars(self).values() if isinstance(value, Metric)]
        return [*compiled, *given, *own]

    def reset_metrics(self) -> None:
        """Reset the metrics, as at the beginning of an epoch."""
        if self._trainer is not None and self._trainer.metrics is not None:
            self._trainer.metrics.reset()
        for metric in self._all_metrics():
            metric.reset_state()

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        """Update the metrics of `compile` with one batch, and return all results so far.

        A subclass may override it and add results of its own, as in Keras; `fit` and `evaluate`
        show their means over the samples. It then costs a read from the device in each step.

        Args:
            x: the inputs of a batch.
            y: its targets, as the user gave them.
            y_pred: the outputs, as the model returned them.
            sample_weight: weights, as the user gave them.
        """
        state = self._require_compiled("compute_metrics")
        outputs = [y_pred] if isinstance(y_pred, Tensor) else list(iter_leaves(y_pred))
        losses = state.losses or self._bind(y_pred, len(outputs))
        assert state.metrics is not None
        if state.metrics.entries:
            targets, weights = losses.targets(y), losses.weights(sample_weight)
            state.metrics.update(targets, outputs, weights)
        return self.get_metrics_result()

    def get_metrics_result(self) -> dict[str, Any]:
        """Return the results of all metrics so far, as plain numbers by name."""
        state = self._require_compiled("get_metrics_result")
        return {} if state.metrics is None else state.metrics.read()

    def _all_metrics(self) -> list[Metric]:
        """Return `metrics` as a list, also if a subclass overrides it."""
        return [metric for metric in iter_leaves(self.metrics) if isinstance(metric, Metric)]

    def _record(
        self, returned: Any, batch: Batch, size: int, state: TrainingState, step: Step
    ) -> None:
        """Add the results of a step to the metrics, with `size` samples."""
        if state.metrics is None:  # a custom step that did not call `forward_batch`
            state.metrics = RunningMetrics(None, None, OutputStructure(["output"]))
        metrics, losses = state.metrics, state.losses
        if isinstance(returned, Tensor):
            metrics.add_mean("loss", returned, size)
        elif isinstance(returned, Mapping):
            self._record_values(returned, size, state, metrics)
        else:
            raise TypeError(
                f"train_step and test_step of {type(self).__name__} must return the loss, or a "
                f"dict of scalars, got {type(returned).__name__}"
            )
        if len(step.parts) > 1 and losses is not None:
            for name, part in zip(losses.part_names, step.parts, strict=True):
                metrics.add_mean(name, part, size)
        result = step.result
        if result is None:
            return
        if type(self).compute_metrics is not MetricMethods.compute_metrics:
            if size:
                self._record_own(batch, size, state, result.y_pred)
        elif metrics.entries:
            metrics.update(result.targets, result.outputs, result.sample_weights, size > 0)

    def _record_values(
        self, values: Mapping[str, Any], size: int, state: TrainingState, metrics: RunningMetrics
    ) -> None:
        """Add the dict that a step returned: results of metrics, or numbers to average."""
        own = {metric.name: metric for metric in self._all_metrics()}
        own |= {entry.name: entry.metric for entry in metrics.entries}
        if not state.loss_tracker.seen:  # `loss` is that of the batch
            own.pop(state.loss_tracker.name, None)
        for name, value in values.items():
            if name in own:
                metrics.own[name] = own[name]
            else:
                metrics.add_mean(name, torch.as_tensor(value), size)

    def _record_own(self, batch: Batch, size: int, state: TrainingState, y_pred: Any) -> None:
        """Call the user's `compute_metrics`, and average the results that it adds."""
        metrics, losses = state.metrics, state.losses
        assert metrics is not None
        assert losses is not None
        with torch.no_grad():
            found = self.compute_metrics(batch.x, batch.y, y_pred, batch.sample_weight)
        if not isinstance(found, Mapping):
            raise TypeError(
                f"compute_metrics of {type(self).__name__} must return a dict of numbers by name, "
                f"got {type(found).__name__}"
            )
        own = {metric.name: metric for metric in self._all_metrics()}
        known = {"loss", *losses.part_names, *metrics.names()}
        for name, value in found.items():
            if name in known:
                continue
            if name in own:
                metrics.own[name] = own[name]
            else:
                metrics.add_mean(name, torch.as_tensor(value), size)
