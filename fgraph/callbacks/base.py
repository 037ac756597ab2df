"""The callback interface (Keras's hooks) and the list that calls it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..common.configured import declares

Logs = Mapping[str, Any]


class Callback:
    """Base class of callbacks: hooks that are called during a run, and do nothing by default.

    Attributes:
        model: the model that is being trained, set before `on_train_begin`.
        params: `{"verbose": ..., "epochs": ..., "steps": ...}`.
    """

    restores: bool = False
    """Whether `on_train_begin` restores a run: such a callback is called after all others."""

    stops: bool = True
    """Whether it may set `stop_training` after a batch, which several processes must agree on."""

    only_logs: bool = False
    """Whether its batch hooks read nothing but their `logs`, so that these may be computed only
    when read. Subclasses do not inherit this flag."""

    def __init__(self) -> None:
        self.model: Any = None
        self.params: dict[str, Any] = {}

    def set_params(self, params: dict[str, Any]) -> None:
        """Set the run's parameters."""
        self.params = params

    def set_model(self, model: Any) -> None:
        """Set the model."""
        self.model = model

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Called before an epoch, counted from 0."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Called after an epoch and its validation, with their logs as floats."""

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called by `on_train_batch_begin`."""

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called by `on_train_batch_end`."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before a training step, counted from 0 in each epoch."""
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after a training step; `logs` are copied from the device only when read."""
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
        """Called after the last epoch, with its logs."""

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Called before `evaluate` or validation."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Called after `evaluate` or validation, with its logs."""

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Called before `predict`."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """Called after `predict`."""

    def needs_all_processes(self, model: Any) -> bool:
        """Return whether several processes must call this callback together."""
        return False

    def added_names(self) -> list[str]:
        """Return the keys that the callback adds to an epoch's logs."""
        return []

    def check_names(self, names: list[str], complete: bool) -> None:
        """Refuse a configuration that needs logs that will not exist, before the first step.

        Args:
            names: the keys of an epoch's logs.
            complete: whether these are all keys; a user's callbacks may add more.
        """

    def check_run(self, model: Any, callbacks: list[Callback]) -> None:
        """Refuse, before the first step, a model or other callbacks that it does not support."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state needed to resume exactly: tensors and plain values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state returned by `state_dict`."""


class LazyLogs(dict[str, Any]):
    """The logs of a batch: a dict whose values are copied from the device only when it is read.

    Args:
        names: the keys.
        read: returns the values; called at most once.
    """

    def __init__(self, names: Iterable[str], read: Callable[[], dict[str, Any]]) -> None:
        super().__init__(dict.fromkeys(names))  # C code, such as json's, asks for the length first
        self._read: Callable[[], dict[str, Any]] | None = read

    def read(self) -> None:
        """Read the values, once."""
        if self._read is not None:
            read, self._read = self._read, None
            super().clear()
            super().update(read())

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle as a plain dict."""
        return dict, (dict(self),)


def _reading(name: str) -> Any:
    method = getattr(dict, name)

    @functools.wraps(method)
    def read_first(self: LazyLogs, *args: Any, **kwargs: Any) -> Any:
        self.read()
        return method(self, *args, **kwargs)

    return read_first


for _name in vars(dict):
    if _name not in vars(object) and _name not in ("__class_getitem__", "fromkeys"):
        setattr(LazyLogs, _name, _reading(_name))
for _name in ("__eq__", "__ne__", "__repr__"):
    setattr(LazyLogs, _name, _reading(_name))
del _name


_ALIASES = {
    "on_train_batch_begin": ("on_train_batch_begin", "on_batch_begin"),
    "on_train_batch_end": ("on_train_batch_end", "on_batch_end"),
}


class CallbackList:
    """Calls each hook of the callbacks that override it, and of no others.

    Args:
        callbacks: the callbacks, in the order in which they are called.
        model: the model.
        params: the run's parameters.

    Raises:
        TypeError: one of them is no `Callback`.
    """

    def __init__(self, callbacks: Iterable[Callback], model: Any, params: dict[str, Any]) -> None:
        self.callbacks = sorted(callbacks, key=lambda c: bool(getattr(c, "restores", False)))
        self._hooks: dict[str, list[Callable[..., None]]] = {}
        for callback in self.callbacks:
            if not isinstance(callback, Callback):
                text = f"{type(callback).__name__}: {callback!r}"
                if isinstance(callback, type):
                    text = f"the class {callback.__name__}: write {callback.__name__}()"
                raise TypeError(f"callbacks must be fgraph.callbacks.Callback objects, got {text}")
            callback.set_params(params)
            callback.set_model(model)

    def hooks(self, name: str) -> list[Callable[..., None]]:
        """Return the bound methods of callbacks that override a hook."""
        if name not in self._hooks:
            filled = [c for c in self.callbacks if _fills(c, name)]
            self._hooks[name] = [getattr(callback, name) for callback in filled]
        return self._hooks[name]

    def only_log(self, *names: str) -> bool:
        """Return whether the callbacks that override some batch hooks read nothing but the logs."""
        filling = [c for c in self.callbacks if any(_fills(c, name) for name in names)]
        return all(declares(callback, "only_logs") for callback in filling)

    def call(self, name: str, *args: Any) -> None:
        """Call a hook of every callback that overrides it; logs are empty by default."""
        needed = 2 if "epoch" in name else 1
        for hook in self.hooks(name):
            hook(*args, *([{}] if len(args) < needed else []))


def _fills(callback: Callback, name: str) -> bool:
    return any(
        alias in vars(callback)
        or getattr(type(callback), alias, None) is not getattr(Callback, alias)
        for alias in _ALIASES.get(name, (name,))
    )
