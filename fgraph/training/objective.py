"""The quantity that training lowers: weighted losses of all outputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..losses import Loss
from .per_output import per_output

Logits = dict[int, tuple[str, Tensor, int]]


class Objective:
    """The losses of a model's outputs.

    Args:
        losses: One for each output, None for outputs without.
        weights: One factor for each output.
        names: The outputs' names.
    """

    def __init__(self, losses: list[Loss | None], weights: list[float], names: list[str]) -> None:
        self.terms = [
            (i, loss, weight)
            for i, (loss, weight) in enumerate(zip(losses, weights, strict=True))
            if loss is not None
        ]
        self.names = names
        self.part_names = [f"{names[i]}_loss" for i, _, _ in self.terms]
        self._checked: set[tuple[int, torch.Size, torch.Size]] = set()
        self._on_logits = {i: loss.on_logits() for i, loss, _ in self.terms if loss.activation}

    def targets(self, y: Any) -> list[Any]:
        """Returns the targets in the order of the outputs, None for those without.

        Args:
            y: A tensor, or a list or dict of tensors; a list may leave out outputs without loss.

        Raises:
            ValueError: An unknown or missing name, or another number of targets than of losses.
        """
        if isinstance(y, Tensor) and len(self.names) == 1:
            return [y]
        if y is None:
            raise ValueError(
                "no targets: the model was compiled with a loss, so it needs y (or batches that "
                "are (x, y) pairs)"
            )
        if isinstance(y, list | tuple) and len(y) == len(self.terms) < len(self.names):
            by_index = {i: target for (i, _, _), target in zip(self.terms, y, strict=True)}
            return [by_index.get(i) for i in range(len(self.names))]
        return per_output(y, self.names, "y", spread=False)

    def weights(self, sample_weight: Any) -> list[Any]:
        """Returns sample weights in the order of the outputs; a single one is for all."""
        return per_output(sample_weight, self.names, "sample_weight", spread=True)

    def __call__(
        self,
        targets: list[Any],
        outputs: list[Tensor],
        logits: Logits,
        sample_weights: list[Any],
    ) -> tuple[Tensor, list[Tensor]]:
        """Computes the loss of one batch.

        Args:
            targets: One for each output.
            outputs: The model's outputs.
            logits: `{output index: (activation, logits, axis)}`, where they are known.
            sample_weights: Weights `(N,)` for each output, or None.

        Returns:
            The weighted sum, and each output's own loss without its factor.
        """
        parts = []
        total = None
        for i, loss, weight in self.terms:
            y_true, y_pred = targets[i], outputs[i]
            if y_true is None:
                raise ValueError(f"no target for output {self.names[i]!r}, which has a loss")
            if (i, y_true.shape, y_pred.shape) not in self._checked:
                self._check(i, loss, y_true, y_pred)
            known = logits.get(i) if logits else None
            if known is not None and not loss.from_logits and loss.activation == known[0]:
                if known[0] == "sigmoid" or (loss.axis - known[2]) % y_pred.ndim == 0:
                    loss, y_pred = self._on_logits[i], known[1]
            part = loss(y_true, y_pred, sample_weights[i])
            parts.append(part)
            term = part if weight == 1 else part * weight
            total = term if total is None else total + term
        if total is None:
            raise ValueError("no output has a loss: give compile(loss=...) at least one")
        return total, parts

    def _check(self, i: int, loss: Loss, y_true: Tensor, y_pred: Tensor) -> None:
        if y_true.ndim and y_pred.ndim and len(y_true) != len(y_pred):
            raise ValueError(
                f"output {self.names[i]!r} has {len(y_pred)} rows for {len(y_true)} targets; the "
                "model must keep the batch axis first"
            )
        loss.check(y_true, y_pred, self.names[i])
        self._checked.add((i, y_true.shape, y_pred.shape))

    def check_values(self, targets: list[Any], outputs: list[Tensor]) -> None:
        """Refuses targets whose values cannot be right, such as labels outside the classes."""
        for i, loss, _ in self.terms:
            if targets[i] is not None:
                loss.check_values(targets[i], outputs[i], self.names[i])
