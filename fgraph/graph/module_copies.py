"""Shallow copies of modules: run a forward without hooks, and without changing the module."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin


def shallow_copy(module: nn.Module) -> nn.Module:
    """Return a module with the attributes of `module`, in dictionaries, lists and sets of its own.

    Whatever a forward sets on the copy, the module is not changed. Its children are the same.
    """
    copied = object.__new__(type(module))
    for name, value in module.__dict__.items():
        copied.__dict__[name] = value.copy() if type(value) in (dict, list, set) else value
    return copied


def copy_without_hooks(module: nn.Module) -> nn.Module:
    """Return a shallow copy of a module, its children copied alike, that fires no hooks."""
    if isinstance(module, torch.jit.ScriptModule):
        return _scripted_on_meta(module)
    copies: dict[int, nn.Module] = {}
    stack = [module]
    while stack:
        real = stack.pop()
        if id(real) in copies:
            continue
        copied = copies[id(real)] = shallow_copy(real)
        # what nn.Module.__call__ prefers over hooks and forward
        copied.__dict__["_compiled_call_impl"] = _call_of(real, copied)
        stack.extend(child for child in real._modules.values() if child is not None)
    for copied in copies.values():
        if isinstance(copied, nn.SyncBatchNorm):
            copied.__dict__["training"] = False  # or it would ask other processes
        for name, child in copied._modules.items():
            copied._modules[name] = None if child is None else copies[id(child)]
    return copies[id(module)]


def _scripted_on_meta(module: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
    """Return a copy of a scripted module with meta tensors; `.to` cannot replace its parameters."""
    copied = copy.deepcopy(module)
    for part in copied.modules():
        for name, tensor in (*part._parameters.items(), *part._buffers.items()):
            if tensor is not None:
                cast(Any, part)._c.setattr(name, tensor.detach().to("meta"))
    return copied


def call_of_copy(module: nn.Module, evaluating: bool = False) -> Callable[..., Any]:
    """Return a callable that does what calling `module` does, on a copy without hooks.

    Args:
        module: what to run.
        evaluating: whether to run in evaluation mode, whatever the module's own.
    """
    copied: Any = copy_without_hooks(module)
    if isinstance(module, torch.jit.ScriptModule):
        return cast(Callable[..., Any], copied)
    if evaluating:
        for part in copied.modules():
            part.__dict__["training"] = False
    call = copied if has_own_call(type(module)) else copied._compiled_call_impl
    return cast(Callable[..., Any], call)


def _call_of(real: nn.Module, copied: nn.Module) -> Callable[..., Any]:
    if is_uninitialised(real):
        return _initialising_call(real)
    compiled = real._modules.get("_orig_mod")  # in torch.compile's wrapper
    if compiled is None:
        return copied.forward
    inner: Any = copy_without_hooks(compiled)
    return cast(Callable[..., Any], inner._compiled_call_impl)


def is_uninitialised(module: nn.Module) -> bool:
    """Return whether it is a lazy module whose first call is to come."""
    return isinstance(module, LazyModuleMixin) and module.has_uninitialized_params()


def _initialising_call(real: nn.Module) -> Callable[..., Any]:
    """Return a call that initialises a lazy module for real, then runs a fresh copy."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if is_uninitialised(real):
            with torch._C.DisableTorchFunction():
                cast(Any, real)._infer_parameters(real, args, kwargs)
        return call_of_copy(real)(*args, **kwargs)

    return call


def has_own_call(kind: type[nn.Module]) -> bool:
    """Whether instances of a class do more when they are called than `nn.Module` would."""
    call: Any = kind.__call__
    return call is not nn.Module.__call__ and call.__module__.partition(".")[0] not in (
        "torch",
        "fgraph",
    )
