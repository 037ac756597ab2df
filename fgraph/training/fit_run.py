"""The state of one `fit`, which callbacks may read and `BackupAndRestore` saves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..callbacks import CallbackList, History, ProgressBar
from ..common.process_group import agreed_any, processes_of, rank, world_size
from ..common.sharded_tensors import like_parameter, reshard
from ..optimizers.named_state import load_named_state, named_state
from .processes.distributed import part_seeds, settle
from .sources.feed import Feed
from .sources.random_state import get_random_state, set_random_state


@dataclass
class FitRun:
    """The progress of one `fit`, and its settings.

    Args:
        model: the model.
        feed: its training data.
        epochs: the epoch to stop at, counted from 0.
        callbacks: the callbacks.
        epoch: the number of the current epoch, from 0.
        step: the steps made in the current epoch.
        history: the logs of all epochs so far.
        validation: the validation data, if any.
        validation_epochs: the validated epochs: a period, or a list of epochs from 1.
        by_ddp: whether torch's DDP averages the gradients of several processes.
        norms: the check for batches that are too small for batch normalization, if needed.
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

    def settle(self) -> None:
        """Agree with the other processes on the step, on stopping, and on learning rates."""
        settle(self.model, (self.epoch, self.step))

    def state_dict(self) -> dict[str, Any]:
        """Return the state needed to resume exactly.

        It is made of types that `torch.load(weights_only=True)` accepts.
        """
        return {**self.common_state(), "own": self.own_state()}

    def common_state(self) -> dict[str, Any]:
        """Return the state shared by all processes, by names of the model's parameters."""
        reshard(self.model)
        trainer = self.model._trainer
        if trainer.session is not None and trainer.session.replicas is not None:
            trainer.session.replicas.share_buffers()
            if trainer.accumulated:
                trainer.session.replicas.average_gradients()
        names = _names(self.model)
        training = trainer.state_dict()
        del training["metrics"]
        training["optimizer"] = named_state(trainer.optimizer, names)
        gradients = zip(trainer.trained, training["gradients"], strict=False)
        training["gradients"] = {names[id(p)]: gradient for p, gradient in gradients}
        return {
            "model": self.model.state_dict(),
            "training": training,
            "epoch": self.epoch,
            "step": self.step,
            "stop": self.model.stop_training,
            "callbacks": [[type(c).__name__, c.state_dict()] for c in self._callbacks()],
        }

    def own_state(self) -> dict[str, Any]:
        """Return the state of this process alone: positions, random states, running sums."""
        metrics = self.model._trainer.metrics
        return {
            "feed": self.feed.state_dict(),
            "validation": None if self.validation is None else self.validation.state_dict(),
            "metrics": None if metrics is None else metrics.state_dict(),
            "random": get_random_state(),
            "division": [processes_of(self.model).size, processes_of(self.model).rank],
        }

    def _callbacks(self) -> list[Any]:
        """Return the callbacks that every process has."""
        return [c for c in self.callbacks.callbacks if not isinstance(c, ProgressBar)]

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state saved by `state_dict`.

        Raises:
            ValueError: the callbacks, or whether there is validation, differ from the saved run.
        """
        self.load(state, [state["own"]])

    def load(self, state: dict[str, Any], own: list[dict[str, Any]]) -> None:
        """Restore the results of `common_state`, and of `own_state` in each process.

        Raises:
            ValueError: the callbacks, or whether there is validation, differ from the saved run;
                or it was saved within the processes' own data, by a different number of processes.
        """
        self._check_saved(state, own)
        processes = processes_of(self.model)
        mine = own[rank() if len(own) == world_size() else 0]
        same = len(own) == world_size() and mine["division"] == [processes.size, processes.rank]
        same = not agreed_any(not same)
        if not same and self.feed.source.divided and own[0]["feed"]["taken"]:
            raise ValueError(
                f"the saved run is amid data that is divided among {len(own)} processes; here are "
                f"{world_size()}: start as many, or delete the backup"
            )
        self._load_model(state)
        self.epoch, self.step = state["epoch"], state["step"]
        self.model.stop_training = state["stop"]
        for callback, (_, saved) in zip(self._callbacks(), state["callbacks"], strict=True):
            callback.load_state_dict(saved)
        metrics = self.model._trainer.metrics
        if metrics is not None and mine["metrics"] is not None:
            parts = {part["division"][1]: part["metrics"] for part in own}
            if same:
                metrics.load_state_dict(self.model._trainer.placed(mine["metrics"]))
            else:
                metrics.load_merged(list(parts.values()) if processes.rank == 0 else [])
        self.feed.load_state_dict(mine["feed"])
        if self.validation is not None:
            self.validation.load_state_dict(mine["validation"])
        if world_size() == len(own) or world_size() > 1:
            set_random_state(mine["random"])
        if not same:
            part_seeds(processes)

    def _check_saved(self, state: dict[str, Any], own: list[dict[str, Any]]) -> None:
        """Refuse the state of a different `fit`: other callbacks, or with or without validation."""
        callbacks = self._callbacks()
        saved_names = [name for name, _ in state["callbacks"]]
        if saved_names != [type(c).__name__ for c in callbacks]:
            raise ValueError(
                f"the saved run had the callbacks {saved_names}, this one has "
                f"{[type(c).__name__ for c in callbacks]}: give fit the same ones, or delete the "
                "backup"
            )
        if (own[0]["validation"] is None) != (self.validation is None):
            raise ValueError(
                "the saved run and this one must both have validation data or both have none: "
                "give fit the same arguments, or delete the backup"
            )

    def _load_model(self, state: dict[str, Any]) -> None:
        reshard(self.model)
        held = self.model.state_dict()
        weights = {
            name: like_parameter(held[name], value) if name in held else value
            for name, value in state["model"].items()
        }
        self.model.load_state_dict(weights)
        trainer, names = self.model._trainer, _names(self.model)
        training = dict(state["training"])
        load_named_state(trainer.optimizer, names, training.pop("optimizer"), like_parameter)
        gradients = training["gradients"]
        training["gradients"] = [
            like_parameter(p, gradients.get(names[id(p)])) for p in trainer.trained
        ]
        trainer.load_state_dict({**training, "metrics": None})


def _names(model: Any) -> dict[int, str]:
    """Return the names of a model's parameters by their ids."""
    return {id(p): name for name, p in model.named_parameters()}
