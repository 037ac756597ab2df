"""Forward hooks, which neither files nor source keep, unless a constructor registers them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

from torch import nn


def forward_hooks(module: nn.Module) -> list[Callable[..., Any]]:
    """Return the forward hooks of a module, but for those of torch itself, such as FSDP's."""
    found = [*module._forward_pre_hooks.values(), *module._forward_hooks.values()]
    return [hook for hook in found if not str(getattr(hook, "__module__", "")).startswith("torch.")]


def lost_hooks(model: nn.Module, made: nn.Module) -> list[str]:
    """Return the names of the modules that have hooks which they lack in a model made again."""
    others = dict(made.named_modules())
    return [
        name or "the model itself"
        for name, part in model.named_modules()
        if name in others and len(forward_hooks(part)) > len(forward_hooks(others[name]))
    ]


def warn_of_hooks(what: str, names: Iterable[str], stacklevel: int) -> None:
    """Warn of modules whose hooks are left out; say nothing where there are none."""
    if names := list(names):
        more = f", and {len(names) - 3} more" if len(names) > 3 else ""
        warnings.warn(
            f"{what} has no forward hooks: those of {', '.join(map(repr, names[:3]))}{more} are "
            "left out, and what comes back computes without them until they are registered again",
            stacklevel=stacklevel,
        )
