"""Cross-entropies on probabilities or on logits, as Keras defines them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import (
    EPSILON,
    Loss,
    as_target,
    check_class_indices,
    shape_text,
    value_range,
    widened,
)


def log_probabilities(y_pred: Tensor, from_logits: bool, axis: int) -> Tensor:
    """Return log-probabilities along `axis`; probabilities are normalised and clipped first."""
    if from_logits:
        return F.log_softmax(y_pred, axis)
    y_pred = widened(y_pred)  # 1 - EPSILON is 1 in half precision
    return (y_pred / y_pred.sum(axis, keepdim=True)).clamp(EPSILON, 1 - EPSILON).log()


def smooth(y_true: Tensor, label_smoothing: float, classes: int) -> Tensor:
    """Move the share `label_smoothing` of each target evenly onto all classes."""
    if not label_smoothing:
        return y_true
    return y_true * (1 - label_smoothing) + label_smoothing / classes


def categorical_crossentropy(
    y_true: Tensor,
    y_pred: Tensor,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Tensor:
    """Return the cross-entropy between target and predicted class probabilities.

    Args:
        y_true: probabilities (one-hot rows) in the shape of `y_pred`.
        y_pred: probabilities, or logits with `from_logits=True`, classes along `axis`.
        from_logits: whether `y_pred` holds logits.
        label_smoothing: share of each target spread over all classes.
        axis: axis of the classes.

    Returns:
        One value for each row of classes: the shape of `y_pred` without `axis`.
    """
    y_true = smooth(as_target(y_true, y_pred), label_smoothing, y_pred.shape[axis])
    return -(y_true * log_probabilities(y_pred, from_logits, axis)).sum(axis)


def _class_indices(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return labels as int64 without a last dimension of size 1 that the predictions allow."""
    if y_true.ndim == y_pred.ndim and y_true.shape[-1] == 1:
        y_true = y_true.squeeze(-1)
    return y_true if y_true.dtype == torch.int64 else y_true.long()


def _rows(y_pred: Tensor, axis: int) -> Tensor:
    """Return predictions as `(rows, classes)`.

    Torch's loss of images expects classes on axis 1, and on the CPU has no gradient for a permuted
    tensor, such as any image with channels last.
    """
    return y_pred.movedim(axis, -1).reshape(-1, y_pred.shape[axis])


