"""Epochs and validation: the steps of `Steps`, over all batches of a feed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ..callbacks import Callback, CallbackList, History, ProgressBar
from ..callbacks.base import LazyLogs
from ..graph.nested import map_leaves
from . import distributed
from .arrays import common_length
from .batch import Batch, Source
from .checks import validates
from .data import make_source
from .feed import Feed
from .objective import Objective
from .prediction import Prediction, keeping_modes, require_steps
from .run import Run
from .settings import Compiled
from .steps import Steps
from .tensors import as_tensor


class Loops(Prediction):
    """The loops around `Steps`."""

    stop_training: bool = False
    """Set by callbacks to end the run after the current epoch."""

    history: History | None = None
    """The figures of the last `fit`."""

    # torch.nn.Module provides these
    modules: Any
    train: Any
    eval: Any

    # ---- what the loops are given

    def _source(
        self,
        x: Any,
        y: Any,
        sample_weight: Any,
        batch_size: int | None,
        shuffle: bool = False,
        class_weight: Mapping[int, float] | None = None,
    ) -> Source:
        return make_source(
            x,
            y,
            sample_weight,
            batch_size=batch_size,
            shuffle=shuffle,
            device=self._device(),
            dtype=self._float_dtype(),
            input_names=self._input_names(),
            class_weight=class_weight,
        )

    def _one_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
    ) -> Batch:
        size = common_length({"x": x, "y": y, "sample_weight": sample_weight})
        source = self._source(x, y, sample_weight, size, class_weight=class_weight)
        return next(source.batches())

    def _callback_list(
        self,
        given: Iterable[Callback] | Callback | None,
        params: dict[str, Any],
        history: History | None = None,
    ) -> CallbackList:
        if isinstance(given, CallbackList):
            return given
        if given is None:
            given = []
        callbacks = [given] if isinstance(given, Callback) else list(given)
        verbose = 1 if params["verbose"] == "auto" else params["verbose"]
        if verbose not in (0, 1, 2):
            raise ValueError(f"verbose must be 'auto', 0, 1 or 2, got {verbose!r}")
        params["verbose"] = int(verbose)
        shown = any(isinstance(callback, ProgressBar) for callback in callbacks)
        if verbose and not shown and distributed.rank() == 0:
            callbacks.append(ProgressBar(int(verbose)))
        if history is not None:
            callbacks.append(history)
        return CallbackList(callbacks, self, params)

    # ---- training

    def _fit(self, run: Run) -> None:
        """Runs all epochs, and leaves the model in the mode in which it was."""
        compiled = self._require_compiled("fit")
        self.stop_training = False
        callbacks = run.callbacks or CallbackList([], self, {})
        with self._running(compiled, run.feed, training=True):
            compiled.run = run
            callbacks.call("on_train_begin")
            logs: dict[str, Any] = {}
            while run.epoch < run.epochs and not self.stop_training:
                logs = self._epoch(run, compiled, callbacks)
            callbacks.call("on_train_end", logs)

    def _epoch(self, run: Run, compiled: Compiled, callbacks: CallbackList) -> dict[str, Any]:
        """Runs one epoch and its validation; returns its figures, none where there was no data."""
        resumed = run.step > 0
        if not resumed:
            callbacks.call("on_epoch_begin", run.epoch)
            if compiled.figures is not None:
                compiled.figures.reset()
        self.train()
        self._train_batches(run, compiled, callbacks)
        steps, run.step = run.step, 0
        number, run.epoch = run.epoch, run.epoch + 1
        if run.feed.dry:
            _warn_dry(run, number, steps)
            self.stop_training = True
            if not steps:
                return {}
        logs: dict[str, Any] = compiled.figures.read(across=True)
        if run.validation is not None and validates(number, run.validation_frequency):
            figures = self._evaluate(run.validation, callbacks)
            logs |= {f"val_{name}": value for name, value in figures.items()}
            logs = dict(sorted(logs.items()))
        self._step_scheduler(compiled, logs)
        callbacks.call("on_epoch_end", number, logs)
        return logs

    def _train_batches(self, run: Run, compiled: Compiled, callbacks: CallbackList) -> None:
        begins = callbacks.hooks("on_train_batch_begin")
        ends = callbacks.hooks("on_train_batch_end")
        train_step, record = self.train_step, self._record
        total, gathered = run.feed.epoch_steps, compiled.accumulation
        compiled.window = gathered
        logs = LazyLogs(dict)
        for batch in run.feed.epoch(run.step):
            step = run.step
            for hook in begins:
                hook(step, logs)
            if gathered > 1 and total is not None:
                # the last step of an epoch is the mean over the batches that are left
                compiled.window = min(gathered, total - step // gathered * gathered)
            record(train_step(batch), batch, compiled)
            run.step = step + 1
            if ends:
                logs = LazyLogs(compiled.figures.read)
                for hook in ends:
                    hook(step, logs)
            if self.stop_training:
                break
        if compiled.waiting:
            compiled.window = compiled.waiting
            self._apply_gradients(compiled)

    def _step_scheduler(self, compiled: Compiled, logs: dict[str, Any]) -> None:
        scheduler = compiled.scheduler
        if scheduler is None or compiled.scheduler_per_batch:
            return
        name = compiled.schedule.monitored(scheduler, logs)  # type: ignore[union-attr]
        scheduler.step() if name is None else scheduler.step(logs[name])

    @contextmanager
    def _running(self, compiled: Compiled, feed: Feed, training: bool) -> Iterator[None]:
        """Prepares for steps, and puts everything back, also after an error or Ctrl-C."""
        outer = (compiled.run, compiled.forward, compiled.checks)
        compiled.forward = distributed.wrap(self) if training else self._call_with_logits
        compiled.checks = self._checks(compiled, feed)
        if training:
            compiled.waiting = 0
            compiled.clear_gradients()  # a loop by hand, or a run that failed, may have left some
        try:
            with keeping_modes(self):
                yield
        finally:
            compiled.run, compiled.forward, compiled.checks = outer
            compiled.seen, compiled.parts = None, []

    def _checks(self, compiled: Compiled, feed: Feed) -> Callable[..., None]:
        """Returns what is checked of the first batch, and of every one that a loader yields."""

        def check(objective: Objective, targets: list[Any], outputs: list[Tensor]) -> None:
            whole = feed.source.whole_targets
            if whole is not None:
                tensors = map_leaves(lambda leaf: as_tensor(leaf, "y"), whole)
                objective.check_values(objective.targets(tensors), outputs)
                compiled.checks = None
            else:
                objective.check_values(targets, outputs)
                # on a device, each look at the values would wait for it
                if outputs[0].device.type != "cpu":
                    compiled.checks = None
            self._check_monitors(compiled)

        return check

    def _check_monitors(self, compiled: Compiled) -> None:
        """Refuses callbacks and schedulers that watch a figure which does not exist."""
        run = compiled.run
        if run is None or run.monitors_checked or type(self).train_step is not Steps.train_step:
            return
        run.monitors_checked = True
        names = self._figure_names()
        if run.validation is not None:
            names += [f"val_{name}" for name in names]
        for callback in run.callbacks.callbacks:
            check = getattr(callback, "check_monitor", None)
            if check is not None:
                check(names)

    # ---- evaluation

    def _evaluate(self, feed: Feed, callbacks: CallbackList) -> dict[str, Any]:
        """Runs one pass of evaluation and returns its figures."""
        compiled = self._require_compiled("evaluate")
        with self._running(compiled, feed, training=False), torch.no_grad():
            self.eval()
            if compiled.figures is not None:
                compiled.figures.reset()
            callbacks.call("on_test_begin")
            begins = callbacks.hooks("on_test_batch_begin")
            ends = callbacks.hooks("on_test_batch_end")
            steps = 0
            for batch in feed.epoch():
                for hook in begins:
                    hook(steps, None)
                self._record(self.test_step(batch), batch, compiled)
                if ends:
                    logs = LazyLogs(compiled.figures.read)
                    for hook in ends:
                        hook(steps, logs)
                steps += 1
            require_steps(feed, steps, "evaluate")
            figures: dict[str, Any] = compiled.figures.read(across=True)
            callbacks.call("on_test_end", figures)
        return figures

    def _on_batch(self, batch: Batch, training: bool) -> dict[str, Any]:
        """Makes a single step outside any epoch and returns its figures."""
        compiled = self._require_compiled("a step")
        if compiled.figures is not None:
            compiled.figures.reset()
        compiled.checks = lambda objective, y, outputs: objective.check_values(y, outputs)
        if training and not compiled.waiting:
            compiled.clear_gradients()
        try:
            with keeping_modes(self), torch.set_grad_enabled(training):
                self.train(training)
                result = self.train_step(batch) if training else self.test_step(batch)
            self._record(result, batch, compiled)
        finally:
            compiled.checks = None
        figures: dict[str, Any] = compiled.figures.read()
        return figures

    # ---- names of figures

    def _figure_names(self) -> list[str]:
        """Returns the figures' names: the loss, the outputs' losses, the metrics."""
        compiled = self._compiled
        if compiled is None or compiled.objective is None:
            return ["loss"]
        parts = compiled.objective.part_names
        entries = compiled.figures.metrics.entries
        metrics = [name for _, _, key, metric in entries for name in metric.keys(key)]
        if len(compiled.objective.names) > 1:
            metrics = sorted(metrics)
        return ["loss", *(parts if len(parts) > 1 else []), *metrics]

    def _in_order(self, logs: dict[str, Any]) -> Any:
        """Returns figures as Keras's `evaluate` does: a list, or a number where there is one."""
        known = [name for name in self._figure_names() if name in logs]
        values = [logs[name] for name in [*known, *(n for n in logs if n not in known)]]
        return values[0] if len(values) == 1 else values


def _warn_dry(run: Run, number: int, steps: int) -> None:
    wanted = "" if run.feed.steps is None else f" of {run.feed.steps}"
    warnings.warn(
        f"the data ran dry in epoch {number + 1} after {steps}{wanted} steps: training ends "
        f"here, of {run.epochs} epochs; no batch is used twice (give an iterable that can be gone "
        "through again, or fewer steps)",
        stacklevel=4,
    )
