"""The generalized cross-entropy, which tolerates wrong labels."""

from __future__ import annotations

from torch import Tensor

from ..common.number_checks import real_number
from .base import NamedLoss, check_class_indices, shape_text


def categorical_generalized_cross_entropy(y_true: Tensor, y_pred: Tensor, q: float) -> Tensor:
    """Return `(1 - p ** q) / q` of the true class's probability (Zhang and Sabuncu, 2018).

    Args:
        y_true: class indices, of the shape of `y_pred` without its last axis, or with 1 there.
        y_pred: probabilities, classes along the last axis.
        q: from 0, cross-entropy, to 1, mean absolute error.

    Returns:
        The shape of `y_pred` without its last axis.
    """
    labels = y_true if y_true.ndim == y_pred.ndim else y_true.unsqueeze(-1)
    return (1 - y_pred.gather(-1, labels.long()).squeeze(-1) ** q) / q


class CategoricalGeneralizedCrossEntropy(NamedLoss):
    """A cross-entropy that is robust to noisy labels (Keras's loss of the same name).

    Args:
        q: between 0 and 1; larger values reduce the influence of noisy labels.
        reduction: as in `Loss`.
        name: as in `Loss`.

    Raises:
        ValueError: `q` is out of range.
    """

    function = staticmethod(categorical_generalized_cross_entropy)
    per_sample = True

    def __init__(
        self,
        q: float = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
    ) -> None:
        super().__init__(reduction, name)
        self.settings = {"q": real_number(q, "q of CategoricalGeneralizedCrossEntropy", "(0, 1)")}

    def takes_labels(self, y_true: Tensor) -> bool:
        """Return true: targets are class indices."""
        return True

    def check(self, y_true: Tensor, y_pred: Tensor, output: str) -> None:
        """Refuse anything but one label for each row of probabilities."""
        if y_pred.ndim < 2 or y_true.shape not in (y_pred.shape[:-1], (*y_pred.shape[:-1], 1)):
            raise ValueError(
                f"categorical_generalized_cross_entropy on output {output!r} takes class indices "
                f"(None, ...) for probabilities (None, ..., classes), got {shape_text(y_true)} and "
                f"{shape_text(y_pred)}"
            )

    def check_values(self, y_true: Tensor, y_pred: Tensor, output: str) -> None:
        """Refuse labels out of range."""
        check_class_indices(y_true, y_pred.shape[-1], None, output)
