"""Forwards with functions inside that are run again for gradients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from ..graph import Node, Ref
from ..graph.graph import Graph
from ..graph.module_state import training
from ..graph.nested import iter_leaves
from ..model.codegen import ForwardSource, ForwardWriter, Statement, in_blocks, indented
from ..model.naming import Naming
from .activation_checkpointing import UsedPart, recomputed


@dataclass
class SegmentedSource(ForwardSource):
    """A generated forward with segments.

    Attributes:
        segments: for each function that is run again, by its name, where the modules and tensors
            that it uses hang in the model.
    """

    segments: dict[str, list[UsedPart]] = field(default_factory=dict)


@dataclass(frozen=True)
class Segments:
    """Runs of nodes that are written as functions, to be run again in the backward pass.

    Attributes:
        ends: the position of the last node of each run, by that of its first.
    """

    ends: Mapping[int, int]

    def writer(
        self, graph: Graph, naming: Naming, own: Mapping[str, Tensor | None]
    ) -> ForwardWriter:
        """Return what writes a forward; the arguments are those of `ForwardWriter`."""
        return _SegmentWriter(self.ends, graph, naming, own)

    def moved(self, graph: Graph, wider: Graph) -> Segments:
        """Return the same segments for a graph that has more nodes."""
        place = {id(node): position for position, node in enumerate(wider.nodes)}
        at = [place[id(node)] for node in graph.nodes]
        return Segments({at[first]: at[last] for first, last in self.ends.items()})


class _SegmentWriter(ForwardWriter):
    """Writes runs of nodes as functions.

    Args:
        ends: the position of the last node of each run, by that of its first.
        *args: those of `ForwardWriter`.

    Attributes:
        parts: what each function uses, by its name.
    """

    def __init__(self, ends: Mapping[int, int], *args: Any) -> None:
        super().__init__(*args)
        self._ends = ends
        self.parts: dict[str, list[UsedPart]] = {}
        self._inside: set[str] | None = None  # names made in the segment that is being written
        self._inner_names: set[str] = set()  # variables of segments that these do not return
        self._namespace["recomputed"] = recomputed

    def write(self, outputs: Any) -> SegmentedSource:
        """Return the source that computes `outputs`, and where its segments' parts hang."""
        return SegmentedSource(**vars(super().write(outputs)), segments=self.parts)

    def _fresh(self, base: str) -> str:
        name = super()._fresh(base)
        if self._inside is not None:
            self._inside.add(name)
        return name

    def _body(self, first: int, end: int) -> list[Statement]:
        body: list[Statement] = []
        while first < end:
            if self._inside is None and first in self._ends:
                body.append(self._segment(first, self._ends[first]))
                first = self._ends[first] + 1
            else:
                body += self._node(first)
                first += 1
        return body

    def _done(self, node: Node, positions: range) -> list[str]:
        done = super()._done(node, positions)
        if self._inside is None:
            return [name for name in done if name not in self._inner_names]
        return [name for name in done if name in self._inside]

    def _segment(self, first: int, last: int) -> Statement:
        """Write the nodes from `first` to `last` as a function; return the call of it."""
        nodes = self._graph.nodes[first : last + 1]
        made = {id(node) for node in nodes}
        outside = dict.fromkeys(ref for n in nodes for ref in n.refs() if id(ref.node) not in made)
        taken = [self._variables[ref] for ref in outside]
        name = self._fresh(f"segment_{len(self.parts) + 1}")
        inside: set[str] = set()
        self._inside = inside
        body = self._body(first, last + 1)
        self._inside = None
        returned = self._leaving(nodes, last)
        call = f"recomputed({', '.join(['self', name, *taken])})"
        if returned:
            call = f"{', '.join(returned)} = {call}"
        modes = {node.modes for node in nodes}
        shared = nodes[0].modes if len(modes) == 1 else None
        if shared is not None:  # one block around the calls of neighbours too
            body = [statement._replace(modes=None) for statement in body]
        self._inner_names |= inside - set(returned)
        done = [v for node in nodes for v in self._done(node, range(first, last + 1))]
        if done := [v for v in dict.fromkeys(done) if v in taken]:
            call += f"; del {', '.join(done)}"
        self._functions += [
            (f"def {name}({', '.join(taken)}):", None),
            *indented([*in_blocks(body), (f"return {', '.join(returned)}", None)]),
        ]
        self.parts[name] = self._parts_of(nodes)
        return Statement(shared, [call])

    def _leaving(self, nodes: Iterable[Node], last: int) -> list[str]:
        """Return the variables of what nodes make and others, after the last of them, use."""
        made = (Ref(node, index) for node in nodes for index in range(len(node.specs)))
        leaving = [r for r in made if r in self._keep or self._last_use.get(r, -1) > last]
        return list(dict.fromkeys(self._variables[ref] for ref in leaving))

    def _parts_of(self, nodes: Iterable[Node]) -> list[UsedPart]:
        """Return where the modules and tensors that nodes use hang in the model."""
        found: dict[UsedPart, None] = {}
        for node in nodes:
            if node.target is training:
                continue
            if node.op == "module":
                found[UsedPart(self._paths[id(node)] or (), whole=True)] = None
            for leaf in iter_leaves((node.args, node.kwargs)):
                if isinstance(leaf, nn.Module):
                    found[UsedPart(self._places[id(leaf)], whole=True)] = None
                elif isinstance(leaf, Tensor):
                    found[UsedPart(self._places[id(leaf)][:-1], whole=False)] = None
        return list(found)
