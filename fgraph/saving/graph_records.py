"""A graph as data and back: its nodes are recorded again, so that torch checks each of them."""

from __future__ import annotations

import functools
from collections.abc import Sized
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..errors import LoadError, SaveError
from ..graph import Node, Ref, to_symbols
from ..graph.ancestry import DTYPE, ancestors, reads_of
from ..graph.closures import LiftedFunction
from ..graph.flat_graph import Entry, EntryRef, FlatGraph, flatten, restore
from ..graph.graph import Graph
from ..graph.home import Home
from ..graph.inference import shapes
from ..graph.memory import changed
from ..graph.modes import AUTOCAST_DEVICES, Autocast, Modes
from ..graph.module_state import READS, known_of
from ..graph.nested import iter_leaves, label, leaves_with_paths
from ..graph.recording.function_calls import changes_first
from ..graph.recording.make_node import make_node
from ..graph.specs import DataSpec, Effects, NumberSpec, Spec, TensorSpec
from ..graph.torch_functions import resolve
from ..layers.base import Layer
from ..model import Model
from ..model.identifiers import check_name
from ..model.masked_calls import infer_call
from ..model.naming import Naming
from ..model.signature import Signature
from ..unfolding.opened_module import OpenedModule
from ..unfolding.registered_parts import makes_result, registered_parts
from .bounded_calls import BoundedCalls, check_call
from .registered_names import is_allowed

_NODE_FIELDS = {"op", "target", "path", "args", "kwargs", "name", "call", "masks", "declared",
                "modes", "operation", "scope"}  # fmt: skip
_READ = frozenset({"T", "mT", "H", "mH", "real", "imag", "data", "device"})  # attributes of tensors
_GRAPH_FIELDS = {"inputs", "outputs", "nodes", "reads", "calls", "input_structure",
                 "output_structure", "input_names", "node_names", "homes", "scopes",
                 "operations"}  # fmt: skip


# ---------------------------------------------------------------------- writing


class GraphWriter:
    """Writes one graph, with the numbers of inputs and nodes in place of references.

    Args:
        model: the model with the graph, its names and structure.
        graph: the graph.
        encoder: writes values.
    """

    def __init__(self, model: Model, graph: Graph, encoder: Any) -> None:
        self._model = model
        self._graph = graph
        self._encoder = encoder
        self._flat = flatten(graph, cast(Signature, model._signature).reads)
        self._given = {at: position for position, at in enumerate(self._flat.inputs)}
        self._homes = {id(h.module): _opened(h, graph) for h in graph.homes if not h.name}

    def record(self) -> dict[str, Any]:
        """Return the graph as data.

        Raises:
            SaveError: a node cannot be written as data; the message names it.
        """
        model, flat = self._model, self._flat
        if model._converted and any(axis == DTYPE for _, axis in flat.reads):
            raise SaveError(
                "the weights were converted to another dtype since code read a dtype to build the "
                "graph, which is right for that alone: convert them back, as by model.float()"
            )
        parts = zip_longest(flat.entries[flat.sources :], model._node_paths)
        nodes = [self._node(*part) for part in parts]
        record = {
            "inputs": [[_name_of(ref), *_source(ref.spec)] for ref in self._graph.inputs],
            "outputs": flat.outputs,
            "reads": list(map(list, flat.reads)),
            "calls": list(map(list, flat.calls)),
            "input_structure": model._input_template,
            "output_structure": model._output_template,
            "input_names": model.input_names,
            "node_names": model._node_names,
        }
        if flat.operations:
            record["operations"] = flat.operations
        if self._graph.homes:
            record["homes"] = list(map(list, flat.homes))
            record["scopes"] = [
                [*scope, (tuple(_values(inputs)), {}), _shown(outputs)]
                for *scope, inputs, outputs in flat.scopes
            ]
        return {"nodes": nodes, **self._encoder.value(record, self._reference)}

    def _reference(self, item: Any) -> Any:
        if id(item) in self._homes:
            return "$object", self._encoder.number(self._homes[id(item)])
        if type(item) is not EntryRef:
            return None
        place = self._given.get(item)
        later = [len(self._given) + item.node - self._flat.sources, item.index]
        return "$at", later if place is None else [place, 0]

    def _node(self, entry: Entry, path: tuple[str, ...] | None) -> dict[str, Any]:
        """Return a node as a dict, without `None` and empty entries."""
        target = resolve(entry.function) if entry.function else entry.target
        reads = target is getattr and entry.args[1] in _READ
        record = {
            "op": "read" if reads else entry.op,
            "path": path and list(path),
            "target": None if path or reads else target,
            "args": list(entry.args),
            "kwargs": entry.kwargs,
            "name": entry.name,
            "call": entry.call,
            "masks": list(map(list, (entry.masks or {}).items())),
            "declared": _declaration(entry),
            "modes": entry.modes and [entry.modes.grad, *map(list, entry.modes.autocast)],
            "scope": entry.scope,
            "operation": entry.operation,
        }
        try:
            written = self._encoder.value(record, self._reference)
        except SaveError as error:
            called = entry.function or getattr(target, "__name__", type(target).__name__)
            raise SaveError(f"the call of {called} cannot be saved: {error}") from error
        return {key: item for key, item in written.items() if item not in (None, [], {})}


