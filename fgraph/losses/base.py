"""What a loss is: values for each sample, a weighted mean, and a check of the target's shape."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from ..errors import Remembered

EPSILON = 1e-7  # Keras: `keras.config.epsilon()`

_REDUCTIONS = ("sum_over_batch_size", "mean", "mean_with_sample_weight", "sum", "none", None)


def shape_text(tensor: Tensor) -> str:
    """Returns a tensor's shape with the batch dimension left open, as in `(None, 10)`."""
    return "(" + ", ".join(["None", *map(str, tensor.shape[1:])]) + ("," * (tensor.ndim == 1)) + ")"


def align_target(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Gives the target the trailing dimension of size 1 that it lacks, if it lacks one.

    Args:
        y_true: Target, for example `(N,)`.
        y_pred: Prediction, for example `(N, 1)`.

    Returns:
        The target in the prediction's number of dimensions, or as it was.
    """
    if y_true.ndim == y_pred.ndim - 1 and y_pred.shape[-1] == 1:
        return y_true.unsqueeze(-1)
    return y_true


def weighted(values: Tensor, sample_weight: Tensor) -> Tensor:
    """Multiplies loss values by sample weights, matching dimensions from the left.

    Args:
        values: Values of shape `(N, ...)`.
        sample_weight: Weights of shape `(N,)`, `(N, 1)` or any leading part of `values.shape`.

    Returns:
        The products, in the shape of `values`.

    Raises:
        ValueError: The weights do not fit the values.
    """
    if sample_weight.ndim == values.ndim + 1 and sample_weight.shape[-1] == 1:
        sample_weight = sample_weight.squeeze(-1)
    while sample_weight.ndim < values.ndim:
        sample_weight = sample_weight.unsqueeze(-1)
    fits = sample_weight.ndim == values.ndim and all(
        w in (1, v) for w, v in zip(sample_weight.shape, values.shape, strict=True)
    )
    if not fits:
        raise ValueError(
            f"sample_weight of shape {tuple(sample_weight.shape)} does not fit loss values of "
            f"shape {tuple(values.shape)}; give one weight a sample, or one for each value"
        )
    return values * sample_weight.to(values.dtype)


class Loss(Remembered):
    """A loss as Keras means it: `loss(y_true, y_pred, sample_weight=None)` gives a scalar.

    Subclasses write `call(y_true, y_pred)`, which returns one value for each sample (or for each
    element of a sample).

    Args:
        reduction: `"sum_over_batch_size"` (the mean over all values), `"sum"`,
            `"mean_with_sample_weight"` or `"none"`, as in Keras's `Loss`.
        name: Name shown in error texts; defaults to the class's name.
    """

    activation: ClassVar[str | None] = None
    """The activation whose logits the loss can take instead of its output."""

    from_logits: bool = False
    axis: int = -1

    def __init__(
        self, reduction: str | None = "sum_over_batch_size", name: str | None = None
    ) -> None:
        if reduction not in _REDUCTIONS:
            raise ValueError(
                f"unknown reduction {reduction!r} of {type(self).__name__}; "
                f"choose from {', '.join(map(repr, _REDUCTIONS[:-1]))}"
            )
        self.reduction = reduction
        self.name = name or type(self).__name__

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Returns the values before reduction, of shape `(N, ...)`."""
        raise NotImplementedError(f"{type(self).__name__} must define call(y_true, y_pred)")

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Returns the mean of `call`; where torch has it in one kernel, subclasses use that."""
        return self.call(y_true, y_pred).mean()

    def __call__(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> Tensor:
        """Computes the reduced loss.

        Args:
            y_true: Target.
            y_pred: Prediction.
            sample_weight: Weights of shape `(N,)` or of the values' shape, or None.

        Returns:
            A scalar, or the values themselves with `reduction="none"`.
        """
        if sample_weight is None and self.reduction == "sum_over_batch_size":
            return self.mean(y_true, y_pred)
        return self._reduce(self.call(y_true, y_pred), sample_weight)

    def _reduce(self, values: Tensor, sample_weight: Tensor | None) -> Tensor:
        if sample_weight is not None:
            values = weighted(values, sample_weight)
        if self.reduction in ("none", None):
            return values
        if self.reduction == "sum":
            return values.sum()
        if self.reduction == "mean_with_sample_weight" and sample_weight is not None:
            return values.sum() / sample_weight.sum().clamp_min(EPSILON)
        return values.mean()

    def on_logits(self) -> Loss:
        """Returns this loss for logits in the place of activated predictions."""
        twin = copy.copy(self)
        twin.from_logits = True
        return twin

    def check(self, y_true: Tensor, y_pred: Tensor, output: str) -> None:
        """Refuses a target whose shape does not match its prediction.

        Args:
            y_true: Target.
            y_pred: Prediction.
            output: The output's name, for the error's text.

        Raises:
            ValueError: The shapes differ by more than a missing last dimension of size 1, so that
                torch would broadcast them.
        """
        aligned = align_target(y_true, y_pred)
        if aligned.shape != y_pred.shape:
            raise ValueError(
                f"the target of output {output!r} has shape {shape_text(y_true)}, but the output "
                f"has shape {shape_text(y_pred)}; {self.name} needs equal shapes (and would "
                "otherwise broadcast them): reshape the target"
            )

    def check_values(self, y_true: Tensor, y_pred: Tensor, output: str) -> None:
        """Refuses a target whose values cannot be right; reads them from the device."""


class NamedLoss(Loss):
    """The class form of a loss function `function(y_true, y_pred, **settings)`.

    Args:
        reduction: As in `Loss`.
        name: As in `Loss`; defaults to the function's name.
    """

    function: ClassVar[Callable[..., Tensor]]

    def __init__(
        self, reduction: str | None = "sum_over_batch_size", name: str | None = None
    ) -> None:
        super().__init__(reduction, name or self.function.__name__)
        self.settings: dict[str, object] = {}

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Returns the function's values, of shape `(N, ...)`."""
        return type(self).function(y_true, y_pred, **self.settings)


def as_target(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Returns the target in the prediction's floating dtype and with its last dimension."""
    y_true = align_target(torch.as_tensor(y_true, device=y_pred.device), y_pred)
    return y_true if y_true.dtype == y_pred.dtype else y_true.to(y_pred.dtype)
