"""The order that Keras has the layers of a graph in: that of `layers`, and so of all weights.

It is not the order of the calls: by the longest way to an output, then by the order in which a
walk back from the outputs meets them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from torch import nn

from ..graph import Node, Ref
from ..graph.ancestry import ancestors
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
    parents: dict[_C, list[_C]] = {}  # calls in the order in which a walk back meets them
    calls: dict[_C, None] = {}  # each after those that make its arguments
    stack = [*outputs][::-1]
    while stack:
        call = stack[-1]
        if call in parents:
            calls.setdefault(stack.pop())
        else:
            parents[call] = list(taken_by(call))
            stack += reversed(parents[call])
    distance: defaultdict[_C, int] = defaultdict(int)  # from the outputs, by the longest way
    depths: dict[_O, int] = {}
    for call in reversed(calls):
        made = called_by(call)
        depth = depths[made] = max(distance[call], depths.get(made, 0))
        for parent in parents[call]:
            distance[parent] = max(depth + 1, distance[parent])
    unused = [made for given in inputs if (made := called_by(given)) not in depths]
    met = dict.fromkeys(map(called_by, parents))
    return sorted([*unused, *met], key=lambda made: -depths.get(made, 0))


def recorded_order(
    graph: Graph, inputs: Sequence[str], names: Sequence[str], outputs: Any
) -> list[str]:
    """Return the names of the inputs, layers, modules and functions of a graph, in Keras's order.

    A call of a layer is one, with all its nodes. What lies within it and is no result of it, such
    as a mask, is a call of its own. So is the call of an operation.

    Args:
        graph: the graph.
        inputs: the names of its inputs.
        names: the name of the layer, module or function behind each node.
        outputs: the structure of its outputs, with the number of an output at each leaf.
    """
    named: dict[Any, str] = dict(zip(graph.inputs, inputs, strict=True))
    operations: dict[Any, list[Node]] = {}
    for node, name in zip(graph.nodes, names, strict=True):
        if node.call is not None and node.call.outermost.alive:
            named.setdefault(node.call.outermost, name)  # a mask made in it has no name
        elif node.call is None and node.operation is not None:
            named.setdefault(node.operation, name)
            operations.setdefault(node.operation, []).append(node)
        else:
            named.setdefault(node, name)
    inner = set(graph.nodes)
    results: dict[Any, set[Any]] = {}  # of the calls of layers

    def call_of(ref: Ref) -> Any:
        if ref in named or ref.node.call is None:
            return ref if ref in named else ref.node.operation or ref.node
        call = ref.node.call.outermost
        if call not in results:
            made = iter_leaves(call.outputs) if call.alive else ()
            results[call] = {leaf for leaf in made if type(leaf) is Ref}
        return call if ref in results[call] else ref.node

    def is_reached(ref: Ref) -> bool:
        if ref in named or ref.node in inner:
            return True
        # a mask, or an argument, that nothing in the graph needs: Keras has it all the same
        return all(node.op != "input" for node in ancestors([ref], graph.inputs))

    def taken_by(call: Any) -> list[Any]:
        given = [_arguments(part) for part in (call, *operations.get(call, ()))]
        refs = [leaf for leaf in flat(given) if type(leaf) is Ref]
        made = [call_of(ref) for ref in refs if is_reached(ref)]
        return [other for other in made if other is not call]

    made = [call_of(graph.outputs[number]) for number in flat(outputs)]
    order = in_keras_order(graph.inputs, made, lambda call: named.get(call, call), taken_by)
    return [name for name in order if isinstance(name, str)]


def _arguments(call: Any) -> Any:
    """Return the arguments of a call that count for Keras, masks that it finds included.

    For a layer it finds one only where that is called on one tensor and nothing else.
    """
    if isinstance(call, Ref):
        return ()
    if isinstance(call, Operation):
        return call.inputs
    args, kwargs = call.inputs
    if isinstance(call, Node):
        is_model = hasattr(call.target, "_graph")
        return args, kwargs, [_mask_of(leaf) for leaf in args if is_model]
    alone = len(args) == 1 and not kwargs and "mask" in call.owner._parameters("call")
    return args, kwargs, _mask_of(args[0]) if alone else None


def _mask_of(leaf: Any) -> Ref | None:
    return leaf.mask if type(leaf) is Ref else None


def names_of_attributes(model: Any, layers: Mapping[str, Any]) -> list[str]:
    """Return the names of a model's layers in the order in which they became its attributes.

    That is the order of Keras for models that are written with `call`.

    Args:
        model: the model.
        layers: its layers and modules by name.
    """
    names = {id(layer): name for name, layer in layers.items()}
    values = [getattr(model, name, None) for name in model.__dict__.get("_assigned", ())]
    containers = (nn.ModuleList, nn.ModuleDict)
    leaves = [
        part
        for leaf in iter_leaves(values)
        for part in (leaf.modules() if isinstance(leaf, containers) else (leaf,))
    ]
    return [names[id(leaf)] for leaf in leaves if id(leaf) in names]