def _mean_on_logits(rows: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Return the mean cross-entropy of logits `(rows, classes)`, by torch's fused loss."""
    count, classes = rows.shape
    if classes < 16 and count >= 256 and rows.device.type == "cpu" and not torch.is_grad_enabled():
        # torch does not vectorise rows shorter than a vector register
        rows, target = rows.T[None], (target if target.ndim == 1 else target.T)[None]
    return F.cross_entropy(rows, target, label_smoothing=label_smoothing)


def sparse_categorical_crossentropy(
    y_true: Tensor,
    y_pred: Tensor,
    from_logits: bool = False,
    ignore_class: int | None = None,
    axis: int = -1,
) -> Tensor:
    """Return the cross-entropy of predicted class probabilities at integer labels.

    Args:
        y_true: labels, in the shape of `y_pred` without `axis` (or with size 1 there).
        y_pred: probabilities, or logits with `from_logits=True`, classes along `axis`.
        from_logits: whether `y_pred` holds logits.
        ignore_class: label whose loss is 0, or None.
        axis: axis of the classes.

    Returns:
        One value for each label.
    """
    labels = _class_indices(y_true, y_pred)
    by_class = log_probabilities(_rows(y_pred, axis), from_logits, -1)
    ignored = -100 if ignore_class is None else ignore_class
    values = F.nll_loss(by_class, labels.reshape(-1), reduction="none", ignore_index=ignored)
    return values.reshape(labels.shape)


def binary_values(y_true: Tensor, y_pred: Tensor, from_logits: bool) -> Tensor:
    """Return the binary cross-entropy of each element."""
    if from_logits:
        return F.binary_cross_entropy_with_logits(y_pred, y_true, reduction="none")
    y_pred = widened(y_pred).clamp(EPSILON, 1 - EPSILON)
    return -(y_true * y_pred.log() + (1 - y_true) * (1 - y_pred).log())


def binary_crossentropy(
    y_true: Tensor,
    y_pred: Tensor,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Tensor:
    """Return the mean binary cross-entropy along `axis`.

    Args:
        y_true: labels 0 and 1, or probabilities, in the shape of `y_pred`.
        y_pred: probabilities, or logits with `from_logits=True`.
        from_logits: whether `y_pred` holds logits.
        label_smoothing: share of each label moved to one half.
        axis: axis of the mean.

    Returns:
        The shape of `y_pred` without `axis`.
    """
    y_true = smooth(as_target(y_true, y_pred), label_smoothing, 2)
    return binary_values(y_true, y_pred, from_logits).mean(axis)


class CrossEntropy(Loss):
    """The settings that all cross-entropies share."""

    def __init__(
        self,
        from_logits: bool,
        label_smoothing: float,
        axis: int,
        reduction: str | None,
        name: str,
    ) -> None:
        super().__init__(reduction, name)
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f"label_smoothing of {name} must be in [0, 1], got {label_smoothing}")
        self.from_logits = from_logits
        self.label_smoothing = label_smoothing
        self.axis = axis

    def check(self, y_true: Tensor, y_pred: Tensor, output: str) -> None:
        """Refuse a single class, and shapes that do not match."""
        if self.activation == "softmax" and y_pred.shape[self.axis] == 1:
            raise ValueError(
                f"output {output!r} has one unit, but {self.name} needs one for each class: use "
                "binary_crossentropy with a sigmoid, or more units"
            )
        super().check(y_true, y_pred, output)


def refuse_class_indices(loss: Loss, y_true: Tensor, y_pred: Tensor, output: str) -> None:
    """Raise an error that names the sparse loss if labels were given to a loss of one-hot rows."""
    without_axis = [n for i, n in enumerate(y_pred.shape) if i != loss.axis % y_pred.ndim]
    looks_sparse = list(y_true.shape) in (without_axis, [*without_axis, 1])
    if looks_sparse and y_pred.shape[loss.axis] != 1:
        raise ValueError(
            f"the target of output {output!r} has shape {shape_text(y_true)}, which looks like "
            f"class indices, but {loss.name} takes one-hot rows of shape {shape_text(y_pred)}: "
            "use sparse_categorical_crossentropy, or fgraph.utils.to_categorical on the target"
        )


class CategoricalCrossentropy(CrossEntropy):
    """Cross-entropy on one-hot targets (Keras: `CategoricalCrossentropy`).

    Args:
        from_logits: whether predictions are logits. If the graph shows that an output is a softmax,
            its logits are used in any case.
        label_smoothing: share of each target spread over all classes.
        axis: axis of the classes.
        reduction: as in `Loss`.
        name: as in `Loss`.
    """

    activation = "softmax"
    per_sample = True

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "categorical_crossentropy",
    ) -> None:
        super().__init__(from_logits, label_smoothing, axis, reduction, name)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return one value for each row of classes."""
        return categorical_crossentropy(
            y_true, y_pred, self.from_logits, self.label_smoothing, self.axis
        )

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return the mean, on logits by torch's fused cross-entropy."""
        if self.from_logits and y_pred.ndim == 2:
            return _mean_on_logits(y_pred, as_target(y_true, y_pred), self.label_smoothing)
        return super().mean(y_true, y_pred)

    def check(self, y_true: Tensor, y_pred: Tensor, output: str) -> None:
        """Refuse class indices and other shapes than the prediction's."""
        refuse_class_indices(self, y_true, y_pred, output)
        super().check(y_true, y_pred, output)


