"""From data to a model: the inverse of the encoder, which runs nothing that the data contains.

Objects are made in the order of their entries, each of earlier ones; then modules get their
tensors, then models their graphs. Names are looked up in closed lists, never resolved.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Container, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..errors import LoadError
from ..graph import Input
from ..graph.nested import iter_leaves, map_leaves
from ..layers.base import Layer
from ..layers.input_layer import InputLayer
from ..model import Model, Sequential
from ..model.naming import check_name
from ..unfolding.opened_module import OpenedModule
from ..unfolding.registered_parts import unfolded_modules
from .comparing import LAYER_KEYS, LAYER_STATE, MODULE_KEYS, is_setting, parts_of, slots
from .construction import EMPTY, FREE, Construction
from .encoder import MADE, Encoder
from .graphs import check_fields, decode_graph, number_below, parts_of_homes
from .registered import find
from .values import from_json

_CALL = {"kind", "class", "config", "args", "kwargs", "settings"}
_MODULE = {"training", "tensors", "children"}
_LAYER = LAYER_STATE.keys()
_FIELDS = {
    "object": _CALL,
    "module": _CALL | _MODULE,
    "layer": _CALL | _LAYER,
    "inner layer": {"kind", "of", "settings"} | _LAYER,
    "part": {"kind", "of", "settings"} | _MODULE,
    "model": {"kind", "class", "settings", "name", "stack", "graph"} | _MODULE,
}
_BASES: dict[str, type] = {"module": nn.Module, "layer": Layer}
_MOST_RANGES = 16384  # numbers in all ranges together: a constructor may make a list of each
_MOST_PARTS = 20_000  # of modules, each counted wherever it is used
_MOST_LEVELS = 64  # of modules in modules


class Decoder:
    """Makes the objects that an `Encoder` wrote.

    Args:
        entries: the objects.
        tensors: the tensors that the entries refer to, by name.
        custom: classes and functions by the names that the entries use.
        fresh: whether modules keep the values that their constructors draw, except for `tensors`.
        encoder: compares what is made with the objects that it wrote.
    """

    def __init__(
        self,
        entries: list[dict[str, Any]],
        tensors: Mapping[str, Tensor],
        custom: Mapping[str, Any],
        fresh: bool = False,
        encoder: Encoder | None = None,
    ) -> None:
        self._entries = entries
        self._fresh = fresh
        self._tensors: dict[str, Tensor] = dict(tensors)
        self._custom = custom
        self._encoder = encoder
        self.made: list[Any] = []
        self._ranges = 0
        self._built: dict[Layer, tuple[dict[int, str], nn.Module | None]] = {}

    def make(self, flipped: Iterable[str] = (), unused: range = range(0)) -> None:
        """Make all objects.

        Args:
            flipped: the names of parameters that require no gradients, and of buffers that do.
            unused: the numbers of objects that are not needed, and are not made.
        """
        for number, entry in enumerate(self._entries):
            with self._about(number):
                self.made.append(None if number in unused else self._object_of(entry))
        for number, entry in enumerate(self._entries):  # constructors may change their arguments
            with self._about(number):
                if number not in unused:
                    self._settle(number, entry)
        self._check_parts()
        pairs = zip(self.made, self._entries, strict=True)
        modules = [(made, entry) for made, entry in pairs if isinstance(made, nn.Module)]
        self._make_parameters([entry.get("tensors", []) for _, entry in modules], set(flipped))
        for module, entry in modules:
            self._fill(module, entry.get("tensors", []))
            module.training = bool(entry["training"])
        for layer, (parts, _) in self._built.items():
            _move_attributes(layer, parts)
        for name in flipped:
            tensor = self._tensor(name)
            tensor.requires_grad_(not isinstance(tensor, nn.Parameter))
        for module, entry in modules:
            if isinstance(module, Model) and entry["kind"] == "model":
                self._finish_model(module, entry)
        self._check_opened()

    # ------------------------------------------------------------------ values

    def value(self, value: Any, at: Mapping[str, Callable[[Any], Any]] | None = None) -> Any:
        """Return the value that `Encoder.value` wrote.

        Args:
            value: what was written.
            at: what reads references within a graph, by their kinds.
        """

        def read(item: Any) -> Any:
            return from_json(item, other)

        def other(tag: str, held: Any) -> Any:
            if at is not None and tag in at:
                return at[tag](held)
            if tag not in self._KINDS:
                raise LoadError(f"it has a value of the kind {tag!r:.80}, which is not known")
            return self._KINDS[tag](self, held, read)

        return read(value)

    def _tensor(self, held: Any) -> Tensor:
        if held not in self._tensors:
            raise LoadError(f"it has no tensor {held!r:.80}, which the model refers to")
        return self._tensors[held]

    def _range(self, held: Any, read: Any) -> range:
        made = range(*held)
        self._ranges += len(made)
        if self._ranges > _MOST_RANGES:
            raise LoadError(
                f"its ranges have more than {_MOST_RANGES} numbers, the limit: write torch.arange"
            )
        return made

    def _structure(self, held: Any, read: Any) -> Any:
        kind = self._class(held[0], object)
        if not (issubclass(kind, tuple) or hasattr(kind, "__dataclass_fields__")):
            raise LoadError(f"{held[0]!r:.80} is neither a named tuple nor a dataclass")
        return kind(*read(held[1]), **read(held[2]))

    def _enum(self, held: Any, read: Any) -> Any:
        members = self._class(held[0], enum.Enum).__members__
        if held[1] not in members:
            raise LoadError(f"{held[0]!r:.80} has no member {held[1]!r:.80}")
        return members[held[1]]

    def _partial(self, held: Any, read: Any) -> Any:
        function, args, keywords = map(read, held)
        return functools.partial(function, *args, **keywords)

    _KINDS: ClassVar[dict[str, Callable[[Decoder, Any, Any], Any]]] = {
        "$object": lambda self, held, read: self.made[number_below(held, self.made)],
        "$tensor": lambda self, held, read: self._tensor(held),
        "$array": lambda self, held, read: self._tensor(held).numpy(force=True),
        "$name": lambda self, held, read: find(held, self._custom),
        "$autograd": lambda self, held, read: self._class(held, torch.autograd.Function).apply,
        "$optimizer": lambda self, held, read: self._class(held[0], torch.optim.Optimizer)(
            read(held[1])
        ),
        "$range": _range, "$structure": _structure, "$enum": _enum, "$partial": _partial,
    }  # fmt: skip

    def _class(self, name: Any, base: type) -> Any:
        """Return the class of that name.

        Raises:
            LoadError: it is not known, or no subclass of `base`.
        """
        found = find(name, self._custom)
        if not (isinstance(found, type) and issubclass(found, base)):
            raise LoadError(f"{name!r:.80} is not a subclass of {base.__name__}")
        return found

    # ------------------------------------------------------------------ objects

    def _about(self, number: int) -> AbstractContextManager[None]:
        """Say in errors which part of a model that is saved cannot be made again."""
        if self._encoder is None:
            return nullcontext()
        return self._encoder.located(self._encoder.originals[number])

    def _object_of(self, entry: dict[str, Any]) -> Any:
        kind = entry.get("kind")
        if kind not in _FIELDS:
            raise LoadError(f"it has an object of the kind {kind!r:.80}")
        check_fields(f"a {kind}", entry, _FIELDS[kind])
        made = self._blank_model(entry) if kind == "model" else self._construct(entry)
        if isinstance(made, nn.Module):
            opened = parts_of_homes(entry["graph"]) if "graph" in entry else set()
            self._set_children(made, entry.get("children", {}), opened)
        if isinstance(made, Layer):
            self._set_layer(made, entry)
        return made

    def _settle(self, number: int, entry: dict[str, Any]) -> None:
        """Set the settings in which an object is not what its constructor made."""
        made = self.made[number]
        if self._encoder is not None:
            parts, _ = self._built.get(made, ({}, None)) if isinstance(made, Layer) else ({}, None)
            self._encoder.settle(number, self.made, parts)
        for name, held in entry.get("settings", {}).items():
            value = self.value(held)
            if not is_setting(made, name, value):
                kind = type(made).__name__
                raise LoadError(
                    f"its attribute {name!r:.80} is no plain setting that {kind}.__init__ makes: "
                    f"give {kind} a method get_config() that says what is kept"
                )
            vars(made)[name] = value

    def _construct(self, entry: dict[str, Any]) -> Any:
        if entry["kind"] == "inner layer":
            outer, position = entry["of"]
            inner = self.made[number_below(outer, self.made)].inner_layers()
            return inner[number_below(position, inner)]
        if entry["kind"] == "part":
            number, name = entry["of"]
            outer = self.made[number_below(number, self.made)]
            part = outer._modules.get(name) if isinstance(outer, nn.Module) else None
            if part is None:
                raise LoadError(f"a {type(outer).__name__} has no part {name!r:.80}")
            self._check_tensors(part, entry.get("tensors", []))
            return part
        cls = self._class(entry["class"], object)
        kind = next((kind for kind, base in _BASES.items() if issubclass(cls, base)), "object")
        if kind != entry["kind"] or cls in (Model, Sequential):
            raise LoadError(f"{entry['class']!r:.80} is no class of which a file makes {kind}s")
        if cls in EMPTY:
            check_fields(f"a {cls.__name__}", entry, {"kind", "class", "settings"} | _MODULE)
            return EMPTY[cls]()
        made = Construction(
            cls,
            tuple(self.value(entry.get("args", []))),
            self.value(entry.get("kwargs", {})),
            self.value(entry.get("config")),
        ).make(self._fresh, most_calls=1000 + 100 * len(entry.get("tensors", ())))
        if not isinstance(made, cls):
            raise LoadError(f"{entry['class']!r} makes a {type(made).__name__}")
        if isinstance(made, nn.Module) and cls not in FREE:
            self._check_tensors(made, entry.get("tensors", []))
        return made

    def _blank_model(self, entry: dict[str, Any]) -> Model:
        cls = self._class(entry["class"], Model)
        model: Model = cls.__new__(cls)
        nn.Module.__init__(model)
        model.explicit_name = _text(entry["name"])
        model._graph = None
        model._signature = None
        return model

    def _set_children(
        self, module: nn.Module, children: dict[str, Any], opened: Container[str]
    ) -> None:
        """Replace the children that a constructor made by those in the file, in its order.

        Those of an opened module keep their names, whatever attributes have them, as in memory.
        """
        made = dict(module._modules)
        module._modules.clear()
        for name, number in children.items():
            if name not in made:
                if name not in opened or name[:1] == "_":
                    _check_free(module, name)
                check_name(name, "a part of a module")
                vars(module).pop(name, None)  # a constructor may have set it to None
            if number == MADE:
                if made.get(name) is None:
                    raise LoadError(f"the constructor makes no part {name!r:.80}")
                module._modules[name] = made[name]
                continue
            child = None if number is None else self.made[number_below(number, self.made)]
            if child is not None and not isinstance(child, nn.Module):
                raise LoadError(f"the child {name!r} is a {type(child).__name__}, no module")
            if self._fresh and child is not None:
                take_values(child, made.get(name))
            module._modules[name] = child

    def _check_parts(self) -> None:
        """Refuse modules within themselves, or in so many places that walks would never end."""
        parts: dict[nn.Module, int] = {}

        def count(module: nn.Module, level: int) -> int:
            if level > _MOST_LEVELS:
                raise LoadError(f"its modules are nested more than {_MOST_LEVELS} deep, the limit")
            if module not in parts:
                children = [part for part in module._modules.values() if part is not None]
                parts[module] = 1 + sum(count(part, level + 1) for part in children)
            return parts[module]

        most = _MOST_PARTS + 4 * len(self.made)
        for made in reversed(self.made):  # outer ones first
            if isinstance(made, nn.Module) and count(made, 1) > most:
                raise LoadError(
                    f"a {type(made).__name__} has more than {most} parts, the limit for modules "
                    "that are parts of several others"
                )

    def _set_layer(self, layer: Layer, entry: dict[str, Any]) -> None:
        held = {key: self.value(entry[key]) for key in LAYER_STATE}
        held |= {key: _text(held[key]) for key in ("name", "model_name")}
        held |= {key: bool(held[key]) for key in ("built", "trainable")}
        layer._built_for = held["built_for"]
        if held["built"] and not type(layer).__module__.startswith("fgraph."):
            shapes, named = held["built_for"]
            with torch.random.fork_rng(devices=()):  # its attributes may hold what it builds
                self._built[layer] = parts_of(layer.make_module(*shapes, **named)), layer.module
        for key, attribute in LAYER_STATE.items():
            setattr(layer, attribute, held[key])
        if not (layer.module is None or isinstance(layer.module, nn.Module)):
            raise LoadError(f"the module of layer {layer.name!r} is a {type(layer.module)}")

    # ------------------------------------------------------------------ tensors

    def _check_tensors(self, module: nn.Module, held: list[Any]) -> None:
        """Compare the tensors in the file with those that a constructor made."""
        made: dict[str, Any] = {**module._parameters, **module._buffers}
        if sorted(made) != sorted(name for name, _, _ in held):
            names = [name for name, _, _ in held]
            raise LoadError(f"a {type(module).__name__} has the tensors {[*made]}, not {names}")
        for name, kind, key in held:
            before = made[name]
            moved = before is not None and isinstance(before, nn.Parameter) != (kind == "parameter")
            if moved and name != "bias_hh_l0":  # of a recurrent layer with one bias
                raise LoadError(f"{name!r} of {module!r:.100} is no {kind}")
            now = None if key is None or self._fresh else self._tensor(key)
            if nn.parameter.is_lazy(before):
                raise LoadError(f"{name!r} of {module!r:.100} has no shape: call the model once")
            if (before is None) != (key is None):
                raise LoadError(f"{name!r} of {module!r:.100} is {before}, not {key}")
            if before is not None and now is not None and before.shape != now.shape:
                raise LoadError(
                    f"the tensor {key!r} has shape {tuple(now.shape)}, but {module!r:.200} needs "
                    f"{tuple(before.shape)}"
                )

    def _make_parameters(self, held: list[list[Any]], flipped: set[str]) -> None:
        for key in {key for tensors in held for _, kind, key in tensors if kind == "parameter"}:
            if key in self._tensors:
                tensor = self._tensors[key]
                self._tensors[key] = nn.Parameter(tensor, requires_grad=key not in flipped)

    def _fill(self, module: nn.Module, held: list[Any]) -> None:
        """Give a module its parameters and buffers, in order."""
        made: dict[str, Any] = {**module._parameters, **module._buffers}
        groups: dict[str, Any] = {"parameter": module._parameters, "buffer": module._buffers}
        groups["unsaved buffer"] = module._buffers
        module._parameters.clear()
        module._buffers.clear()
        module._non_persistent_buffers_set.clear()
        for name, kind, key in held:
            if name not in made:
                _check_free(module, name)
            if self._fresh and key is not None and made.get(name) is not None:
                self._tensors.setdefault(key, made[name])
            groups[kind][name] = None if key is None else self._tensor(key)
            if kind == "unsaved buffer":
                module._non_persistent_buffers_set.add(name)
        if isinstance(module, nn.RNNBase):
            module._init_flat_weights()
        elif isinstance(module, nn.ParameterList):
            module._size = len(held)
        elif isinstance(module, nn.ParameterDict):
            module._keys = dict.fromkeys(name for name, _, _ in held)

    # ------------------------------------------------------------------ graphs

    def _finish_model(self, model: Model, entry: dict[str, Any]) -> None:
        if "graph" not in entry and "stack" not in entry:
            raise LoadError(f"a {type(model).__name__} has no graph")
        if "graph" in entry:
            decode_graph(model, entry["graph"], self)
        if "stack" in entry:
            stack = model.__dict__["_stack"] = []
            for held in entry["stack"]:
                is_input = isinstance(held, dict) and "$input" in held
                layer = self._input(model, *held["$input"]) if is_input else self.value(held)
                if not isinstance(layer, (Layer, nn.Module, InputLayer)):
                    raise LoadError(f"a stack holds a {type(layer).__name__}, which is no layer")
                stack.append(layer)

    def _check_opened(self) -> None:
        """Refuse what is left of an opened module that no graph calls the parts of."""
        left = [made for made in self.made if type(made) is OpenedModule]
        graphs = [made._graph for made in self.made if left and isinstance(made, Model)]
        called = {part for graph in graphs if graph is not None for part in unfolded_modules(graph)}
        for module in left:
            if id(module) not in called:
                raise LoadError(
                    f"no graph calls the parts of {module!r:.100}, which has no forward"
                )

    def _input(self, model: Model, name: Any, shape: Any, dtype: Any) -> InputLayer:
        if model._graph is not None:
            return InputLayer.of(model._graph.inputs[0], name)
        return InputLayer.of(Input(batch_shape=shape, dtype=self.value(dtype), name=name).ref, name)


def _move_attributes(layer: Layer, parts: dict[int, str]) -> None:
    """Let the attributes that hold parts of the module that a layer built hold those in the file.

    Args:
        layer: a layer, of a user's class.
        parts: the names of the parts that it built, by their ids.
    """
    module = layer.module
    now = {} if module is None else dict([*slots(module), *module.named_modules()])
    for key, value in vars(layer).items():
        if key not in LAYER_KEYS and any(id(leaf) in parts for leaf in iter_leaves(value)):
            vars(layer)[key] = map_leaves(lambda leaf: now.get(parts.get(id(leaf)), leaf), value)


def _check_free(module: nn.Module, name: str) -> None:
    """Refuse a name that a child or tensor may not have, or that hides something."""
    check_name(name, "a part of a module")
    if "." in name or hasattr(type(module), name) or name in MODULE_KEYS:
        raise LoadError(f"a part of a {type(module).__name__} is named {name!r}")


def take_values(module: nn.Module, other: nn.Module | None) -> None:
    """Copy the values of another module, where it has the same tensors."""
    values = {} if other is None else other.state_dict()
    with torch.no_grad():
        for name, tensor in module.state_dict(keep_vars=True).items():
            if name in values and values[name].shape == tensor.shape:
                tensor.copy_(values[name])


def _text(value: Any) -> str | None:
    return None if value is None else check_name(value, "a layer", in_quotes=False)
