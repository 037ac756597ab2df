"""The callback interface (Keras's hooks) and the list that calls it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

Logs = Mapping[str, Any]


class Callback:
    """What happens at each point of a run; every hook is empty until a subclass fills it.

    Attributes:
        model: The model that is being trained, set before `on_train_begin`.
        params: `{"verbose": ..., "epochs": ..., "steps": ...}`.
    """

    restores: bool = False
    """Whether `on_train_begin` restores a run: such a callback is called after all others."""

    def __init__(self) -> None:
        self.model: Any = None
        self.params: dict[str, Any] = {}

    def set_params(self, params: dict[str, Any]) -> None:
        """Takes the run's parameters."""
        self.params = params

    def set_model(self, model: Any) -> None:
        """Takes the model."""
        self.model = model

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Called before an epoch, counted from 0."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Called after an epoch and its validation, with their figures as floats."""

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called by `on_train_batch_begin`."""

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called by `on_train_batch_end`."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before a training step, counted from 0 in each epoch."""
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after a training step; `logs` are read from the device when looked at."""
        self.on_batch_end(batch, logs)

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before a step of `evaluate` or of validation."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after a step of `evaluate` or of validation."""

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before a step of `predict`."""

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after a step of `predict`, with `{"outputs": ...}`."""

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Called before the first epoch."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Called after the last epoch, with its figures."""

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Called before `evaluate` or validation."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Called after `evaluate` or validation, with its figures."""

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Called before `predict`."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """Called after `predict`."""

    def state_dict(self) -> dict[str, Any]:
        """Returns what the callback must remember for an exact resume: tensors and plain values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over the state that `state_dict` returned."""


class LazyLogs(Mapping[str, Any]):
    """Figures that are read from the device when they are looked at, and only then.

    Args:
        read: Returns the figures; called at most once.
    """

    def __init__(self, read: Callable[[], dict[str, Any]]) -> None:
        self._read = read
        self._values: dict[str, Any] | None = None

    def _figures(self) -> dict[str, Any]:
        if self._values is None:
            self._values = self._read()
        return self._values

    def __getitem__(self, key: str) -> Any:
        return self._figures()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._figures())

    def __len__(self) -> int:
        return len(self._figures())

    def __repr__(self) -> str:
        return repr(self._figures())


_ALIASES = {
    "on_train_batch_begin": ("on_train_batch_begin", "on_batch_begin"),
    "on_train_batch_end": ("on_train_batch_end", "on_batch_end"),
}


class CallbackList:
    """Calls each hook of those callbacks that fill it, and of no others.

    Args:
        callbacks: The callbacks, in the order in which they are called.
        model: The model.
        params: The run's parameters.

    Raises:
        TypeError: One of them is no `Callback`.
    """

    def __init__(self, callbacks: Iterable[Callback], model: Any, params: dict[str, Any]) -> None:
        self.callbacks = sorted(callbacks, key=lambda c: bool(getattr(c, "restores", False)))
        self._hooks: dict[str, list[Callable[..., None]]] = {}
        for callback in self.callbacks:
            if not callable(getattr(callback, "on_train_begin", None)):
                raise TypeError(
                    "callbacks must be fgraph.callbacks.Callback objects, got "
                    f"{type(callback).__name__}: {callback!r}"
                )
            callback.set_params(params)
            callback.set_model(model)

    def hooks(self, name: str) -> list[Callable[..., None]]:
        """Returns the bound methods of a hook that do something."""
        if name not in self._hooks:
            filled = [c for c in self.callbacks if _fills(c, name)]
            self._hooks[name] = [getattr(callback, name) for callback in filled]
        return self._hooks[name]

    def call(self, name: str, *args: Any) -> None:
        """Calls a hook of every callback that fills it."""
        for hook in self.hooks(name):
            hook(*args)


def _fills(callback: Callback, name: str) -> bool:
    return any(
        alias in vars(callback)
        or getattr(type(callback), alias, None) is not getattr(Callback, alias)
        for alias in _ALIASES.get(name, (name,))
    )
