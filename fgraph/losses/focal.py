"""Focal forms of the cross-entropies (Lin et al., 2017), as Keras defines them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .base import as_target
from .crossentropy import (
    CrossEntropy,
    binary_values,
    log_probabilities,
    refuse_class_indices,
    smooth,
)


def _by_class(alpha: float | Sequence[float], log_p: Tensor, axis: int) -> float | Tensor:
    """Return the weights of the classes in a shape that `log_p` can be multiplied by."""
    if isinstance(alpha, int | float):
        return alpha
    weights = torch.as_tensor(alpha, dtype=log_p.dtype, device=log_p.device)
    return weights.view([-1 if i == axis % log_p.ndim else 1 for i in range(log_p.ndim)])


def categorical_focal_crossentropy(
    y_true: Tensor,
    y_pred: Tensor,
    alpha: float | Sequence[float] = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Tensor:
    """Return `alpha * (1 - p) ** gamma` times the cross-entropy (Lin et al., 2017).

    Args:
        y_true: probabilities (one-hot rows) in the shape of `y_pred`.
        y_pred: probabilities, or logits with `from_logits=True`, classes along `axis`.
        alpha: weight of every class, or one for each class.
        gamma: exponent that weights down easy samples.
        from_logits: whether `y_pred` holds logits.
        label_smoothing: share of each target spread over all classes.
        axis: axis of the classes.

    Returns:
        The shape of `y_pred` without `axis`.
    """
    y_true = smooth(as_target(y_true, y_pred), label_smoothing, y_pred.shape[axis])
    log_p = log_probabilities(y_pred, from_logits, axis)
    return (_by_class(alpha, log_p, axis) * (1 - log_p.exp()) ** gamma * -y_true * log_p).sum(axis)


def binary_focal_crossentropy(
    y_true: Tensor,
    y_pred: Tensor,
    apply_class_balancing: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Tensor:
    """Return the binary cross-entropy, easy samples weighted down (Lin et al., 2017).

    Args:
        y_true: labels 0 and 1 in the shape of `y_pred`.
        y_pred: probabilities, or logits with `from_logits=True`.
        apply_class_balancing: whether label 1 weighs `alpha` and label 0 `1 - alpha`.
        alpha: weight of label 1.
        gamma: exponent that weights down easy samples.
        from_logits: whether `y_pred` holds logits.
        label_smoothing: share of each label moved to one half.
        axis: axis of the mean.

    Returns:
        The shape of `y_pred` without `axis`.
    """
    y_true = smooth(as_target(y_true, y_pred), label_smoothing, 2)
    p = y_pred.sigmoid() if from_logits else y_pred
    # 1 - p_t, written to be exact when p is close to 0 or 1
    miss = y_true * (1 - p) + (1 - y_true) * p
    values = miss**gamma * binary_values(y_true, y_pred, from_logits)
    if apply_class_balancing:
        values = values * (y_true * alpha + (1 - y_true) * (1 - alpha))
    return values.mean(axis)


class CategoricalFocalCrossentropy(CrossEntropy):
    """Focal cross-entropy on one-hot targets (Keras: `CategoricalFocalCrossentropy`).

    Args:
        alpha: weight of every class, or one for each class.
        gamma: exponent that weights down easy samples.
        from_logits: whether predictions are logits.
        label_smoothing: share of each target spread over all classes.
        axis: axis of the classes.
        reduction: as in `Loss`.
        name: as in `Loss`.
    """

    activation = "softmax"
    per_sample = True

    def __init__(
        self,
        alpha: float | Sequence[float] = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "categorical_focal_crossentropy",
    ) -> None:
        super().__init__(from_logits, label_smoothing, axis, reduction, name)
        self.alpha = alpha
        self.gamma = gamma

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return one value for each row of classes."""
        return categorical_focal_crossentropy(
            y_true,
            y_pred,
            self.alpha,
            self.gamma,
            self.from_logits,
            self.label_smoothing,
            self.axis,
        )

    def check(self, y_true: Tensor, y_pred: Tensor, output: str) -> None:
        """Refuse class indices and other shapes than the prediction's."""
        refuse_class_indices(self, y_true, y_pred, output)
        super().check(y_true, y_pred, output)


class BinaryFocalCrossentropy(CrossEntropy):
    """Focal cross-entropy on labels 0 and 1 (Keras: `BinaryFocalCrossentropy`).

    Args:
        apply_class_balancing: whether label 1 weighs `alpha` and label 0 `1 - alpha`.
        alpha: weight of label 1.
        gamma: exponent that weights down easy samples.
        from_logits: whether predictions are logits.
        label_smoothing: share of each label moved to one half.
        axis: axis of the mean.
        reduction: as in `Loss`.
        name: as in `Loss`.
    """

    activation = "sigmoid"
    per_sample = True

    def __init__(
        self,
        apply_class_balancing: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "binary_focal_crossentropy",
    ) -> None:
        super().__init__(from_logits, label_smoothing, axis, reduction, name)
        self.apply_class_balancing = apply_class_balancing
        self.alpha = alpha
        self.gamma = gamma

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return the mean along `axis` for each sample."""
        return binary_focal_crossentropy(
            y_true,
            y_pred,
            self.apply_class_balancing,
            self.alpha,
            self.gamma,
            self.from_logits,
            self.label_smoothing,
            self.axis,
        )
