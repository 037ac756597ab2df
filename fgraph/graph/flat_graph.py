"""Graphs as lists, for copying, pickling and saving: no function recurses along their edges."""

from __future__ import annotations

import copyreg
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch.utils import _pytree as pytree

from .ancestry import add_reads, ancestors, reads_from
from .graph import Graph
from .home import Home
from .memory import needed_copies
from .modes import Modes
from .nested import map_leaves
from .node import Call, Node, Operation, Ref, Scope, Span, recording
from .specs import ConstantSpec, Effects, Spec
from .torch_functions import resolve, torch_name


@dataclass(frozen=True)
class EntryRef:
    """Where a value comes from, in a flattened graph."""

    node: int
    index: int


class Entry(NamedTuple):
    """A node without references to other nodes."""

    op: str
    target: Any
    function: str | None
    args: Any
    kwargs: Any
    specs: Sequence[Spec]
    template: Any
    name: str | None
    call: int | None
    masks: dict[int, EntryRef] | None = None
    declared: bool = False
    effects: Effects | None = None
    modes: Modes | None = None
    scope: int | None = None
    operation: int | None = None


class FlatGraph(NamedTuple):
    """A graph as lists: sources first, then the nodes in between, then those for `reads` alone."""

    inputs: list[EntryRef]
    outputs: list[EntryRef]
    sources: int
    entries: list[Entry]
    calls: list[tuple[Any, Any, Any, int | None]]  # owner, inputs, outputs, enclosing call
    homes: list[tuple[Any, str]]  # opened modules and their names
    scopes: list[tuple[int, str, int | None, Any, Any]]  # home, name, outer, inputs, outputs
    reads: list[tuple[EntryRef, int]]
    between: int
    operations: list[list[EntryRef]]  # their inputs


def flatten(graph: Graph, reads: Sequence[tuple[Ref, int]] = ()) -> FlatGraph:
    """Write a graph as lists.

    Args:
        graph: the graph.
        reads: sizes that code read while it was built: values that follow from its inputs, and
            axes.
    """
    inner = {id(node) for node in graph.nodes}
    sources = {id(r.node): r.node for r in graph.inputs if id(r.node) not in inner}
    nodes = [*sources.values(), *graph.nodes]
    nodes += [n for n in ancestors([ref for ref, _ in reads], graph.inputs) if id(n) not in inner]
    homes = graph.homes
    writer = _EntryWriter(nodes, graph)
    return FlatGraph(
        [writer.at(ref) for ref in graph.inputs],
        [writer.at(ref) for ref in graph.outputs],
        len(sources),
        [writer.source(n) if id(n) in sources else writer.entry(n) for n in nodes],
        [(call.owner, *writer.ends(call), writer.outer(call)) for call in graph.calls],
        [(home.module, home.name) for home in homes],
        [(homes.index(s.home), s.name, writer.outer(s), *writer.ends(s)) for s in graph.scopes],
        [(writer.at(ref), axis) for ref, axis in reads],
        len(graph.nodes),
        [[at for ref in made.inputs if (at := writer.at(ref))] for made in writer.operations],
    )


class _EntryWriter:
    """Writes nodes and spans with numbers in place of references."""

    def __init__(self, nodes: list[Node], graph: Graph) -> None:
        self._place = _places(nodes)
        self._span_place = _places(graph.calls) | _places(graph.scopes)
        counted = Counter(node.operation for node in graph.nodes if node.operation)
        self.operations = [operation for operation, count in counted.items() if count > 1]
        self._operation_place = _places(self.operations)

    def at(self, leaf: Any) -> Any:
        """Return where a reference leads to; another leaf as it is."""
        if type(leaf) is not Ref:
            return leaf
        position = self._place.get(id(leaf.node))  # calls may have arguments that nothing needs
        return None if position is None else EntryRef(position, leaf.index)

    def source(self, node: Node) -> Entry:
        """Write a node whose outputs are given from outside."""
        return Entry("input", None, None, (), {}, node.specs, _template(node), node.name, None)

    def entry(self, node: Node) -> Entry:
        """Write a node."""
        function = torch_name(node.target)
        return Entry(
            node.op,
            None if function else node.target,
            function,
            map_leaves(self.at, node.args),
            map_leaves(self.at, node.kwargs),
            node.specs,
            _template(node),
            node.name,
            self._span_place.get(id(node.call)),
            {i: at for i, ref in (node.masks or {}).items() if (at := self.at(ref))} or None,
            node.declared,
            node.effects,
            node.modes,
            self._span_place.get(id(node.scope)),
            self._operation_place.get(id(node.operation)),
        )

    def ends(self, span: Span) -> tuple[Any, Any]:
        """Write the inputs and the outputs of a call or scope."""
        outputs = map_leaves(self.at, span.outputs) if span.alive else None
        return map_leaves(self.at, span.inputs), outputs

    def outer(self, span: Span) -> int | None:
        """Return the number of what a call or scope is part of."""
        return None if span.outer is None else self._span_place[id(span.outer)]


