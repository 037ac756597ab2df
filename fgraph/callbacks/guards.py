"""Small callbacks: an end to a run that diverged, and hooks made of functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..errors import unknown_name
from .base import Callback, Logs


class TerminateOnNaN(Callback):
    """Ends training when the loss is NaN or infinite (Keras: `TerminateOnNaN`).

    It reads the loss after each batch, so on a device each step waits for the one before.

    Args:
        raise_error: whether to raise a `RuntimeError` in place of ending the run.
    """

    def __init__(self, raise_error: bool = False) -> None:
        super().__init__()
        self.raise_error = raise_error

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Read the loss.

        Raises:
            RuntimeError: with `raise_error`, the loss is NaN or infinite.
        """
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            if self.raise_error:
                raise RuntimeError(f"batch {batch}: the loss is {loss}")
            print(f"Batch {batch}: invalid loss, terminating training")
            self.model.stop_training = True


_HOOKS = [name for name in vars(Callback) if name.startswith("on_")]


class LambdaCallback(Callback):
    """A callback made of functions (Keras: `LambdaCallback`).

    Args:
        **hooks: Hook name to function, for example `on_epoch_end=lambda epoch, logs: ...`.

    Raises:
        TypeError: an unknown hook.
    """

    def __init__(self, **hooks: Callable[..., Any] | None) -> None:
        super().__init__()
        for name, hook in hooks.items():
            if name not in _HOOKS:
                raise TypeError(f"LambdaCallback: {unknown_name('hook', name, _HOOKS)}")
            if hook is not None:
                setattr(self, name, hook)
