"""A graph as data and back: its nodes are recorded anew, so that torch checks each of them."""

from __future__ import annotations

from collections.abc import Callable, Sized
from itertools import zip_longest
from typing import Any, cast

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..errors import LoadError, SaveError
from ..graph import Call, Node, Ref, shapes
from ..graph.graph import Graph, describe
from ..graph.held import Held
from ..graph.memory import changed
from ..graph.modes import Modes
from ..graph.nested import iter_leaves, label, leaves_with_paths, map_leaves
from ..graph.node import (
    REAL,
    Constant,
    DataSpec,
    Effects,
    NumberSpec,
    TensorSpec,
    ancestors,
    recording,
)
from ..graph.record import make_node
from ..layers.base import Layer
from ..model import Model
from ..model.masked_calls import infer_call
from ..model.naming import Naming, check_name
from ..model.signature import Signature
from .registered import is_allowed

# what a node has: these are written, those after the line follow from them when it is recorded
_NODE_FIELDS = {
    "op", "target", "args", "kwargs", "name", "call", "masks", "declared", "modes",
    "specs", "structure", "effects", "lanes", "loops", "reads", "scope", "seq", "_refs",
    "__weakref__",
}  # fmt: skip
_READ = frozenset({"T", "mT", "H", "mH", "real", "imag", "data"})  # attributes of tensors
_GRAPH_FIELDS = {
    "inputs", "outputs", "nodes", "extra", "sizes", "calls", "input_structure", "output_structure",
    "input_names", "node_names",
}  # fmt: skip


# ---------------------------------------------------------------------- writing


def encode_graph(model: Model, graph: Graph, encoder: Any) -> dict[str, Any]:
    """Return the graph of a model, its names and the structure of its inputs and outputs.

    Raises:
        SaveError: a node cannot be written as data; the text names it.
    """
    if unknown := set(Node.__slots__) - _NODE_FIELDS:
        raise SaveError(f"a file cannot hold what nodes have in {sorted(unknown)}")
    if graph.homes:
        raise SaveError(
            "a graph that `unfold` made cannot be saved: keep `model.state_dict()`, and make the "
            "graph of the module again"
        )
    given = {ref: [position, 0] for position, ref in enumerate(graph.inputs)}
    sizes = cast(Signature, model._signature).reads
    every = list(dict.fromkeys([*graph.nodes, *ancestors([r for r, _ in sizes], graph.inputs)]))
    places = {id(node): len(given) + number for number, node in enumerate(every)}
    calls = {id(call): number for number, call in enumerate(graph.calls)}

    def at(item: Any) -> Any:
        if type(item) is not Ref:
            return None
        return {"$at": given.get(item) or [places[id(item.node)], item.index]}

    def write(value: Any) -> Any:
        return encoder.value(value, at)

    def needed(item: Any) -> Any:
        """Leave out values that the layer was given, or gave, but the model does not need."""
        lost = type(item) is Ref and item not in given and id(item.node) not in places
        return None if lost else item

    nodes = [
        _node(node, path, calls.get(id(node.call)), map_leaves(needed, node.masks or {}), write)
        for node, path in zip_longest(every, model._node_paths)
    ]
    return {
        "inputs": [_source(ref, write) for ref in graph.inputs],
        "outputs": [write(ref) for ref in graph.outputs],
        "nodes": nodes[: len(graph.nodes)],
        "extra": nodes[len(graph.nodes) :],  # only sizes that were read follow from them
        "sizes": [[write(ref), axis] for ref, axis in sizes],
        "calls": [
            {
                "layer": write(call.owner),
                "inputs": write(map_leaves(needed, call.inputs)),
                "outputs": write(map_leaves(needed, call.outputs)),
                "outer": None if call.outer is None else calls[id(call.outer)],
            }
            for call in graph.calls
        ],
        "input_structure": write(model._input_template),
        "output_structure": write(model._output_template),
        "input_names": model.input_names,
        "node_names": model._node_names,
    }


def _source(ref: Ref, write: Callable[[Any], Any]) -> list[Any]:
    """Return the name of an input, and its shape and dtype, its stand-ins, or its example."""
    name, spec = ref.node.name if ref.node.op == "input" else None, ref.spec
    if isinstance(spec, TensorSpec):
        return [name, "tensor", list(spec.shape), write(spec.dtype)]
    if isinstance(spec, NumberSpec):
        return [name, "number", spec.first, spec.second]
    return [name, "data", write(spec.example)]