def _opened(home: Home, graph: Graph) -> OpenedModule:
    """Return a module that has what a model of this graph has of an opened one."""
    module = home.module
    made = OpenedModule(type(module)._get_name(module))
    made.training = module.training
    made._modules.update(registered_parts(home, graph.nodes))
    if makes_result(home, graph.nodes):
        made._parameters.update(module._parameters)
        made._buffers.update(module._buffers)
        made._non_persistent_buffers_set |= module._non_persistent_buffers_set
    return made


def _held(module: nn.Module) -> dict[str, Any]:
    return {**module._modules, **module._parameters, **module._buffers}


def _values(structure: Any) -> list[EntryRef]:
    return [leaf for leaf in iter_leaves(structure) if type(leaf) is EntryRef]


def _shown(structure: Any) -> Any:
    """Return a structure of classes that files can hold: others may be unknown to the reader."""
    kind = type(structure)
    if kind in (tuple, list):
        return kind(map(_shown, structure))
    if kind is dict:
        return {str(key): _shown(item) for key, item in structure.items()}
    return structure if kind is EntryRef else tuple(_values(structure)) or None


def _name_of(ref: Ref) -> str | None:
    return ref.node.name if ref.node.op == "input" else None


def _source(spec: Spec) -> list[Any]:
    """Return the kind of an input, with its shape and dtype, its stand-ins, or its example."""
    if isinstance(spec, TensorSpec):
        return ["tensor", list(spec.shape), spec.dtype]
    if isinstance(spec, NumberSpec):
        return ["number", spec.first, spec.second]
    return ["data", cast(DataSpec, spec).example]


def _declaration(entry: Entry) -> Any:
    """Return the shapes and dtypes of `apply(output_shape=...)`, for a node made by it."""
    if not entry.declared or isinstance(entry.target, Model) or entry.target in READS:
        return None
    specs = [[list(spec.shape), spec.dtype] for spec in cast(list[TensorSpec], entry.specs)]
    return specs[0] if type(entry.template) is EntryRef else tuple(specs)


# ---------------------------------------------------------------------- reading


def decode_graph(model: Model, record: dict[str, Any], decoder: Any) -> None:
    """Set the graph and names of a model, and generate its forward.

    Args:
        model: a model with its children and tensors.
        record: what `GraphWriter.record` returned.
        decoder: decodes values.

    Raises:
        LoadError: graph and model do not fit.
    """
    check_fields("a graph", record, _GRAPH_FIELDS)
    with BoundedCalls(len(record["nodes"])):
        reader = _Reader(model, record, decoder)
    made, record = reader.graph, reader.record
    for node in made.nodes:
        for index in node.masks or ():
            number_below(index, node.specs)
    graph = Graph(made.inputs, made.outputs)
    reads = reads_of(made.inputs)
    needed = {*graph.nodes, *ancestors([ref for ref, _ in reads], graph.inputs)}
    if made.nodes[: len(graph.nodes)] != graph.nodes or {*made.nodes} != needed:
        raise LoadError("the graph has nodes that its outputs do not need")
    if not all(isinstance(ref.spec, TensorSpec) for ref in graph.outputs):
        raise LoadError("an output is no tensor")
    for node, path in zip(graph.nodes, reader.paths, strict=False):
        if (node.op == "module") != bool(path):
            raise LoadError("the graph calls a module that is no part of the model")
    structures = []
    for part, refs in (("input", graph.inputs), ("output", graph.outputs)):
        structure = record[f"{part}_structure"]
        if list(iter_leaves(structure)) != list(range(len(refs))):
            raise LoadError(f"the {part}s have the structure {structure!r:.80}")
        structures.append(structure)
    naming = Naming(
        _input_names(record["input_names"], structures[0], len(graph.inputs)),
        [check_name(name, "a node") for name in record["node_names"]],
        reader.paths[: len(graph.nodes)],
        {name: child for name, child in model._modules.items() if child is not None},
    )
    before = [*model._parameters, *model._buffers]
    model._adopt(graph, naming, *structures)
    if [*model._parameters, *model._buffers] != before:
        raise LoadError("the graph holds tensors that are not the model's")


