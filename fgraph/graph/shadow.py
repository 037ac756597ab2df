"""Shadows of modules: run a module's forward without its hooks, and without changing the module."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin

from .capture import has_own_call


def shadow_call(module: nn.Module, evaluating: bool = False) -> Callable[..., Any]:
    """Return a callable that does what calling `module` does, on a shadow of it.

    Args:
        module: what to run.
        evaluating: whether to run in evaluation mode, whatever the module's own.
    """
    found: Any = shadow_of(module)
    if isinstance(module, torch.jit.ScriptModule):
        return cast(Callable[..., Any], found)
    if evaluating:
        for part in found.modules():
            part.__dict__["training"] = False
    call = found if has_own_call(type(module)) else found._compiled_call_impl
    return cast(Callable[..., Any], call)


def shadow_of(module: nn.Module) -> nn.Module:
    """Return a module that does what `module` does, but leaves it unchanged.

    The shadow shares everything with the module but the dictionaries that a forward could write
    to, and fires no hook: whatever the forward sets on `self` is forgotten.
    """
    if isinstance(module, torch.jit.ScriptModule):
        return copy.deepcopy(module).to("meta")
    shadows: dict[int, nn.Module] = {}
    stack = [module]
    while stack:
        real = stack.pop()
        if id(real) in shadows:
            continue
        shadows[id(real)] = _shadow_one(real)
        stack.extend(child for child in real._modules.values() if child is not None)
    for shadow in shadows.values():
        shadow.__dict__["_modules"] = {
            name: None if child is None else shadows[id(child)]
            for name, child in shadow._modules.items()
        }
    return shadows[id(module)]


def _shadow_one(real: nn.Module) -> nn.Module:
    shadow: nn.Module = object.__new__(type(real))
    for name, value in real.__dict__.items():
        shadow.__dict__[name] = value.copy() if type(value) in (dict, list, set) else value
    # what nn.Module.__call__ prefers over hooks and forward
    impl: Any = shadow.forward
    if _is_uninitialised(real):
        impl = _initialising_call(real)
    elif (compiled := real._modules.get("_orig_mod")) is not None:  # torch.compile's wrapper
        impl = cast(Any, shadow_of(compiled))._compiled_call_impl
    shadow.__dict__["_compiled_call_impl"] = impl
    return shadow


def _is_uninitialised(module: nn.Module) -> bool:
    return isinstance(module, LazyModuleMixin) and module.has_uninitialized_params()


def _initialising_call(real: nn.Module) -> Callable[..., Any]:
    """Initialise a lazy module for real when its shadow is called, then run a fresh shadow."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if _is_uninitialised(real):
            with torch._C.DisableTorchFunction():
                cast(Any, real)._infer_parameters(real, args, kwargs)
        return shadow_call(real)(*args, **kwargs)

    return call