def _node(
    node: Node,
    path: tuple[str, ...] | None,
    call: int | None,
    masks: dict[int, Any],
    write: Callable[[Any], Any],
) -> dict[str, Any]:
    """Return what a node does; what is `None` or empty is left out."""
    reads = node.target is getattr and node.args[1] in _READ
    try:
        record = {
            "op": "read" if reads else node.op,
            "path": path and list(path),
            "target": None if path or reads else write(node.target),
            "args": [write(item) for item in node.args],
            "kwargs": write(node.kwargs),
            "name": node.name,
            "call": call,
            "masks": [[i, write(ref)] for i, ref in masks.items() if ref is not None],
            "declared": _declaration(node, write),
            "modes": None if node.modes is None else node.modes.to_data(),
        }
    except SaveError as error:
        raise SaveError(f"the call of {describe(node)} cannot be saved: {error}") from error
    return {key: item for key, item in record.items() if item not in (None, [], {})}


def _declaration(node: Node, write: Callable[[Any], Any]) -> Any:
    """Return the shapes and dtypes that `apply(output_shape=...)` was told, for a node of these."""
    if not node.declared or isinstance(node.target, Model):
        return None
    specs = [[list(spec.shape), write(spec.dtype)] for spec in cast(list[TensorSpec], node.specs)]
    return specs[0] if node.structure is None else {"$tuple": specs}


# ---------------------------------------------------------------------- reading


