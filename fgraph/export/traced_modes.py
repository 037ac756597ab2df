"""Grad mode and autocast in graphs of `torch.fx`, whose tracer does not see `with` statements."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx
from torch.amp.autocast_mode import _enter_autocast, _exit_autocast
from torch.autograd.grad_mode import _enter_inference_mode, _exit_inference_mode
from torch.fx.node import has_side_effect

from ..graph.modes import Modes, current_modes

has_side_effect(_enter_inference_mode)  # torch has marked its like for the other modes
has_side_effect(_exit_inference_mode)


class _TracedModes:
    """Stands in for a graph's `create_node`: adds nodes that switch modes, where they change.

    The nodes are those of `torch.export`: `torch._C._set_grad_enabled`, `_enter_autocast`, ...
    """

    def __init__(self, graph: fx.Graph) -> None:
        self._graph = graph
        self._create = graph.create_node
        self._outside = self._last = current_modes()
        self._exits: list[tuple[Any, Any]] = []

    def __call__(self, op: str, *args: Any, **kwargs: Any) -> fx.Node:
        modes = current_modes()
        if modes != self._last:
            while self._exits:
                self._call(*self._exits.pop())
            if modes is not None and modes != self._outside:
                self._enter(modes)
            self._last = modes
        if op == "output":
            del self._graph.create_node
        return self._create(op, *args, **kwargs)

    def _enter(self, modes: Modes) -> None:
        for device, enabled, dtype, cache in modes.autocast:
            held = self._call(_enter_autocast, device, dtype, enabled, cache)
            self._exits.append((_exit_autocast, held))
        if modes.grad == "inference_mode":
            self._exits.append((_exit_inference_mode, self._call(_enter_inference_mode, True)))
        elif modes.grad:
            before = self._call(torch.is_grad_enabled)
            self._call(torch._C._set_grad_enabled, modes.grad == "enable_grad")
            self._exits.append((torch._C._set_grad_enabled, before))

    def _call(self, function: Any, *args: Any) -> fx.Node:
        return self._create("call_function", function, args, {})


def trace_modes(graph: fx.Graph) -> None:
    """Let a `torch.fx` graph that is being traced record the modes that calls run under."""
    if "create_node" not in graph.__dict__:
        graph.create_node = _TracedModes(graph)  # type: ignore[method-assign]
