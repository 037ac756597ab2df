"""Checks on data and model before the first step of `fit` and `evaluate`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from ..callbacks.base import Callback
from ..common.configured import is_of_fgraph
from ..common.process_group import world_size
from ..graph.nested import iter_leaves, leaves_with_paths
from . import process_checks as joining
from .fit_run import FitRun
from .output_losses import OutputLosses
from .prediction import evaluating
from .sources.batch import Batch, Source
from .sources.feed import Feed
from .sources.random_state import get_random_state, set_random_state
from .sources.sharded_data import check_equal
from .state import Step


def build(model: Any, feed: Feed) -> None:
    """Make the parameters of a model with lazy modules, or without a graph: run a batch."""
    kinds = {
        type(tensor)
        for module in model.modules()
        for tensor in (*module._parameters.values(), *module._buffers.values())
    }
    lazy = any(issubclass(kind, UninitializedParameter | UninitializedBuffer) for kind in kinds)
    if not lazy and not getattr(model, "_is_unbuilt", False):
        return
    batch = feed.source.first()
    if batch is not None:
        with evaluating(model), torch.no_grad():
            model._call(batch.x)


def check_fit(model: Any, run: FitRun) -> None:
    """Check everything that is known before the first step of `fit`.

    Raises:
        ValueError: something does not fit; the message says what, and where.
        TypeError: something is of the wrong type.
    """
    _check_validation(run)
    check_division(run.feed)
    if run.validation is not None:
        check_division(run.validation)
    if not model._overrides("train_step"):
        _try_out(model, run.feed)
        _check_names(model, run)
    if run.validation is not None:
        check_evaluate(model, run.validation, "validation")
    for callback in run.callbacks.callbacks:
        callback.check_run(model, run.callbacks.callbacks)
    if world_size() > 1:
        joining.prepare(model, run, _trying)


def _check_validation(run: FitRun) -> None:
    """Refuse validation data that is exhausted after the first of several validations."""
    feed = run.validation
    if feed is None or feed.source.repeats or feed.steps is not None:
        return
    count = sum(run.validates(epoch) for epoch in range(run.epoch, run.epochs))
    if count > 1:
        raise ValueError(
            f"validation_data can be iterated only once, but is needed for {count} validations: "
            "pass an iterable that can be iterated again, such as a DataLoader, or "
            "validation_steps"
        )


def check_division(feed: Feed) -> None:
    """Refuse data that differs between processes unless it is known to be divided among them."""
    if world_size() > 1 and not feed.source.divided:
        check_equal(feed.source.first_whole())


def check_evaluate(model: Any, feed: Feed, what: str = "evaluation") -> None:
    """Check the data of `evaluate`, or of validation, before its first step; see `check_fit`."""
    if not model._overrides("test_step"):
        try:
            _try_out(model, feed)
        except Exception as error:
            error.add_note(f"(found in the first batch of the {what} data, before the first step)")
            raise
    if world_size() > 1:
        joining.check_metrics(model)


def _try_out(model: Any, feed: Feed) -> None:
    """Evaluate the first batch, and check the values of all targets and weights.

    A batch with the shapes and dtypes of one that was tried before is not evaluated again.
    """
    batch = feed.source.first()
    if batch is None:
        return
    state = model._trainer
    outline = _outline(batch)
    if outline in state.tried:
        _check_values(feed.source, state.losses, state.tried[outline], batch)
        return
    if len(state.tried) > 100:  # a loop may call train_on_batch with ever new shapes
        state.tried.clear()
    with _trying(model), model._autocast():
        try:
            y_pred, outputs = model._outputs_of(batch, state)
        except TypeError as error:
            if isinstance(batch.x, list | tuple):
                error.add_note(
                    f"x is a {type(batch.x).__name__} of {len(batch.x)}, whose entries are the "
                    f"inputs of {type(model).__name__}.forward; a list of batches goes into "
                    "`iter(...)`, for one pass, or into an iterable class"
                )
            raise
        # before the loss: on CUDA an index out of range aborts the process
        _check_values(feed.source, state.losses, outputs, batch)
        if not model._overrides("compute_loss"):  # the user's step may have side effects
            result = model._result_of(batch, y_pred, outputs, state)
            if state.metrics.entries:
                state.metrics.update(result.targets, outputs, result.sample_weights)
            state.metrics.reset()
    state.tried[outline] = [torch.empty_like(output, device="meta") for output in outputs]


def _check_values(
    source: Source, losses: OutputLosses, outputs: list[Tensor], batch: Batch
) -> None:
    """Check all targets and weights in memory, or have the source check each batch."""
    check = losses.value_check(outputs)
    if source.whole is not None:
        check(*source.whole)
    else:
        source.check = check
        if not any(t.is_cuda for t in iter_leaves(tuple(batch)) if isinstance(t, Tensor)):
            check(batch.y, batch.sample_weight)


def _outline(batch: Batch) -> tuple[Any, ...]:
    """Return the structure, shapes and dtypes of a batch."""
    return tuple(
        (path, leaf.shape[1:], leaf.dtype) if isinstance(leaf, Tensor) else (path, type(leaf))
        for path, leaf in leaves_with_paths(tuple(batch[:3]))
    )


@contextmanager
def _trying(model: Any) -> Iterator[None]:
    """Evaluate without gradients; restore modes, random states and buffers afterwards."""
    random_state, state = get_random_state(), model._trainer
    step, state.step = state.step, Step()
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    with ExitStack() as stack:
        stack.enter_context(evaluating(model))
        stack.enter_context(torch.no_grad())
        if any(m._compiled_call_impl is not None for m in model.modules()):
            # do not compile for a single batch
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        try:
            yield
        finally:
            for buffer, before in buffers:
                buffer.copy_(before)
            set_random_state(random_state)
            state.step = step


def _check_names(model: Any, run: FitRun) -> None:
    """Refuse callbacks and schedulers that monitor a name that will not be in the logs."""
    state = model._trainer
    names = model._log_names()
    if run.validation is not None:
        names += [f"val_{name}" for name in names]
    if state.scheduler is not None:
        state.settings.scheduler.monitored(state.scheduler, names)
    # a user's callbacks may add to the logs
    may_add = [
        type(c).on_epoch_end is not Callback.on_epoch_end and not is_of_fgraph(type(c))
        for c in run.callbacks.callbacks
    ]
    for callback in run.callbacks.callbacks:
        names += callback.added_names()
        callback.check_names(names, complete=not any(may_add))