def _template(node: Node) -> Any:
    return node.build(lambda ref: EntryRef(-1, ref.index))


def _places(things: Iterable[Any]) -> dict[int, int]:
    return {id(thing): place for place, thing in enumerate(things)}


def _as_before(entry: Entry, args: Any, kwargs: Any) -> Node:
    """Make the node of an entry, of which all is known."""
    target = entry.target if entry.function is None else resolve(entry.function)
    structure = None
    if type(entry.template) is not EntryRef:
        _, structure = pytree.tree_flatten(entry.template, lambda leaf: type(leaf) is EntryRef)
    node = Node(entry.op, target, args, kwargs, entry.specs, structure, entry.name, entry.modes)
    node.declared, node.effects = entry.declared, entry.effects
    return node


def restore(flat: FlatGraph, make: Callable[[Entry, Any, Any], Node] = _as_before) -> Graph:
    """Make the nodes of a flattened graph anew, in the same order.

    Args:
        flat: what `flatten` returned.
        make: makes a node of its entry, arguments and keyword arguments.
    """
    nodes: list[Node] = []
    calls, scopes = _spans(flat)
    operations = [Operation(()) for _ in flat.operations]

    def ref(leaf: Any) -> Any:
        if type(leaf) is not EntryRef:
            return leaf
        made = Ref(nodes[leaf.node], leaf.index)
        if type(made.spec) is ConstantSpec:  # or an IndexError
            raise ValueError(f"{leaf} is no value, but always {made.spec.value!r:.20}")
        return made

    for entry in flat.entries:
        with recording(_at(calls, entry.call)):
            node = make(entry, map_leaves(ref, entry.args), map_leaves(ref, entry.kwargs))
        node.scope, node.operation = _at(scopes, entry.scope), _at(operations, entry.operation)
        nodes.append(node)
    for node, entry in zip(nodes, flat.entries, strict=True):  # a mask may be made after its node
        node.masks = {i: ref(at) for i, at in entry.masks.items()} if entry.masks else None
    for span, (inputs, outputs) in (
        *zip(calls, (held[1:3] for held in flat.calls), strict=True),
        *zip(scopes, (held[3:] for held in flat.scopes), strict=True),
    ):
        span.inputs = map_leaves(ref, inputs)
        span.set_outputs(map_leaves(ref, outputs))
        if isinstance(span, Call):
            span.owner.add_call(span)
    for operation, taken in zip(operations, flat.operations, strict=True):
        operation.inputs = tuple(map(ref, taken))
    graph = Graph.__new__(Graph)
    graph.inputs = [ref(at) for at in flat.inputs]
    graph.outputs = [ref(at) for at in flat.outputs]
    graph.nodes = nodes[flat.sources : flat.sources + flat.between]
    needed = ancestors(graph.outputs, graph.inputs)  # a file does not say which serve reads alone
    graph.copies = needed_copies(graph.inputs, needed, graph.outputs)
    if flat.reads:
        add_reads(graph.inputs[0], [(ref(at), axis) for at, axis in flat.reads])
    return graph


def _spans(flat: FlatGraph) -> tuple[list[Call], list[Scope]]:
    """Make the calls and scopes anew, without their inputs and outputs."""
    calls: list[Call] = []
    scopes: list[Scope] = []
    homes = [Home(module, name) for module, name in flat.homes]
    for owner, _, _, outer in flat.calls:
        calls.append(Call(owner, outer=_at(calls, outer)))
    for home, name, outer, *_ in flat.scopes:
        scopes.append(Scope(homes[home], name, outer=_at(scopes, outer)))
    return calls, scopes


def _at(things: Sequence[Any], place: int | None) -> Any:
    return None if place is None else things[place]


def _reduced(graph: Graph) -> tuple[Callable[[FlatGraph], Graph], tuple[FlatGraph]]:
    return restore, (flatten(graph, reads_from(graph.inputs)),)


copyreg.pickle(Graph, _reduced)  # `copy` follows it as well
