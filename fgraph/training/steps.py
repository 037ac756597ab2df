"""One batch: forward, loss, backward, optimizer, in short steps that can be overridden."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..graph.nested import iter_leaves
from . import distributed
from .batch import Batch
from .metric_set import detached
from .objective import Logits, Objective
from .settings import Compiled


class Steps:
    """The steps of training, evaluation and prediction, on a class that is also an `nn.Module`."""

    _compiled: Compiled | None = None

    # torch.nn.Module provides these
    parameters: Any
    buffers: Any

    # ---- the model's call

    def _call_with_logits(self, inputs: Any) -> tuple[list[Tensor], Logits]:
        """Calls the model in a training or evaluation step.

        Args:
            inputs: A tensor, a list or tuple of them, or a dict.

        Returns:
            The outputs in flat order, and `{output index: (activation, logits, axis)}` for the
            outputs that are known to come from a softmax or sigmoid.
        """
        result = self._call(inputs)
        if isinstance(result, Tensor):
            return [result], {}
        if isinstance(result, Mapping) and self._compiled is not None:
            self._compiled.output_names = [str(key) for key in result]
        return list(iter_leaves(result)), {}

    def _call(self, inputs: Any) -> Any:
        """Calls the model and returns what it returns: positional for lists, by name for dicts."""
        call: Any = self
        if isinstance(inputs, list | tuple):
            return call(*inputs)
        if isinstance(inputs, Mapping) and set(inputs) <= set(self._input_names()):
            return call(**inputs)
        return call(inputs)

    def _input_names(self) -> list[str]:
        """Returns the names of the inputs: those of the graph, or `forward`'s parameters."""
        known = getattr(self, "input_names", None)
        if known is not None:
            return list(known)
        return list(inspect.signature(self.forward).parameters)  # type: ignore[attr-defined]

    def _output_masks(self, outputs: list[Tensor]) -> dict[int, Tensor]:
        """Returns `{output index: mask}` where outputs carry masks; masked steps count nothing."""
        return {}

    def _device(self) -> torch.device:
        """Returns the device of the first parameter or buffer, where batches go."""
        for tensors in (self.parameters(), self.buffers()):
            for tensor in tensors:
                return torch.device(tensor.device)
        return torch.device("cpu")

    def _float_dtype(self) -> torch.dtype:
        """Returns the dtype of the first floating parameter: what numpy's float64 becomes."""
        dtypes = (p.dtype for p in self.parameters() if p.is_floating_point())
        return next(dtypes, torch.get_default_dtype())

    # ---- the loss

    def compute_loss(
        self,
        x: Any,
        y: Any,
        y_pred: Any,
        sample_weight: Any = None,
        logits: Logits | None = None,
    ) -> Tensor:
        """Computes the loss that is lowered: all outputs' losses and the model's regularisers.

        Args:
            x: The batch's inputs.
            y: Its targets, a tensor, or for several outputs a list in their order.
            y_pred: The outputs, a tensor or a list.
            sample_weight: Weights, None, a tensor or a list.
            logits: `{output index: (activation, logits, axis)}`, where they are known.

        Returns:
            A scalar.
        """
        compiled = self._require_compiled("compute_loss")
        objective = self._bound(len(y_pred) if isinstance(y_pred, list) else 1)
        outputs = y_pred if isinstance(y_pred, list) else [y_pred]
        targets = y if isinstance(y, list) else [y]
        weights = sample_weight if isinstance(sample_weight, list) else [sample_weight]
        masks = self._output_masks(outputs)
        if masks:
            weights = _masked(weights, masks)
        total, compiled.parts = objective(targets, outputs, logits or {}, weights)
        if hasattr(type(self), "losses"):  # a property, such as the graph's regularisers
            for penalty in self.losses:  # type: ignore[attr-defined]
                total = total + penalty
        return total

    def _require_compiled(self, caller: str) -> Compiled:
        if self._compiled is None:
            raise RuntimeError(
                f"{caller} before compile: call {type(self).__name__}.compile(optimizer=..., "
                "loss=...) first"
            )
        return self._compiled

    def _bound(self, outputs: int) -> Objective:
        """Returns the losses, resolved for the model's outputs when the first ones are seen."""
        compiled = self._require_compiled("the loss")
        if compiled.objective is not None:
            return compiled.objective
        names = getattr(self, "output_names", None) or compiled.output_names
        if names is None or len(names) != outputs:
            names = [f"output_{i + 1}" for i in range(outputs)]
        return compiled.bind(list(names))

    def _batch_loss(self, batch: Batch) -> Tensor:
        """Returns the loss of a batch, and keeps what its figures need."""
        compiled = self._require_compiled("a step")
        if compiled.autocast_dtype is None:
            return self._forward_loss(batch, compiled)
        with torch.autocast(self._device().type, compiled.autocast_dtype):
            return self._forward_loss(batch, compiled)

    def _forward_loss(self, batch: Batch, compiled: Compiled) -> Tensor:
        x, y, sample_weight, _ = batch
        outputs, logits = (compiled.forward or self._call_with_logits)(x)
        objective = compiled.objective or self._bound(len(outputs))
        targets = objective.targets(y)
        weights = objective.weights(sample_weight)
        if compiled.checks is not None:
            compiled.checks(objective, targets, outputs)
        compiled.seen = (targets, outputs, weights)
        if len(outputs) == 1:
            return self.compute_loss(x, targets[0], outputs[0], weights[0], logits)
        return self.compute_loss(x, targets, outputs, weights, logits)

    # ---- one batch

    def train_step(self, batch: Batch) -> Tensor | dict[str, Tensor]:
        """Makes one step of training.

        A subclass may write its own: forward, loss, backward and optimizer step.

        Args:
            batch: `(x, y, sample_weight, size)` on the model's device.

        Returns:
            The batch's loss, or a dict of figures (scalar tensors) that are averaged for the logs.
        """
        compiled = self._require_compiled("train_step")
        if compiled.takes_closure:
            return self._closure_step(batch, compiled)
        loss = self._batch_loss(batch)
        self._backward(loss, batch, compiled)
        self._apply_gradients(compiled)
        return loss

    def test_step(self, batch: Batch) -> Tensor | dict[str, Tensor]:
        """Makes one step of evaluation, without gradients; see `train_step`."""
        return self._batch_loss(batch)

    def predict_step(self, batch: Batch) -> Any:
        """Returns the model's outputs for one batch, in their structure."""
        compiled = self._compiled
        if compiled is None or compiled.autocast_dtype is None:
            return self._call(batch.x)
        with torch.autocast(self._device().type, compiled.autocast_dtype):
            return self._call(batch.x)

    def _backward(self, loss: Tensor, batch: Batch, compiled: Compiled) -> None:
        """Adds the batch's gradients to the parameters'."""
        if compiled.accumulation > 1:
            loss = loss / compiled.window
        if distributed.world_size() > 1:
            loss = loss * distributed.scale(batch.size)
        if compiled.scaler is not None:
            loss = compiled.scaler.scale(loss)
        loss.backward()
        compiled.waiting += 1

    def _closure_step(self, batch: Batch, compiled: Compiled) -> Tensor:
        """Makes a step of an optimizer that evaluates the loss by itself, such as LBFGS."""
        first: list[Any] = []

        def closure() -> Tensor:
            compiled.clear_gradients()
            loss = self._batch_loss(batch)
            if not first:
                first.extend((loss.detach(), compiled.seen, compiled.parts))
            self._backward(loss, batch, compiled)
            self._clip_gradients(compiled)
            return loss.detach()  # LBFGS makes a float of it

        compiled.optimizer.step(closure)
        self._after_optimizer_step(compiled)
        loss, compiled.seen, compiled.parts = first
        return loss  # type: ignore[no-any-return]

    def _apply_gradients(self, compiled: Compiled) -> None:
        """Lets the optimizer take its step, once enough batches were gathered."""
        if compiled.waiting < compiled.window:
            return
        optimizer, scaler = compiled.optimizer, compiled.scaler
        if scaler is None:
            self._clip_gradients(compiled)
            optimizer.step()
        else:
            if compiled.clip_grad_norm or getattr(optimizer, "_optimizer_step_pre_hooks", None):
                scaler.unscale_(optimizer)
            self._clip_gradients(compiled)
            scaler.step(optimizer)
            scaler.update()
        compiled.clear_gradients()
        self._after_optimizer_step(compiled)

    def _clip_gradients(self, compiled: Compiled) -> None:
        if compiled.clip_grad_norm is not None:
            nn.utils.clip_grad_norm_(compiled.trained, compiled.clip_grad_norm)

    def _after_optimizer_step(self, compiled: Compiled) -> None:
        compiled.waiting = 0
        if compiled.scheduler_per_batch:
            compiled.scheduler.step()
        self._after_step()

    def _after_step(self) -> None:
        """Called after each step of the optimizer, for example to apply weight constraints."""

    # ---- figures

    def _record(self, result: Tensor | dict[str, Tensor], batch: Batch, compiled: Compiled) -> None:
        """Adds the figures of a step to those of the epoch; nothing is read from the device."""
        size = distributed.own_size(batch.size)
        if not size:
            return
        figures, objective = compiled.figures, compiled.objective
        if figures is None or objective is None:  # a train_step of the user's own
            objective = self._bound(1)
            figures = compiled.figures
        if isinstance(result, Tensor):
            figures.add("loss", detached(result), size)
        else:
            for name, value in result.items():
                figures.add(name, detached(torch.as_tensor(value)), size)
        if len(compiled.parts) > 1:
            for name, part in zip(objective.part_names, compiled.parts, strict=True):
                figures.add(name, detached(part), size)
        if figures.metrics.entries and compiled.seen is not None:
            targets, outputs, weights = compiled.seen
            figures.metrics.update(targets, [detached(output) for output in outputs], weights)
        compiled.seen = None
        compiled.parts = []


def _masked(weights: list[Any], masks: dict[int, Tensor]) -> list[Any]:
    """Returns sample weights times masks, scaled as Keras does: a mean over what is not masked."""
    weights = list(weights)
    for i, mask in masks.items():
        kept = mask.to(torch.float32)
        kept = kept * (mask.numel() / kept.sum().clamp_min(1))
        given = weights[i]
        if given is not None:
            given = given.view(*given.shape, *[1] * (kept.ndim - given.ndim))
        weights[i] = kept if given is None else kept * given
    return weights
