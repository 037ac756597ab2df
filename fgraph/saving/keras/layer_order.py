"""The order in which Keras numbers the layers of a graph, and by that finds their weights.

Keras names the weights of a layer after its class, counted in an order that it works out anew
when it loads a file: by the longest way to an output, then by the order in which a walk back
from the outputs meets them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any


class Operation:
    """A layer, model or operation of a graph as Keras has it.

    Attributes:
        name: its name, unique in the graph.
        entry: class and configuration.
        calls: the arguments of each of its calls.
        part: what holds its weights.
    """

    __slots__ = ("calls", "entry", "name", "part")

    def __init__(self, name: str, entry: dict[str, Any], part: Any = None) -> None:
        self.name = name
        self.entry = entry
        self.calls: list[tuple[list[Any], dict[str, Any]]] = []
        self.part = part


class Output:
    """An output of a call.

    Attributes:
        operation, call, index: which output of which call of what.
        shape, dtype: as Keras writes them.
    """

    __slots__ = ("call", "dtype", "index", "operation", "shape")

    def __init__(
        self, operation: Operation, call: int, index: int, shape: list[int | None], dtype: str
    ) -> None:
        self.operation, self.call, self.index = operation, call, index
        self.shape, self.dtype = shape, dtype


_Node = tuple[int, int]  # identity of an operation, and number of its call


def flat(structure: Any) -> Iterator[Any]:
    """Yield the leaves of a structure as Keras does: dicts in the order of their keys."""
    if isinstance(structure, Mapping):
        for key in sorted(structure):
            yield from flat(structure[key])
    elif isinstance(structure, (list, tuple)):
        for item in structure:
            yield from flat(item)
    elif isinstance(structure, slice):
        yield from ()
    else:
        yield structure


def in_keras_order(inputs: Iterable[Output], outputs: Any) -> list[Operation]:
    """Return the operations of a graph in Keras's order.

    Args:
        inputs: its inputs.
        outputs: its outputs, in their structure.
    """
    nodes: list[_Node] = []
    parents: dict[_Node, list[_Node]] = {}
    operations: dict[int, Operation] = {}  # in the order in which they are met
    done: set[_Node] = set()
    for output in flat(outputs):
        stack: list[tuple[_Node, Iterator[Output]]] = []

        def enter(found: Output, stack: list[Any] = stack) -> None:
            node = (id(found.operation), found.call)
            if node in parents:
                return
            operations.setdefault(node[0], found.operation)
            taken = [leaf for leaf in flat(found.operation.calls[found.call])
                     if isinstance(leaf, Output)] if found.operation.calls else []  # fmt: skip
            parents[node] = [(id(t.operation), t.call) for t in taken]
            stack.append((node, iter(taken)))

        enter(output)
        while stack:
            node, left = stack[-1]
            following = next(left, None)
            if following is not None:
                enter(following)
            else:
                stack.pop()
                if node not in done:
                    done.add(node)
                    nodes.append(node)
    depths = _depths(nodes, parents)
    for given in inputs:
        if id(given.operation) not in operations:
            operations = {id(given.operation): given.operation, **operations}
            depths[id(given.operation)] = 0
    met = list(operations)
    ordered = sorted(met, key=lambda which: -depths[which])
    return [operations[which] for which in ordered]


def _depths(nodes: list[_Node], parents: Mapping[_Node, list[_Node]]) -> dict[int, int]:
    """Return how far each operation is from the outputs, by the longest way."""
    of_node: dict[_Node, int] = {}
    of_operation: dict[int, int] = {}
    for node in reversed(nodes):
        depth = max(of_node.get(node, 0), of_operation.get(node[0], 0))
        of_operation[node[0]] = of_node[node] = depth
        for parent in parents[node]:
            of_node[parent] = max(depth + 1, of_node.get(parent, 0))
    return of_operation
