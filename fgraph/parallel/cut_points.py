"""Where a graph may be cut: which nodes have to stay together, and why."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from ..graph import Node, Ref
from ..graph.graph import Graph, describe
from ..graph.memory import changed
from ..graph.module_state import READS, buffer, parameter
from ..graph.nested import iter_leaves
from ..graph.specs import REAL


class UncutSpan(NamedTuple):
    """Nodes that must not be separated.

    Attributes:
        first, last: the positions of the first and the last of them; -1 for an input.
        outside: whether a run of nodes that is computed twice may not have them.
        reason: what a cut, or a second run, would do.
    """

    first: int
    last: int
    outside: bool
    reason: str


def memory_spans(graph: Graph) -> list[UncutSpan]:
    """Return the nodes between a value and the last change of its memory in place."""
    place = {id(node): position for position, node in enumerate(graph.nodes)}
    groups = _Groups()
    changes: dict[Ref, int] = {}
    real: set[Ref] = set()
    for position, node in enumerate(graph.nodes):
        if node.effects is None:
            continue
        refs = node.refs()
        for index, source in node.effects.shares:
            made = Ref(node, index)
            if source == REAL:
                real.add(made)
            else:
                groups.join(
                    made, refs[source] if source < len(refs) else Ref(node, source - len(refs))
                )
        for taken in node.effects.changes:
            changes[refs[taken]] = position
        if node.target is changed and isinstance(node.args[0], Ref):
            changes[node.args[0]] = position
    members = groups.members([*changes, *real])
    spans = []
    for group in members:
        last = max((changes.get(ref, -1) for ref in group), default=-1)
        if last >= 0:
            first = min(place.get(id(ref.node), -1) for ref in group)
            outside = first < 0 or any(ref in real for ref in group)
            reason = f"{describe(graph.nodes[last])} changes in place what is made before"
            spans.append(UncutSpan(first, last, outside, reason))
    return spans


def generator_spans(graph: Graph) -> list[UncutSpan]:
    """Return the nodes that draw from a random generator among their arguments."""
    return [
        UncutSpan(position, position, True, f"{describe(node)} draws from a generator of its own")
        for position, node in enumerate(graph.nodes)
        if any(isinstance(leaf, torch.Generator) for leaf in iter_leaves((node.args, node.kwargs)))
    ]


def shared_spans(graph: Graph) -> list[UncutSpan]:
    """Return the nodes between the uses of trained weights, or of buffers that a module changes."""
    uses: dict[int, list[int]] = {}
    names: dict[int, str] = {}
    written = {
        id(node.args[0])
        for span in memory_spans(graph)
        for node in graph.nodes[max(span.first, 0) : span.last + 1]
        if span.outside and node.target is buffer
    }
    for position, node in enumerate(graph.nodes):
        if node.target in READS:
            continue
        read = [ref.node.args[0] for ref in node.refs() if ref.node.target in (parameter, buffer)]
        kept = [value for value in read if value.requires_grad or id(value) in written]
        for tensor in (*_state_of(node), *kept):
            uses.setdefault(id(tensor), []).append(position)
            names.setdefault(id(tensor), describe(node))
    return [
        UncutSpan(found[0], found[-1], False, f"{names[key]} is used on both sides")
        for key, found in uses.items()
        if found[0] != found[-1]
    ]


def closed(spans: Iterable[UncutSpan]) -> dict[int, str]:
    """Return the positions where a cut would separate a span, each with the reason."""
    return {
        position: span.reason for span in spans for position in range(span.first + 1, span.last + 1)
    }


def _state_of(node: Node) -> list[Tensor]:
    """Return the tensors that may not be in two places: trained ones, and buffers of modules."""
    modules = node.modules()
    weights = [p for module in modules for p in module.parameters() if p.requires_grad]
    buffers = [b for module in modules for b in module.buffers()]
    leaves = iter_leaves((node.args, node.kwargs))
    given = [v for v in leaves if isinstance(v, Tensor) and v.requires_grad]
    return [*weights, *buffers, *given]


class _Groups:
    """Values that lie in one piece of memory."""

    def __init__(self) -> None:
        self._above: dict[Ref, Ref] = {}

    def top(self, ref: Ref) -> Ref:
        while ref in self._above:
            ref = self._above[ref]
        return ref

    def join(self, ref: Ref, other: Ref) -> None:
        ours, theirs = self.top(ref), self.top(other)
        if ours != theirs:
            self._above[ours] = theirs

    def members(self, refs: Iterable[Ref]) -> list[set[Ref]]:
        """Return the groups that some values are in."""
        wanted: dict[Ref, set[Ref]] = {self.top(ref): set() for ref in refs}
        for ref in (*self._above, *refs, *wanted):
            if self.top(ref) in wanted:
                wanted[self.top(ref)].add(ref)
        return list(wanted.values())
