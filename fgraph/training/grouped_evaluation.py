"""Evaluation of small batches: forwards one by one, losses and metrics of several at once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import chain
from typing import Any, cast

import torch
from torch import Tensor

from ..losses.base import HALF, within
from .output_losses import OutputLosses, annotate, logits_of, mask_of
from .running_metrics import RunningMetrics
from .sources.batch import Source

_MOST_BATCHES = 64
_MOST_ELEMENTS = 2**16

_Parts = tuple[Tensor, Tensor | None, Tensor, Tensor | None]
"""Of one output: predictions, the logits behind them, targets and sample weights."""


class EvaluationGroup:
    """Predictions, targets and weights of several batches, whose losses and metrics are computed at
    once.

    The loss of 2,000 samples takes little longer than that of 32, since most of the time is
    overhead of calls. Batches are collected only if the results equal those of single batches: if
    all losses and metrics allow it (`Loss.joins`, `Metric.joins`), and no output has a mask.

    Args:
        source: where the batches come from.
        precision: returns the context in which losses are computed.
    """

    def __init__(
        self, source: Source, precision: Callable[[], AbstractContextManager[Any]]
    ) -> None:
        self._precision = precision
        self._whole, self._lasting = source.whole, source.in_memory
        self._losses: OutputLosses | None = None
        self._metrics: RunningMetrics | None = None
        self._needed: list[int] = []  # the outputs that have a loss or a metric
        self._kept: list[list[_Parts]] = []
        self._size = 0
        self._looks: list[
            Any
        ] = []  # properties of the last batch that decide whether it can be kept
        self._rows: list[Any] = []  # the same of its samples, equal in a whole group
        self._most = 0  # the largest number of such batches to keep

    def keep(
        self,
        losses: OutputLosses,
        metrics: RunningMetrics,
        targets: list[Any],
        outputs: list[Tensor],
        sample_weights: list[Any],
        size: int,
    ) -> bool:
        """Keep a batch; return false if it has to be computed by itself.

        Args:
            losses: the losses of the outputs.
            metrics: the running metrics.
            targets: one for each output.
            outputs: the model's outputs, in flat order.
            sample_weights: one for each output, or `None`.
            size: the number of samples.
        """
        if losses is not self._losses:
            self._bind(losses, metrics)
        parts: list[_Parts] = []
        looks: list[Any] = [size]
        for i in self._needed:
            output, target, weight = outputs[i], targets[i], sample_weights[i]
            if not isinstance(target, Tensor) or mask_of(output) is not None:
                return False
            kind, logits, axis = logits_of(output) or (None, None, -1)
            shapes = output.shape, target.shape, None if weight is None else weight.shape
            parts.append((output, logits, target, weight))
            looks.append((*shapes, output.dtype, target.dtype, kind, axis))
        if looks != self._looks:
            self._begin(looks, parts)
        if self._most < 2:
            return False
        self._kept.append([_copied(*part, self._lasting) for part in parts])
        self._size += size
        if len(self._kept) >= self._most:
            self.compute()
        return True

    def _bind(self, losses: OutputLosses, metrics: RunningMetrics) -> None:
        """Find the outputs that are needed, and whether all losses and metrics can join batches."""
        self._losses, self._metrics = losses, metrics
        self._kept, self._size, self._looks, self._needed = [], 0, [], []
        targets = None if self._whole is None else self._whole[0]
        if losses.join(targets) and all(entry.metric.joins() for entry in metrics.entries):
            with_metric = [entry.output for entry in metrics.entries]
            self._needed = sorted({*losses.with_loss, *with_metric})
            metrics.expect(losses.part_names)

    def _begin(self, looks: list[Any], parts: list[_Parts]) -> None:
        """Store the properties of the coming batches; compute kept batches of other properties."""
        size, *outputs = looks
        rows = [(*(shape and shape[1:] for shape in look[:3]), *look[3:]) for look in outputs]
        if rows != self._rows:
            self.compute()
        self._looks, self._rows, self._most = looks, rows, 0
        given = [part for part in chain.from_iterable(parts) if part is not None]
        fits = all(type(part) is Tensor and part.shape[:1] == (size,) for part in given)
        if given and fits and all(map(self._joins, parts)):
            elements = sum(part.numel() for part in given)
            self._most = min(_MOST_ELEMENTS // max(elements, 1), _MOST_BATCHES)

    def _joins(self, part: _Parts) -> bool:
        """Return whether an output's losses are precise enough, and its axes allow joining."""
        output, known = part[0], logits_of(part[0])
        is_wide = output.dtype not in HALF or (self._losses is not None and self._losses.widen)
        return is_wide and output.ndim > 1 and (known is None or within(known[2]))

    def compute(self) -> None:
        """Compute the losses and metrics of the kept batches, and drop the batches."""
        kept, size = self._kept, self._size
        if not kept:
            return
        self._kept, self._size = [], 0
        losses, metrics = self._losses, self._metrics
        assert losses is not None
        assert metrics is not None
        count = len(losses.outputs.names)
        outputs: list[Any] = [None] * count
        targets, weights = list(outputs), list(outputs)
        for i, row, batches in zip(self._needed, self._rows, zip(*kept, strict=True), strict=True):
            joined: list[Any] = [_joined(column) for column in zip(*batches, strict=True)]
            outputs[i], logits, targets[i], weights[i] = joined
            if logits is not None:
                *_, kind, axis = row
                annotate(joined[0], logits=(kind, logits, axis))
        with self._precision():
            total, parts = losses(targets, outputs, weights)
        assert total is not None
        metrics.add_losses(losses.part_names, total, parts, size)
        metrics.update(targets, outputs, weights)


def _copied(
    output: Tensor, logits: Tensor | None, target: Tensor, weight: Tensor | None, lasting: bool
) -> _Parts:
    """Return copies, since a model or loader may write the next batch into the same memory."""
    logits = logits if logits is None else logits.clone()
    if lasting:
        return output.clone(), logits, target, weight
    weight = weight if weight is None else weight.clone()
    return output.clone(), logits, target.clone(), weight


def _joined(column: tuple[Tensor | None, ...]) -> Tensor | None:
    """Return the rows of all batches; a part is present in all of them, or in none."""
    return None if column[0] is None else torch.cat(cast(tuple[Tensor, ...], column))
