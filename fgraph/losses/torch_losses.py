"""Torch losses and plain functions behind the interface of `Loss`."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..common.batch_share import current_share, divided_by, undivided
from .base import Loss, align_target, apply_mask, check_class_indices, shape_text
from .broadcasting import broadcasts

# torch losses that compare element by element: shapes must be equal, dtypes are the prediction's
_ELEMENTWISE = {
    "MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "BCELoss", "BCEWithLogitsLoss",
    "KLDivLoss", "PoissonNLLLoss", "SoftMarginLoss", "MultiLabelSoftMarginLoss",
    "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy",
    "binary_cross_entropy_with_logits", "kl_div", "poisson_nll_loss", "soft_margin_loss",
}  # fmt: skip


_ON_CLASSES = {"CrossEntropyLoss", "cross_entropy", "NLLLoss", "nll_loss"}

# their mean is over all samples, unless weights are given
_PER_SAMPLE = [
    getattr(room, name)
    for name in _ELEMENTWISE | _ON_CLASSES
    for room in (nn, nn.functional)
    if hasattr(room, name)
]
_CHANGES = ("forward", "_forward_hooks", "_forward_pre_hooks")  # of one module alone


def _parameters(fn: Callable[..., Any]) -> list[str]:
    """Return the names of a callable's parameters, none for builtins without a signature."""
    try:
        return list(inspect.signature(fn).parameters)
    except (TypeError, ValueError):
        return []


def takes_keras_order(fn: Callable[..., Any]) -> bool:
    """Return whether a callable's parameters are named `y_true` and `y_pred`.

    Such a callable is called `fn(y_true, y_pred)`, as Keras does; every other one is called in
    torch's order, `fn(prediction, target)`.
    """
    return {"y_true", "y_pred"} <= set(_parameters(fn))


def callable_name(fn: Callable[..., Any]) -> str:
    """Return the name of a callable in messages and logs."""
    if isinstance(fn, functools.partial):
        return callable_name(fn.func)
    return str(getattr(fn, "__name__", type(fn).__name__))


