"""`clone_model`: replay the calls of a model on layers with fresh weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from torch import nn

from ..graph import Symbol
from ..graph.nested import filled
from ..graph.recording.input import input_like
from ..layers.base import Layer
from .layer_replay import Replay
from .model import Model
from .sequential import Sequential


def clone_model(
    model: Model,
    input_tensors: Any = None,
    clone_function: Callable[[Any], Any] | None = None,
    call_function: Callable[..., Any] | None = None,
    recursive: bool = False,
) -> Model:
    """Return a model of the same graph with fresh weights of its own, as Keras does.

    Args:
        model: a model that has a graph.
        input_tensors: symbolic tensors on which the copy is built, in the structure of the model's
            inputs; new inputs of the same shapes by default.
        clone_function: makes the copy of a layer or torch module; by default layers are made anew
            from their configuration, torch modules are copied and their parameters reset.
        call_function: called as `call_function(layer, *args, **kwargs)` in place of each call of a
            layer or torch module; returns its outputs.
        recursive: whether `clone_function` and `call_function` are given the layers of nested
            models, and not these models as a whole.

    Raises:
        TypeError: a torch module has parameters but no `reset_parameters` method, or
            `input_tensors` are not symbolic.
        ValueError: the number, a shape or the structure of `input_tensors` is wrong.
    """
    return _Cloner(clone_function or _fresh, call_function, recursive).run(model, input_tensors)


class _Cloner:
    """Replays the calls of one model on copies of its layers."""

    def __init__(
        self, clone: Callable[[Any], Any], call: Callable[..., Any] | None, recursive: bool
    ) -> None:
        self._clone = clone
        self._call = call
        self._recursive = recursive
        self._copies: dict[int, Any] = {}

    def run(self, model: Model, input_tensors: Any = None) -> Model:
        """Return the copy."""
        graph = model._live_graph("clone_model")
        if input_tensors is None:
            values = [
                input_like(ref.spec, name if ref.node.name else None)
                for ref, name in zip(graph.inputs, model.input_names, strict=True)
            ]
        else:
            values = model._bind_inputs((input_tensors,), {})
            if not all(isinstance(value, Symbol) for value in values):
                raise TypeError("clone_model: input_tensors= expects symbolic tensors, from Input")
        given = dict(zip(graph.inputs, values, strict=True))
        replay = Replay(given, self._copy, call=self._call)
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
            nested = self._recursive and isinstance(layer, Model) and layer._graph is not None
            self._copies[id(layer)] = self.run(layer) if nested else self._clone(layer)
        return self._copies[id(layer)]


def _fresh(layer: Any) -> Any:
    """Return a layer or torch module like this one, with newly initialized parameters."""
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
