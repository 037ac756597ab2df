"""Sample weights by class."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from ..graph.nested import iter_leaves
from .tensors import as_tensor


class ClassWeight:
    """Sample weights by class.

    Args:
        weights: Weight of each class, by its index.

    Raises:
        TypeError: It is not a dict of numbers.
    """

    def __init__(self, weights: Any) -> None:
        if not isinstance(weights, Mapping) or not all(
            isinstance(v, int | float) for v in weights.values()
        ):
            raise TypeError(
                f"class_weight must be a dict of class index to number, got {weights!r}"
            )
        if not weights:
            raise ValueError("class_weight is empty; give the weight of every class")
        self.weights = {int(k): float(v) for k, v in weights.items()}
        self._table = torch.full((max(self.weights) + 1,), math.nan)
        for index, weight in self.weights.items():
            self._table[index] = weight

    def times(self, y: Any, sample_weight: Any) -> Any:
        """Returns the weight of each sample, times the given ones.

        Args:
            y: Targets of one output: labels `(N,)` or `(N, 1)`, or one-hot rows `(N, classes)`.
            sample_weight: Weights, or None.

        Returns:
            Weights of shape `(N,)`, or in the shape of `sample_weight`.

        Raises:
            ValueError: There are several outputs, or a class has no weight.
        """
        leaves = list(iter_leaves(y))
        if len(leaves) != 1 or leaves[0] is None:
            raise ValueError(
                f"class_weight needs a model with one output and its targets, got {len(leaves)} "
                "targets: pass sample_weight by output"
            )
        labels = as_tensor(leaves[0], "y")
        one_hot = labels.ndim > 1 and labels.shape[-1] > 1
        labels = (labels.argmax(-1) if one_hot else labels.reshape(len(labels), -1)[:, 0]).long()
        missing = sorted(set(torch.unique(labels).tolist()) - set(self.weights))
        if missing:
            raise ValueError(
                f"class_weight lacks class {missing[0]} of y (it has {sorted(self.weights)}); "
                "give the weight of every class"
            )
        by_class = self._table.to(labels.device)[labels]
        if sample_weight is None:
            return by_class
        given = as_tensor(next(iter_leaves(sample_weight)), "sample_weight")
        return given * by_class.view(-1, *[1] * (given.ndim - 1)).to(given.dtype)
