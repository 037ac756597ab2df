"""Checks that several processes make together before the first step of `fit`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch

from ..common.process_group import agreed_any, exchanged, processes_of
from ..common.sharded_tensors import is_sharded
from .fit_run import FitRun
from .processes.batch_norm_checks import BatchNormChecks
from .processes.merged_metrics import refuse_unmergeable


def prepare(model: Any, run: FitRun, trying: Callable[[Any], AbstractContextManager[None]]) -> None:
    """Check what can go wrong only in several processes, and choose how to average gradients.

    Args:
        model: the model.
        run: the `fit` that is about to begin.
        trying: the context for running a batch without side effects.

    Raises:
        ValueError: callbacks or batches would let the processes diverge or wait for each other.
        TypeError: a metric cannot be merged.
    """
    callbacks = run.callbacks
    check_metrics(model)
    _check_callbacks(callbacks.callbacks, model)
    begins, ends = (callbacks.hooks(f"on_train_batch_{at}") for at in ("begin", "end"))
    own_step = model._overrides("train_step")
    run.agrees_each_batch = agreed_any(bool(begins or _that_stop(ends)) or own_step)
    processes = processes_of(model)
    if processes.size == 1:
        return
    batch = run.feed.source.first()
    if agreed_any(batch is None) or batch is None:
        raise ValueError("no data: fit was given no batch, in one of the processes at least")
    with trying(model):
        model.train()
        run.norms = BatchNormChecks(model, processes, lambda: model._call(batch.x))
    run.norms.check_sizes(run.feed.source.batch_sizes)
    plain = not own_step and not model._overrides("compute_loss") and not is_sharded(model)
    run.by_ddp = plain and not model._trainer.takes_closure and _reaches_all(model, batch, trying)


def _that_stop(hooks: list[Any]) -> list[Any]:
    """Return the hooks that may stop the run; few of this package's callbacks do."""
    return [h for h in hooks if getattr(h.__self__ if hasattr(h, "__self__") else h, "stops", True)]


def _reaches_all(
    model: Any, batch: Any, trying: Callable[[Any], AbstractContextManager[None]]
) -> bool:
    """Return whether every trained parameter gets a gradient in all processes, as DDP requires."""
    trained = [p for p in model.parameters() if p.requires_grad]
    with trying(model), torch.enable_grad():
        model.train()
        loss = model.forward_batch(batch).loss
        gradients = torch.autograd.grad(loss, trained, allow_unused=True)
    return not agreed_any(any(gradient is None for gradient in gradients))


def check_metrics(model: Any) -> None:
    """Refuse metrics that cannot be merged over processes.

    Raises:
        TypeError: there is one.
    """
    for metric in model._all_metrics():
        refuse_unmergeable(metric)


def _check_callbacks(callbacks: list[Any], model: Any) -> None:
    """Refuse callbacks that all processes must call, but only some have.

    Raises:
        ValueError: there is one.
    """
    own = sorted(type(c).__name__ for c in callbacks if c.needs_all_processes(model))
    for number, names in enumerate(exchanged(own)):
        missing = [name for name in names if names.count(name) > own.count(name)]
        if missing or len(names) < len(own):
            kind = missing[0] if missing else next(n for n in own if own.count(n) > names.count(n))
            raise ValueError(
                f"process {number} and this one have different callbacks of the kind {kind}, which "
                "works in all processes together: give it to each of them"
            )
