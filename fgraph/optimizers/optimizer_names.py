"""Optimizer names, and the conversion of every accepted form of an optimizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..errors import unknown_name
from . import adam_family, gradient_descent
from .optimizer_factory import OptimizerFactory

_NAMES: dict[str, type[OptimizerFactory]] = {
    cls.__name__.lower(): cls
    for cls in (
        gradient_descent.SGD,
        gradient_descent.RMSprop,
        gradient_descent.Adagrad,
        gradient_descent.Adadelta,
        gradient_descent.Adafactor,
        gradient_descent.Ftrl,
        adam_family.Adam,
        adam_family.AdamW,
        adam_family.Adamax,
        adam_family.Nadam,
        adam_family.Lamb,
        adam_family.Lion,
        adam_family.Muon,
    )
}


def get(identifier: Any) -> torch.optim.Optimizer | Callable[..., torch.optim.Optimizer]:
    """Return an optimizer, or a callable that makes one from parameters.

    Args:
        identifier: a Keras name, in any case; a class or object of this package; a
            `torch.optim.Optimizer`; or a callable `params -> optimizer`, for example a torch
            class or a `functools.partial` of one.

    Returns:
        The optimizer itself if one was given, else a callable that makes it.

    Raises:
        ValueError: the name is unknown.
        TypeError: the value is none of these.
    """
    if isinstance(identifier, str):
        if identifier.lower() not in _NAMES:
            raise ValueError(unknown_name("optimizer", identifier, _NAMES))
        return _NAMES[identifier.lower()]()
    if isinstance(identifier, type) and issubclass(identifier, OptimizerFactory):
        return identifier()
    # wrappers such as accelerate's are not subclasses of Optimizer, but have its interface
    if isinstance(identifier, torch.optim.Optimizer) or hasattr(identifier, "param_groups"):
        return identifier  # type: ignore[no-any-return]
    if callable(identifier):
        return identifier  # type: ignore[no-any-return]
    raise TypeError(
        "an optimizer must be a name, an object of fgraph.optimizers, a torch.optim.Optimizer or a "
        f"callable of parameters, got {type(identifier).__module__}.{type(identifier).__name__}"
    )
