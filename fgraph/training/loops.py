"""Epochs and evaluation: the steps of `Steps`, over all batches of a feed."""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ..callbacks import CallbackList, History
from ..callbacks.base import LazyLogs
from ..callbacks.processes import Processes, agreed, agreed_any, processes_of, world_size
from ..losses.across import sharing
from ..metrics.base import Metric
from . import distributed
from .batch import Batch, PartOfBatch
from .feed import Feed
from .prediction import keeping_modes, require_steps
from .replicas import Replicas
from .reporting import Reporting
from .run import Run
from .state import Session, Step, TrainingState


class Loops(Reporting):
    """The loops around `train_step` and `test_step`."""

    stop_training: bool = False
    """Set by callbacks to end `fit` after the current batch and its epoch."""

    stop_evaluating: bool = False
    """Set by callbacks to end `evaluate` after the current batch."""

    history: History | None = None
    """The logs of the last `fit`."""

    # torch.nn.Module provides these
    modules: Any
    train: Any

    # ---- training

    def _fit(self, run: Run) -> None:
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
            around_step = getattr(state.optimizer, "around_step", None)
            if around_step is not None:
                around_step.finish(state.optimizer)
            callbacks.call("on_train_end", logs)
            if session.replicas is not None:
                session.replicas.align()  # callbacks may have changed some of them

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

    def _epoch(self, run: Run, state: TrainingState, set_modes: Any) -> dict[str, Any]:
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

    def _train_batches(self, run: Run, state: TrainingState) -> None:
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
                _call_with_logs(ends, number, state)
            if run.agrees_each_batch:
                self.stop_training = agreed_any(self.stop_training)
            if alone or run.agrees_each_batch:
                stops = self.stop_training
            if stops:
                break
        if state.accumulated:
            self._apply_gradients(state)

    def _one_step(
        self, batch: Batch, state: TrainingState, session: Session, training: bool
    ) -> None:
        """Train or evaluate on one batch, and add it to the metrics; read nothing back."""
        if session.plain:
            self._plain_step(batch, state, training)
            return
        step = state.step = Step()
        if session.processes.size == 1:
            returned, size = self._returned(batch, training), batch.size
        else:
            if session.norms is not None:
                session.norms.check(batch)
            processes = session.processes
            part = isinstance(batch, PartOfBatch)
            size = batch.own_size if part else processes.own_size(batch.size)  # type: ignore[attr-defined]
            step.share = size * processes.size / batch.size
            kept = [] if size else self._states_of_own_metrics(state)
            with sharing(distributed.share_of(processes, size / batch.size)):
                returned = self._returned(batch, training)
            for metric, saved in kept:
                metric.load_state_dict(saved)
            if training and session.replicas is not None:
                session.replicas.check(step.did_backward)
        self._record(returned, batch, size, state, step)

    def _is_plain(self, state: TrainingState, processes: Processes) -> bool:
        """Return whether `_plain_step` does all that a step of this model does."""
        parts = {name: getattr(getattr(self, name), "__func__", None) for name in _STEPS}
        several = processes.size > 1 or state.takes_closure
        return parts == _STEPS and not several and state.settings.autocast_dtype is None

    def _plain_step(self, batch: Batch, state: TrainingState, training: bool) -> None:
        """Do what the steps do together that a subclass can override, with less around it."""
        _, y, sample_weight, size = batch
        outputs = self._outputs_of(batch, state)[1]
        losses, metrics, step = state.losses, state.metrics, state.step
        assert losses is not None
        assert metrics is not None
        assert step is not None
        targets, weights = losses.targets(y), losses.weights(sample_weight)
        loss = self._total_loss(targets, outputs, weights, state)
        if training:
            self.backward(loss)
            self.optimizer_step()
        metrics.add_mean("loss", loss, size)
        if len(step.parts) > 1:
            for name, part in zip(losses.part_names, step.parts, strict=True):
                metrics.add_mean(name, part, size)
        metrics.update(targets, outputs, weights)

    def _returned(self, batch: Batch, training: bool) -> Any:
        if training:
            return self.train_step(self._given("train_step", batch))
        return self.test_step(self._given("test_step", batch))

    def _states_of_own_metrics(self, state: TrainingState) -> list[tuple[Metric, Any]]:
        """Return the metrics that a step of the user's updates, with copies of their states."""
        given = [] if state.metrics is None else [entry.metric for entry in state.metrics.entries]
        own = [m for m in self._all_metrics() if not any(m is other for other in given)]
        return [(metric, copy.deepcopy(metric.state_dict())) for metric in own]

    def _step_scheduler(self, state: TrainingState, logs: dict[str, Any]) -> None:
        scheduler, setting = state.scheduler, state.settings.scheduler
        if scheduler is None or state.steps_per_batch:
            return
        name = setting.monitored(scheduler, logs)
        scheduler.step() if name is None else scheduler.step(logs[name])

    @contextmanager
    def _running(
        self, state: TrainingState, run: Run | None = None, training: bool = False
    ) -> Iterator[Session]:
        """Prepare for steps; restore everything afterwards."""
        if run is not None:
            state.clear_gradients()  # a loop by hand, or a run that failed, may have left some
        outer = state.session, state.step
        processes = processes_of(self)
        plain = self._is_plain(state, processes)
        session = Session(self._call_for_loss, run, None, processes, plain=plain)
        if run is None and outer[0] is not None:
            session.run = outer[0].run
        if training and processes.size > 1:
            self._join(state, session, run)
        state.session, state.step = session, None
        try:
            yield session
        finally:
            if session.replicas is not None:
                session.replicas.close()
            state.session, state.step = outer

    def _join(self, state: TrainingState, session: Session, run: Run | None) -> None:
        """Make the processes' replicas equal, and keep them so."""
        by_ddp = run is not None and run.by_ddp
        own_step = self._overrides("train_step")
        session.replicas = Replicas(self, session.processes, not by_ddp, guards=own_step)
        session.norms = None if run is None else run.norms
        if run is not None or not state.joined:
            session.replicas.align()
            distributed.part_seeds(session.processes)
            state.joined = True
        if by_ddp:
            session.forward = distributed.through_ddp(self, session.processes, session.replicas)

    # ---- evaluation

    def _evaluate(self, feed: Feed, callbacks: CallbackList) -> dict[str, Any]:
        """Run one pass of evaluation and return its logs."""
        state = self._require_compiled("evaluate")
        with self._running(state) as session, keeping_modes(self), torch.no_grad():
            self.eval()
            self.reset_metrics()
            callbacks.call("on_test_begin")
            begins = callbacks.hooks("on_test_batch_begin")
            ends = callbacks.hooks("on_test_batch_end")
            asks = agreed_any(bool(begins or ends)) if world_size() > 1 else False
            steps = 0
            self.stop_evaluating = False
            for batch in feed.epoch():
                for hook in begins:
                    hook(steps, {})
                self._one_step(batch, state, session, training=False)
                if ends:
                    _call_with_logs(ends, steps, state)
                steps += 1
                if (asks or self.stop_evaluating) and self._agreed_stop("stop_evaluating", asks):
                    break
            require_steps(feed, steps, "evaluate")
            assert state.metrics is not None
            logs: dict[str, Any] = agreed(state.metrics.read(session.processes))
            callbacks.call("on_test_end", logs)
        return logs

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
        """Return logs as Keras's `evaluate` does: a list, or a number if there is only one."""
        known = [name for name in self._log_names() if name in logs]
        values = [logs[name] for name in [*known, *(n for n in logs if n not in known)]]
        return values[0] if len(values) == 1 else values


_STEPS = {
    name: getattr(Loops, name)
    for name in ("train_step", "test_step", "forward_batch", "compute_loss", "compute_metrics")
}


def _call_with_logs(hooks: list[Any], number: int, state: TrainingState) -> None:
    """Call hooks with the running metrics, which are read from the device when looked at."""
    assert state.metrics is not None
    logs = LazyLogs([*state.metrics.means, *state.metrics.names()], state.metrics.read)
    for hook in hooks:
        hook(number, logs)
    if sys.getrefcount(logs) > 2:  # somebody keeps them: these must not become a later batch's
        logs.read()


def _warn_dry(run: Run, number: int, steps: int) -> None:
    wanted = "" if run.feed.steps is None else f" of {run.feed.steps}"
    warnings.warn(
        f"the data ran dry in epoch {number + 1} after {steps}{wanted} steps: training ends "
        f"here, of {run.epochs} epochs; no batch is used twice (give an iterable that can be gone "
        "through again, or fewer steps)",
        stacklevel=4,
    )
