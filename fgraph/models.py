"""`fgraph.models`: the models, and functions that make one from another."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from .graph import Input, Node, Ref
from .graph.record import record
from .graph.structure import iter_leaves, map_leaves
from .layers.base import Layer
from .model import Model as Model
from .nested import filled
from .sequential import Sequential as Sequential


def load_model(
    path: str | os.PathLike[str],
    custom_objects: Mapping[str, Any] | None = None,
    map_location: str | torch.device | None = None,
    verify: bool = True,
) -> Model:
    """Read a model that `model.save` wrote; nothing in the file is executed.

    Args:
        path: the file.
        custom_objects: your own classes and functions by the names that the file has for them.
        map_location: the device for all tensors; by default each goes where it was.
        verify: whether to compare the checksum of the weights, for which all are read once.

    Raises:
        FileNotFoundError, IsADirectoryError: there is no such file.
        LoadError: the file is damaged, of another kind or version, or needs something unknown.

    See `fgraph.saving.model_file.load_model`.
    """
    from .saving.model_file import load_model

    return load_model(path, custom_objects, map_location, verify)


def model_from_json(text: str, custom_objects: Mapping[str, Any] | None = None) -> Model:
    """Make a model with fresh weights from what `model.to_json()` returned.

    Args:
        text: JSON.
        custom_objects: your own classes and functions by name.

    Raises:
        LoadError: the text is no JSON, or needs something unknown.
    """
    from .saving.config import model_from_json

    return model_from_json(text, custom_objects)


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
        for node in graph.nodes:
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
            result = record(node.op, target, args, kwargs, name=node.name)
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
