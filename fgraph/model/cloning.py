"""`clone_model`: replay the calls of a model on layers with fresh weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from torch import nn

from ..graph.input import input_like
from ..graph.nested import filled
from ..layers.base import Layer
from .layer_replay import Replay
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

    def run(self, model: Model) -> Model:
        """Return the copy."""
        graph = model._live_graph("clone_model")
        given = {}
        for ref, name in zip(graph.inputs, model.input_names, strict=True):
            given[ref] = input_like(ref.spec, name if ref.node.name else None)
        replay = Replay(given, self._copy)
        replay.run(graph)
        inputs = filled(model._input_template, replay.now(graph.inputs))
        outputs = filled(model._output_template, replay.now(graph.outputs))
        if isinstance(model, Sequential):
            made = Sequential(name=model.explicit_name)
            made._stack = [self._copies.get(id(layer), layer) for layer in model._stack]
            made._build(inputs, outputs)
            return made
        return Model(inputs, outputs, name=model.explicit_name)

    def _copy(self, layer: Any) -> Any:
        if id(layer) not in self._copies:
            self._copies[id(layer)] = self._clone(layer)
        return self._copies[id(layer)]


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
