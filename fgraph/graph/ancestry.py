"""Walks over a graph: the ancestors of values, the spans of nodes, and the sizes that were read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from .node import Node, Ref

DTYPE = -1  # in place of an axis among what code read: the dtype


def ancestors(outputs: Iterable[Ref], boundary: Iterable[Ref] = ()) -> list[Node]:
    """Return the nodes that `outputs` need, in the order in which they were recorded.

    That order is a topological one, and running in it draws random numbers and sums gradients
    as the code that built the graph would have done.

    Args:
        outputs: what is to be computed.
        boundary: values taken as given; the nodes behind them are left out.
    """
    given = set(boundary)
    found: dict[int, Node] = {}
    stack = [ref for ref in outputs if ref not in given]
    while stack:
        node = stack.pop().node
        if id(node) not in found:
            found[id(node)] = node
            stack.extend(ref for ref in node.refs() if ref not in given)
    return sorted(found.values(), key=lambda node: node.seq)


def spans_of(nodes: Iterable[Node], kind: Literal["call", "scope"]) -> list[Any]:
    """Return the calls, or the scopes, that nodes are part of, in the order of recording."""
    found: dict[int, Any] = {}
    for node in nodes:
        span = getattr(node, kind)
        while span is not None and id(span) not in found:
            found[id(span)] = span
            span = span.outer
    return sorted(found.values(), key=lambda span: span.seq)


def reads_of(refs: Iterable[Ref]) -> dict[tuple[Ref, int], None]:
    """Return what code read of values that follow from the sources of `refs`: axes, or `DTYPE`."""
    sources = dict.fromkeys(node for ref in refs for node in ref.node.sources or (ref.node,))
    return {read: None for node in sources for read in node.reads or ()}


def add_reads(ref: Ref, reads: Iterable[tuple[Ref, int]]) -> None:
    """Remember what code read, with the inputs that `ref` is computed from."""
    for node in ref.node.sources or (ref.node,):
        node.reads = node.reads or {}
        node.reads.update(dict.fromkeys(reads))


def reads_from(refs: list[Ref]) -> tuple[tuple[Ref, int], ...]:
    """Return the sizes that were read of values that follow from these inputs alone."""
    given = set(refs)
    found = reads_of(refs)
    follows: set[Node] = set()
    for node in ancestors([ref for ref, _ in found], given):
        if node.op != "input" and all(ref in given or ref.node in follows for ref in node.refs()):
            follows.add(node)
    return tuple(read for read in found if read[0] in given or read[0].node in follows)