class SparseCategoricalCrossentropy(CrossEntropy):
    """Cross-entropy on integer labels (Keras: `SparseCategoricalCrossentropy`).

    Args:
        from_logits: whether predictions are logits. If the graph shows that an output is a softmax,
            its logits are used in any case.
        ignore_class: label whose loss is 0, or None.
        axis: axis of the classes.
        reduction: as in `Loss`.
        name: as in `Loss`.
    """

    activation = "softmax"
    per_sample = True

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        axis: int = -1,
        name: str = "sparse_categorical_crossentropy",
    ) -> None:
        super().__init__(from_logits, 0.0, axis, reduction, name)
        self.ignore_class = ignore_class

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return one value for each label."""
        return sparse_categorical_crossentropy(
            y_true, y_pred, self.from_logits, self.ignore_class, self.axis
        )

    def own_mask(self, y_true: Tensor, y_pred: Tensor) -> Tensor | None:
        """Return which labels are not those of `ignore_class`; a mean is over these."""
        if self.ignore_class is None:
            return None
        return _class_indices(y_true, y_pred) != self.ignore_class

    def joins(self, y_true: Tensor | None) -> bool:
        """Return whether it joins batches: not if `ignore_class` may leave out labels."""
        return super().joins(y_true) and self.ignore_class is None

    def takes_labels(self, y_true: Tensor) -> bool:
        """Return true: targets are class indices, whatever their shape."""
        return True

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return the mean, on logits by torch's fused cross-entropy."""
        if self.from_logits and self.ignore_class is None:
            labels = _class_indices(y_true, y_pred).reshape(-1)
            return _mean_on_logits(_rows(y_pred, self.axis), labels)
        return super().mean(y_true, y_pred)

    def check(self, y_true: Tensor, y_pred: Tensor, output: str) -> None:
        """Refuse targets that are not one label for each row of classes."""
        if y_pred.shape[self.axis] == 1:
            super().check(y_true, y_pred, output)
        rows = [n for i, n in enumerate(y_pred.shape) if i != self.axis % y_pred.ndim]
        if list(y_true.shape) in (rows, [*rows, 1]):
            return
        hint = ""
        if y_true.shape == y_pred.shape:
            hint = ": one-hot rows belong to categorical_crossentropy"
        raise ValueError(
            f"the target of output {output!r} has shape {shape_text(y_true)}, but {self.name} on "
            f"an output of shape {shape_text(y_pred)} takes one class index for each row{hint}"
        )

    def check_values(self, y_true: Tensor, y_pred: Tensor, output: str) -> None:
        """Refuse labels outside the classes."""
        super().check_values(y_true, y_pred, output)
        check_class_indices(y_true, y_pred.shape[self.axis], self.ignore_class, output)


class BinaryCrossentropy(CrossEntropy):
    """Cross-entropy on labels 0 and 1 (Keras: `BinaryCrossentropy`).

    Args:
        from_logits: whether predictions are logits. If the graph shows that an output is a sigmoid,
            its logits are used in any case.
        label_smoothing: share of each label moved to one half.
        axis: axis of the mean.
        reduction: as in `Loss`.
        name: as in `Loss`.
    """

    activation = "sigmoid"
    per_sample = True

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "binary_crossentropy",
    ) -> None:
        super().__init__(from_logits, label_smoothing, axis, reduction, name)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return the mean along `axis` for each sample."""
        return binary_crossentropy(
            y_true, y_pred, self.from_logits, self.label_smoothing, self.axis
        )

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return the mean, on logits by torch's fused binary cross-entropy."""
        if self.from_logits:
            target = smooth(as_target(y_true, y_pred), self.label_smoothing, 2)
            return F.binary_cross_entropy_with_logits(y_pred, target)
        return super().mean(y_true, y_pred)

    def check_values(self, y_true: Tensor, y_pred: Tensor, output: str) -> None:
        """Refuse labels outside [0, 1]."""
        super().check_values(y_true, y_pred, output)
        low, high = value_range(y_true)
        if low < 0 or high > 1:
            raise ValueError(
                f"the target of output {output!r} holds values from {low:g} to {high:g}, but "
                f"{self.name} takes labels (or probabilities) in [0, 1]"
            )