def _input_names(names: Any, structure: Any, count: int) -> list[str]:
    if isinstance(structure, dict) and names != [label(p) for p, _ in leaves_with_paths(structure)]:
        raise LoadError(f"the inputs {list(structure)} are named {names!r:.80}")
    if len(names) != count or len(set(names)) != count:
        raise LoadError(f"{count} inputs have the names {names!r:.80}")
    return [check_name(name, "an input", in_quotes=False) for name in names]


class _Reader:
    """Records the nodes of a graph again.

    Attributes:
        record: the record, with values decoded.
        graph: the results of its nodes.
        paths: for each node the path of the module that it calls, `None` for a function.
    """

    def __init__(self, model: Model, record: dict[str, Any], decoder: Any) -> None:
        self._model = model
        self._held = [*record["inputs"], *record["nodes"]]
        kinds = {"$at": self._at, "$held": lambda held: _Held(*held)}
        self.record = record = decoder.value(record, kinds)
        self._homes = [self._home(*held) for held in record.get("homes", ())]
        nodes, inputs = record["nodes"], record["inputs"]
        scopes = self._scopes_in(record)
        operations, calls = record.get("operations", []), record["calls"]
        self._calls, self._scopes, self._operations = map(len, (calls, scopes, operations))
        self._check_spans(calls, operations)
        outputs, reads = record["outputs"], record["reads"]
        if not all(type(item) is EntryRef for item in (*outputs, *(item for item, _ in reads))):
            raise LoadError("the graph gives something that is no value of it")
        self.paths = [tuple(held["path"]) if "path" in held else None for held in nodes]
        entries = [Entry("input", held, None, (), {}, [], None, None, None) for held in inputs]
        flat = FlatGraph(
            inputs=[EntryRef(number, 0) for number in range(len(inputs))],
            outputs=outputs,
            sources=len(inputs),
            entries=entries + [self._entry(held) for held in nodes],
            calls=calls,
            homes=self._homes,
            scopes=scopes,
            reads=reads,
            between=len(nodes),
            operations=operations,
        )
        self.graph = restore(flat, self._make)
        for ref, axis in reads_of(self.graph.inputs):
            if axis != DTYPE or type(ref.spec) is not TensorSpec:
                number_below(axis, ref.spec.shape)

    def _scopes_in(self, record: dict[str, Any]) -> list[Any]:
        scopes: list[Any] = []
        for held in record.get("scopes", ()):
            scopes.append(self._scope(len(scopes), *held))
        return scopes

    @staticmethod
    def _check_spans(calls: Any, operations: Any) -> None:
        """Check what calls of layers and operations take and return."""
        for owner, given, results, _ in calls:
            made = any(type(leaf) is EntryRef for leaf in iter_leaves(results))
            if not isinstance(owner, Layer) or not _is_call(given) or not made:
                raise LoadError(f"a call of {owner!r:.80} has no inputs or outputs")
        for taken in operations:
            if type(taken) is not list or not all(type(item) is EntryRef for item in taken):
                raise LoadError(f"an operation takes {taken!r:.80}, not values of the graph")

    def _home(self, module: Any, name: Any) -> tuple[nn.Module, str]:
        """Return an opened module, whose parts all belong to the model."""
        own = _held(self._model)
        parts = {name: module} if name else _held(module)
        if not all(part is own.get(key, ...) for key, part in parts.items()):
            raise LoadError(f"an opened module {name!r:.80} has parts that are not the model's")
        return module, check_name(name, "an opened module") if name else ""

    def _scope(
        self, number: int, home: Any, name: Any, outer: Any, inputs: Any, outputs: Any
    ) -> tuple[Any, ...]:
        """Return the call of an opened module, in the form of a flattened graph."""
        number_below(home, self._homes)
        _place(outer, number)
        if name:
            _part(self._model, check_name(name, "a part of an opened module").split("."))
        elif name != "" or outer is not None:
            raise LoadError(f"a call of an opened module is named {name!r:.80}")
        leaves = [*iter_leaves(inputs), *iter_leaves(outputs)]
        if not _is_call(inputs) or any(type(leaf) not in (EntryRef, type(None)) for leaf in leaves):
            raise LoadError(f"a call of {name!r} has no inputs or outputs")
        return home, name, outer, inputs, outputs

    def _at(self, held: Any) -> EntryRef:
        place, index = held
        return EntryRef(number_below(place, self._held), number_below(index, range(2**31)))

    def _entry(self, held: dict[str, Any]) -> Entry:
        check_fields("a node", held, _NODE_FIELDS)
        return Entry(
            op=held["op"],
            target=held,
            function=None,
            args=tuple(held.get("args", ())),
            kwargs=held.get("kwargs", {}),
            specs=[],
            template=None,
            name=_name(held.get("name")),
            call=_place(held.get("call"), self._calls),
            masks=dict(held.get("masks", ())),
            modes=_modes(*held["modes"]) if "modes" in held else None,
            scope=_place(held.get("scope"), self._scopes),
            operation=_place(held.get("operation"), self._operations),
        )

    def _make(self, entry: Entry, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Node:
        """Make the node of an entry with the written target."""
        op, held = entry.op, entry.target
        if type(held) is list:
            return self._source(*held)
        like = Node(op, None, (), {}, [], name=entry.name)
        like.modes = entry.modes
        if kwargs.get("out") is not None or not all(type(key) is str for key in kwargs):
            raise LoadError("a node has keyword arguments that no recorded call has")
        target: Any = getattr
        if op == "module":
            target = _part(self._model, held["path"]) if "path" in held else None
            target = target or held["target"]
            if not isinstance(target, nn.Module):
                raise LoadError(f"a node calls {held['target']!r:.80}, which is no module")
        elif op == "function":
            target = _function(held["target"], args)
            check_call(target, args, kwargs)
        elif not (op == "read" and len(args) == 2 and args[1] in _READ):
            raise LoadError(f"it has a node of the kind {op!r:.80} {args[1:]!r:.80}")
        inferred = self._inferred(target, args, kwargs, held.get("declared"))
        kind = "function" if op == "read" else op
        if changes_first(target) and any(isinstance(t, Tensor) for t in iter_leaves(args[:1])):
            raise LoadError(f"a node changes a parameter or buffer by {target.__name__!r}")
        node = make_node(kind, target, args, kwargs, inferred=inferred, like=like)
        node.declared &= target is not changed
        return node

    def _source(self, name: Any, kind: Any, *held: Any) -> Node:
        spec: Any = None
        if kind == "tensor":
            spec = _spec(*held)
        elif kind == "number":
            if {type(stand_in) for stand_in in held} in ({int}, {float}, {bool}):
                spec = NumberSpec(held[0], held[1], proven=False)
        elif kind == "data":
            spec = DataSpec(*held)
        if spec is None:
            raise LoadError(f"an input is a {kind!r:.20} of {held!r:.80}")
        return Node("input", None, (), {}, [spec], name=_name(name))

    def _inferred(self, target: Any, args: Any, kwargs: Any, declared: Any) -> Any:
        """Return the specs of a result that is not inferred by running the call."""
        if isinstance(target, Model) and target._graph is not None:
            if not kwargs.keys() <= {"training", "masks"}:
                raise LoadError(f"a node calls {target.name!r} with {[*kwargs]}")
            cast(Signature, target._signature).check(list(to_symbols(args)))
            return infer_call(target, args, kwargs.get("masks"))
        if target is changed and type(args[0]) is Ref:
            return [args[0].spec], None, Effects((), ((0, 0),))
        if target in READS:
            return known_of(target, *args, **kwargs)
        if declared is None:
            return None
        several = type(declared) is tuple
        specs: list[Spec] = [_spec(*pair) for pair in (declared if several else [declared])]
        if is_allowed(target):  # torch's inference takes precedence, unless sizes depend on values
            try:
                return shapes.infer(Node("function", target, args, kwargs))
            except Exception as error:
                if not isinstance(error, NotImplementedError) and "meta" not in str(error).lower():
                    raise
        refs = [leaf for leaf in iter_leaves((args, kwargs)) if type(leaf) is Ref]
        tensors = [place for place, ref in enumerate(refs) if isinstance(ref.spec, TensorSpec)]
        effects = Effects((), tuple((index, at) for index in range(len(specs)) for at in tensors))
        return specs, pytree.tree_structure((0,) * len(specs)) if several else None, effects


@dataclass(frozen=True)
class _Held:
    """A written function that refers to others."""

    functions: list[Any]
    places: list[int]


def _function(target: Any, args: tuple[Any, ...]) -> Any:
    """Return a function that a node may call: neither a class nor an initializer."""
    if type(target) is _Held:
        places = tuple(target.places)
        if len(places) != len(target.functions) - 1 or not all(type(at) is int for at in places):
            raise LoadError(f"a node calls {target!r:.80}")
        given = tuple(_function(function, ()) for function in target.functions)
        if is_allowed(given[0]) or isinstance(given[0], functools.partial):
            raise LoadError(f"a node calls {target!r:.80}, which brings nothing along")
        return LiftedFunction(given, places, args[0])
    called = getattr(target, "func", target)
    kind = called if isinstance(called, type) else type(called)
    initializes = getattr(called, "__module__", "") == "torch.nn.init"
    if initializes or is_allowed(kind) or isinstance(called, nn.Module) or not callable(called):
        raise LoadError(f"a node calls {target!r:.80}, which is no function of tensors")
    return target


def _is_call(given: Any) -> bool:
    """Return whether a value has the form of a call's arguments."""
    return type(given) is tuple and [type(part) for part in given] == [tuple, dict]


def _spec(shape: Any, dtype: Any) -> TensorSpec:
    """Return the spec of a tensor whose shape and dtype are in a file."""
    sizes = [size for size in shape if size is not None]
    if not all(type(size) is int and 0 <= size < 2**62 for size in sizes):
        raise LoadError(f"a value has the shape {shape!r:.80}")
    if not isinstance(dtype, torch.dtype):
        raise LoadError(f"a value has the dtype {dtype!r:.80}")
    return shapes.spec_of(tuple(shape), dtype)


def _modes(grad: Any, *autocast: list[Any]) -> Modes:
    """Return grad mode and autocast of a call, for existing devices."""
    modes = Modes(grad, tuple(Autocast(*settings) for settings in autocast))
    known = grad in ("", "no_grad", "inference_mode", "enable_grad")
    for device, enabled, dtype, cache in modes.autocast:
        known &= device in AUTOCAST_DEVICES and {type(enabled), type(cache)} == {bool}
        known &= dtype in (None, torch.bfloat16, torch.float16)
    if not known:
        raise LoadError(f"a node is called in the modes {modes!r:.100}")
    return modes


def _part(model: nn.Module, path: list[str]) -> nn.Module:
    """Return the part of a model at a path of names of children."""
    part: nn.Module | None = model
    for name in path:
        part = None if part is None else part._modules.get(name)
    if part is None:
        raise LoadError(f"the graph calls a module that is not at {path!r:.80} in the model")
    return part


def number_below(value: Any, of: Sized) -> int:
    """Return an index below a limit."""
    if type(value) is not int or not 0 <= value < len(of):
        raise LoadError(f"it refers to number {value!r:.20} of {len(of)}")
    return value


def _place(value: Any, count: int) -> int | None:
    return None if value is None else number_below(value, range(count))


def _name(value: Any) -> str | None:
    return None if value is None else check_name(value, "a node", in_quotes=False)


def check_fields(what: str, record: Any, known: set[str]) -> None:
    """Refuse a record with unknown fields."""
    if not isinstance(record, dict) or not record.keys() <= known:
        strange = sorted(record.keys() - known) if isinstance(record, dict) else record
        raise LoadError(f"{what} has {strange!r:.80}, which this version does not know")