def decode_graph(model: Model, record: dict[str, Any], decoder: Any) -> None:
    """Give a model its graph, its names and a forward that is generated anew.

    Args:
        model: a model that has its children and tensors.
        record: what `encode_graph` wrote of it.
        decoder: makes values of what was written.

    Raises:
        LoadError: graph and model do not fit.
    """
    check_fields("a graph", record, _GRAPH_FIELDS)
    reader = _Reader(model, record, decoder)
    inputs = [Ref(reader.nodes[position]) for position in range(len(record["inputs"]))]
    outputs = [reader.ref(item) for item in record["outputs"]]
    inputs[0].node.reads = tuple(reader.size(*held) for held in record["sizes"])
    graph = Graph(inputs, outputs)
    if graph.nodes != reader.nodes[len(inputs) : len(inputs) + len(record["nodes"])]:
        raise LoadError(f"{len(record['nodes'])} nodes are given, {len(graph.nodes)} are needed")
    if not all(isinstance(ref.spec, TensorSpec) for ref in outputs):
        raise LoadError("an output is no tensor")
    paths = reader.paths[: len(graph.nodes)]
    for node, path in zip(graph.nodes, paths, strict=True):
        if (node.op == "module") != bool(path):
            raise LoadError("the graph calls a module that is no part of the model")
    structures = []
    for part, refs in (("input", inputs), ("output", outputs)):
        structure = decoder.value(record[f"{part}_structure"])
        if list(iter_leaves(structure)) != list(range(len(refs))):
            raise LoadError(f"the {part}s have the structure {structure!r:.80}")
        structures.append(structure)
    naming = Naming(
        _input_names(record["input_names"], structures[0], len(inputs)),
        [check_name(name, "a node") for name in record["node_names"]],
        paths,
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
    """Records the nodes of one graph again.

    Attributes:
        nodes: a node for each input, then the others.
        paths: for each of the others the way to the module that it calls, `None` for a function.
    """

    def __init__(self, model: Model, record: dict[str, Any], decoder: Any) -> None:
        self._model = model
        self._decoder = decoder
        self._real: set[Ref] = set()  # values in the memory of the model's own tensors
        self.nodes: list[Node] = [self._source(*held) for held in record["inputs"]]
        self.paths: list[tuple[str, ...] | None] = []
        calls: list[Call] = []
        for held in record["calls"]:
            calls.append(self._call(held, calls))
        records = [*record["nodes"], *record["extra"]]
        for held in records:
            call = held.get("call")
            with recording(None if call is None else calls[number_below(call, calls)]):
                self.nodes.append(self._node(held))
        for node, held in zip(self.nodes[len(record["inputs"]) :], records, strict=True):
            masks = {number_below(i, node.specs): self.ref(at) for i, at in held.get("masks", ())}
            node.masks = masks or None
        for call, held in zip(calls, record["calls"], strict=True):
            self._complete(call, held)

    def value(self, held: Any) -> Any:
        """Return a value with a `Ref` for each reference to a node."""
        return self._decoder.value(held, self._at)

    def ref(self, held: Any) -> Ref:
        """Return a reference to an output of a node."""
        found = self.value(held)
        if type(found) is not Ref:
            raise LoadError(f"{held!r:.80} is no value of the graph")
        return found

    def size(self, held: Any, axis: Any) -> tuple[Ref, int]:
        """Return a size that was read while the graph was built."""
        ref = self.ref(held)
        return ref, number_below(axis, ref.spec.shape)

    def _at(self, held: Any) -> Ref:
        place, index = held
        node = self.nodes[number_below(place, self.nodes)]
        if isinstance(node.specs[number_below(index, node.specs)], Constant):
            raise LoadError(f"the graph takes {held}, which is no tensor or size")
        return Ref(node, index)

    def _source(self, name: Any, kind: Any, *held: Any) -> Node:
        spec: Any = None
        if kind == "tensor":
            shape, dtype = held
            if all(size is None or (type(size) is int and 0 <= size < 2**62) for size in shape):
                spec = shapes.spec_of(tuple(shape), self._decoder.value(dtype))
        elif kind == "number":
            if {type(stand_in) for stand_in in held} in ({int}, {float}, {bool}):
                spec = NumberSpec(held[0], held[1], proven=False)
        elif kind == "data":
            spec = DataSpec(*map(self._decoder.value, held))
        if spec is None:
            raise LoadError(f"an input is a {kind!r:.20} of {held!r:.80}")
        return Node("input", None, (), {}, [spec], name=_name(name))

    def _call(self, held: dict[str, Any], calls: list[Call]) -> Call:
        check_fields("a call", held, {"layer", "inputs", "outputs", "outer"})
        owner, outer = self._decoder.value(held["layer"]), held["outer"]
        if not isinstance(owner, Layer):
            raise LoadError("a call is of something that is not a layer")
        with recording(None if outer is None else calls[number_below(outer, calls)]):
            return Call(owner, None)

    def _complete(self, call: Call, held: dict[str, Any]) -> None:
        inputs, outputs = self.value(held["inputs"]), self.value(held["outputs"])
        kinds = [type(part) for part in inputs] if type(inputs) is tuple else []
        if kinds != [tuple, dict] or not any(type(leaf) is Ref for leaf in iter_leaves(outputs)):
            raise LoadError(f"a call of layer {call.owner.name!r} has no inputs or outputs")
        call.inputs = inputs
        call.set_outputs(outputs)
        call.owner.add_call(call)

    def _node(self, held: dict[str, Any]) -> Node:
        check_fields("a node", held, _NODE_FIELDS | {"path"})
        op, modes = held["op"], held.get("modes")
        like = Node(op, None, (), {}, [], name=_name(held.get("name")))
        like.modes = None if modes is None else Modes.from_data(modes)
        args = tuple(self.value(item) for item in held.get("args", ()))
        kwargs = self.value(held.get("kwargs", {}))
        path = tuple(held["path"]) if "path" in held else None
        self.paths.append(path)
        if kwargs.get("out") is not None or not all(type(key) is str for key in kwargs):
            raise LoadError("a node has keyword arguments that no recorded call has")
        target: Any = getattr
        if op == "module":
            target = _part(self._model, path) if path else self.value(held["target"])
            if not isinstance(target, nn.Module):
                raise LoadError(f"a node calls {held['target']!r:.80}, which is no module")
        elif op == "function":
            target = self._function(held["target"], args)
        elif not (op == "read" and len(args) == 2 and args[1] in _READ):
            raise LoadError(f"it has a node of the kind {op!r} {args[1:]!r:.80}")
        inferred = self._inferred(target, args, kwargs, held.get("declared"))
        kind = "function" if op == "read" else op
        node = make_node(kind, target, args, kwargs, inferred=inferred, like=like)
        node.declared &= target is not changed
        self._check_effects(node)
        return node

    def _function(self, held: Any, args: tuple[Any, ...]) -> Any:
        """Return a function that a node may call: no class of the closed list, no initializer."""
        if type(held) is dict and [*held] == ["$held"]:
            functions, places = held["$held"]
            if len(places) != len(functions) - 1 or not all(type(place) is int for place in places):
                raise LoadError(f"a node calls {held!r:.80}")
            given = tuple(self._function(function, ()) for function in functions)
            return Held(given, tuple(places), args[0])
        target = self.value(held)
        called = getattr(target, "func", target)
        kind = called if isinstance(called, type) else type(called)
        initializes = getattr(called, "__module__", "") == "torch.nn.init"
        if initializes or is_allowed(kind) or isinstance(called, nn.Module) or not callable(called):
            raise LoadError(f"a node calls {held!r:.80}, which is no function of tensors")
        return target

    def _inferred(self, target: Any, args: Any, kwargs: Any, declared: Any) -> Any:
        """Return what is known of a result that is not worked out by running the call."""
        if isinstance(target, Model) and target._graph is not None:
            _check_inputs(target, args, kwargs)
            return infer_call(target, args, kwargs.get("masks"))
        if target is changed and type(args[0]) is Ref:
            return [args[0].spec], None, Effects((), ((0, 0),))
        if declared is None:
            return None
        held = self.value(declared)
        several = type(held) is tuple
        pairs = held if several else [held]
        specs = [shapes.spec_of(tuple(shape), dtype) for shape, dtype in pairs]
        if is_allowed(target):  # what torch finds counts, where that does not depend on values
            try:
                return shapes.infer("function", target, args, kwargs)
            except Exception as error:
                if not isinstance(error, NotImplementedError) and "meta" not in str(error).lower():
                    raise
        refs = [leaf for leaf in iter_leaves((args, kwargs)) if type(leaf) is Ref]
        tensors = [place for place, ref in enumerate(refs) if isinstance(ref.spec, TensorSpec)]
        effects = Effects((), tuple((index, at) for index in range(len(specs)) for at in tensors))
        return specs, pytree.tree_structure((0,) * len(specs)) if several else None, effects

    def _check_effects(self, node: Node) -> None:
        """Refuse a node that changes the model's own tensors."""
        refs = node.refs()
        changes, shares = node.effects or ((), ())
        for index, source in shares:
            place = source - len(refs)
            if source == REAL or (refs[source] if place < 0 else Ref(node, place)) in self._real:
                self._real.add(Ref(node, index))
        name = "" if node.op == "module" else getattr(node.target, "__name__", "")
        in_place = name == "setitem" or (name.endswith("_") and not name.endswith("__"))
        given = iter_leaves(node.args[:1]) if in_place else ()
        if any(isinstance(leaf, Tensor) for leaf in given) or any(
            refs[at] in self._real for at in changes
        ):
            raise LoadError(f"a node changes a parameter or buffer by {name!r}")


def _check_inputs(model: Model, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Compare what a node gives a model with what the model was built for."""
    expected = cast(Signature, model._signature).shapes
    given = [leaf.spec.shape if type(leaf) is Ref else tuple(leaf.shape) for leaf in args]
    fits = [
        len(ours) == len(theirs)
        and all(None in (a, b) or a == b for a, b in zip(ours, theirs, strict=True))
        for ours, theirs in zip(given, expected, strict=True)
    ]
    if not all(fits) or not kwargs.keys() <= {"training", "masks"}:
        raise LoadError(f"a node calls {model.name!r} on {given}, which takes {expected}")


def _part(model: nn.Module, path: tuple[str, ...]) -> nn.Module:
    """Return the part of a model at a path of names of children."""
    part: nn.Module | None = model
    for name in path:
        part = None if part is None else part._modules.get(name)
    if part is None:
        raise LoadError(f"the graph calls a module that is not at {path!r:.80} in the model")
    return part


def number_below(value: Any, of: Sized) -> int:
    """Return a number that counts one of several things."""
    if type(value) is not int or not 0 <= value < len(of):
        raise LoadError(f"it refers to number {value!r:.20} of {len(of)}")
    return value


def _name(value: Any) -> str | None:
    return None if value is None else check_name(value, "a node", in_quotes=False)


def check_fields(what: str, record: Any, known: set[str]) -> None:
    """Refuse a record with other fields than the known ones."""
    if not isinstance(record, dict) or not record.keys() <= known:
        strange = sorted(record.keys() - known) if isinstance(record, dict) else record
        raise LoadError(f"{what} has {strange!r:.80}, which this version does not know")
