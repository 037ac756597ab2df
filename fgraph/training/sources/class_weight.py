"""Sample weights by class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ...common.number_checks import real_number, whole_number
from ...graph.nested import iter_leaves
from .placement import as_tensor


class ClassWeight:
    """Sample weights by class.

    Args:
        weights: the weight of each class by its index; missing classes have weight 1, as in Keras.
        takes_labels: whether the loss treats targets of this shape as class indices. Otherwise rows
            of several values are one-hot rows.

    Raises:
        TypeError: it is not a dict of numbers.
        ValueError: it is empty, or a weight is negative.
    """

    def __init__(self, weights: Any, takes_labels: Callable[[Tensor], bool]) -> None:
        if not isinstance(weights, Mapping):
            raise TypeError(
                f"class_weight must be a dict of class index to number, got {weights!r}"
            )
        if not weights:
            raise ValueError("class_weight is empty; give the weight of at least one class")
        self.weights = {
            whole_number(k, "each class in class_weight", least=0): real_number(
                v, f"class_weight[{k!r}]", "[0, inf)"
            )
            for k, v in weights.items()
        }
        self._takes_labels = takes_labels
        self._table = torch.ones(max(self.weights) + 1)
        for index, weight in self.weights.items():
            self._table[index] = weight

    def times(self, y: Any, sample_weight: Any) -> Any:
        """Return the weight of each label's class, times the given weights.

        Args:
            y: the targets of one output: labels `(N, ...)` or `(N, ..., 1)`, or one-hot rows
                `(N, ..., classes)`.
            sample_weight: weights, or `None`.

        Returns:
            Weights, one for each label.

        Raises:
            ValueError: there are several outputs, or targets are neither labels nor one-hot rows.
        """
        leaves = list(iter_leaves(y))
        if len(leaves) != 1 or leaves[0] is None:
            raise ValueError(
                f"class_weight needs a model with one output and its targets, got {len(leaves)} "
                "targets: pass sample_weight by output"
            )
        labels = self._labels(as_tensor(leaves[0], "y").cpu())
        last = len(self._table) - 1
        listed = (labels >= 0) & (labels <= last)
        by_class = torch.where(listed, self._table[labels.clamp(0, last)], 1.0)
        if sample_weight is None:
            return by_class
        given = as_tensor(next(iter_leaves(sample_weight)), "sample_weight").cpu()
        if given.ndim > by_class.ndim and given.shape[-1] == 1:
            given = given.squeeze(-1)
        for _ in range(by_class.ndim - given.ndim):
            given = given.unsqueeze(-1)
        return given.to(torch.promote_types(given.dtype, torch.float32)) * by_class

    def _labels(self, y: Tensor) -> Tensor:
        """Return class indices."""
        if y.ndim > 1 and y.shape[-1] == 1:
            y = y.squeeze(-1)
        elif y.ndim > 1 and not self._takes_labels(y):
            sums = y.sum(-1, dtype=torch.float64)
            if not bool(((sums - 1).abs() < 1e-3).all()):
                raise ValueError(
                    f"class_weight needs one class for each sample, but y of shape "
                    f"{tuple(y.shape)} holds neither labels nor one-hot rows: pass sample_weight"
                )
            y = y.argmax(-1)
        if y.is_floating_point() and not bool((y == y.round()).all()):
            raise ValueError(
                "class_weight needs whole numbers as labels, but y holds fractions: pass "
                "sample_weight"
            )
        return y.long()
