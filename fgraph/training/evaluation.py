"""The loop of `evaluate` and of validation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from ..callbacks import CallbackList
from ..common.process_group import agreed, agreed_any, world_size
from .added_losses import collecting
from .grouped_evaluation import EvaluationGroup
from .prediction import evaluating, require_steps
from .sources.batch import Batch
from .sources.feed import Feed
from .state import Session, Step, TrainingState
from .step_runner import StepRunner, call_with_logs


class Evaluation(StepRunner):
    """The loop around `test_step`."""

    stop_evaluating: bool = False
    """Set by callbacks to end `evaluate` after the current batch."""

    def _evaluate(self, feed: Feed, callbacks: CallbackList) -> dict[str, Any]:
        """Run one pass of evaluation and return its logs."""
        state = self._require_compiled("evaluate")
        with self._running(state) as session, evaluating(self), torch.no_grad():
            self.reset_metrics()
            callbacks.call("on_test_begin")
            with self._test_steps(feed, callbacks, state, session) as run_step:
                self._test_batches(feed, callbacks, state, session, run_step)
            assert state.metrics is not None
            logs: dict[str, Any] = agreed(state.metrics.read(session.processes))
            callbacks.call("on_test_end", logs)
        return logs

    def _test_batches(
        self,
        feed: Feed,
        callbacks: CallbackList,
        state: TrainingState,
        session: Session,
        run_step: Callable[[Batch], None],
    ) -> None:
        begins = callbacks.hooks("on_test_batch_begin")
        ends = callbacks.hooks("on_test_batch_end")
        asks = agreed_any(bool(begins or ends)) if world_size() > 1 else False
        steps = 0
        self.stop_evaluating = False
        for batch in feed.epoch():
            for hook in begins:
                hook(steps, {})
            run_step(batch)
            if ends:
                call_with_logs(ends, steps, state, session)
            steps += 1
            if (asks or self.stop_evaluating) and self._agreed_stop("stop_evaluating", asks):
                break
        session.compute()
        require_steps(feed, steps, "evaluate")

    @contextmanager
    def _test_steps(
        self, feed: Feed, callbacks: CallbackList, state: TrainingState, session: Session
    ) -> Iterator[Callable[[Batch], None]]:
        """Yield a function that evaluates a batch, or collects it where that is equivalent."""
        only_log = callbacks.only_log("on_test_batch_begin", "on_test_batch_end")
        if session.plain and only_log and feed.epoch_steps != 1:
            session.group = EvaluationGroup(feed.source, self._autocast)
            state.step = Step()
            with collecting(state.step.added):
                yield self._grouped_step(state, session.group, state.step)
        else:
            yield partial(self._one_step, state=state, session=session, training=False)

    def _grouped_step(
        self, state: TrainingState, group: EvaluationGroup, step: Step
    ) -> Callable[[Batch], None]:
        """Return a step that leaves losses and metrics to a group, where possible."""
        call, added, is_penalised = self._call_for_loss, step.added, self._is_penalised()

        def run(batch: Batch) -> None:
            x, y, sample_weight, size = batch
            added.clear()  # of the previous batch, or of a model that made this one
            with self._autocast():
                outputs = self._flat(call(x), state)
            losses, metrics = state.losses, state.metrics
            assert losses is not None
            assert metrics is not None
            targets, weights = losses.targets(y), losses.weights(sample_weight)
            if not group.keep(losses, metrics, targets, outputs, weights, size):
                with self._autocast():
                    loss = self._total_loss(targets, outputs, weights, state)
                metrics.add_losses(losses.part_names, loss, step.parts, size)
                metrics.update(targets, outputs, weights)
            elif is_penalised or added:
                for penalty in self.losses:
                    metrics.add_penalty(penalty, size)

        return run
