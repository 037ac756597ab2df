"""The state of one `fit`, which callbacks may look at and `BackupAndRestore` saves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..callbacks import CallbackList, History
from .feed import Feed
from .random_state import get_random_state, set_random_state


@dataclass
class Run:
    """Where a run is.

    Args:
        model: The model.
        feed: Its training data.
        epochs: Number of the epoch before which it ends.
        epoch: Number of the current epoch, from 0.
        step: Steps made in the current epoch.
        history: The figures so far.
        callbacks: The callbacks.
        validation: The validation data, if any.
        validation_frequency: After which epochs it is used.
    """

    model: Any
    feed: Feed
    epochs: int
    epoch: int = 0
    step: int = 0
    history: History = field(default_factory=History)
    callbacks: CallbackList | None = None
    validation: Feed | None = None
    validation_frequency: Any = 1
    monitors_checked: bool = False

    def state_dict(self) -> dict[str, Any]:
        """Returns all that an exact resume needs, in what `torch.load(weights_only=True)` takes."""
        compiled = self.model._compiled
        callbacks = self.callbacks.callbacks if self.callbacks else []
        return {
            "model": self.model.state_dict(),
            "training": compiled.training_state(),
            "outputs": compiled.objective.names if compiled.objective else None,
            "figures": compiled.figures.state_dict() if compiled.figures else None,
            "gradients": compiled.gathered_gradients(),
            "feed": self.feed.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "stop": self.model.stop_training,
            "callbacks": [[type(c).__name__, c.state_dict()] for c in callbacks],
            "random": get_random_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes to the state that `state_dict` returned.

        Raises:
            ValueError: The callbacks are not those of the saved run.
        """
        compiled = self.model._compiled
        callbacks = self.callbacks.callbacks if self.callbacks else []
        saved_names = [name for name, _ in state["callbacks"]]
        if saved_names != [type(c).__name__ for c in callbacks]:
            raise ValueError(
                f"the saved run had the callbacks {saved_names}, this one has "
                f"{[type(c).__name__ for c in callbacks]}: give fit the same ones, or delete the "
                "backup"
            )
        self.model.load_state_dict(state["model"])
        compiled.load_training_state(state["training"])
        if state["outputs"] is not None:
            if compiled.objective is None:
                compiled.bind(state["outputs"])
            compiled.figures.load_state_dict(state["figures"])
        compiled.load_gradients(state["gradients"])
        self.epoch, self.step = state["epoch"], state["step"]
        self.model.stop_training = state["stop"]
        for callback, (_, saved) in zip(callbacks, state["callbacks"], strict=True):
            callback.load_state_dict(saved)
        self.feed.load_state_dict(state["feed"])
        set_random_state(state["random"])
