"""Learning-rate schedulers of torch, and when they step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch.optim import lr_scheduler

_PER_BATCH = (lr_scheduler.OneCycleLR, lr_scheduler.CyclicLR)


class SchedulerSetting:
    """The `scheduler` argument of `compile`.

    Args:
        given: a torch scheduler, a callable `optimizer -> scheduler`, or a pair of one of these
            and `"batch"`, `"epoch"` or the name of the metric that it monitors.

    Raises:
        TypeError: it is none of these.
    """

    def __init__(self, given: Any) -> None:
        self.when: str | None = None
        if isinstance(given, tuple):
            if len(given) != 2 or not isinstance(given[1], str):
                raise TypeError(
                    "scheduler as a tuple must be (scheduler, 'batch' | 'epoch' | monitored "
                    f"metric), got {given!r}"
                )
            given, self.when = given
        if not callable(given) and not hasattr(given, "step"):
            raise TypeError(
                "scheduler must be a torch scheduler or a callable of the optimizer, got "
                f"{type(given).__name__}"
            )
        self.given = given

    def argument(self) -> Any:
        """Return the argument of `compile(scheduler=...)` for the same setting."""
        return self.given if self.when is None else (self.given, self.when)

    def make(self, optimizer: torch.optim.Optimizer) -> Any:
        """Return the scheduler for an optimizer.

        Raises:
            ValueError: the scheduler belongs to another optimizer.
            TypeError: the callable returned something else.
        """
        if isinstance(self.given, type) or not hasattr(self.given, "step"):
            try:
                made = self.given(optimizer)
            except TypeError as error:
                raise TypeError(
                    f"scheduler={self.given!r} cannot be called with the optimizer alone ({error}):"
                    " give its other arguments, as in functools.partial(StepLR, step_size=10)"
                ) from error
            if not hasattr(made, "step"):
                raise TypeError(
                    f"scheduler={self.given!r} returned {made!r} for the optimizer; it must "
                    "return a torch scheduler"
                )
            return made
        if getattr(self.given, "optimizer", optimizer) is not optimizer:
            raise ValueError(
                "the scheduler belongs to another optimizer than the model's: pass the optimizer "
                "it was made with, or a callable of the optimizer, such as "
                "functools.partial(StepLR, step_size=10)"
            )
        return self.given

    def per_batch(self, scheduler: Any) -> bool:
        """Return whether the scheduler steps after each step of the optimizer."""
        return isinstance(scheduler, _PER_BATCH) if self.when is None else self.when == "batch"

    def monitored(self, scheduler: Any, names: Iterable[str]) -> str | None:
        """Return the metric that the scheduler takes, `None` if it takes none.

        Args:
            scheduler: what `make` returned.
            names: the names of the existing metrics.

        Raises:
            ValueError: the metric does not exist.
        """
        takes_one = isinstance(scheduler, lr_scheduler.ReduceLROnPlateau)
        named = self.when not in (None, "batch", "epoch")
        if not takes_one and not named:
            return None
        names = list(names)
        name = str(self.when) if named else "val_loss" if "val_loss" in names else "loss"
        if name not in names:
            raise ValueError(
                f"the scheduler monitors {name!r}, which is not among the metrics: "
                f"{', '.join(names)}"
            )
        return name
