"""A model as data: a list of constructions, each from earlier ones.

Each object is made again as soon as it is written. This shows which parts of a module its
constructor makes, and what a layer builds; a replaced part gets its own construction.
"""

from __future__ import annotations

import copyreg
import dataclasses
import enum
import functools
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionMeta
from torch.nn.utils import parametrize
from torch.utils import _pytree as pytree

from ..common.configured import Remembered, is_of_fgraph
from ..constructions.construction import EMPTY
from ..constructions.constructor_calls import construction_of, has_own_config
from ..constructions.differences import changed_settings, named_tensors
from ..errors import SaveError
from ..graph.closures import LiftedFunction, MethodCall
from ..layers.base import Layer
from ..layers.input_layer import InputLayer
from ..model import Model
from ..optimizers.learning_rate import own_class
from ..unfolding.opened_module import OpenedModule
from ..unfolding.registered_parts import unfolded_modules
from .decoder import MADE, Decoder, held_modules, holds_parts
from .graph_records import GraphWriter
from .registered_names import is_allowed, name_of, registered_name
from .values import to_json

_FUNCTIONS = (
    types.FunctionType, types.BuiltinFunctionType, types.MethodDescriptorType,
    types.WrapperDescriptorType,
)  # fmt: skip


class Encoder:
    """Writes modules, layers, functions and whole models as JSON values.

    Args:
        root: the module whose tensors have the names of its `state_dict`.

    Attributes:
        objects: the entries, in order.
        originals: the object of each entry.
        tensors: the tensors that the entries refer to, by name.
        named: the classes and functions that the entries name.
        decoder: makes each object again as soon as it is written, for comparison.
    """

    def __init__(self, root: nn.Module) -> None:
        self.objects: list[dict[str, Any]] = []
        self.originals: list[Any] = []
        self.tensors: dict[str, Tensor] = {}
        self.named: dict[str, Any] = {}
        self._tensor_names = {
            id(tensor): name for name, tensor in reversed(list(named_tensors(root)))
        }
        self._paths = {id(part): path for path, part in reversed(list(root.named_modules()))}
        self._numbers: dict[int, int] = {}
        self._taken: set[int] = set()  # the ids of made parts that correspond to parts of the model
        self._opened: set[int] = set()  # the ids of modules whose parts the graph calls
        self._marked: set[int] = set()  # and of everything in opened modules
        self.decoder = Decoder(self.objects, {}, self.named, encoder=self)

    # ------------------------------------------------------------------ values

    def value(self, value: Any, reference: Callable[[Any], Any] | None = None) -> Any:
        """Return any value as JSON.

        Args:
            value: the value.
            reference: returns the tag and the parts of other values: references within a graph.

        Raises:
            SaveError: something in it cannot be written as data.
        """
        return to_json(value, lambda item: (reference and reference(item)) or self._other(item))

    def _other(self, value: Any) -> tuple[str, Any]:
        """Return the tag and the parts of a value that is not plain; see `Decoder._KINDS`."""
        kind = type(value)
        owner = getattr(value, "__self__", None)
        if isinstance(value, Tensor):
            return "$tensor", self.tensor(value)
        if kind is np.ndarray:
            return "$array", self.tensor(torch.from_numpy(value))
        if isinstance(value, enum.Enum):
            return "$enum", [self.name(kind), value.name]
        if isinstance(value, tuple) and (hasattr(kind, "_fields") or is_allowed(kind)):
            items = list(value) if hasattr(kind, "_fields") else [list(value)]
            return "$structure", [self.name(kind), items, {}]
        if dataclasses.is_dataclass(value) and kind in pytree.SUPPORTED_NODES:
            fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
            return "$structure", [self.name(kind), [], fields]
        if isinstance(value, LiftedFunction):
            return "$held", [list(value.functions), list(value.places)]
        if isinstance(value, functools.partial):
            return "$partial", [value.func, list(value.args), value.keywords]
        if isinstance(value, torch.optim.Optimizer):
            self._check_trained(value)
            return "$optimizer", [self.name(own_class(value)), value.param_groups]
        if isinstance(owner, FunctionMeta) and value.__name__ == "apply":
            return "$autograd", self.name(owner)
        if isinstance(value, (type, *_FUNCTIONS)) or registered_name(value) is not None:
            return "$name", self.name(value)
        return "$object", self.number(value)

    def name(self, target: Any) -> str:
        """Return the name of a class or function, unique in the file.

        Raises:
            SaveError: it has no name, or the name of another one.
        """
        name = name_of(target)
        if self.named.setdefault(name, target) is not target:
            raise SaveError(
                f"{target!r} and {self.named[name]!r} are both named {name!r}: decorate each with "
                '@fgraph.register("package>name") under a name of its own'
            )
        return name

    def tensor(self, tensor: Tensor) -> str:
        """Return the name of a tensor; add it to `tensors` if the root does not have it."""
        name = self._tensor_names.get(id(tensor))
        if name is None:
            name = self._tensor_names[id(tensor)] = f"constant/{len(self.tensors) + 1}"
        self.tensors.setdefault(name, tensor)
        self.decoder.tensors.setdefault(name, tensor.detach())
        return name

    def _check_trained(self, optimizer: torch.optim.Optimizer) -> None:
        """Refuse an optimizer with parameters that the root does not have."""
        trained = [p for group in optimizer.param_groups for p in group["params"]]
        if strangers := [p for p in trained if id(p) not in self._tensor_names]:
            raise SaveError(
                f"the optimizer trains {len(strangers)} parameters that are not the model's; "
                "save with include_optimizer=False"
            )

    # ------------------------------------------------------------------ objects

    def number(self, value: Any) -> int:
        """Return the number of an object; write it first if it has none."""
        if id(value) not in self._numbers:
            with self.located(value):
                entry = self._entry(value)
                made = self._enter(value, entry)
                if isinstance(value, Layer):
                    self._add_layer_parts(value, made)
                elif isinstance(value, nn.Module) and "children" not in entry:
                    self._add_children(value, made, entry)
        return self._numbers[id(value)]

    def _enter(self, value: Any, entry: dict[str, Any]) -> Any:
        """Add an entry, and return the object that the decoder makes from it."""
        self._numbers.setdefault(id(value), len(self.objects))
        self.originals.append(value)
        self.objects.append(entry)
        self.decoder.make_next()
        return self.decoder.made[-1]

    def _add_layer_parts(self, outer: Layer, made: Layer) -> None:
        """Write the layers and modules inside a layer, and the module that it builds."""
        number = self._numbers[id(outer)]
        if is_of_fgraph(type(outer)):
            self._add_inner_layers(outer, number)
            self._add_build(outer, made, number)
            return
        self._add_build(outer, made, number)  # which may make layers
        self._add_inner_layers(outer, number)
        if modules := held_modules(outer):
            self.objects[number]["holds"] = [self.number(module) for module in modules]

    def _add_inner_layers(self, outer: Layer, number: int) -> None:
        for position, inner in enumerate(outer.inner_layers()):
            if id(inner) not in self._numbers:
                part = self._enter(inner, {"kind": "part", "of": [number, position]})
                self._add_layer_parts(inner, part)

    def _add_build(self, outer: Layer, made: Layer, number: int) -> None:
        if not outer.built:
            return
        entry = {"kind": "build", "of": number, "shapes": self.value(outer._built_for)}
        self._enter(outer, entry)
        if outer.module is not None:
            entry["module"] = self._part(number, "module", outer.module, made.module)

    def _add_children(self, outer: nn.Module, made: Any, entry: dict[str, Any]) -> None:
        """Write the children of a module; mark those that its constructor makes."""
        number, own = self._numbers.get(id(outer), -1), made._modules if made else {}
        entry["children"] = {
            name: None if child is None else self._part(number, name, child, own.get(name))
            for name, child in outer._modules.items()
        }

    def _part(self, number: int, name: str, part: nn.Module, made: nn.Module | None) -> Any:
        """Return `MADE` for a part that the object of this number makes; else its own number."""
        if id(part) in self._numbers or not _alike(part, made) or id(made) in self._taken:
            return self.number(part)
        self._taken.add(id(made))
        with self.located(part):
            _refuse_computed_weights(part)
            entry = {"kind": "part", "of": [number, name], **self._module_state(part)}
            self._add_children(part, self._enter(part, entry), entry)
        return MADE

    def _entry(self, value: Any) -> dict[str, Any]:
        if isinstance(value, (types.MethodType, MethodCall)):
            name = value.__name__
            raise SaveError(
                f"{name} is a method: write a function that calls it, such as `def {name}(x, "
                f"module): return module.{name}(x)`, decorated with @fgraph.register"
            )
        if isinstance(value, Model) and value._graph is not None and hasattr(value, "call"):
            raise SaveError(
                f"a {type(value).__name__} writes its `call` in Python, which no file holds: save "
                "the graph alone, Model(model.input, model.output).save(path); or the weights, "
                "model.save_weights(path), for a new one on which new.build(input_shape) was called"
            )
        if isinstance(value, Model) and not self._is_constructed(value):
            return self._model(value)
        if isinstance(value, nn.Module):
            _refuse_computed_weights(value)
            entry = {"kind": "module", **self._call(value), **self._module_state(value)}
            if holds_parts(self.named[entry["class"]]):
                self._add_children(value, None, entry)
            return entry
        if isinstance(value, Layer):
            return {"kind": "layer", **self._call(value)}
        if not (isinstance(value, Remembered) or has_own_config(type(value))):
            _refuse_other_state(value)
        return {"kind": "object", **self._call(value)}

    @staticmethod
    def _is_constructed(model: Model) -> bool:
        """Return whether the class makes the model, instead of the graph in the file."""
        return has_own_config(type(model)) or (
            model._graph is None and not hasattr(model, "_stack")
        )

    def _call(self, value: Any) -> dict[str, Any]:
        """Write the constructor call for an object."""
        cls = value._public_class() if isinstance(value, Model) else type(value)
        if self._is_opened(value):
            kind = cls.__name__ if cls.__name__.isidentifier() else "Module"
            return {"class": self.name(OpenedModule), "kwargs": {"kind": kind}}
        entry: dict[str, Any] = {"class": self.name(cls)}
        if cls in EMPTY:
            return entry
        made = construction_of(value)
        arguments = {"config": made.config, "args": list(made.args), "kwargs": made.kwargs or None}
        return entry | {
            key: self.value(item) for key, item in arguments.items() if item not in (None, [])
        }

    def _is_opened(self, value: Any) -> bool:
        """Return whether the file has a plain module with the parts of this one (see `unfold`)."""
        return id(value) in self._opened and not is_allowed(type(value))

    def _module_state(self, module: nn.Module) -> dict[str, Any]:
        """Write the parameters and buffers of a module, in order, and its mode."""
        unsaved = module._non_persistent_buffers_set
        slots: list[tuple[str, str, Any]] = [
            *((name, "parameter", tensor) for name, tensor in module._parameters.items()),
            *((name, "unsaved buffer" if name in unsaved else "buffer", tensor)
              for name, tensor in module._buffers.items()),
        ]  # fmt: skip
        held = [[name, kind, t if t is None else self.tensor(t)] for name, kind, t in slots]
        return {"training": module.training, "tensors": held}

    def _model(self, model: Model) -> dict[str, Any]:
        """Write a model with a graph, or a `Sequential` that will have one."""
        graph = None if model._graph is None else model._live_graph("save")
        if graph is not None:
            self._opened |= unfolded_modules(graph).keys()
            self._marked |= {id(part) for home in graph.homes for part in home.module.modules()}
        for call in graph.calls if graph else ():  # layers come before what they build
            self.number(call.owner)
        stack = self.value(list(getattr(model, "_stack", ())), _input_of)
        entry = {
            "kind": "model",
            "class": self.name(model._public_class()),
            **self._module_state(model),
        }
        self._add_children(model, None, entry)
        if hasattr(model, "_stack"):
            entry["stack"] = stack
        if graph is not None:
            entry["graph"] = GraphWriter(model, graph, self).record()
        return entry

    def settle(self, number: int, made: list[Any], tensors: Mapping[str, Tensor]) -> None:
        """Write the settings in which an object differs from the one made from its entry.

        Args:
            number: the number of the entry.
            made: the objects made from all entries.
            tensors: their tensors by name.

        Raises:
            SaveError: it differs in more than settings.
        """
        entry, value = self.objects[number], self.originals[number]
        if "config" in entry or entry["kind"] == "build" or self._is_opened(value):
            return
        kinds = [
            v._public_class() if isinstance(v, Model) else type(v) for v in (value, made[number])
        ]
        if kinds[0] is not kinds[1]:
            raise SaveError(f"the constructor makes a {type(made[number]).__name__} in its place")

        def paired(before: Any, now: Any) -> bool:
            if isinstance(before, Tensor):
                return tensors.get(self._tensor_names.get(id(before), "")) is now
            place = self._numbers.get(id(before))
            return place is not None and made[place] is now

        marked = id(value) in self._marked and is_allowed(type(value))
        if settings := changed_settings(value, made[number], paired, marked):
            entry["settings"] = {key: self.value(item) for key, item in settings.items()}

    @contextmanager
    def located(self, value: Any) -> Iterator[None]:
        """Context manager: errors name the innermost part of the model that they are about."""
        try:
            yield
        except _LocatedError:
            raise
        except Exception as error:
            if not isinstance(value, (nn.Module, Layer)):
                raise
            path = self._paths.get(id(value))
            where = f"module {path!r}" if path else "the model"
            if isinstance(value, Layer):
                where = f"layer {value.name!r}"
            kind = type(value).__name__
            raise _LocatedError(
                f"{where} ({kind}) cannot be written as data: {error}. The weights alone can be "
                "kept: model.save_weights(path), for a model that is built by the same code"
            ) from error


