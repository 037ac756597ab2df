"""A model as data: a list of objects, each a constructor call and what differs from its result.

Objects refer to each other by their number in the list, so what is shared stays shared. The
children that a constructor makes again as they are take no entry: they are reached through the
object that makes them.
"""

from __future__ import annotations

import functools
import types
from dataclasses import is_dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..errors import SaveError
from ..graph.graph import Graph, _At, _Entry, _flatten
from ..graph.node import Constant, NumberSpec, Spec, TensorSpec
from ..layers.input_layer import InputLayer
from ..model import Model
from ..optimizers.learning_rate import own_class
from .construction import Construction
from .constructor_calls import construction_of
from .differences import MODEL_KEYS, Differences, same_slots, slots
from .functions import is_tensor_attribute, may_be_named
from .registered import name_of
from .values import to_json


class Encoder:
    """Writes modules, layers, functions and whole models as JSON values.

    Args:
        root: the module whose tensors have the names of its `state_dict`.
        inline: whether real tensors of the graphs are written into the JSON itself; by default
            they are collected in `tensors`.

    Attributes:
        objects: the entries, in order.
        tensors: the tensors that the entries refer to, by name.
    """

    def __init__(self, root: nn.Module, inline: bool = False) -> None:
        self.root = root
        self.inline = inline
        self.objects: list[dict[str, Any]] = []
        self.tensors: dict[str, Tensor] = {}
        self.names = {id(tensor): name for name, tensor in reversed(list(slots(root)))}
        self.numbers: dict[int, int] = {}
        self.parts: dict[int, tuple[int, str]] = {}
        self._kept: list[Any] = []  # an id is only good while its object lives

    # ------------------------------------------------------------------ values

    def value(self, value: Any) -> Any:
        """Return any value as JSON.

        Raises:
            SaveError: something in it cannot be written as data.
        """
        return to_json(value, self._other)

    def _other(self, value: Any) -> dict[str, Any]:
        if isinstance(value, _At):
            return {"$at": [value.node, value.index]}
        if isinstance(value, Tensor):
            return {"$tensor": self._tensor(value)}
        if isinstance(value, np.ndarray):
            return {"$array": self._tensor(torch.from_numpy(value))}
        if isinstance(value, InputLayer):
            return {"$input": self._input(value)}
        if isinstance(value, types.MethodType) and not isinstance(value.__self__, nn.Module):
            return {"$method": [self.value(value.__self__), value.__name__]}
        if isinstance(value, functools.partial):
            parts = (value.func, value.args, value.keywords)
            return {"$partial": [self.value(part) for part in parts]}
        if isinstance(value, tuple):
            return {"$named": [name_of(type(value)), [self.value(item) for item in value]]}
        if isinstance(value, dict):
            return {"$dict": [[self.value(k), self.value(v)] for k, v in value.items()]}
        if isinstance(value, torch.optim.Optimizer):
            return {"$optimizer": self._optimizer(value)}
        if isinstance(value, nn.Module):
            return {"$object": self.reference(value)}
        if type(value) in pytree.SUPPORTED_NODES and not is_dataclass(value):
            raise SaveError(f"{value!r:.80} is a {type(value)}, which files do not hold")
        if isinstance(value, type) or not hasattr(value, "__dict__") or _is_function(value):
            return {"$name": name_of(value)}
        return {"$object": self.reference(value)}

    def _tensor(self, tensor: Tensor) -> Any:
        name = self.names.get(id(tensor))
        if name is not None:
            return name
        if self.inline:
            tensor = tensor.detach().cpu().contiguous()
            data = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
            return [self.value(part) for part in (tensor.dtype, list(tensor.shape), data)]
        name = self.names[id(tensor)] = f"constant/{len(self.tensors) + 1}"
        self.tensors[name] = tensor
        self._kept.append(tensor)
        return name

    def _input(self, layer: InputLayer) -> dict[str, Any]:
        name, spec = layer._ref.node.name, cast(TensorSpec, layer._ref.spec)
        return {"name": name, "shape": list(spec.shape), "dtype": self.value(spec.dtype)}

    def _optimizer(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Write an optimizer as its class and groups; parameters are those of the root."""
        groups = []
        for group in optimizer.param_groups:
            strangers = [p for p in group["params"] if id(p) not in self.names]
            if strangers:
                raise SaveError(
                    f"the optimizer trains {len(strangers)} parameters that are not the model's; "
                    "save with include_optimizer=False"
                )
            groups.append({key: self.value(item) for key, item in group.items()})
        return {"class": name_of(own_class(optimizer)), "groups": groups}

    # ------------------------------------------------------------------ objects

    def reference(self, value: Any) -> int:
        """Return the number of an object, writing it first where it has none."""
        if id(value) in self.parts:
            owner, path = self.parts.pop(id(value))
            self._enter(value, {"part_of": owner, "path": path})
        elif id(value) not in self.numbers:
            if isinstance(value, Model) and (value._graph is not None or hasattr(value, "_stack")):
                self._model(value)
            else:
                self._constructed(value)
        return self.numbers[id(value)]

    def _enter(self, value: Any, entry: dict[str, Any]) -> int:
        number = self.numbers[id(value)] = len(self.objects)
        self.objects.append(entry)
        self._kept.append(value)
        return number

    def _constructed(self, value: Any) -> None:
        """Write an object as a constructor call, and what differs from what that makes."""
        try:
            construction = construction_of(value)
            made = construction.make()
            if isinstance(value, nn.Module) and not same_slots(value, made):
                raise SaveError(f"{type(value).__name__} has other parameters than it began with")
        except Exception as error:
            if type(value).__module__.startswith("torch."):
                raise SaveError(f"{value!r:.200} cannot be written as data: {error}") from error
            if self.inline and isinstance(value, nn.Module) and any(True for _ in slots(value)):
                raise SaveError(  # fresh weights are the constructor's business
                    f"{type(value).__name__} cannot be made afresh: {error}"
                ) from error
            # the constructor cannot be called as it was: fill in an object that it never saw
            construction = Construction(type(value), blank=True)
            made = construction.make()
        entry = self._call(construction)
        if isinstance(value, Model):
            entry["name"] = value.explicit_name
        number = self._enter(value, entry)
        differences = Differences(self, value, made)
        self.parts.update({key: (number, path) for key, path in differences.parts.items()})
        entry.update(differences.written())

    def _call(self, construction: Construction) -> dict[str, Any]:
        entry: dict[str, Any] = {"class": name_of(construction.cls)}
        if construction.blank:
            entry["blank"] = True
        if construction.config is not None:
            entry["config"] = self.value(construction.config)
        if construction.args:
            entry["args"] = [self.value(item) for item in construction.args]
        if construction.kwargs:
            entry["kwargs"] = {k: self.value(item) for k, item in construction.kwargs.items()}
        return entry

    # ------------------------------------------------------------------ models and graphs

    def _model(self, model: Model) -> None:
        """Write a model that has a graph, or a `Sequential` that will have one."""
        entry: dict[str, Any] = {"class": name_of(model._public_class()), "kind": "model"}
        self._enter(model, entry)
        entry["name"] = model.explicit_name
        graph = None if model._graph is None else model._live_graph("save")
        entry["children"] = {
            name: None if child is None else self.reference(child)
            for name, child in model._modules.items()
        }
        for kind, group in (("parameter", model._parameters), ("buffer", model._buffers)):
            for name, tensor in group.items():
                entry.setdefault("tensors", {})[name] = self._own_tensor(kind, tensor)
        extra = {key: item for key, item in vars(model).items() if key not in MODEL_KEYS}
        if extra:
            entry["attributes"] = {"": {k: self.attribute(model, k, v) for k, v in extra.items()}}
        if hasattr(model, "_stack"):
            entry["stack"] = [self.value(layer) for layer in model._stack]
        if graph is not None:
            entry["inputs"] = self.value(model._input_template)
            entry["outputs"] = self.value(model._output_template)
            entry["input_names"] = model.input_names
            entry["output_names"] = model.output_names
            entry["node_names"] = model._node_names
            entry["node_paths"] = [None if p is None else list(p) for p in model._node_paths]
            entry["graph"] = self._graph(graph)

    def _own_tensor(self, kind: str, tensor: Tensor | None) -> Any:
        """Write a tensor that the graph itself holds: its kind, and in JSON alone its value."""
        if tensor is None or not self.inline:
            return kind
        name = self.names.pop(id(tensor))
        written = self._tensor(tensor)
        self.names[id(tensor)] = name
        return [kind, written]

    def attribute(self, owner: Any, name: str, value: Any) -> Any:
        """Write the value of an attribute; what cannot be written is named."""
        try:
            return self.value(value)
        except SaveError as error:
            raise SaveError(f"the attribute {name!r} of {type(owner).__name__}: {error}") from error

    def _graph(self, graph: Graph) -> dict[str, Any]:
        flat = _flatten(graph)
        return {
            "inputs": [[at.node, at.index] for at in flat.inputs],
            "outputs": [[at.node, at.index] for at in flat.outputs],
            "sources": flat.sources,
            "nodes": [self._node(entry) for entry in flat.entries],
            "calls": [[self.value(part) for part in call] for call in flat.calls],
        }

    def _node(self, entry: _Entry) -> dict[str, Any]:
        written: dict[str, Any] = {"op": entry.op, "specs": [_spec(s, self) for s in entry.specs]}
        if entry.op == "function":
            named = entry.function is not None
            written["target"] = _checked(entry) if named else self.value(entry.target)
        elif entry.op == "module":
            written["target"] = self.value(entry.target)
        if type(entry.template) is not _At:
            written["result"] = self.value(entry.template)
        for key in ("args", "kwargs", "name", "call", "masks"):
            if (part := getattr(entry, key)) or part == 0:
                written[key] = [self.value(a) for a in part] if key == "args" else self.value(part)
        if entry.effects is not None:
            changes, shares = entry.effects
            written["effects"] = [list(changes), [list(pair) for pair in shares]]
        if entry.modes is not None:
            written["modes"] = entry.modes.to_data()
        return written

    def finish(self) -> None:
        """Write the tensors of modules that are no part of the root into their entries."""
        inside = {id(module) for module in self.root.modules()}
        objects = {number: value for value in self._kept
                   if (number := self.numbers.get(id(value))) is not None}  # fmt: skip
        for number, value in objects.items():
            if isinstance(value, nn.Module) and id(value) not in inside and not self.inline:
                self.objects[number]["state"] = {
                    name: self.value(tensor) for name, tensor in slots(value)
                }


def _checked(entry: _Entry) -> dict[str, str]:
    """Return the name of a torch function that a file may hold."""
    name = cast(str, entry.function)
    if not may_be_named(name) or (name == "getattr" and not is_tensor_attribute(entry.args[1])):
        what = f"reading .{entry.args[1]}" if name == "getattr" else name
        raise SaveError(
            f"{what} does more than compute on tensors, and a file may not name it: use a "
            'function of your own, decorated with @fgraph.register("package>name")'
        )
    return {"$name": name}


def _spec(spec: Spec, encoder: Encoder) -> Any:
    if isinstance(spec, TensorSpec):
        dtype = str(spec.dtype).removeprefix("torch.")
        same_sizes = spec.first == spec.second
        return [dtype, list(spec.first)] + ([] if same_sizes else [list(spec.second)])
    if isinstance(spec, NumberSpec):
        return [spec.first, spec.second]
    if not isinstance(spec, Constant):
        raise SaveError("inputs of Python data cannot be saved yet; build the graph in code")
    return {"constant": encoder.value(spec.value)}


def _is_function(value: Any) -> bool:
    return hasattr(value, "__code__") or type(value).__module__ == "builtins"
