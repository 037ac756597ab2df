"""A model's graph as a `torch.fx.GraphModule`."""

from __future__ import annotations

import operator
from dataclasses import replace
from types import FunctionType, SimpleNamespace
from typing import Any, cast

from torch import fx, nn
from torch.autograd.function import FunctionMeta
from torch.overrides import TorchFunctionMode

from ..graph.torch_functions import DRAWS, torch_name
from ..model import Model, codegen


def to_fx(model: Model) -> fx.GraphModule:
    """Return the graph of `model` as a `torch.fx.GraphModule` that shares its modules.

    Every module that the graph calls is one `call_module` node, and every function one
    `call_function` or `call_method` node. Placeholders have the names of the inputs.
    `torch.fx.symbolic_trace` works too, but also traces the inside of modules that are not torch's
    own.

    Args:
        model: a model that was made of inputs and outputs.

    Raises:
        AttributeError: the model has no graph, its forward is written by hand.
    """
    graph = model._live_graph("to_fx")
    source = model._forward_source
    tracer = _Tracer()
    functions = {
        id(getattr(node.target, "__self__", None) or node.target)
        for node in graph.nodes
        if torch_name(node.target) is None
    }
    namespace = {
        name: tracer.leaf(value) if id(value) in functions else value
        for name, value in source.namespace.items()
    }
    leaves = replace(source, namespace=namespace)
    forward = codegen.compile_forward(leaves, f"{model.name} for torch.fx")
    holder = type(type(model).__name__, (type(model),), {"forward": forward, "_generated": forward})
    plain = cast(nn.Module, object.__new__(holder))
    plain.__dict__.update(model.__dict__)
    with _Draws(tracer):
        graph_of_calls = tracer.trace(plain)
    # unused parts of a result, such as the states of an LSTM
    graph_of_calls.eliminate_dead_code(lambda node: node.target is not operator.getitem)
    return fx.GraphModule(plain, graph_of_calls, type(model).__name__)


class _Draws(TorchFunctionMode):
    """Records functions that draw random numbers but take no traced values."""

    def __init__(self, tracer: fx.Tracer) -> None:
        super().__init__()
        self._tracer = tracer

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", "") not in DRAWS:
            return func(*args, **(kwargs or {}))
        return self._tracer.create_proxy("call_function", func, args, kwargs or {})


class _Tracer(fx.Tracer):
    """Records calls of modules and of functions that are not torch's without looking inside."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Treat every module as a leaf."""
        return True

    def leaf(self, function: Any) -> Any:
        """Return a function that records a call of `function`, or of an autograd function."""
        if isinstance(function, FunctionMeta):
            return SimpleNamespace(apply=self.leaf(function.apply))  # type: ignore[attr-defined]
        name = function.__qualname__ if type(function) is FunctionType else ""

        def call(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        # torch.fx writes functions by name, and methods and lambdas have none
        target = function if name.isidentifier() else call
        return lambda *args, **kwargs: self.create_proxy("call_function", target, args, kwargs)
