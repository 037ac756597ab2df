"""The parts of unfolded modules that a model registers."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from ..graph import Node, Ref
from ..graph.graph import Graph
from ..graph.home import Home
from ..graph.module_state import training
from ..graph.nested import iter_leaves


def registered_parts(home: Home, nodes: Iterable[Node]) -> dict[str, nn.Module]:
    """Return the modules that a model with these nodes registers for an unfolded one, by name.

    If the nodes include the result of the unfolded module, these are all of its children, used or
    not; otherwise those that the nodes use.
    """
    if home.name:
        return {home.name: home.module}
    own = [node for node in nodes if node.scope is not None and node.scope.home is home]
    children = {name: part for name, part in home.module._modules.items() if part is not None}
    if makes_result(home, own):
        return children
    used = {id(leaf) for node in own for leaf in (node.target, *node.args)}
    return {
        name: part
        for name, part in children.items()
        if any(id(p) in used for p in (*part.modules(), *part.parameters(), *part.buffers()))
    }


def makes_result(home: Home, nodes: Iterable[Node]) -> bool:
    """Return whether the nodes include the result of an unfolded module."""
    nodes = list(nodes)
    made = {id(node) for node in nodes}
    scopes = {id(whole): whole for n in nodes if n.scope and (whole := n.scope.outermost)}
    return any(
        any(type(leaf) is Ref and id(leaf.node) in made for leaf in iter_leaves(scope.outputs))
        for scope in scopes.values()
        if scope.home is home and scope.alive
    )


def unfolded_modules(graph: Graph) -> dict[int, nn.Module]:
    """Return the modules of which parts are called instead, by `id`, without torch's own."""
    users = [node for node in graph.nodes if node.target is not training]
    called = {id(p) for node in users for module in node.modules() for p in module.modules()}
    return {
        id(part): part
        for home in graph.homes
        for part in home.module.modules()
        if id(part) not in called and not type(part).__module__.startswith("torch.nn.")
    }
