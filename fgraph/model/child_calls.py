"""Fast path for calling child modules: skip `nn.Module.__call__` when no hook is registered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from operator import attrgetter
from typing import Any

import torch
from torch import nn
from torch.autograd import profiler
from torch.nn.modules.module import (
    _global_backward_hooks,
    _global_backward_pre_hooks,
    _global_forward_hooks,
    _global_forward_pre_hooks,
)

from ..graph.recording.record import Symbol, module_calls

_CALL = nn.Module._wrapped_call_impl  # what nn.Module.__call__ is, unless somebody replaced it
_CALL_IMPL = nn.Module._call_impl
# what may be attached to a module, so that a call of it does more than run its forward
_NAMES = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_compiled_call_impl",
)
_ATTACHED = tuple(map(attrgetter, _NAMES))
_all_attached = attrgetter(*_NAMES)
_forward = attrgetter("forward")
_tracing_state = torch._C._get_tracing_state


def child_calls(model: Any, *inputs: Any) -> Mapping[str, Callable[..., Any]]:
    """Return what a generated forward calls, by name: `m["dense_1"](x)`.

    These are the children themselves, or their `forward` methods if calling the children would do
    nothing else. That saves half of the overhead of a call: torch looks for hooks in every call of
    a module, this function once for all children. Nothing is cached between runs, so replaced
    children and new hooks take effect at once.

    Args:
        model: the model that runs.
        *inputs: its inputs.
    """
    modules: Mapping[str, Callable[..., Any]] = model._modules
    if torch.compiler.is_compiling():
        return modules
    if _watched(inputs):
        tracer = next((x.tracer for x in inputs if hasattr(x, "tracer")), None)  # torch.fx's
        if tracer is not None and any(node.modes for node in model._graph.nodes):
            model._trace_modes(tracer.graph)
        return modules
    children = modules.values()
    if not all(map(_is_plain, set(map(type, children)))):
        return modules
    for attached in _ATTACHED:
        if any(map(attached, children)):
            return modules
    return dict(zip(modules, map(_forward, children)))  # noqa: B905 - one is the other's values


def has_own_calls(module: nn.Module, inputs: tuple[Any, ...]) -> bool:
    """Return whether `nn.Module.__call__` would do more for a module than run its `forward`."""
    return any(_all_attached(module)) or _watched(inputs)


def _watched(inputs: tuple[Any, ...]) -> bool:
    """Return whether something watches the calls of all modules: a tracer, a profiler."""
    if nn.Module._call_impl is not _CALL_IMPL or nn.Module.__call__ is not _CALL:
        if any(isinstance(x, Symbol) for x in inputs) or (
            module_calls.underneath("__call__") is not _CALL
            or module_calls.underneath("_call_impl") is not _CALL_IMPL
        ):
            return True
    return bool(
        _global_forward_hooks
        or _global_forward_pre_hooks
        or _global_backward_hooks
        or _global_backward_pre_hooks
        or _tracing_state()
        or profiler._is_profiler_enabled
    )


@lru_cache(maxsize=256)  # parametrised modules have a class each, which must not be kept for ever
def _is_plain(kind: type) -> bool:
    """Whether instances of the class are called as torch calls modules."""
    return (
        issubclass(kind, nn.Module)
        and kind.__call__ is nn.Module.__call__
        and kind._call_impl is nn.Module._call_impl
        and kind._wrapped_call_impl is _CALL
    )
