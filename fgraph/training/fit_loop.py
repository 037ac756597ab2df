"""Epochs of training, with validation, callbacks and schedulers."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..callbacks import History
from ..common.process_group import agreed, agreed_any, world_size
from .evaluation import Evaluation
from .fit_run import FitRun
from .prediction import keeping_modes
from .processes import distributed
from .sources.feed import Feed
from .state import TrainingState
from .step_runner import call_with_logs


class FitLoop(Evaluation):
    """The loops of `fit` around `train_step`."""

    stop_training: bool = False
    """Set by callbacks to end `fit` after the current batch and its epoch."""

    history: History | None = None
    """The logs of the last `fit`."""

    # torch.nn.Module provides these
    modules: Any
    train: Any

    # ---- training

    def _fit(self, run: FitRun) -> None:
        """Run all epochs, and leave every module in the mode it was in."""
        state = self._require_compiled("fit")
        self.stop_training = False
        callbacks = run.callbacks
        with self._running(state, run, True) as session, self._training_modes() as set_modes:
            callbacks.call("on_train_begin")
            self.stop_training = agreed_any(self.stop_training)
            logs: dict[str, Any] = {}
            while run.epoch < run.epochs and not self.stop_training:
                logs = self._epoch(run, state, set_modes)
            step_hooks = getattr(state.optimizer, "step_hooks", None)
            if step_hooks is not None:
                step_hooks.finish(state.optimizer)
            callbacks.call("on_train_end", logs)
            if session.replicas is not None:
                session.replicas.align()  # callbacks may have changed some modes

    @contextmanager
    def _training_modes(self) -> Iterator[Any]:
        """Yield a function that sets the modes for training; restore all modes afterwards.

        Modules that the user put into evaluation mode stay in it, unless the whole model is.
        """
        fixed = (
            [m for m in self.modules() if not m.training] if getattr(self, "training", 0) else []
        )

        def set_modes() -> None:
            self.train()
            for module in fixed:
                module.training = False

        with keeping_modes(self):
            yield set_modes

    def _epoch(self, run: FitRun, state: TrainingState, set_modes: Any) -> dict[str, Any]:
        """Run one epoch and its validation; return its logs, empty if there was no data."""
        callbacks = run.callbacks
        if run.step == 0:  # not resumed within the epoch
            callbacks.call("on_epoch_begin", run.epoch)
            self.reset_metrics()
        self.stop_training = agreed_any(self.stop_training)
        set_modes()
        self._train_batches(run, state)
        steps, run.step = run.step, 0
        number, run.epoch = run.epoch, run.epoch + 1
        if run.feed.dry:
            _warn_dry(run, number, steps)
            self.stop_training = True
            if not steps:
                return {}
        assert state.metrics is not None
        assert state.session is not None
        if state.session.replicas is not None:
            state.session.replicas.share_buffers()
        logs: dict[str, Any] = state.metrics.read(state.session.processes)
        if run.validation is not None and run.validates(number):
            validation = self._evaluate(run.validation, callbacks)
            logs |= {f"val_{name}": value for name, value in validation.items()}
            logs = dict(sorted(logs.items()))
        logs = dict(agreed(logs))  # bit for bit
        self._step_scheduler(state, logs)
        callbacks.call("on_epoch_end", number, logs)
        distributed.settle(self, (run.epoch, steps))
        return logs

    def _train_batches(self, run: FitRun, state: TrainingState) -> None:
        session = state.session
        assert session is not None
        begins = run.callbacks.hooks("on_train_batch_begin")
        ends = run.callbacks.hooks("on_train_batch_end")
        stops, alone = self.stop_training, world_size() == 1  # alike in all processes
        for batch in run.feed.epoch(run.step):
            number = run.step
            for hook in begins:
                hook(number, {})
            self._one_step(batch, state, session, training=True)
            run.step = number + 1
            if ends:
                call_with_logs(ends, number, state, session)
            if run.agrees_each_batch:
                self.stop_training = agreed_any(self.stop_training)
            if alone or run.agrees_each_batch:
                stops = self.stop_training
            if stops:
                break
        if state.accumulated:
            self._apply_gradients(state)

    def _step_scheduler(self, state: TrainingState, logs: dict[str, Any]) -> None:
        scheduler, setting = state.scheduler, state.settings.scheduler
        if scheduler is None or state.steps_per_batch:
            return
        name = setting.monitored(scheduler, logs)
        scheduler.step() if name is None else scheduler.step(logs[name])

    def _train_once(self, feed: Feed) -> dict[str, Any]:
        """Train on one batch outside any epoch, and return its logs."""
        state = self._require_compiled("train_on_batch")
        with self._running(state, training=True) as session, self._training_modes() as set_modes:
            set_modes()
            self.reset_metrics()
            if not state.accumulated:
                state.clear_gradients()
            for batch in feed.epoch():
                self._one_step(batch, state, session, training=True)
        assert state.metrics is not None
        logs: dict[str, Any] = state.metrics.read(session.processes)
        return dict(agreed(logs))

    # ---- names in logs

    def _log_names(self) -> list[str]:
        """Return the names of the loss, the outputs' losses and the metrics."""
        state = self._trainer
        if state is None or state.losses is None or state.metrics is None:
            return ["loss"]
        parts, metrics = state.losses.part_names, state.metrics.names()
        if len(state.losses.outputs.names) > 1:
            metrics = sorted(metrics)
        return ["loss", *(parts if len(parts) > 1 else []), *metrics]

    def _in_order(self, logs: dict[str, Any]) -> Any:
        """Return logs like Keras's `evaluate`: a list, or a number if there is only one."""
        known = [name for name in self._log_names() if name in logs]
        values = [logs[name] for name in [*known, *(n for n in logs if n not in known)]]
        return values[0] if len(values) == 1 else values


def _warn_dry(run: FitRun, number: int, steps: int) -> None:
    wanted = "" if run.feed.steps is None else f" of {run.feed.steps}"
    warnings.warn(
        f"the data ran dry in epoch {number + 1} after {steps}{wanted} steps: training ends "
        f"here, of {run.epochs} epochs; no batch is used twice (give an iterable that can be gone "
        "through again, or fewer steps)",
        stacklevel=4,
    )
