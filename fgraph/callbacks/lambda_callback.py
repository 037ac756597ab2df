"""A callback made of functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import unknown_name
from .base import Callback

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
