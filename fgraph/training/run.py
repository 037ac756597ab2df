"""The state of one `fit`, which callbacks may look at and `BackupAndRestore` saves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..callbacks import CallbackList, History
from .feed import Feed
from .random_state import get_random_state, set_random_state


@dataclass
class Run:
    """Where a `fit` is.

    Args:
        model: the model.
        feed: its training data.
        epochs: the number of the epoch before which it ends.
        callbacks: the callbacks.
        epoch: the number of the current epoch, from 0.
        step: the steps made in the current epoch.
        history: the logs of all epochs so far.
        validation: the validation data, if any.
        validation_epochs: after which epochs to validate: every so many, or those listed, from 1.
        by_ddp: whether torch's DDP averages the gradients of several processes.
        norms: refuses batches that are too small for several processes, if that can be.
        agrees_each_batch: whether the processes agree after each batch on whether to stop.
    """

    model: Any
    feed: Feed
    epochs: int
    callbacks: CallbackList
    epoch: int = 0
    step: int = 0
    history: History = field(default_factory=History)
    validation: Feed | None = None
    validation_epochs: int | frozenset[int] = 1
    by_ddp: bool = False
    norms: Any = None
    agrees_each_batch: bool = False

    def validates(self, epoch: int) -> bool:
        """Return whether validation follows an epoch, counted from 0."""
        if self.validation is None:
            return False
        if isinstance(self.validation_epochs, int):
            return (epoch + 1) % self.validation_epochs == 0
        return epoch + 1 in self.validation_epochs

    def state_dict(self) -> dict[str, Any]:
        """Return the state needed to resume exactly.

        It is made of types that `torch.load(weights_only=True)` accepts.
        """
        return {
            "model": self.model.state_dict(),
            "training": self.model._trainer.state_dict(),
            "feed": self.feed.state_dict(),
            "validation": None if self.validation is None else self.validation.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "stop": self.model.stop_training,
            "callbacks": [[type(c).__name__, c.state_dict()] for c in self.callbacks.callbacks],
            "random": get_random_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state saved by `state_dict`.

        Raises:
            ValueError: the callbacks, or whether there is validation, differ from the saved run.
        """
        callbacks = self.callbacks.callbacks
        saved_names = [name for name, _ in state["callbacks"]]
        if saved_names != [type(c).__name__ for c in callbacks]:
            raise ValueError(
                f"the saved run had the callbacks {saved_names}, this one has "
                f"{[type(c).__name__ for c in callbacks]}: give fit the same ones, or delete the "
                "backup"
            )
        if (state["validation"] is None) != (self.validation is None):
            raise ValueError(
                "the saved run and this one must both have validation data or both have none: "
                "give fit the same arguments, or delete the backup"
            )
        self.model.load_state_dict(state["model"])
        self.model._trainer.load_state_dict(state["training"])
        self.epoch, self.step = state["epoch"], state["step"]
        self.model.stop_training = state["stop"]
        for callback, (_, saved) in zip(callbacks, state["callbacks"], strict=True):
            callback.load_state_dict(saved)
        self.feed.load_state_dict(state["feed"])
        if self.validation is not None:
            self.validation.load_state_dict(state["validation"])
        set_random_state(state["random"])
