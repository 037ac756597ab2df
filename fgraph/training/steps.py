"""One batch: forward, loss, backward, optimizer step, as methods that a subclass can override."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..common.mixed_parameters import by_kind, clip_norm
from ..graph.nested import iter_leaves
from ..optimizers.fast_step import fast_step
from .added_losses import collecting
from .model_access import ModelAccess, parameter_names
from .output_structure import OutputStructure
from .sources.batch import Batch
from .state import Step, TrainingState

_NO_AUTOCAST: AbstractContextManager[Any] = nullcontext()


class ForwardResult(NamedTuple):
    """What `forward_batch` returns.

    Args:
        loss: the scalar to minimise.
        y_pred: the outputs, in their structure.
        outputs: the outputs, in flat order.
        targets: the targets in the order of the outputs, `None` for those without.
        sample_weights: the sample weights in the order of the outputs.
    """

    loss: Tensor
    y_pred: Any
    outputs: list[Tensor]
    targets: list[Any]
    sample_weights: list[Any]


class Steps(ModelAccess):
    """The steps of training, evaluation and prediction, for a class that is also an `nn.Module`."""

    _trainer: TrainingState | None = None

    # ---- the loss

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        """Return the loss to minimise: the outputs' losses, regularizers and `add_loss`.

        A subclass may override it, with or without the parameter `training`.

        Args:
            x: the inputs of a batch.
            y: its targets, as the user gave them.
            y_pred: the outputs, as the model returned them.
            sample_weight: weights, as the user gave them.
            training: whether this is a step of training.

        Returns:
            A scalar.

        Raises:
            ValueError: there is no loss, or targets and outputs do not fit.
        """
        state = self._require_compiled("compute_loss")
        outputs = [y_pred] if isinstance(y_pred, Tensor) else list(iter_leaves(y_pred))
        losses = state.losses or self._bind(y_pred, len(outputs))
        return self._total_loss(losses.targets(y), outputs, losses.weights(sample_weight), state)

    def _total_loss(
        self,
        targets: list[Any],
        outputs: list[Tensor],
        sample_weights: list[Any],
        state: TrainingState,
    ) -> Tensor:
        """Return the loss to minimise, from targets and weights in the order of the outputs."""
        assert state.losses is not None
        total, parts = state.losses(targets, outputs, sample_weights)
        if state.step is not None:
            state.step.parts = parts
        for penalty in self.losses:
            total = penalty if total is None else total + penalty
        if total is None:
            raise ValueError("no output has a loss: give compile(loss=...) at least one")
        return total

    @property
    def losses(self) -> list[Tensor]:
        """The losses added to the outputs' losses: those of `add_loss` in this step."""
        step = None if self._trainer is None else self._trainer.step
        return self._collected(None if step is None else step.added)

    def _is_penalised(self) -> bool:
        """Return whether `losses` may hold more than those of `add_loss`."""
        return type(self).losses is not Steps.losses

    def _overrides(self, method: str) -> bool:
        """Return whether a subclass overrides `train_step`, `test_step` or `compute_loss`."""
        return getattr(type(self), method) is not getattr(Steps, method)

    def _require_compiled(self, caller: str) -> TrainingState:
        if self._trainer is None:
            raise RuntimeError(
                f"{caller} before compile: call {type(self).__name__}.compile(optimizer=..., "
                "loss=...) first"
            )
        return self._trainer

    def _bind(self, y_pred: Any, count: int) -> Any:
        """Make the losses and metrics for the outputs of the first call."""
        state = self._require_compiled("the loss")
        known = self._known_outputs()
        if known is None or len(known.names) != count:
            known = OutputStructure.of(y_pred)
        state.bind(known)
        return state.losses

    # ---- parts of a step, for custom `train_step`s

    def forward_batch(self, batch: Batch) -> ForwardResult:
        """Run the model on a batch and compute the loss.

        Runs in the precision given to `compile` and, under several processes, so that gradients
        are averaged over them.

        Args:
            batch: the batch passed to `train_step` or `test_step`.

        Returns:
            The loss, the outputs, and the targets and weights that belong to them. Metrics of
            `compile` are updated with these after the step.
        """
        state = self._require_compiled("forward_batch")
        batch = Batch.of(batch)
        with self._autocast():
            y_pred, outputs = self._outputs_of(batch, state)
            return self._result_of(batch, y_pred, outputs, state)

    def _autocast(self) -> AbstractContextManager[Any]:
        dtype = None if self._trainer is None else self._trainer.settings.autocast_dtype
        return _NO_AUTOCAST if dtype is None else torch.autocast(self._device().type, dtype)

    def _outputs_of(self, batch: Batch, state: TrainingState) -> tuple[Any, list[Tensor]]:
        """Run the model on a batch; return the outputs in their structure and in flat order."""
        call = self._call_for_loss if state.session is None else state.session.forward
        if state.step is None:  # `forward_batch` in a loop by hand
            state.step = Step()
        state.step.added = []
        with collecting(state.step.added):
            y_pred = call(batch.x)
        return y_pred, self._flat(y_pred, state)

    def _flat(self, y_pred: Any, state: TrainingState) -> list[Tensor]:
        """Return the outputs in flat order; make their losses and metrics if there are none yet."""
        outputs = [y_pred] if isinstance(y_pred, Tensor) else list(iter_leaves(y_pred))
        if state.losses is None or len(outputs) != len(state.losses.outputs.names):
            self._bind(y_pred, len(outputs))
        return outputs

    def _result_of(
        self, batch: Batch, y_pred: Any, outputs: list[Tensor], state: TrainingState
    ) -> ForwardResult:
        """Compute the loss, and match targets and weights with the outputs."""
        x, y, sample_weight, _ = batch
        losses = state.losses
        assert losses is not None
        own = type(self).compute_loss
        if own is Steps.compute_loss:
            targets, weights = losses.targets(y), losses.weights(sample_weight)
            loss = self._total_loss(targets, outputs, weights, state)
        else:
            arguments = {"x": x, "y": y, "y_pred": y_pred, "sample_weight": sample_weight}
            if _takes_training(own):
                arguments["training"] = torch.is_grad_enabled()
            loss = self.compute_loss(**arguments)
            if not isinstance(loss, Tensor):
                raise TypeError(f"compute_loss must return a scalar tensor, got {loss!r}")
            targets = [None] * len(outputs) if y is None else losses.targets(y)
            weights = losses.weights(sample_weight)
        result = ForwardResult(loss, y_pred, outputs, targets, weights)
        if state.step is not None:
            state.step.result = result
        return result

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a batch's loss to those of the parameters.

        Scales the loss for float16, gradient accumulation and this process's share of the batch.

        Args:
            loss: a scalar.
        """
        state = self._require_compiled("backward")
        if not loss.requires_grad:
            raise ValueError(
                "the loss does not depend on any parameter that requires a gradient: it must be "
                "computed from the outputs with torch's operations, without detach(), item(), "
                "numpy() or torch.no_grad()"
            )
        step = state.step
        if state.settings.gradient_accumulation_steps > 1:
            loss = loss / state.settings.gradient_accumulation_steps
        if step is not None:
            step.did_backward = True
            if step.share != 1:
                loss = loss * step.share
        if state.session is not None and state.session.replicas is not None:
            state.session.replicas.backward_ran()
        if state.scaler is not None:
            loss = state.scaler.scale(loss)
        loss.backward()

    def optimizer_step(self) -> None:
        """Update the parameters, once enough batches were accumulated.

        Clips the gradients, updates the scaler of float16 and a scheduler that steps per batch,
        applies weight constraints, and clears the gradients.
        """
        state = self._require_compiled("optimizer_step")
        if state.session is not None and state.session.replicas is not None:
            state.session.replicas.check(state.step is None or state.step.did_backward)
        state.accumulated += 1
        if state.accumulated >= state.settings.gradient_accumulation_steps:
            self._apply_gradients(state)

    def _apply_gradients(self, state: TrainingState) -> None:
        optimizer, scaler = state.optimizer, state.scaler
        missing = state.settings.gradient_accumulation_steps / state.accumulated
        if missing != 1:  # the last batches of an epoch may be fewer: the mean is over those
            for gradients in by_kind(p.grad for p in state.trained if p.grad is not None):
                torch._foreach_mul_(gradients, missing)
        self.average_gradients()
        if scaler is None:
            self._clip_gradients(state)
            fast_step(optimizer)
        else:
            hooks = getattr(optimizer, "_optimizer_step_pre_hooks", None)
            if state.settings.clip_grad_norm or hooks:
                scaler.unscale_(optimizer)
            self._clip_gradients(state)
            scaler.step(optimizer)
            scaler.update()
        state.clear_gradients()
        self._after_optimizer_step(state)

    def average_gradients(self) -> None:
        """Average the gradients over the processes that share batches; nothing in one process.

        `optimizer_step` calls it. Call it yourself before the step of another optimizer.
        """
        state = self._require_compiled("average_gradients")
        if state.session is not None and state.session.replicas is not None:
            state.session.replicas.average_gradients()

    def _closure_step(self, batch: Batch, state: TrainingState) -> Tensor:
        """Make a step of an optimizer that evaluates the loss itself, such as LBFGS."""
        first: list[Any] = []
        step = state.step

        def closure() -> Tensor:
            state.clear_gradients()
            result = self.forward_batch(batch)
            if not first:
                first.extend((result, step and step.parts))
            self.backward(result.loss)
            self.average_gradients()
            self._clip_gradients(state)
            return result.loss.detach()  # LBFGS converts it to a float

        state.optimizer.step(closure)
        state.clear_gradients()
        self._after_optimizer_step(state)
        if step is not None:
            step.result, step.parts = first
        return first[0].loss  # type: ignore[no-any-return]

    def _clip_gradients(self, state: TrainingState) -> None:
        if state.settings.clip_grad_norm is not None:
            clip_norm(state.trained, state.settings.clip_grad_norm)

    def _after_optimizer_step(self, state: TrainingState) -> None:
        if state.steps_per_batch:
            state.scheduler.step()
        self._after_step()

    def _after_step(self) -> None:
        """Called after each step of the optimizer; models apply weight constraints here."""

    # ---- one batch

    def train_step(self, batch: Batch) -> Tensor | Mapping[str, Any]:
        """Train on one batch.

        A subclass may override it. `forward_batch`, `backward` and `optimizer_step` follow the
        settings of `compile`, also in several processes. There, `loss.backward()`, or an optimizer
        step without `average_gradients` before it, raises an error.

        Args:
            batch: `(x, y, sample_weight, size)` on the model's device. An override that calls its
                parameter `data` is given `x`, `(x, y)` or `(x, y, sample_weight)`, as in Keras.

        Returns:
            The loss, or a dict of scalars by name. Logs show their means over the samples; for a
            name of one of `metrics`, the metric's result.

        Example:
            >>> class Sparse(Model):
            ...     def train_step(self, batch):
            ...         result = self.forward_batch(batch)
            ...         penalty = 0.01 * result.y_pred.abs().mean()
            ...         self.backward(result.loss + penalty)
            ...         self.optimizer_step()
            ...         return {"loss": result.loss, "penalty": penalty}
            >>> x = Input((3,))
            >>> model = Sparse(x, nn.Linear(3, 1)(x))
            >>> model.compile("sgd", "mse")
            >>> history = model.fit(torch.ones(8, 3), torch.ones(8, 1), verbose=0)
            >>> sorted(history.history)
            ['loss', 'penalty']
        """
        state = self._require_compiled("train_step")
        batch = Batch.of(batch)
        if state.takes_closure:
            return self._closure_step(batch, state)
        result = self.forward_batch(batch)
        self.backward(result.loss)
        self.optimizer_step()
        return result.loss

    def test_step(self, batch: Batch) -> Tensor | Mapping[str, Any]:
        """Evaluate on one batch, without gradients; see `train_step`."""
        return self.forward_batch(batch).loss

    def predict_step(self, batch: Batch) -> Any:
        """Return the model's outputs for one batch, in their structure."""
        with self._autocast():
            return self._call(Batch.of(batch).x)

    def _given(self, method: str, batch: Batch) -> Any:
        """Return a batch in the form that this class's step method takes."""
        return batch.data if _takes_data(getattr(type(self), method)) else batch


def _takes_data(step: Callable[..., Any]) -> bool:
    """Return whether a step is written like Keras's: `train_step(self, data)`."""
    return parameter_names(step)[1:2] == ("data",)


@functools.lru_cache(maxsize=256)
def _takes_training(compute_loss: Callable[..., Any]) -> bool:
    """Return whether a `compute_loss` has Keras's newer argument `training`."""
    parameters = inspect.signature(compute_loss).parameters.values()
    return any(p.name == "training" or p.kind is p.VAR_KEYWORD for p in parameters)
