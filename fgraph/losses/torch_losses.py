"""Torch losses and plain functions behind the interface of `Loss`."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .base import Loss, align_target, shape_text

# torch losses that compare element by element: shapes must be equal, dtypes are the prediction's
_ELEMENTWISE = {
    "MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "BCELoss", "BCEWithLogitsLoss",
    "KLDivLoss", "PoissonNLLLoss", "SoftMarginLoss", "MultiLabelSoftMarginLoss",
    "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy",
    "binary_cross_entropy_with_logits", "kl_div", "poisson_nll_loss", "soft_margin_loss",
}  # fmt: skip


def takes_keras_order(fn: Callable[..., Any]) -> bool:
    """Says whether a callable's parameters are named `y_true` and `y_pred`.

    Such a callable is called `fn(y_true, y_pred)`, as Keras does; every other one is called in
    torch's order, `fn(prediction, target)`.
    """
    try:
        parameters = list(inspect.signature(fn).parameters)
    except (TypeError, ValueError):  # builtins without a signature
        return False
    return "y_true" in parameters and "y_pred" in parameters


def callable_name(fn: Callable[..., Any]) -> str:
    """Returns the name under which a callable appears in error texts and histories."""
    if isinstance(fn, functools.partial):
        return callable_name(fn.func)
    return str(getattr(fn, "__name__", type(fn).__name__))


class CallableLoss(Loss):
    """A loss module or function of torch or of the user.

    Args:
        fn: Called `fn(prediction, target)`, or `fn(y_true, y_pred)` where its parameters have
            these names. It returns a scalar, or one value for each sample.
    """

    def __init__(self, fn: Callable[..., Tensor]) -> None:
        super().__init__(name=callable_name(fn))
        self.fn = fn
        self.keras_order = takes_keras_order(fn)
        self.elementwise = self.name in _ELEMENTWISE
        self._device: torch.device | None = None

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Returns what the callable returns."""
        return self._invoke(self.fn, y_true, y_pred)

    def _invoke(self, fn: Callable[..., Tensor], y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true = align_target(y_true, y_pred)
        if isinstance(self.fn, nn.Module) and self._device != y_pred.device:
            # it is no submodule of the model, so `model.to` does not reach its buffers
            self.fn.to(y_pred.device)
            self._device = y_pred.device
        if self.keras_order:
            return fn(y_true, y_pred)
        if y_true.dtype != y_pred.dtype and (self.elementwise or y_true.is_floating_point()):
            y_true = y_true.to(y_pred.dtype)
        elif y_true.dtype in (torch.int32, torch.int16, torch.uint8):
            y_true = y_true.long()  # the only dtype of class indices that torch's losses take
        return fn(y_pred, y_true)

    def __call__(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> Tensor:
        """Computes the loss; see `Loss.__call__`."""
        if sample_weight is None:
            value = self.call(y_true, y_pred)
            return value.mean() if value.ndim else value
        values = self._invoke(self._unreduced(), y_true, y_pred)
        if not values.ndim:
            raise ValueError(
                f"loss {self.name} returns one number for the whole batch, so sample_weight and "
                "class_weight cannot be applied: let it return one value for each sample"
            )
        return self._reduce(values, sample_weight)

    def _unreduced(self) -> Callable[..., Tensor]:
        """Returns the callable in its form without reduction, if it has one."""
        if isinstance(self.fn, nn.Module) and hasattr(self.fn, "reduction"):
            unreduced: Any = copy.copy(self.fn)
            unreduced.reduction = "none"
            return unreduced  # type: ignore[no-any-return]
        try:
            has_reduction = "reduction" in inspect.signature(self.fn).parameters
        except (TypeError, ValueError):
            has_reduction = False
        return functools.partial(self.fn, reduction="none") if has_reduction else self.fn

    def check(self, y_true: Tensor, y_pred: Tensor, output: str) -> None:
        """Refuses shapes that torch would broadcast; class indices and the like pass."""
        target = align_target(y_true, y_pred)
        same_rank = target.ndim == y_pred.ndim
        trailing = target.ndim == y_pred.ndim + 1 and target.shape[-1] == 1
        if target.shape != y_pred.shape and (self.elementwise or trailing or same_rank):
            broadcasts = self.elementwise or trailing or _broadcast(target, y_pred)
            if broadcasts:
                raise ValueError(
                    f"the target of output {output!r} has shape {shape_text(y_true)}, but the "
                    f"output has shape {shape_text(y_pred)}; {self.name} would broadcast them: "
                    "reshape the target to the output's shape"
                )

    def check_values(self, y_true: Tensor, y_pred: Tensor, output: str) -> None:
        """Refuses class indices outside the classes, for torch's cross-entropies."""
        if self.name not in ("CrossEntropyLoss", "cross_entropy", "NLLLoss", "nll_loss"):
            return
        if y_true.is_floating_point() or y_pred.ndim < 2 or not y_true.numel():
            return
        ignored = getattr(self.fn, "ignore_index", -100)
        labels = y_true[y_true != ignored]
        classes = y_pred.shape[1]
        if labels.numel() and (int(labels.min()) < 0 or int(labels.max()) >= classes):
            raise ValueError(
                f"the target of output {output!r} holds labels from {int(labels.min())} to "
                f"{int(labels.max())}, but the output has {classes} classes: labels must be in "
                f"[0, {classes - 1}]"
            )


def _broadcast(a: Tensor, b: Tensor) -> bool:
    return all(m == n or 1 in (m, n) for m, n in zip(a.shape, b.shape, strict=True))
