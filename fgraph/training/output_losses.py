"""The loss that training minimises: the weighted losses of all outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..common.configured import is_of_fgraph
from ..losses import CallableLoss, Loss
from ..losses.base import apply_mask, widened
from .output_structure import OutputStructure

Logits = tuple[str, Tensor, int]
"""What an activation made an output of: its name, its input, and the axis of a softmax."""


def annotate(output: Tensor, mask: Tensor | None = None, logits: Logits | None = None) -> None:
    """Attach the mask and the logits of an output to the tensor, as Keras does."""
    if mask is not None:
        output._fgraph_mask = mask  # type: ignore[attr-defined]
    if logits is not None:
        output._fgraph_logits = logits  # type: ignore[attr-defined]


def mask_of(output: Tensor) -> Tensor | None:
    """Return the mask of an output, true where it counts, or `None`."""
    return getattr(output, "_fgraph_mask", None)


def logits_of(output: Tensor) -> Logits | None:
    """Return the logits of an output of a softmax or sigmoid, if attached."""
    return getattr(output, "_fgraph_logits", None)


class Term(NamedTuple):
    """One loss: its output, its weight in the sum, and its form for logits if it has one."""

    output: int
    loss: Loss
    weight: float
    on_logits: Loss | None


class OutputLosses:
    """The losses of a model's outputs.

    Args:
        losses: as `compile` takes them, with `Loss` objects.
        weights: as `compile` takes `loss_weights`.
        outputs: the outputs.

    Raises:
        ValueError: their numbers or names are not those of the outputs.
    """

    def __init__(self, losses: Any, weights: Any, outputs: OutputStructure) -> None:
        self.outputs = outputs
        self.terms: list[Term] = []
        given = outputs.per_output(losses, "loss", spread=True, nested=True)
        factors = outputs.per_output(weights, "loss_weights", spread=False, nested=True)
        for i, (entry, factor) in enumerate(zip(given, factors, strict=True)):
            listed = _listed(entry)
            shares = _listed(factor) if isinstance(factor, list | tuple) else [factor] * len(listed)
            if len(shares) != len(listed):
                raise ValueError(
                    f"loss_weights of output {outputs.names[i]!r} has {len(shares)} entries for "
                    f"{len(listed)} losses"
                )
            for loss, share in zip(listed, shares, strict=True):
                on_logits = loss.on_logits() if loss.activation else None
                self.terms.append(Term(i, loss, 1.0 if share is None else float(share), on_logits))
        # outside of autocast, torch's losses round each batch's mean to its outputs' precision
        self.widen = not any(isinstance(term.loss, CallableLoss) for term in self.terms)
        self.with_loss = list(dict.fromkeys(term.output for term in self.terms))
        self.part_names = [f"{outputs.names[i]}_loss" for i in self.with_loss]
        self._checked: dict[int, tuple[torch.Size, torch.Size]] = {}  # of the last batch

    def join(self, y: Any) -> bool:
        """Return whether the losses of joined batches are the means of their losses.

        Args:
            y: all targets, as `targets` takes them; `None` if they are not in memory.
        """
        whole = [None] * len(self.outputs.names) if y is None else self.targets(y)
        return bool(self.terms) and all(term.loss.joins(whole[term.output]) for term in self.terms)

    def targets(self, y: Any) -> list[Any]:
        """Return the targets in the order of the outputs, `None` for those without.

        Args:
            y: a tensor for the only output, or the only one with a loss; or tensors in the
                structure of the outputs, in a list or in a dict by output name; outputs without a
                loss may be left out.

        Raises:
            ValueError: a name is unknown or missing, or the number of targets is wrong.
        """
        outputs = self.outputs
        if isinstance(y, Tensor) and len(outputs.names) == 1:
            return [y]
        if y is None and self.terms:
            raise ValueError(
                "no targets: the model was compiled with a loss, so it needs y (or batches that "
                "are (x, y) pairs)"
            )
        with_loss = self.with_loss
        if isinstance(y, Tensor) and len(with_loss) == 1:  # Keras's loss=["mse", None]
            y = [y]
        if isinstance(y, list | tuple) and len(y) == len(with_loss) < len(outputs.names):
            by_index = dict(zip(with_loss, y, strict=True))
            return [by_index.get(i) for i in range(len(outputs.names))]
        return outputs.per_output(y, "y", spread=False)

    def weights(self, sample_weight: Any) -> list[Any]:
        """Return sample weights in the order of the outputs; a single tensor is used for all."""
        if sample_weight is None:
            return [None] * len(self.outputs.names)
        return self.outputs.per_output(sample_weight, "sample_weight", spread=True)

    def __call__(
        self, targets: list[Any], outputs: list[Tensor], sample_weights: list[Any]
    ) -> tuple[Tensor | None, list[Tensor]]:
        """Compute the loss of one batch.

        Losses of outputs whose logits are known are computed from the logits. They run in float32;
        torch's and users' losses as `torch.autocast` runs them.

        Args:
            targets: one for each output.
            outputs: the model's outputs, in flat order.
            sample_weights: weights `(N,)` for each output, or `None`.

        Returns:
            The weighted sum, `None` if no output has a loss, and each output's unweighted loss.
        """
        parts: dict[int, Tensor] = {}
        total = None
        for number, (i, loss, weight, on_logits) in enumerate(self.terms):
            y_true, y_pred = targets[i], outputs[i]
            if y_true is None:
                raise ValueError(
                    f"no target for output {self.outputs.names[i]!r}, which has a loss"
                )
            if self._checked.get(number) != (y_true.shape, y_pred.shape):
                self._check(i, loss, y_true, y_pred)
                self._checked[number] = y_true.shape, y_pred.shape
            mask = mask_of(y_pred)
            known = None if on_logits is None else logits_of(y_pred)
            if known is not None and on_logits is not None and loss.activation == known[0]:
                same_axis = known[0] == "sigmoid" or (loss.axis - known[2]) % y_pred.ndim == 0
                if same_axis and not loss.from_logits:
                    loss, y_pred = on_logits, known[1]
            part = _computed(loss, y_true, y_pred, sample_weights[i], mask)
            parts[i] = parts[i] + part if i in parts else part
            term = part if weight == 1 else part * weight
            total = term if total is None else total + term
        return total, list(parts.values())

    def _check(self, i: int, loss: Loss, y_true: Tensor, y_pred: Tensor) -> None:
        name = self.outputs.names[i]
        if y_true.ndim and y_pred.ndim and len(y_true) != len(y_pred):
            raise ValueError(
                f"output {name!r} has {len(y_pred)} rows for {len(y_true)} targets; the "
                "model must keep the batch axis first"
            )
        known = logits_of(y_pred)
        if known is not None and known[0] == "softmax" and y_pred.shape[known[2]] == 1:
            raise ValueError(
                f"output {name!r} is a softmax over one unit, which is always 1: use a sigmoid "
                "with binary_crossentropy, or one unit for each class"
            )
        loss.check(y_true, y_pred, name)

    def value_check(self, outputs: list[Tensor]) -> Callable[[Any, Any], None]:
        """Return a function of targets and sample weights that refuses impossible values.

        Args:
            outputs: outputs of any batch; only their shapes matter.
        """
        like = [o if o.is_meta else torch.empty_like(o, device="meta") for o in outputs]

        def check(y: Any, sample_weight: Any) -> None:
            targets = self.targets(y) if self.terms else []
            for i, loss, _, _ in self.terms:
                if targets[i] is not None and targets[i].numel():
                    loss.check_values(targets[i], like[i], self.outputs.names[i])
            for weights in self.weights(sample_weight):
                if weights is not None and weights.numel():
                    _check_weights(weights)

        return check


def _computed(
    loss: Loss, y_true: Tensor, y_pred: Tensor, weight: Tensor | None, mask: Tensor | None
) -> Tensor:
    """Compute one loss, in float32."""
    if isinstance(loss, CallableLoss):
        return loss(y_true, y_pred, weight, mask)
    if not is_of_fgraph(type(loss).__call__):  # the user's, as Keras calls it
        y_pred, weight = widened(y_pred), apply_mask(weight, mask)
        return loss(y_true, y_pred) if weight is None else loss(y_true, y_pred, weight)
    y_pred = widened(y_pred)
    if not torch.is_autocast_enabled(y_pred.device.type):
        return loss(y_true, y_pred, weight, mask)
    with torch.autocast(y_pred.device.type, enabled=False):
        return loss(y_true, y_pred, weight, mask)


def _check_weights(weights: Tensor) -> None:
    low, high = (float(x) for x in torch.aminmax(weights))
    if not 0 <= low <= high < float("inf"):
        raise ValueError(
            f"sample_weight holds values from {low:g} to {high:g}; weights must be finite and not "
            "negative"
        )


def _listed(entry: Any) -> list[Any]:
    """Return the losses of one output: none, one or several."""
    if isinstance(entry, list | tuple):
        return [loss for item in entry for loss in _listed(item)]
    return [] if entry is None else [entry]
