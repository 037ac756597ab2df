"""From data to a model: the inverse of the encoder. Runs no code from the data.

Objects are made in the order of their entries, from earlier ones. Then modules get replaced parts
and tensors, and models their graphs. Names are looked up in closed lists, never imported.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Container, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..common.configured import is_of_fgraph
from ..constructions.construction import EMPTY, FREE, Construction, module_of
from ..constructions.differences import MODULE_KEYS, is_setting
from ..errors import LoadError
from ..graph import Input
from ..graph.nested import iter_leaves, map_leaves
from ..layers.base import Layer
from ..layers.input_layer import InputLayer
from ..model import Model, Sequential
from ..model.identifiers import check_name
from ..unfolding.opened_module import OpenedModule
from ..unfolding.registered_parts import unfolded_modules
from .graph_records import check_fields, decode_graph, number_below
from .registered_names import find
from .values import from_json

_CALL = {"kind", "class", "config", "args", "kwargs", "settings"}
_MODULE = {"training", "tensors", "children"}
_FIELDS = {
    "object": _CALL,
    "layer": _CALL | {"holds"},
    "module": _CALL | _MODULE,
    "build": {"kind", "of", "shapes", "module"},
    "part": {"kind", "of", "settings", "holds"} | _MODULE,
    "model": {"kind", "class", "settings", "stack", "graph"} | _MODULE,
}
MADE = "made"  # marks a child that the constructor of the module makes
_BASES: dict[str, type] = {"module": nn.Module, "layer": Layer}
_MOST_RANGES = 16384  # numbers in all ranges together, since a constructor may make lists of them
_MOST_PARTS = 20_000  # modules, each counted at every use
_MOST_LEVELS = 64  # nesting of modules


class Decoder:
    """Makes the objects that an `Encoder` wrote.

    Args:
        entries: the objects.
        tensors: the tensors that the entries refer to, by name.
        custom: classes and functions by the names that the entries use.
        fresh: whether modules keep their constructors' initial values, except for `tensors`.
        encoder: compares the made objects with those that it wrote.
    """

    def __init__(
        self,
        entries: list[dict[str, Any]],
        tensors: Mapping[str, Tensor],
        custom: Mapping[str, Any],
        fresh: bool = False,
        encoder: Any = None,
    ) -> None:
        self._entries = entries
        self._fresh = fresh
        self.tensors: dict[str, Tensor] = dict(tensors)
        self._custom = custom
        self._encoder = encoder
        self.made: list[Any] = []
        self._ranges = 0
        self._replaced: dict[int, tuple[Tensor, Tensor]] = {}  # tensors that users' classes made

    def make_next(self) -> None:
        """Make the objects of new entries."""
        for number in range(len(self.made), len(self._entries)):
            with self._about(number):
                self.made.append(self._object_of(self._entries[number]))

    def make(self, flipped: Iterable[str] = ()) -> None:
        """Make all objects.

        Args:
            flipped: the names of parameters without gradients, and of buffers with gradients.
        """
        self.make_next()
        for number, entry in enumerate(self._entries):
            with self._about(number):
                self._put_parts(self.made[number], entry)
        modules = [n for n, made in enumerate(self.made) if isinstance(made, nn.Module)]
        self._check_parts(modules)
        self._make_parameters([self._entries[number] for number in modules], set(flipped))
        for number in modules:
            with self._about(number):
                self._fill(self.made[number], self._entries[number])
        for number, entry in enumerate(self._entries):  # constructors may change their arguments
            with self._about(number):
                self._settle(number, self.made[number], entry)
        for name in flipped:
            tensor = self._tensor(name)
            tensor.requires_grad_(not isinstance(tensor, nn.Parameter))
        for number in modules:
            if self._entries[number]["kind"] == "model":
                self._finish_model(self.made[number], self._entries[number])
        self._check_opened()

    # ------------------------------------------------------------------ values

    def value(self, value: Any, at: Mapping[str, Callable[[Any], Any]] | None = None) -> Any:
        """Return the value that `Encoder.value` wrote.

        Args:
            value: the written value.
            at: functions that read references within a graph, by their tags.
        """

        def other(tag: str, held: Any) -> Any:
            if at is not None and tag in at:
                return at[tag](held)
            if tag not in self._KINDS:
                raise LoadError(f"it has a value of the kind {tag!r:.80}, which is not known")
            return self._KINDS[tag](self, held)

        return from_json(value, other)

    def _tensor(self, held: Any) -> Tensor:
        if held not in self.tensors:
            raise LoadError(f"it has no tensor {held!r:.80}, which the model refers to")
        return self.tensors[held]

    def _range(self, held: Any) -> range:
        made = range(*held)
        self._ranges += len(made)
        if self._ranges > _MOST_RANGES:
            raise LoadError(
                f"its ranges have more than {_MOST_RANGES} numbers, the limit: write torch.arange"
            )
        return made

    def _structure(self, held: Any) -> Any:
        kind = self._class(held[0], object)
        if not (issubclass(kind, tuple) or hasattr(kind, "__dataclass_fields__")):
            raise LoadError(f"{held[0]!r:.80} is neither a named tuple nor a dataclass")
        return kind(*held[1], **held[2])

    def _enum(self, held: Any) -> Any:
        members = self._class(held[0], enum.Enum).__members__
        if held[1] not in members:
            raise LoadError(f"{held[0]!r:.80} has no member {held[1]!r:.80}")
        return members[held[1]]

    _KINDS: ClassVar[dict[str, Callable[[Decoder, Any], Any]]] = {
        "$object": lambda self, held: self.made[number_below(held, self.made)],
        "$tensor": lambda self, held: self._tensor(held),
        "$array": lambda self, held: self._tensor(held).numpy(force=True),
        "$name": lambda self, held: find(held, self._custom),
        "$autograd": lambda self, held: self._class(held, torch.autograd.Function).apply,
        "$optimizer": lambda self, held: self._class(held[0], torch.optim.Optimizer)(held[1]),
        "$partial": lambda self, held: functools.partial(held[0], *held[1], **held[2]),
        "$range": _range, "$structure": _structure, "$enum": _enum,
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
        """Context manager: errors name the part of the saved model that cannot be made again."""
        if self._encoder is None:
            return nullcontext()
        return self._encoder.located(self._encoder.originals[number])  # type: ignore[no-any-return]

    def _object_of(self, entry: dict[str, Any]) -> Any:
        kind = entry.get("kind")
        if kind not in _FIELDS:
            raise LoadError(f"it has an object of the kind {kind!r:.80}")
        check_fields(f"a {kind}", entry, _FIELDS[kind])
        made = self._blank_model(entry) if kind == "model" else self._construct(entry)
        if kind == "model" or (kind == "module" and holds_parts(type(made))):
            self._put_parts(made, entry)  # constructors read it
        return made

    def _put_parts(self, made: Any, entry: dict[str, Any]) -> None:
        """Set the parts of an object that have their own entries."""
        if isinstance(made, nn.Module):
            homes = self.value(entry.get("graph", {}).get("homes", []))
            opened = {
                key for module, name in homes for key in ([name] if name else module._modules)
            }
            self._set_children(made, entry.get("children", {}), opened)
        elif entry.get("module", MADE) != MADE:
            _replace(made, {id(made.module): self._module(entry["module"])})
        elif isinstance(made, Layer) and entry["kind"] != "build":
            self._put_modules(made, [self._module(number) for number in entry.get("holds", ())])

    def _put_modules(self, layer: Layer, modules: list[nn.Module]) -> None:
        """Set the modules that the graph calls as attributes of a user's layer."""
        own = held_modules(layer)
        if [_kind(module) for module in own] != [_kind(module) for module in modules]:
            raise LoadError(
                f"{type(layer).__name__} makes the modules {own!r:.100}, not {modules!r:.100}, "
                "which were saved: make them in __init__ or build, from what get_config returns"
            )
        _replace(layer, {id(made): now for made, now in zip(own, modules, strict=True)})

    def _settle(self, number: int, made: Any, entry: dict[str, Any]) -> None:
        """Set the settings in which an object differs from what its constructor made."""
        if isinstance(made, Layer) and not is_of_fgraph(type(made)):
            _replace(made, {key: now for key, (_, now) in self._replaced.items()})
        if self._encoder is not None:
            self._encoder.settle(number, self.made, self.tensors)
        for name, held in entry.get("settings", {}).items():
            value = self.value(held)
            if not is_setting(made, name, value):
                kind = type(made).__name__
                raise LoadError(
                    f"its attribute {name!r:.80} is no plain setting that {kind}.__init__ makes: "
                    f"give {kind} a method get_config() that says what is kept"
                )
            vars(made)[name] = value
        for key in ("explicit_name", "_model_name") if isinstance(made, (Layer, Model)) else ():
            if (name := getattr(made, key, None)) is not None:
                check_name(name, "a layer", in_quotes=False)

    def _construct(self, entry: dict[str, Any]) -> Any:
        if entry["kind"] in ("build", "part"):
            return self._made_by(entry)
        cls = self._class(entry["class"], object)
        kind = next((kind for kind, base in _BASES.items() if issubclass(cls, base)), "object")
        if kind != entry["kind"] or cls in (Model, Sequential):
            raise LoadError(f"{entry['class']!r:.80} is no class of which a file makes {kind}s")
        if cls in EMPTY:
            check_fields(f"a {cls.__name__}", entry, {"kind", "class", "settings"} | _MODULE)
            return EMPTY[cls]()
        call = {key: self.value(entry[key]) for key in ("args", "kwargs", "config") if key in entry}
        most_calls = 1000 + 100 * len(entry.get("tensors", ()))
        made = Construction(cls, **call).make(self._fresh, most_calls)
        if not isinstance(made, cls):
            raise LoadError(f"{entry['class']!r} makes a {type(made).__name__}")
        return made

    def _made_by(self, entry: dict[str, Any]) -> Any:
        """Return a part that an earlier object made; a layer builds its module for it."""
        built = entry["kind"] == "build"
        number, name = (entry["of"], "") if built else entry["of"]
        outer = self.made[number_below(number, self.made)]
        part: Any = None
        if built:
            if not isinstance(outer, Layer):
                raise LoadError(f"a {type(outer).__name__} is built as a layer is")
            shapes, named = self.value(entry["shapes"])
            outer.make_module(*shapes, **named) if self._fresh else module_of(outer, shapes, named)
            return outer
        if isinstance(outer, nn.Module):
            part = outer._modules.get(name)
        elif isinstance(outer, Layer):
            inner = outer.inner_layers()
            part = outer.module if name == "module" else inner[number_below(name, inner)]
        if part is None:
            raise LoadError(f"a {type(outer).__name__} has no part {name!r:.80}")
        return part

    def _module(self, number: Any) -> nn.Module:
        found = self.made[number_below(number, self.made)]
        if not isinstance(found, nn.Module):
            raise LoadError(f"a part of a module is a {type(found).__name__}, no module")
        return found

    def _blank_model(self, entry: dict[str, Any]) -> Model:
        cls = self._class(entry["class"], Model)
        model: Model = cls.__new__(cls)
        nn.Module.__init__(model)
        model.explicit_name = None
        model._graph = None
        model._signature = None
        return model

    def _set_children(
        self, module: nn.Module, children: dict[str, Any], opened: Container[str]
    ) -> None:
        """Replace the children that a constructor made by those in the file, in the file's order.

        Children of an opened module keep their names, even if attributes have the same names.
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
            module._modules[name] = None if number is None else self._module(number)

    def _check_parts(self, modules: list[int]) -> None:
        """Refuse modules that the file does not mention, and endless nesting."""
        described, seen = {id(self.made[number]) for number in modules}, set()
        most = _MOST_PARTS + 4 * len(self.made)
        for made in reversed(self.made):  # outer ones first
            module = made.module if isinstance(made, Layer) else made
            if not isinstance(module, nn.Module) or id(module) in seen:
                continue
            for count, (path, part) in enumerate(module.named_modules(remove_duplicate=False)):
                seen.add(id(part))
                if count > most:
                    raise LoadError(
                        f"a {type(module).__name__} has more than {most} parts, the limit for "
                        "modules that are parts of several others"
                    )
                if path.count(".") >= _MOST_LEVELS:
                    raise LoadError(f"modules are nested more than {_MOST_LEVELS} deep, the limit")
                if id(part) not in described:
                    raise LoadError(f"it does not say what is in {part!r:.100}")

    # ------------------------------------------------------------------ tensors

    def _make_parameters(self, entries: list[dict[str, Any]], flipped: set[str]) -> None:
        held = [slot for entry in entries for slot in entry.get("tensors", ())]
        for key in {key for _, kind, key in held if kind == "parameter"} & self.tensors.keys():
            tensor = self.tensors[key]
            self.tensors[key] = nn.Parameter(tensor, requires_grad=key not in flipped)

    def _fill(self, module: nn.Module, entry: dict[str, Any]) -> None:
        """Set the mode, parameters and buffers of a module, in order."""
        module.training = bool(entry["training"])
        held = entry.get("tensors", [])
        made: dict[str, Any] = {**module._parameters, **module._buffers}
        groups: dict[str, Any] = {"parameter": module._parameters, "buffer": module._buffers}
        groups["unsaved buffer"] = module._buffers
        free = type(module) in FREE or entry["kind"] == "model"
        names = [name for name, _, _ in held]
        if not free and sorted(made) != sorted(names):
            raise LoadError(f"a {type(module).__name__} has the tensors {[*made]}, not {names}")
        slots: list[tuple[str, str, Any]] = []
        for name, kind, key in held:
            before = made.get(name)
            if name not in made:
                _check_free(module, name)
            if self._fresh and key is not None and before is not None:
                self.tensors.setdefault(key, before)
            now = None if key is None else self._tensor(key)
            if not free and (problem := _misfit(kind, before, now)):
                raise LoadError(f"{name!r} of {module!r:.100} {problem}")
            if before is not None and now is not None:
                self._replaced[id(before)] = before, now
            slots.append((name, kind, now))
        for group in (module._parameters, module._buffers, module._non_persistent_buffers_set):
            group.clear()
        for name, kind, now in slots:
            groups[kind][name] = now
            if kind == "unsaved buffer":
                module._non_persistent_buffers_set.add(name)
        if isinstance(module, nn.RNNBase):
            module._init_flat_weights()
        elif isinstance(module, nn.ParameterList):
            module._size = len(held)
        elif isinstance(module, nn.ParameterDict):
            module._keys = dict.fromkeys(names)

    # ------------------------------------------------------------------ graphs

    def _finish_model(self, model: Model, entry: dict[str, Any]) -> None:
        if "graph" not in entry and "stack" not in entry:
            raise LoadError(f"a {type(model).__name__} has no graph")
        if "graph" in entry:
            decode_graph(model, entry["graph"], self)
        if "stack" in entry:
            kinds = {"$input": lambda held: self._input(model, *held)}
            model.__dict__["_stack"] = stack = self.value(entry["stack"], kinds)
            if type(stack) is not list or not all(isinstance(x, (Layer, nn.Module)) for x in stack):
                raise LoadError(f"a stack holds {stack!r:.80}, which are no layers")

    def _check_opened(self) -> None:
        """Refuse an opened module whose parts no graph calls."""
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
        return InputLayer.of(Input(batch_shape=shape, dtype=dtype, name=name).ref, name)


def held_modules(layer: Layer) -> list[nn.Module]:
    """Return the modules and models that a user's layer has in its attributes."""
    if is_of_fgraph(type(layer)):
        return []
    return [part for part in layer.inner_parts() if isinstance(part, nn.Module)]


