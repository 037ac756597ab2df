"""A finished graph: the nodes between inputs and outputs."""

from __future__ import annotations

from collections.abc import Iterable

from .ancestry import ancestors, spans_of
from .home import Home
from .memory import needed_copies
from .node import Call, Node, Ref, Scope
from .torch_functions import torch_name


class Graph:
    """The nodes that `outputs` need, given `inputs`.

    Attributes:
        inputs: the values taken as given, in order.
        outputs: the values to compute, in order.
        nodes: the calls in between, in the order in which they were recorded.
        copies: the values to copy in between, because of in-place operations.

    Raises:
        ValueError: an output needs an `Input` that is not among `inputs`.
    """

    def __init__(self, inputs: Iterable[Ref], outputs: Iterable[Ref]) -> None:
        self.inputs = list(inputs)
        self.outputs = list(outputs)
        self.nodes = ancestors(self.outputs, self.inputs)
        for node in self.nodes:
            if node.op == "input":
                raise ValueError(self._disconnected(node))
        self.copies = needed_copies(self.inputs, self.nodes, self.outputs)

    def _disconnected(self, missing: Node) -> str:
        needed_by = next(
            (node for node in self.nodes if any(ref.node is missing for ref in node.refs())), None
        )
        name = f"Input {missing.name!r} of shape" if missing.name else "Input of shape"
        spec = Ref(missing).spec
        user = "an output is that tensor itself" if needed_by is None else (
            f"{describe(needed_by)} needs it"
        )  # fmt: skip
        return (
            f"Graph disconnected: {name} {spec.shape} is not among the model's inputs, "
            f"but {user}. Add it to inputs=, or begin inputs= after that call."
        )

    @property
    def is_proven(self) -> bool:
        """Whether rules tell all known sizes in the graph, see `TensorSpec.proven`."""
        return all(getattr(spec, "proven", True) for node in self.nodes for spec in node.specs)

    @property
    def homes(self) -> list[Home]:
        """The modules that `unfold` opened for these nodes, in the order of recording."""
        return list(dict.fromkeys(node.scope.home for node in self.nodes if node.scope))

    @property
    def scopes(self) -> list[Scope]:
        """The calls of unfolded modules that the nodes are part of, outer before inner ones."""
        return spans_of(self.nodes, "scope")

    @property
    def calls(self) -> list[Call]:
        """The calls of layers that the nodes are part of, outer ones before inner ones."""
        return spans_of(self.nodes, "call")


def describe(node: Node) -> str:
    """Name a node for a message: its layer, module or function."""
    if node.call is not None:
        owner = node.call.outermost.owner
        return f"layer {owner.name!r} ({owner!r})"
    if node.op == "module":
        return f"{node.name!r} ({node.target!r})" if node.name else repr(node.target)
    return torch_name(node.target) or node.kind
