"""Run a graph node by node, to read intermediate values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch.utils import _pytree as pytree

from ..graph import Node, Ref
from ..graph.graph import Graph, describe
from ..graph.memory import changed
from ..graph.nested import map_leaves

Invoke = Callable[[Node, tuple[Any, ...], dict[str, Any]], Any]


def run_node(node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a node, as the generated forward does."""
    return node.run(args, kwargs)


def replay(
    graph: Graph, inputs: Sequence[Any], keep: Iterable[Ref], invoke: Invoke = run_node
) -> dict[Ref, Any]:
    """Run the nodes of a graph in order; values are freed after their last use.

    Args:
        graph: what to run.
        inputs: a value for each of the graph's inputs.
        keep: the values to return.
        invoke: called as `invoke(node, args, kwargs)` for each node; returns its result.

    Returns:
        The values in `keep`.

    Raises:
        Exception: what a call raises, with a note that names it.
    """
    wanted = set(keep)
    last_use = {ref: i for i, node in enumerate(graph.nodes) for ref in node.refs()}
    values = dict(zip(graph.inputs, inputs, strict=True))
    values |= {ref: values[ref].clone() for ref in graph.copies.inputs}
    overwritten: dict[Ref, Any] = {}  # values that were copied

    def now(leaf: Any) -> Any:
        return values[leaf] if type(leaf) is Ref else leaf

    for position, node in enumerate(graph.nodes):
        copies = {ref: values[ref].clone() for ref in graph.copies.before.get(id(node), ())}
        try:
            result = invoke(node, map_leaves(now, node.args), map_leaves(now, node.kwargs))
        except Exception as error:
            error.add_note(f"in {describe(node)}")
            raise
        if node.target is changed:
            result = overwritten.get(node.args[0], result)
        overwritten = {ref: values[ref] for ref in copies} | overwritten
        values |= copies
        for ref, value in leaves_of(node, result):
            if ref in last_use or ref in wanted:
                values.setdefault(ref, value)  # an input of the graph keeps what was given
        del result
        for ref in set(node.refs()) - wanted:
            if last_use[ref] == position:
                del values[ref]
    return {ref: values[ref] for ref in wanted}


def leaves_of(node: Node, result: Any) -> list[tuple[Ref, Any]]:
    """Return the values in the result of a node, each with its place in the graph."""
    leaves = [result] if node.structure is None else pytree.tree_leaves(result)
    return [(Ref(node, index), leaf) for index, leaf in enumerate(leaves)]
