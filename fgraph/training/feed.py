"""Epochs drawn from a source, with a position that can be saved and found again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .batch import Batch, Source
from .random_state import get_random_state, set_random_state


class Feed:
    """The batches of a source, pass after pass.

    Where an epoch has fewer steps than a pass, the next one goes on where it stopped: no batch is
    used twice in a pass.

    Args:
        source: Where batches come from.
        steps: Steps in an epoch, or None for one pass.
    """

    def __init__(self, source: Source, steps: int | None) -> None:
        self.source = source
        self.steps = steps
        self.dry = False
        self._iterator: Iterator[Batch] | None = None
        self._taken = 0
        self._random_state: dict[str, Any] | None = None

    @property
    def epoch_steps(self) -> int | None:
        """Steps in an epoch, or None where it is not known."""
        return self.steps if self.steps is not None else self.source.num_batches

    def epoch(self, done: int = 0) -> Iterator[Batch]:
        """Yields the batches of one epoch.

        Args:
            done: Steps of this epoch that were made before a resume.

        Yields:
            Batches; fewer than `steps` where the source ran dry, which sets `dry`.
        """
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
            elif not self.source.repeats or not self._taken:
                self.dry = True
                return
            else:
                self._end_pass()

    def _begin_pass(self, skip: int = 0) -> None:
        if not skip:
            self._random_state = get_random_state()
        self._iterator = self.source.batches(skip)
        self._taken = skip

    def _end_pass(self) -> None:
        self._iterator = None
        self._taken = 0

    def state_dict(self) -> dict[str, Any]:
        """Returns the position: batches taken from the pass, and how its order was drawn."""
        running = self._iterator is not None
        return {"taken": self._taken, "random": self._random_state if running else None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes to the position that `state_dict` returned.

        The pass is begun again with the random state it was begun with, so that it has the same
        order; the caller then restores the current random state.
        """
        if state["random"] is None:
            return
        self._random_state = state["random"]
        set_random_state(state["random"])
        self._begin_pass(skip=state["taken"])