def _kind(module: nn.Module) -> type:
    return module._public_class() if isinstance(module, Model) else type(module)


def _replace(layer: Layer, replaced: Mapping[int, Any]) -> None:
    """Replace objects, by their ids, in the attributes of a layer and the containers there."""
    for key, value in vars(layer).items():
        if any(id(leaf) in replaced for leaf in iter_leaves(value)):
            vars(layer)[key] = map_leaves(lambda leaf: replaced.get(id(leaf), leaf), value)


def holds_parts(cls: type) -> bool:
    """Return whether modules of a class may have any parts."""
    return cls in EMPTY or cls in FREE


def _check_free(module: nn.Module, name: str) -> None:
    """Refuse a name that a child or tensor may not have, or that hides something."""
    check_name(name, "a part of a module")
    if "." in name or hasattr(type(module), name) or name in MODULE_KEYS:
        raise LoadError(f"a part of a {type(module).__name__} is named {name!r}")


def _misfit(kind: str, made: Tensor | None, now: Tensor | None) -> str:
    """Return how a tensor in the file differs from the one that the constructor made."""
    if made is None or now is None:
        return "" if made is now else "is there in one of file and module only"
    if nn.parameter.is_lazy(made):
        return "has no shape: call the model once"
    if isinstance(made, nn.Parameter) != (kind == "parameter"):
        return f"is no {kind}"
    if made.shape == now.shape:
        return ""
    return f"has shape {tuple(now.shape)}, but needs {tuple(made.shape)}"
