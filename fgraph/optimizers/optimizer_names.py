"""Optimizer names, and what each of the accepted forms of an optimizer becomes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..errors import unknown_name
from . import factories

_NAMES: dict[str, type[factories.OptimizerFactory]] = {
    "sgd": factories.SGD,
    "rmsprop": factories.RMSprop,
    "adam": factories.Adam,
    "adamw": factories.AdamW,
    "adagrad": factories.Adagrad,
    "adadelta": factories.Adadelta,
    "adamax": factories.Adamax,
    "nadam": factories.Nadam,
}


def get(identifier: Any) -> torch.optim.Optimizer | Callable[..., torch.optim.Optimizer]:
    """Return an optimizer, or what makes one of parameters.

    Args:
        identifier: A Keras name, in any case; a class or object of this package; a
            `torch.optim.Optimizer`; or a callable `params -> optimizer`, for example a torch
            class or a `functools.partial` of one.

    Returns:
        The optimizer itself where one was given, else a callable that makes it.

    Raises:
        ValueError: the name is unknown.
        TypeError: the value is none of these.
    """
    if isinstance(identifier, str):
        if identifier.lower() not in _NAMES:
            raise ValueError(unknown_name("optimizer", identifier, _NAMES))
        return _NAMES[identifier.lower()]()
    if isinstance(identifier, type) and issubclass(identifier, factories.OptimizerFactory):
        return identifier()
    # wrappers such as accelerate's are no subclass of Optimizer: what counts is what they do
    if isinstance(identifier, torch.optim.Optimizer) or hasattr(identifier, "param_groups"):
        return identifier  # type: ignore[no-any-return]
    if callable(identifier):
        return identifier  # type: ignore[no-any-return]
    raise TypeError(
        "an optimizer must be a name, a torch.optim.Optimizer or a callable of parameters, got "
        f"{type(identifier).__name__}: {identifier!r}"
    )
