"""The base of losses: a value for each sample, a weighted mean, and checks of targets."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.overrides import handle_torch_function

from ..common.batch_share import divided_by, undivided
from ..common.configured import Remembered, declares, is_of_fgraph
from .broadcasting import broadcasts

EPSILON = 1e-7  # Keras: `keras.config.epsilon()`
HALF = (torch.bfloat16, torch.float16)

_MEANS = ("sum_over_batch_size", "mean")
_REDUCTIONS = ("sum_over_batch_size", "mean", "mean_with_sample_weight", "sum", "none", None)


def shape_text(tensor: Tensor) -> str:
    """Return a tensor's shape with the batch dimension left open, as in `(None, 10)`."""
    return "(" + ", ".join(["None", *map(str, tensor.shape[1:])]) + ("," * (tensor.ndim == 1)) + ")"


def widened(tensor: Tensor) -> Tensor:
    """Return half precision as float32, which losses and sums need; others unchanged."""
    return tensor.float() if tensor.dtype in HALF else tensor


def align_target(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Add a trailing dimension of size 1 to the target if only that is missing.

    Args:
        y_true: the target, for example `(N,)`.
        y_pred: the prediction, for example `(N, 1)`.

    Returns:
        The target with the prediction's number of dimensions, or unchanged.
    """
    if y_true.ndim == y_pred.ndim - 1 and y_pred.shape[-1] == 1:
        return y_true.unsqueeze(-1)
    return y_true


def refuse_broadcasting(y_true: Tensor, shape: Sequence[int], y_pred: Tensor) -> None:
    """Refuse a target that torch would broadcast.

    Args:
        y_true: the target.
        shape: the shape that it must have.
        y_pred: the prediction, for the message.

    Raises:
        ValueError: it has another shape.
    """
    if tuple(y_true.shape) != tuple(shape):
        raise ValueError(
            f"a target of shape {tuple(y_true.shape)} does not belong to a prediction of shape "
            f"{tuple(y_pred.shape)}: it must have the shape {tuple(shape)}, and would otherwise be "
            "broadcast"
        )


def weighted(values: Tensor, sample_weight: Tensor) -> Tensor:
    """Multiply loss values by sample weights, matching dimensions from the left.

    Args:
        values: values of shape `(N, ...)`.
        sample_weight: weights of shape `(N,)`, `(N, 1)` or any leading part of `values.shape`.

    Returns:
        The products, in the shape of `values`.

    Raises:
        ValueError: the weights do not fit the values.
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
            f"sample_weight (or mask) of shape {tuple(sample_weight.shape)} does not fit loss "
            f"values of shape {tuple(values.shape)}; give one weight a sample, or one for each "
            "value"
        )
    return values * sample_weight.to(values.dtype)


def apply_mask(sample_weight: Tensor | None, mask: Tensor | None) -> Tensor | None:
    """Return sample weights that are 0 where the mask is false; `None` if there is neither.

    Args:
        sample_weight: weights of shape `(N,)` or `(N, ...)`.
        mask: true where values count, `(N, ...)`.
    """
    if mask is None:
        return sample_weight
    kept = mask.to(torch.float32)
    if sample_weight is None:
        return kept
    if sample_weight.ndim > kept.ndim:
        return weighted(sample_weight, kept)
    return weighted(kept, sample_weight)


def within(axis: int) -> bool:
    """Return whether an axis cannot be the batch axis; there are at least two axes."""
    return axis == -1 or axis > 0


def value_range(values: Tensor) -> tuple[float, float]:
    """Return the smallest and the largest value; both are NaN if any value is."""
    low, high = torch.aminmax(values if values.dtype != torch.bool else values.byte())
    return low.item(), high.item()


