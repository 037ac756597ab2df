"""The order that Keras has the layers of a graph in: that of `layers`, and so of all weights.

It is not the order of the calls: by the longest way to an output, then by the order in which a
walk back from the outputs meets them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from ..graph import Call, Node, Ref
from ..graph.graph import Graph
from ..graph.nested import iter_leaves
from ..graph.node import Operation

_C = TypeVar("_C", bound=Hashable)  # a call
_O = TypeVar("_O", bound=Hashable)  # what is called


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


def in_keras_order(
    inputs: Iterable[_C],
    outputs: Iterable[_C],
    called_by: Callable[[_C], _O],
    taken_by: Callable[[_C], Iterable[_C]],
) -> list[_O]:
    """Return what is called in a graph, in Keras's order.

    Args:
        inputs: the inputs of the graph, calls as the others.
        outputs: the call that makes each output.
        called_by: tells the layer or operation of a call.
        taken_by: tells the calls that make the arguments of a call, in Keras's order.
    """
    calls: list[_C] = []
    parents: dict[_C, list[_C]] = {}
    met: dict[_O, None] = {}
    for output in outputs:
        stack: list[tuple[_C, Iterator[_C]]] = []

        def enter(call: _C, stack: list[tuple[_C, Iterator[_C]]] = stack) -> None:
            if call not in parents:
                met.setdefault(called_by(call))
                parents[call] = list(taken_by(call))
                stack.append((call, iter(parents[call])))

        enter(output)
        while stack:
            call, left = stack[-1]
            if (following := next(left, None)) is not None:
                enter(following)
            else:
                stack.pop()
                calls.append(call)
    depths = _depths(calls, parents, called_by)
    unused = [made for given in inputs if (made := called_by(given)) not in depths]
    return sorted([*unused, *met], key=lambda made: -depths.get(made, 0))


def _depths(
    calls: Sequence[_C], parents: Mapping[_C, Iterable[_C]], called_by: Callable[[_C], _O]
) -> dict[_O, int]:
    """Return how far from the outputs each layer is, by the longest way."""
    of_call: dict[_C, int] = {}
    of_layer: dict[_O, int] = {}
    for call in reversed(calls):
        made = called_by(call)
        depth = max(of_call.get(call, 0), of_layer.get(made, 0))
        of_layer[made] = of_call[call] = depth
        for parent in parents[call]:
            of_call[parent] = max(depth + 1, of_call.get(parent, 0))
    return of_layer


class RecordedCalls:
    """The calls of a recorded graph as Keras has them: a layer's call is one, with all its nodes.

    So is the call of an operation.

    Args:
        graph: the graph.
        inputs: the names of its inputs.
        names: the name of the layer, module or function behind each node.
    """

    def __init__(self, graph: Graph, inputs: Sequence[str], names: Sequence[str]) -> None:
        self._graph = graph
        self._names: dict[Any, str] = dict(zip(graph.inputs, inputs, strict=True))
        self._within: dict[int, frozenset[Ref]] = {}  # outputs of a call of a layer
        self._inner = {id(node) for node in graph.nodes}
        self._operations: dict[Operation, list[Node]] = {}
        for node, name in zip(graph.nodes, names, strict=True):
            self._names.setdefault(node, name)
            if node.call is not None:
                self._names.setdefault(node.call.outermost, name)
            elif node.operation is not None:
                self._names.setdefault(node.operation, name)
                self._operations.setdefault(node.operation, []).append(node)

    def names_in_order(self) -> list[str]:
        """Return the names of the inputs, layers, modules and functions, in Keras's order."""
        made: list[Any] = [self._call_of(ref) for ref in self._graph.outputs]
        return in_keras_order(self._graph.inputs, made, self._names.__getitem__, self._taken_by)

    def _call_of(self, ref: Ref) -> Any:
        """Return what makes a value: an input, a call of a layer, an operation, or a node.

        What lies within the call of a layer and is no result of it, such as a mask, is a call of
        its own.
        """
        if ref in self._names:
            return ref
        call = ref.node.call
        if call is not None and ref in self._results(call.outermost):
            return call.outermost
        return ref.node if call is not None or ref.node.operation is None else ref.node.operation

    def _results(self, call: Call) -> frozenset[Ref]:
        if id(call) not in self._within:
            made = iter_leaves(call.outputs) if call.alive else ()
            self._within[id(call)] = frozenset(leaf for leaf in made if type(leaf) is Ref)
        return self._within[id(call)]

    def _taken_by(self, call: Any) -> list[Any]:
        if type(call) is Ref:
            return []
        if call in self._operations:
            taken = [made for node in self._operations[call] for made in self._taken_by(node)]
            return [*self._known(call.inputs), *(made for made in taken if made is not call)]
        arguments = _arguments(call) if isinstance(call, Call) else (call.args, call.kwargs)
        refs = [leaf for leaf in flat(arguments) if type(leaf) is Ref]
        if isinstance(call, Node) and hasattr(call.target, "_graph"):  # a model, given masks
            refs += [mask for ref in call.args if (mask := _mask_of(ref)) is not None]
        return self._known(refs)

    def _known(self, refs: Iterable[Ref]) -> list[Any]:
        """Return what makes the values among `refs` that are in the graph."""
        known = [r for r in refs if r in self._names or id(r.node) in self._inner]
        return [self._call_of(ref) for ref in known]


def _arguments(call: Call) -> tuple[Any, dict[str, Any]]:
    """Return the arguments of a call of a layer that count for Keras.

    A mask that Keras finds by itself does only where the layer is called on one tensor and
    nothing else.
    """
    args, kwargs = call.inputs
    if len(args) == 1 and not kwargs and "mask" in call.owner._parameters("call"):
        mask = _mask_of(args[0])
        if mask is not None:
            return args, {"mask": mask}
    return args, kwargs


def _mask_of(leaf: Any) -> Ref | None:
    return (leaf.node.masks or {}).get(leaf.index) if type(leaf) is Ref else None
