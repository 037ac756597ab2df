"""Shallow copies of modules: run a forward without hooks, and without changing the module."""

from __future__ import annotations

import copy
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin

_CONTAINERS = frozenset({dict, list, set, OrderedDict, defaultdict, Counter, deque})
_HOOKS = (
    "_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called",
    "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs",
)  # fmt: skip


def shallow_copy(module: nn.Module) -> nn.Module:
    """Return a module with the attributes of `module`, in containers of its own.

    Whatever a forward sets on the copy, hooks among it, the module is not changed. Its children are
    the same.
    """
    copied = object.__new__(type(module))
    for name, value in module.__dict__.items():
        copied.__dict__[name] = _copied(value) if type(value) in _CONTAINERS else value
    return copied


def _copied(value: Any, depth: int = 3) -> Any:
    """Return a copy of a container, and of containers in it."""
    made = value.copy()
    for key, part in parts_of(value) if depth else ():
        if type(part) in _CONTAINERS and type(value) is not set:
            made[key] = _copied(part, depth - 1)
    return made


def parts_of(value: Any) -> Iterable[tuple[Any, Any]]:
    """Return what is in a dictionary, list or set, each with its key or number; else nothing."""
    if isinstance(value, dict):
        return dict.items(value)
    return enumerate(value) if type(value) in _CONTAINERS else ()


def copy_without_hooks(module: nn.Module) -> nn.Module:
    """Return a shallow copy of a module, its children copied alike, that fires no hooks.

    Hooks that its own forward registers, such as those of transformers that collect hidden states,
    are fired.
    """
    if isinstance(module, torch.jit.ScriptModule):
        return _scripted_on_meta(module)
    copies: dict[int, nn.Module] = {}
    stack = [module]
    while stack:
        real = stack.pop()
        if id(real) in copies:
            continue
        copied = copies[id(real)] = shallow_copy(real)
        copied.__dict__.update((name, OrderedDict()) for name in _HOOKS if name in real.__dict__)
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
        return _hooked_call(copied)
    inner: Any = copy_without_hooks(compiled)
    return cast(Callable[..., Any], inner._compiled_call_impl)


def _hooked_call(copied: Any) -> Callable[..., Any]:
    forward = copied.forward

    def call(*args: Any, **kwargs: Any) -> Any:
        if copied._forward_hooks or copied._forward_pre_hooks:
            return nn.Module._call_impl(copied, *args, **kwargs)
        return forward(*args, **kwargs)

    return call


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
