"""From data to a model: the inverse of the encoder, which runs nothing that the data contains."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from .. import codegen
from ..graph import Input
from ..graph.graph import Graph, _At, _Entry, _Flat, _restore
from ..graph.node import Constant, SizeSpec, Spec, TensorSpec
from ..layers.base import Layer
from ..layers.input import InputLayer
from ..model import Model
from ..naming import Naming
from ..nested import filled
from ..signature import Signature
from .construction import Construction
from .encoder import MODEL_KEYS, MODULE_KEYS, slots
from .errors import LoadError
from .functions import is_tensor_attribute
from .registry import find
from .values import from_json


class Decoder:
    """Makes the objects that an `Encoder` wrote.

    Objects are made first, then get their tensors, then their attributes, then the graphs: each
    step finds what it refers to.

    Args:
        entries: the objects.
        tensors: the tensors that the entries refer to, by name.
        custom: classes and functions by the names that the entries use.
        real: whether modules are made with the values that their constructors draw.
    """

    def __init__(
        self,
        entries: list[dict[str, Any]],
        tensors: Mapping[str, Tensor],
        custom: Mapping[str, Any] | None = None,
        real: bool = False,
    ) -> None:
        self._entries = entries
        self._tensors: dict[str, Tensor] = dict(tensors)
        self._custom = custom
        self._real = real
        self._made: dict[int, Any] = {}
        self._reshaped: set[int] = set()  # modules that have other shapes than they began with

    def value(self, value: Any) -> Any:
        """Return the value that `Encoder.value` wrote."""
        return from_json(value, self._other)

    def _other(self, key: str, held: Any) -> Any:
        if key not in self._KINDS:
            raise LoadError(f"the file has a value of the kind {key!r}, which is not known")
        return self._KINDS[key](self, held)

    def _at(self, held: Any) -> _At:
        node, index = held
        return _At(node, index)

    def _tensor(self, held: Any) -> Tensor:
        if isinstance(held, str):
            if held not in self._tensors:
                raise LoadError(f"the file has no tensor {held!r}, which the model refers to")
            return self._tensors[held]
        dtype, shape, data = (self.value(part) for part in held)
        flat = torch.frombuffer(bytearray(data), dtype=dtype) if data else torch.empty(0).to(dtype)
        return flat.reshape(shape)

    def _array(self, held: Any) -> Any:
        return self._tensor(held).numpy().copy()

    def _name(self, held: str) -> Any:
        if held == "getattr":  # only a node may read an attribute, where its name is checked
            raise LoadError("a file may not pass on the function 'getattr'")
        return find(held, self._custom)

    def _named(self, held: Any) -> Any:
        kind, items = self._name(held[0]), self.value(held[1])
        if not (isinstance(kind, type) and issubclass(kind, tuple)):
            raise LoadError(f"{held[0]!r} is not a named tuple")
        return kind(*items) if hasattr(kind, "_fields") else kind(items)

    def _partial(self, held: Any) -> Any:
        function, args, keywords = self.value(held)
        return functools.partial(function, *args, **keywords)

    def _method(self, held: Any) -> Any:
        owner, name = self.value(held[0]), held[1]
        if isinstance(owner, nn.Module) or not name.isidentifier() or name.startswith("_"):
            raise LoadError(f"a file may not name the method {name!r} of {type(owner).__name__}")
        return getattr(owner, name)

    def _optimizer(self, held: Any) -> torch.optim.Optimizer:
        kind = self._name(held["class"])
        if not (isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)):
            raise LoadError(f"{held['class']!r} is not an optimizer")
        return kind([self.value(group) for group in held["groups"]])  # type: ignore[call-arg]

    # ------------------------------------------------------------------ objects

    def object(self, number: int) -> Any:
        """Return the object of that number, made at the first time."""
        if number not in self._made:
            if type(number) is not int or not 0 <= number < len(self._entries):
                raise LoadError(f"the file refers to an object {number!r} that it does not hold")
            entry = self._entries[number]
            if "part_of" in entry:
                owner = self.object(entry["part_of"])
                self._made[number] = owner.get_submodule(entry["path"])
            elif entry.get("kind") == "model":
                self._blank_model(number, entry)
            else:
                self._construct(number, entry)
        return self._made[number]

    def make_all(self) -> None:
        """Make every object, those that only calls and settings refer to included."""
        for number in range(len(self._entries)):
            self.object(number)

    def _construct(self, number: int, entry: dict[str, Any]) -> None:
        cls = self._name(entry["class"])
        if not isinstance(cls, type):
            raise LoadError(f"{entry['class']!r} is not a class")
        construction = Construction(
            cls,
            tuple(self.value(item) for item in entry.get("args", ())),
            {key: self.value(item) for key, item in entry.get("kwargs", {}).items()},
            self.value(entry.get("config")),
            entry.get("blank", False),
        )
        made = self._made[number] = construction.make(self._real)
        if isinstance(made, Model):
            made.explicit_name = entry["name"]
        if "slots" in entry:
            self._reshaped.add(id(made))
            made._parameters.clear()
            made._buffers.clear()
            for name, kind in entry["slots"].items():
                _declare(made, name, kind)
        for path in entry.get("dropped", ()):
            owner, name = _owner(made, path)
            del owner._modules[name]
        self._set_children(made, entry)

    def _set_children(self, made: nn.Module, entry: dict[str, Any]) -> None:
        for path, reference in entry.get("children", {}).items():
            owner, name = _owner(made, path)
            child = None if reference is None else self.object(reference)
            if name in owner._modules:
                owner._modules[name] = child
            else:
                owner.add_module(name, child)

    def _blank_model(self, number: int, entry: dict[str, Any]) -> None:
        cls = self._name(entry["class"])
        if not (isinstance(cls, type) and issubclass(cls, Model)):
            raise LoadError(f"{entry['class']!r} is not a model")
        model = self._made[number] = cls.__new__(cls)
        nn.Module.__init__(model)
        model.explicit_name = entry["name"]
        model._graph = None
        model._signature = None
        self._set_children(model, entry)
        self._reshaped.add(id(model))
        for name, kind in entry.get("tensors", {}).items():
            kind, value = kind if isinstance(kind, list) else (kind, None)
            _declare(model, name, kind)
            if value is not None:
                tensor = self._tensor(value)
                is_parameter = kind == "parameter"
                setattr(model, name, nn.Parameter(tensor) if is_parameter else tensor)

    # ------------------------------------------------------------------ tensors

    def fill(self, root: nn.Module, ties: Mapping[str, str], frozen: frozenset[str]) -> None:
        """Give all parameters and buffers of a module their values.

        Args:
            root: the module.
            ties: for the name of a tensor that is another one too, the name of that one.
            frozen: the names of the parameters that require no gradient.
        """
        made: dict[str, Tensor] = {}
        for path, module in list(root.named_modules()):
            for group in (module._parameters, module._buffers):
                for name, before in list(group.items()):
                    if before is None:
                        continue
                    full = f"{path}.{name}" if path else name
                    key = ties.get(full, full)
                    if key not in made:
                        tensor = self._tensor(key)
                        self._check_shape(module, full, before, tensor)
                        if group is module._parameters:
                            tensor = nn.Parameter(tensor, requires_grad=full not in frozen)
                        made[key] = tensor
                    setattr(module, name, made[key])
        self._tensors.update(made)

    def name_tensors(self, root: nn.Module) -> None:
        """Let the entries refer to the tensors that a module has already."""
        self._tensors = dict(slots(root))

    def _check_shape(self, module: nn.Module, name: str, before: Tensor, now: Tensor) -> None:
        if id(module) in self._reshaped or nn.parameter.is_lazy(before):
            return
        if before.shape != now.shape:
            raise LoadError(
                f"the tensor {name!r} has shape {tuple(now.shape)}, but {module!r:.200} needs "
                f"{tuple(before.shape)}"
            )

    def fill_others(self) -> None:
        """Give the modules outside the root their tensors."""
        for number, entry in enumerate(self._entries):
            if "state" in entry:
                module = self.object(number)
                for path, held in entry["state"].items():
                    owner, name = _owner(module, path)
                    tensor = self.value(held)
                    if name in owner._parameters and not isinstance(tensor, nn.Parameter):
                        tensor = nn.Parameter(tensor)
                        self._tensors[held["$tensor"]] = tensor
                    setattr(owner, name, tensor)

    # ------------------------------------------------------------------ attributes and graphs

    def finish(self) -> None:
        """Set the attributes of all objects, then make the graphs of the models."""
        for number, entry in enumerate(self._entries):
            self._set_attributes(self._made[number], entry)
        for number, entry in enumerate(self._entries):
            if entry.get("kind") == "model":
                self._finish_model(self._made[number], entry)

    def _set_attributes(self, made: Any, entry: dict[str, Any]) -> None:
        kept = MODEL_KEYS if isinstance(made, Model) else MODULE_KEYS
        for path, changed in entry.get("attributes", {}).items():
            owner = made.get_submodule(path) if path else made
            for name, held in changed.items():
                if isinstance(owner, nn.Module) and name in kept:
                    raise LoadError(f"the file sets {name!r}, which modules keep for themselves")
                vars(owner)[name] = self.value(held)

    def _finish_model(self, model: Model, entry: dict[str, Any]) -> None:
        if "graph" in entry:
            self._attach_graph(model, entry)
        if "stack" in entry:
            stack = vars(model)["_stack"] = []
            for held in entry["stack"]:
                is_input = isinstance(held, dict) and "$input" in held
                layer = self._input(model, held["$input"]) if is_input else self.value(held)
                stack.append(layer)

    def _input(self, model: Model, held: dict[str, Any]) -> InputLayer:
        if model._graph is not None:
            ref = model._graph.inputs[0]
        else:
            dtype = self.value(held["dtype"])
            ref = Input(batch_shape=held["shape"], dtype=dtype, name=held["name"]).ref
        return InputLayer(ref, held["name"])

    def _attach_graph(self, model: Model, entry: dict[str, Any]) -> None:
        graph = self._graph(entry["graph"])
        paths = [None if path is None else tuple(path) for path in entry["node_paths"]]
        names = [_text(name) for name in entry["node_names"]]
        for node, path in zip(graph.nodes, paths, strict=True):
            if (path is None) == (node.op == "module") or (
                path is not None and model.get_submodule(".".join(path)) is not node.target
            ):
                raise LoadError(f"the graph calls a module that is not at {path!r} in the model")
        model._graph = graph
        model._input_template = self.value(entry["inputs"])
        model._output_template = self.value(entry["outputs"])
        model._node_names, model._node_paths = names, paths
        model._output_names = [_text(name) for name in entry["output_names"]]
        input_names = [_text(name) for name in entry["input_names"]]
        model._signature = Signature(
            f"model {model.name!r}", model._input_template, input_names, graph.inputs
        )
        children = {name: child for name, child in model._modules.items() if child is not None}
        naming = Naming(input_names, names, paths, children)
        outputs = filled(model._output_template, graph.outputs)
        source = codegen.generate(graph, naming, outputs, model._signature.parameters)
        for name, tensor in source.tensors.items():
            if getattr(model, name, None) is not tensor:
                raise LoadError(f"the graph holds a tensor that is not the model's {name!r}")
        model._graph_tensors = source.tensors | source.borrowed
        model._forward_source = source
        model._attach_forward()

    def _graph(self, held: dict[str, Any]) -> Graph:
        calls = [tuple(self.value(part) for part in call) for call in held["calls"]]
        if not all(isinstance(call[0], Layer) for call in calls):
            raise LoadError("a call in the file is of something that is not a layer")
        flat = _Flat(
            [_At(*at) for at in held["inputs"]],
            [_At(*at) for at in held["outputs"]],
            held["sources"],
            [self._node(node) for node in held["nodes"]],
            cast("list[tuple[Any, Any, Any, int | None]]", calls),
        )
        return _restore(flat)

    def _node(self, held: dict[str, Any]) -> _Entry:
        reads = held.get("target") == {"$name": "getattr"}
        target = getattr if reads else self.value(held.get("target"))
        args = tuple(self.value(item) for item in held.get("args", ()))
        if held["op"] not in ("input", "module", "function"):
            raise LoadError(f"the file has a node of the kind {held['op']!r}")
        if (held["op"] == "module") != isinstance(target, nn.Module) or (
            held["op"] == "function" and not callable(target)
        ):
            raise LoadError("a node in the file calls what cannot be called")
        if target is getattr and not (len(args) == 2 and is_tensor_attribute(args[1])):
            raise LoadError(f"the file reads an attribute that tensors do not have: {args[1:]!r}")
        template = self.value(held["result"]) if "result" in held else _At(-1, 0)
        return _Entry(
            op=held["op"],
            target=target,
            function=None,
            args=args,
            kwargs=self.value(held.get("kwargs", {})),
            specs=[self._spec(spec) for spec in held["specs"]],
            template=template,
            name=held.get("name"),
            call=held.get("call"),
            masks=self.value(held["masks"]) if "masks" in held else None,
        )

    def _spec(self, held: Any) -> Spec:
        if isinstance(held, dict):
            return Constant(self.value(held["constant"]))
        if isinstance(held[0], str):
            first, second = held[1], held[-1]
            if not all(type(size) is int for size in (*first, *second)):
                raise LoadError("the file gives a shape that is none")
            dtype = self.value({"$dtype": held[0]})
            return TensorSpec(tuple(first), tuple(second), dtype)
        first, second = held
        return SizeSpec(int(first), int(second))

    _KINDS: ClassVar[dict[str, Any]] = {
        "$at": _at, "$tensor": _tensor, "$array": _array, "$name": _name, "$named": _named,
        "$partial": _partial, "$method": _method, "$optimizer": _optimizer, "$object": object,
    }  # fmt: skip


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise LoadError(f"the file gives {value!r} as a name")
    return value


def _owner(module: nn.Module, path: str) -> tuple[nn.Module, str]:
    parent, _, name = path.rpartition(".")
    return module.get_submodule(parent), name


def _declare(module: nn.Module, name: str, kind: str) -> None:
    """Register a parameter or buffer, to be filled later."""
    if not (name.isidentifier() or name.isdigit()):
        raise LoadError(f"the file gives a tensor the name {name!r}, which is no name")
    _, missing, kind = kind.rpartition("no ")
    empty = None if missing else torch.empty(0, device="meta")
    if kind == "parameter":
        module.register_parameter(name, None if empty is None else nn.Parameter(empty))
    else:
        module.register_buffer(name, empty, persistent=kind != "lost buffer")