class CallableLoss(Loss):
    """A loss module or function of torch or of the user.

    Args:
        fn: called `fn(prediction, target)`, or `fn(y_true, y_pred)` if its parameters have these
            names. It returns a scalar, or one value for each sample.
    """

    def __init__(self, fn: Callable[..., Tensor]) -> None:
        super().__init__(name=callable_name(fn))
        self.fn = fn
        self.keras_order = takes_keras_order(fn)
        self.elementwise = self.name in _ELEMENTWISE
        self._device: torch.device | None = None

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return what the callable returns."""
        return self._invoke(self.fn, y_true, y_pred)

    def _invoke(self, fn: Callable[..., Tensor], y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true = align_target(y_true, y_pred)
        if isinstance(self.fn, nn.Module) and self._device != y_pred.device:
            # it is not a submodule of the model, so `model.to` does not move its buffers
            self.fn.to(y_pred.device)
            self._device = y_pred.device
        if self.keras_order:
            value = fn(y_true, y_pred)
        else:
            value = fn(*self._in_torch_order(y_true, y_pred))
        if not isinstance(value, Tensor):
            raise TypeError(
                f"loss {self.name} returned {value!r}; it must return a tensor: a scalar, or one "
                "value for each sample"
            )
        return value

    def _in_torch_order(self, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
        """Return prediction and target, in dtypes that torch's losses take."""
        if self.elementwise:
            # float32 at least, as autocast computes these losses: half precision has 8 bits
            y_pred = y_pred.to(torch.promote_types(y_pred.dtype, torch.float32))
        if self.elementwise or y_true.is_floating_point():
            wide = torch.promote_types(y_pred.dtype, torch.float32)
            y_true = y_true if y_true.dtype == wide else y_true.to(wide)
        elif y_true.dtype in (torch.int32, torch.int16, torch.uint8):
            y_true = y_true.long()  # torch's losses accept class indices in this dtype only
        return y_pred, y_true

    def __call__(
        self,
        y_true: Tensor,
        y_pred: Tensor,
        sample_weight: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Return the loss; see `Loss.__call__`."""
        if sample_weight is None and mask is None:
            if current_share() is not None:
                return self._of_share(y_true, y_pred)
            value = self._invoke(self.fn, y_true, y_pred)
            return value.mean() if value.ndim else value
        if "sample_weight" in _parameters(self.fn):  # a loss object of Keras
            weight = apply_mask(sample_weight, mask)
            return self._invoke(functools.partial(self.fn, sample_weight=weight), y_true, y_pred)
        values = self._invoke(self._unreduced(), y_true, y_pred)
        if not values.ndim:
            raise ValueError(
                f"loss {self.name} returns one number for the whole batch, so sample_weight, "
                "class_weight and masks cannot be applied: let it return one value for each sample"
            )
        return self._reduce(values, sample_weight, mask)

    def _of_share(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return the loss of one process's share; torch's divide by what counts in the batch."""
        if self._setting("reduction", "mean") == "sum":
            return undivided(self.call(y_true, y_pred))
        if self.name not in _ON_CLASSES or y_true.is_floating_point():
            return self.call(y_true, y_pred).mean()
        if self._setting("reduction", "mean") != "mean":
            return self.call(y_true, y_pred).mean()
        counts = align_target(y_true, y_pred).long() != self._setting("ignore_index", -100)
        weight = self._setting("weight", None)
        total = self._invoke(self._reduced("sum"), y_true, y_pred)
        if weight is not None:
            labels = torch.where(counts, align_target(y_true, y_pred).long(), 0)
            counts = weight.to(y_pred.device)[labels] * counts
        return divided_by(total, counts.sum(), 0)

    def _setting(self, name: str, default: Any) -> Any:
        """Return a setting of one of torch's losses: an attribute, or bound by `partial`."""
        bound = self.fn.keywords if isinstance(self.fn, functools.partial) else _attributes(self.fn)
        return bound.get(name, default)

    def _unreduced(self) -> Callable[..., Tensor]:
        """Return the callable in its form without reduction, if it has one."""
        return self._reduced("none")

    def _reduced(self, reduction: str) -> Callable[..., Tensor]:
        """Return the callable with another reduction, if it has one."""
        if isinstance(self.fn, nn.Module) and hasattr(self.fn, "reduction"):
            other: Any = copy.copy(self.fn)
            other.reduction = reduction
            return other  # type: ignore[no-any-return]
        has_reduction = "reduction" in _parameters(self.fn)
        return functools.partial(self.fn, reduction=reduction) if has_reduction else self.fn

    def joins(self, y_true: Tensor | None) -> bool:
        """Return whether it is a loss of torch whose mean is over all samples."""
        kind = type(self.fn) if isinstance(self.fn, nn.Module) else self.fn
        settings = _attributes(self.fn)
        if not any(kind is known for known in _PER_SAMPLE) or any(map(settings.get, _CHANGES)):
            return False
        is_weighted = any(settings.get(name) is not None for name in ("weight", "pos_weight"))
        if settings.get("reduction", "mean") != "mean" or is_weighted:
            return False
        if self.name not in _ON_CLASSES:
            return True
        if y_true is None or y_true.is_floating_point():
            return y_true is not None
        return not bool((y_true == settings.get("ignore_index", -100)).any())

    def takes_labels(self, y_true: Tensor) -> bool:
        """Return whether it is a cross-entropy of torch, on class indices."""
        return self.name in _ON_CLASSES and not y_true.is_floating_point()

    def check(self, y_true: Tensor, y_pred: Tensor, output: str) -> None:
        """Refuse shapes that torch would broadcast; class indices are accepted."""
        target = align_target(y_true, y_pred)
        if self.name in {"CrossEntropyLoss", "cross_entropy"} and y_pred.shape[1:2] == (1,):
            raise ValueError(
                f"output {output!r} has one unit, so {self.name} (of a softmax) is always 0: use "
                "BCEWithLogitsLoss, or one unit for each class"
            )
        if target.shape == y_pred.shape:
            return
        if self.elementwise or broadcasts(self.call, target, y_pred):
            raise ValueError(
                f"the target of output {output!r} has shape {shape_text(y_true)}, but the "
                f"output has shape {shape_text(y_pred)}; {self.name} would broadcast them: "
                "reshape the target to the output's shape"
            )

    def check_values(self, y_true: Tensor, y_pred: Tensor, output: str) -> None:
        """Refuse class indices outside the classes, for torch's cross-entropies."""
        if not str(getattr(self.fn, "__module__", "")).startswith("torch."):
            return  # the user's function may take any value
        super().check_values(y_true, y_pred, output)
        if self.takes_labels(y_true) and y_pred.ndim > 1:
            ignored = getattr(self.fn, "ignore_index", -100)
            check_class_indices(y_true, y_pred.shape[1], ignored, output)


def _attributes(fn: Any) -> dict[str, Any]:
    """Return the attributes and buffers of a loss."""
    buffers = dict(fn.named_buffers()) if isinstance(fn, nn.Module) else {}
    return {**getattr(fn, "__dict__", {}), **buffers}
