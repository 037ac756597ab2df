"""From data to a model: the inverse of the encoder, which runs nothing that the data contains."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..errors import LoadError
from ..graph import Input
from ..graph.graph import _At
from ..layers.input_layer import InputLayer
from ..model import Model
from .construction import Construction
from .differences import MODEL_KEYS, MODULE_KEYS, slots
from .graphs import attach_graph
from .registered import find
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
            attach_graph(model, entry, self.value)
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

    _KINDS: ClassVar[dict[str, Any]] = {
        "$at": _at, "$tensor": _tensor, "$array": _array, "$name": _name, "$named": _named,
        "$partial": _partial, "$method": _method, "$optimizer": _optimizer, "$object": object,
    }  # fmt: skip


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
