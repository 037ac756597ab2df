"""The epochs of a source, with a position that can be saved and restored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .batch import Batch, Source
from .random_state import get_random_state, set_random_state


class Feed:
    """The batches of a source, pass after pass.

    If an epoch has fewer steps than a pass, the next epoch continues where it stopped: no batch is
    used twice in a pass.

    Args:
        source: where batches come from.
        steps: the steps in an epoch, `None` for one pass.
        fresh: whether each epoch is a new pass, if the source can repeat: for evaluation, which
            should see the same samples every time and none twice.
    """

    def __init__(self, source: Source, steps: int | None, fresh: bool = False) -> None:
        self.source = source
        self.steps = steps
        self.dry = False
        self._fresh = fresh and source.repeats
        self._iterator: Iterator[Batch] | None = None
        self._taken = 0
        self._random_state: dict[str, Any] | None = None

    @property
    def epoch_steps(self) -> int | None:
        """The number of steps in an epoch, `None` if unknown."""
        return self.steps if self.steps is not None else self.source.num_batches

    def epoch(self, done: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch.

        Args:
            done: the steps of this epoch before a resume.

        Yields:
            Batches; fewer than `steps` if the source is exhausted, which sets `dry`.
        """
        if self._fresh:
            self._end_pass()
        limit = self.steps
        while limit is None or done < limit:
            if self._iterator is None:
                self._begin_pass()
            batch = next(self._iterator, None)  # type: ignore[arg-type]
            if batch is not None:
                self._taken += 1
                done += 1
                yield batch
            elif limit is None and done:
                self._end_pass()
                return
            elif not self.source.repeats or self._fresh or not self._taken:
                self.dry = True
                return
            else:
                self._end_pass()

    def _begin_pass(self, skip: int = 0) -> None:
        if not skip and not self._fresh:  # the position of an evaluation is not saved
            self._random_state = self._current_random_state()
        self._iterator = self.source.batches(skip)
        self._taken = skip

    def _end_pass(self) -> None:
        self._iterator = None
        self._taken = 0

    def _current_random_state(self) -> dict[str, Any]:
        return {"global": get_random_state(), "source": self.source.random_state()}

    def state_dict(self) -> dict[str, Any]:
        """Return the position: the batches taken, and the random state of the pass's order."""
        running = self._iterator is not None and not self._fresh
        return {
            "taken": self._taken if running else 0,
            "random": self._random_state if running else None,
            "source": self.source.random_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the position saved by `state_dict`.

        The pass is restarted with the random state it began with, so that it has the same order;
        the caller then restores the current random state.
        """
        if state["random"] is not None:
            self._random_state = state["random"]
            set_random_state(state["random"]["global"])
            self.source.set_random_state(state["random"]["source"])
            self._begin_pass(skip=state["taken"])
        self.source.set_random_state(state["source"])
