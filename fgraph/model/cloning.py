"""`clone_model`: replay the calls of a model on layers with fresh weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from torch import nn

from ..graph import Input, Node, Ref
from ..graph.modes import Modes, callers_modes, under
from ..graph.nested import filled, iter_leaves, map_leaves
from ..graph.record import record
from ..layers.base import Layer
from .model import Model
from .sequential import Sequential


def clone_model(model: Model, clone_function: Callable[[Any], Any] | None = None) -> Model:
    """Return a model of the same graph with fresh weights of its own, as Keras does.

    Args:
        model: a model that has a graph.
        clone_function: makes the copy of a layer or torch module; by default layers are made anew
            from their configuration, torch modules are copied and their parameters reset.

    Raises:
        TypeError: a torch module has parameters but no `reset_parameters` method.
    """
    return _Cloner(clone_function or _fresh).run(model)


class _Cloner:
    """Replays the calls of one model on copies of its layers."""

    def __init__(self, clone: Callable[[Any], Any]) -> None:
        self._clone = clone
        self._copies: dict[int, Any] = {}
        self._values: dict[Ref, Any] = {}
        self._done: set[int] = set()

    def run(self, model: Model) -> Model:
        """Return the copy."""
        graph = model._live_graph("clone_model")
        for ref, name in zip(graph.inputs, model.input_names, strict=True):
            explicit = name if ref.node.name else None
            self._values[ref] = Input(
                batch_shape=ref.spec.shape,
                dtype=ref.spec.dtype,
                name=explicit,
            )
        modes: dict[int, set[Modes | None]] = {}
        for node in graph.nodes:
            modes.setdefault(id(node.call and node.call.outermost), set()).add(node.modes)
        with callers_modes():
            for node in graph.nodes:
                of_call = modes[id(node.call and node.call.outermost)]
                # a layer that switches modes inside does so again
                with under(node.modes if node.call is None or len(of_call) == 1 else None):
                    self._replay(node)
        inputs = filled(model._input_template, [self._values[ref] for ref in graph.inputs])
        outputs = filled(model._output_template, [self._values[ref] for ref in graph.outputs])
        if isinstance(model, Sequential):
            made = Sequential(name=model.explicit_name)
            made._stack = [self._copies.get(id(layer), layer) for layer in model._stack]
            made._build(inputs, outputs)
            return made
        return Model(inputs, outputs, name=model.explicit_name)

    def _replay(self, node: Node) -> None:
        call = node.call.outermost if node.call is not None else None
        if call is None:
            target = self._copy(node.target) if node.op == "module" else node.target
            args, kwargs = self._now((node.args, node.kwargs))
            known = (node.specs, node.structure) if node.declared else None
            result = record(node.op, target, args, kwargs, name=node.name, inferred=known)
            before: Any = node.build(lambda ref: ref)
        elif id(call) not in self._done:
            self._done.add(id(call))
            args, kwargs = self._now(call.inputs)
            result = self._copy(call.owner)(*args, **kwargs)
            before = call.outputs
        else:
            return
        for old, new in zip(iter_leaves(before), iter_leaves(result), strict=True):
            if type(old) is Ref:
                self._values[old] = new

    def _copy(self, layer: Any) -> Any:
        if id(layer) not in self._copies:
            self._copies[id(layer)] = self._clone(layer)
        return self._copies[id(layer)]

    def _now(self, structure: Any) -> Any:
        return map_leaves(lambda leaf: self._values[leaf] if type(leaf) is Ref else leaf, structure)


def _fresh(layer: Any) -> Any:
    """Make a layer or torch module like this one, with parameters drawn anew."""
    if isinstance(layer, Layer):
        return layer.from_config({**layer.get_config(), "name": layer.explicit_name})
    if isinstance(layer, Model) and layer._graph is not None:
        return clone_model(layer)
    made: nn.Module = copy.deepcopy(layer)
    for name, part in made.named_modules():
        reset = getattr(part, "reset_parameters", None) or getattr(part, "_reset_parameters", None)
        if callable(reset):
            reset()
        elif part._parameters:
            where = f"its part {name!r}, " if name else ""
            raise TypeError(
                f"clone_model: {where}{type(part).__name__}, has parameters but no method "
                "reset_parameters(); add one, or pass clone_function="
            )
    return made
