"""Running one batch: `train_step` or `test_step`, in one process or several."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..callbacks.base import LazyLogs
from ..common.batch_share import sharing
from ..common.process_group import Processes, processes_of
from ..metrics.base import Metric
from .fit_run import FitRun
from .metric_methods import MetricMethods
from .processes import distributed
from .processes.replicas import Replicas
from .sources.batch import Batch, PartOfBatch
from .state import Session, Step, TrainingState


class StepRunner(MetricMethods):
    """The steps of a run, one batch at a time."""

    @contextmanager
    def _running(
        self, state: TrainingState, run: FitRun | None = None, training: bool = False
    ) -> Iterator[Session]:
        """Context manager: prepare for steps; restore everything afterwards."""
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

    def _join(self, state: TrainingState, session: Session, run: FitRun | None) -> None:
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

    def _one_step(
        self, batch: Batch, state: TrainingState, session: Session, training: bool
    ) -> None:
        """Train or evaluate on one batch, and update the metrics; do not read from the device."""
        if session.plain and state.settings.autocast_dtype is None:
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
        """Return whether no part of a step is overridden or divided among processes."""
        parts = {name: getattr(getattr(self, name), "__func__", None) for name in _STEPS}
        return parts == _STEPS and processes.size == 1 and not state.takes_closure

    def _plain_step(self, batch: Batch, state: TrainingState, training: bool) -> None:
        """Do the same as the steps that a subclass can override, with less overhead."""
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
        metrics.add_losses(losses.part_names, loss, step.parts, size)
        metrics.update(targets, outputs, weights)

    def _returned(self, batch: Batch, training: bool) -> Any:
        if training:
            return self.train_step(self._given("train_step", batch))
        return self.test_step(self._given("test_step", batch))

    def _states_of_own_metrics(self, state: TrainingState) -> list[tuple[Metric, Any]]:
        """Return the metrics that a custom step updates, with copies of their states."""
        given = [] if state.metrics is None else [entry.metric for entry in state.metrics.entries]
        own = [m for m in self._all_metrics() if not any(m is other for other in given)]
        return [(metric, copy.deepcopy(metric.state_dict())) for metric in own]


_STEPS = {
    name: getattr(StepRunner, name)
    for name in ("train_step", "test_step", "forward_batch", "compute_loss", "compute_metrics")
}


def call_with_logs(hooks: list[Any], number: int, state: TrainingState, session: Session) -> None:
    """Call hooks with the running metrics, which are copied from the device only when read."""
    metrics = state.metrics
    assert metrics is not None

    def read() -> dict[str, Any]:
        session.compute()
        return metrics.read()

    logs = LazyLogs([*metrics.means, *metrics.names()], read)
    for hook in hooks:
        hook(number, logs)
    if sys.getrefcount(logs) > 2:  # a hook keeps them: read before the metrics change
        logs.read()