def check_class_indices(y_true: Tensor, classes: int, ignored: int | None, output: str) -> None:
    """Refuse labels outside the classes.

    Args:
        y_true: the labels.
        classes: the number of classes.
        ignored: a label that is allowed besides, or `None`.
        output: the output's name, for the message.

    Raises:
        ValueError: a label is out of range.
    """
    labels = y_true if ignored is None else y_true[y_true != ignored]
    if not labels.numel():
        return
    low, high = value_range(labels)
    if low < 0 or high >= classes or (labels.is_floating_point() and (labels % 1 != 0).any()):
        raise ValueError(
            f"the target of output {output!r} holds labels from {low:g} to {high:g}, but the "
            f"output has {classes} classes: labels must be whole numbers in [0, {classes - 1}]"
        )


class Loss(Remembered):
    """A Keras loss: `loss(y_true, y_pred, sample_weight=None)` returns a scalar.

    Subclasses define `call(y_true, y_pred)`, which returns one value for each sample (or for each
    element of a sample).

    Args:
        reduction: `"sum_over_batch_size"` (the mean over all values), `"sum"`,
            `"mean_with_sample_weight"` or `"none"`, as in Keras's `Loss`.
        name: the name in error messages; the class's name by default.

    Raises:
        ValueError: the reduction is unknown.
    """

    activation: ClassVar[str | None] = None
    """The activation whose logits the loss can take instead of its output."""

    per_sample: ClassVar[bool] = False
    """Whether a value depends on its own sample alone, so that `evaluate` may compute the loss of
    several batches at once. A class says so for itself: its subclasses do not inherit it."""

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
        """Return the values before reduction, of shape `(N, ...)`."""
        raise NotImplementedError(f"{type(self).__name__} must define call(y_true, y_pred)")

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return the mean of `call`; subclasses use torch's fused kernel if there is one."""
        return self.call(y_true, y_pred).mean()

    def own_mask(self, y_true: Tensor, y_pred: Tensor) -> Tensor | None:
        """Return which values count by the loss's own rule, such as `ignore_class`, or `None`."""
        return None

    def __call__(
        self,
        y_true: Tensor,
        y_pred: Tensor,
        sample_weight: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Return the reduced loss.

        Args:
            y_true: the target.
            y_pred: the prediction.
            sample_weight: weights of shape `(N,)` or of the values' shape, or `None`.
            mask: true where values count, of the values' shape, or `None`. Means are over unmasked
                values.

        Returns:
            A scalar, or the values themselves with `reduction="none"`. On symbolic tensors, one
            call of the graph.
        """
        given = y_true, y_pred, sample_weight, mask
        if any(map(is_symbolic, given)):
            return handle_torch_function(loss, given, self, *given)
        y_pred = widened(y_pred)
        own = self.own_mask(y_true, y_pred)
        if own is not None:
            mask = own if mask is None else own & mask
        if mask is None and sample_weight is None and self.reduction == "sum_over_batch_size":
            return self.mean(y_true, y_pred)
        return self._reduce(self.call(y_true, y_pred), sample_weight, mask)

    def _reduce(
        self, values: Tensor, sample_weight: Tensor | None, mask: Tensor | None = None
    ) -> Tensor:
        sample_weight = apply_mask(sample_weight, mask)
        if sample_weight is not None:
            values = weighted(values, sample_weight)
        if self.reduction in ("none", None):
            return values
        if self.reduction == "sum":
            return undivided(values.sum())
        if self.reduction == "mean_with_sample_weight":
            if sample_weight is None:
                return values.mean()
            return divided_by(values.sum(), sample_weight.sum(), EPSILON)
        if mask is None:
            return values.mean()
        # as Keras: the mean over what is not masked
        return divided_by(values.mean() * mask.numel(), mask.sum(), 1)

    def joins(self, y_true: Tensor | None) -> bool:
        """Return whether the loss of concatenated batches is the mean of their losses over samples.

        Args:
            y_true: all targets, `None` if they are not in memory.
        """
        return declares(self, "per_sample") and self.reduction in _MEANS and within(self.axis)

    def on_logits(self) -> Loss:
        """Return this loss for logits instead of activated predictions."""
        twin = copy.copy(self)
        twin.from_logits = True
        return twin

    def takes_labels(self, y_true: Tensor) -> bool:
        """Return whether the loss takes such targets as class indices, one for each row."""
        return False

    def check(self, y_true: Tensor, y_pred: Tensor, output: str) -> None:
        """Refuse a target whose shape does not match its prediction.

        Args:
            y_true: the target.
            y_pred: the prediction.
            output: the output's name, for the message.

        Raises:
            ValueError: the shapes differ by more than a missing last dimension of size 1, so that
                torch would broadcast them; in a class of the user, if it does.
        """
        if not is_of_fgraph(type(self).__call__):
            return  # a user's `__call__` need not use `call`
        own = is_of_fgraph(type(self).call)  # other losses check by themselves
        aligned = align_target(y_true, y_pred) if own else y_true
        if aligned.shape != y_pred.shape and (own or broadcasts(self.call, y_true, y_pred)):
            raise ValueError(
                f"the target of output {output!r} has shape {shape_text(y_true)}, but the output "
                f"has shape {shape_text(y_pred)}; {self.name} needs equal shapes (and would "
                "otherwise broadcast them): reshape the target"
            )

    def check_values(self, y_true: Tensor, y_pred: Tensor, output: str) -> None:
        """Refuse a target with impossible values.

        Args:
            y_true: the target, on the host, not empty.
            y_pred: a prediction; only its shape matters.
            output: the output's name, for the message.

        Raises:
            ValueError: a value is NaN or infinite, or out of the loss's range.
        """
        low, high = (0.0, 0.0) if y_true.is_complex() else value_range(y_true)
        if not -math.inf < low <= high < math.inf:
            raise ValueError(
                f"the target of output {output!r} holds values that are not finite (from {low:g} "
                f"to {high:g}): remove these samples, or write a loss of your own that leaves "
                "them out"
            )


def loss(of: Loss, *given: Any) -> Tensor:
    """Return a loss of tensors; what a graph calls."""
    return of(*given)


def is_symbolic(value: Any) -> bool:
    """Whether a value stands for a tensor while a graph is recorded."""
    return hasattr(type(value), "__torch_function__") and not isinstance(value, Tensor)


class NamedLoss(Loss):
    """The class form of a loss function `function(y_true, y_pred, **settings)`.

    Args:
        reduction: as in `Loss`.
        name: as in `Loss`; the function's name by default.
    """

    function: ClassVar[Callable[..., Tensor]]

    def __init__(
        self, reduction: str | None = "sum_over_batch_size", name: str | None = None
    ) -> None:
        super().__init__(reduction, name or self.function.__name__)
        self.settings: dict[str, object] = {}

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return the function's values, of shape `(N, ...)`."""
        return type(self).function(y_true, y_pred, **self.settings)


def as_target(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return the target in the prediction's floating dtype and with its last dimension.

    Raises:
        ValueError: their shapes differ, so that torch would broadcast them.
    """
    if is_symbolic(y_true) or is_symbolic(y_pred):  # some sizes are known only at run time
        y_true = align_target(y_true, y_pred)
        sizes = [
            tuple(n if isinstance(n, int) else None for n in x.shape) for x in (y_true, y_pred)
        ]
        if len(sizes[0]) != len(sizes[1]) or any(
            m != n for m, n in zip(*sizes, strict=True) if None not in (m, n)
        ):
            raise ValueError(
                f"a target of shape {sizes[0]} does not belong to a prediction of shape {sizes[1]}"
            )
        return y_true.to(y_pred.dtype)
    y_true = torch.as_tensor(y_true, device=y_pred.device)
    if y_true.shape != y_pred.shape:
        y_true = align_target(y_true, y_pred)
        refuse_broadcasting(y_true, y_pred.shape, y_pred)
    return y_true if y_true.dtype == y_pred.dtype else y_true.to(y_pred.dtype)
