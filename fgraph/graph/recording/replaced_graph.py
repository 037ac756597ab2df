"""A graph with some of its modules and tensors replaced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..graph import Graph
from ..nested import iter_leaves, map_leaves
from ..node import Call, Node, Operation, Ref, Scope, Span, recording
from .make_node import make_node


def with_replaced(graph: Graph, new: Mapping[int, Any]) -> Graph:
    """Return the graph with some modules and tensors replaced; nodes untouched by it stay.

    The new graph has as many nodes, in the same order. The calls of unfolded modules are made
    anew with all nodes in them.

    Args:
        graph: the graph.
        new: what takes the place of each module or tensor, by the `id` of the old one.

    Raises:
        BuildError: a new module does not fit in its place.
    """
    return _Replacement(graph, new).run()


class _Replacement:
    """Makes one graph anew; holds the nodes and spans made so far, by the `id` of the old ones."""

    def __init__(self, graph: Graph, new: Mapping[int, Any]) -> None:
        self._graph = graph
        self._homes = {id(home): home.replaced(new) for home in graph.homes}
        modules = {id(home.module): self._homes[id(home)].module for home in graph.homes}
        self._new = {**new, **modules}
        self._nodes: dict[int, Node] = {}
        self._spans: dict[int, Span] = {}
        self._owners: dict[int, Any] = {}
        self._operations: dict[Operation, Operation] = {}

    def run(self) -> Graph:
        """Return the new graph."""
        graph, nodes = self._graph, self._nodes
        for node in graph.nodes:
            leaves = [node.target, *iter_leaves((node.args, node.kwargs))]
            same = all(self._now(leaf) is leaf for leaf in leaves)
            if not same or node.scope is not None:
                nodes[id(node)] = self._made(node, same)
        for node in graph.nodes:
            if node.masks and id(node) in nodes:
                nodes[id(node)].masks = {i: self._now(ref) for i, ref in node.masks.items()}
        for span in (*graph.scopes, *graph.calls):
            if (made := self._spans.get(id(span))) is not None:
                made.inputs = map_leaves(self._now, span.inputs)
                if span.alive:
                    made.set_outputs(map_leaves(self._now, span.outputs))
                if isinstance(made, Call):
                    made.owner.add_call(made)
        return Graph(graph.inputs, [self._now(ref) for ref in graph.outputs])

    def _made(self, node: Node, same: bool) -> Node:
        """Return the node that takes the place of another one.

        Args:
            node: the other one.
            same: whether it calls the same, with the same arguments.
        """
        known = node.known if same or node.declared else None
        args, kwargs = map_leaves(self._now, (node.args, node.kwargs))
        target = self._new.get(id(node.target), node.target)
        with recording(self._span(node.call)):
            made = make_node(node.op, target, args, kwargs, inferred=known, like=node)
        made.scope, made.operation = self._span(node.scope), self._operation(node.operation)
        if same:
            made.declared, made.lanes, made.loops = node.declared, node.lanes, node.loops
        return made

    def _now(self, leaf: Any) -> Any:
        if type(leaf) is Ref and id(leaf.node) in self._nodes:
            return Ref(self._nodes[id(leaf.node)], leaf.index)
        return self._new.get(id(leaf), leaf)

    def _span(self, span: Any) -> Any:
        """Return the call or scope that takes the place of another one."""
        if span is None:
            return None
        if id(span) not in self._spans:
            outer = self._span(span.outer)
            self._spans[id(span)] = (
                Scope(self._homes[id(span.home)], span.name, outer=outer)
                if isinstance(span, Scope)
                else Call(self._owner(span.owner), outer=outer)
            )
        return self._spans[id(span)]

    def _operation(self, before: Operation | None) -> Operation | None:
        if before is not None and before not in self._operations:
            self._operations[before] = Operation(map(self._now, before.inputs))
        return None if before is None else self._operations[before]

    def _owner(self, owner: Any) -> Any:
        module = self._new.get(id(owner.module))
        if module is None:
            return owner
        return self._owners.setdefault(id(owner), owner.with_module(module))