class _LocatedError(SaveError):
    """An error that names the part of the model that it is about."""


def _input_of(layer: Any) -> tuple[str, Any] | None:
    """Return the tag and the parts of the input of a `Sequential`."""
    if not isinstance(layer, InputLayer):
        return None
    return "$input", [layer._ref.node.name, list(layer._ref.spec.shape), layer._ref.spec.dtype]


def _alike(part: nn.Module, made: nn.Module | None) -> bool:
    """Return whether a module has the class and the tensors of the one made for it."""
    if type(part) is not type(made):
        return False
    found = [
        {n: t if t is None else (isinstance(t, nn.Parameter), t.shape) for n, t in slots}
        for m in (part, made)
        for slots in [[*m._parameters.items(), *m._buffers.items()]]
    ]
    return found[0] == found[1]


def _refuse_computed_weights(module: nn.Module) -> None:
    """Refuse weights that `torch.nn.utils` parametrizes, prunes or normalizes."""
    hooks = [type(hook).__module__ for hook in module._forward_pre_hooks.values()]
    of_torch = any(name.startswith("torch.nn.utils.") for name in hooks)
    if of_torch or parametrize.is_parametrized(module):
        raise SaveError(
            "its weights are computed from others by torch.nn.utils: make them plain first, by "
            "parametrize.remove_parametrizations(module, name), prune.remove(module, name) or "
            "remove_spectral_norm(module)"
        )


def _refuse_other_state(value: Any) -> None:
    """Refuse an object with state besides its attributes, such as a subclass of `float`."""
    parts: Any = value.__reduce_ex__(2)
    if parts[0] is not copyreg.__newobj__ or len(parts[1]) > 1 or any(parts[3:]):  # type: ignore[attr-defined]
        kind = type(value).__name__
        raise SaveError(
            f"{value!r:.60} is a {kind}, which is more than its attributes: give {kind} a method "
            "get_config() that returns the arguments of its constructor, or use a plain value"
        )
