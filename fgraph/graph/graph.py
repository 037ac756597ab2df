"""A finished graph: the nodes between inputs and outputs, which can be copied and pickled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import nn
from torch.utils import _pytree as pytree

from .memory import needed_copies
from .modes import Modes
from .module_state import training
from .nested import iter_leaves, map_leaves
from .node import (
    Call,
    Constant,
    Effects,
    Home,
    Node,
    Ref,
    Scope,
    Spec,
    add_reads,
    ancestors,
    recording,
)
from .record import make_node
from .torch_functions import resolve, torch_name


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
        """The calls of opened modules that the nodes are part of, outer ones before inner ones."""
        found: dict[int, Scope] = {}
        for node in self.nodes:
            chain, scope = [], node.scope
            while scope is not None and id(scope) not in found:
                chain.append(scope)
                scope = scope.outer
            found.update((id(scope), scope) for scope in reversed(chain))
        return list(found.values())

    @property
    def opened(self) -> dict[int, nn.Module]:
        """The modules, not torch's, whose parts are called in place of themselves, by `id`."""
        users = [node for node in self.nodes if node.target is not training]
        called = {id(p) for node in users for module in node.modules() for p in module.modules()}
        return {
            id(part): part
            for home in self.homes
            for part in home.module.modules()
            if id(part) not in called and not type(part).__module__.startswith("torch.nn.")
        }

    @property
    def calls(self) -> list[Call]:
        """The calls of layers that the nodes are part of, the innermost and the enclosing ones."""
        found: dict[int, Call] = {}
        for node in self.nodes:
            call = node.call
            while call is not None and id(call) not in found:
                found[id(call)] = call
                call = call.outer
        return sorted(found.values(), key=lambda call: call.seq)

    def replaced(self, new: Mapping[int, Any]) -> Graph:
        """Return the graph with some modules and tensors replaced; nodes untouched by it stay.

        The new graph has as many nodes, in the same order. The calls of opened modules are made
        anew with all nodes in them.

        Args:
            new: what takes the place of each module or tensor, by the `id` of the old one.

        Raises:
            BuildError: a new module does not fit in its place.
        """
        nodes: dict[int, Node] = {}
        calls: dict[int, Call] = {}
        owners: dict[int, Any] = {}
        scopes: dict[int, Scope] = {}
        homes = {id(home): home.replaced(new) for home in self.homes}
        new = {**new, **{id(home.module): homes[id(home)].module for home in self.homes}}

        def now(leaf: Any) -> Any:
            if type(leaf) is Ref and id(leaf.node) in nodes:
                return Ref(nodes[id(leaf.node)], leaf.index)
            return new.get(id(leaf), leaf)

        def owner_now(owner: Any) -> Any:
            module = new.get(id(owner.module))
            if module is None:
                return owner
            return owners.setdefault(id(owner), owner.with_module(module))

        def renewed(call: Call | None) -> Call | None:
            if call is None:
                return None
            if id(call) not in calls:
                with recording(renewed(call.outer)):
                    calls[id(call)] = Call(owner_now(call.owner), map_leaves(now, call.inputs))
            return calls[id(call)]

        def scope_now(scope: Scope | None) -> Scope | None:
            if scope is None:
                return None
            if id(scope) not in scopes:
                outer = scope_now(scope.outer)
                scopes[id(scope)] = Scope(homes[id(scope.home)], scope.name, outer)
            return scopes[id(scope)]

        for node in self.nodes:
            leaves = [node.target, *iter_leaves((node.args, node.kwargs))]
            same = not any(now(leaf) is not leaf for leaf in leaves)
            if same and node.scope is None:
                continue
            known = (node.specs, node.structure, node.effects) if same or node.declared else None
            with recording(renewed(node.call)):
                nodes[id(node)] = made = make_node(
                    node.op,
                    new.get(id(node.target), node.target),
                    map_leaves(now, node.args),
                    map_leaves(now, node.kwargs),
                    inferred=known,
                    like=node,
                )
            made.scope = scope_now(node.scope)
            if same:
                made.declared, made.lanes, made.loops = node.declared, node.lanes, node.loops
        for scope in self.scopes:
            made_scope = scopes[id(scope)]
            made_scope.inputs = map_leaves(now, scope.inputs)
            if scope.alive:
                made_scope.set_outputs(map_leaves(now, scope.outputs))
        for node in self.nodes:
            if node.masks and id(node) in nodes:
                nodes[id(node)].masks = {i: now(ref) for i, ref in node.masks.items()}
        for call in self.calls:
            if id(call) in calls:
                calls[id(call)].set_outputs(map_leaves(now, call.outputs))
                calls[id(call)].owner.add_call(calls[id(call)])
        return Graph(self.inputs, [now(ref) for ref in self.outputs])

    def __reduce__(self) -> tuple[Any, ...]:
        return restore, (flatten(self),)


def describe(node: Node) -> str:
    """Name a node for a message: its layer, module or function."""
    if node.call is not None:
        owner = node.call.outermost.owner
        return f"layer {owner.name!r} ({owner!r})"
    if node.op == "module":
        return f"{node.name!r} ({node.target!r})" if node.name else repr(node.target)
    return torch_name(node.target) or node.kind


@dataclass(frozen=True)
class At:
    """Where a value comes from, in a flattened graph."""

    node: int
    index: int


class Entry(NamedTuple):
    """A node without references to other nodes."""

    op: str
    target: Any
    function: str | None
    args: Any
    kwargs: Any
    specs: list[Spec]
    template: Any
    name: str | None
    call: int | None
    masks: dict[int, At] | None = None
    declared: bool = False
    effects: Effects | None = None
    modes: Modes | None = None
    scope: int | None = None


class Flat(NamedTuple):
    """A graph as lists: sources first, then the nodes in between, then those for `reads` alone."""

    inputs: list[At]
    outputs: list[At]
    sources: int
    entries: list[Entry]
    calls: list[tuple[Any, Any, Any, int | None]]  # owner, inputs, outputs, enclosing call
    homes: list[tuple[Any, str]]  # opened modules and their names
    scopes: list[tuple[int, str, int | None, Any, Any]]  # home, name, outer, inputs, outputs
    reads: list[tuple[At, int]]
    between: int


def flatten(graph: Graph, reads: Sequence[tuple[Ref, int]] = ()) -> Flat:
    """Write the graph as lists, so that copying and pickling it never recurse along its edges.

    Args:
        graph: the graph.
        reads: sizes that code read while it was built: values that follow from its inputs, and
            axes.
    """
    inner = {id(node) for node in graph.nodes}
    sources = {id(r.node): r.node for r in graph.inputs if id(r.node) not in inner}
    nodes = [*sources.values(), *graph.nodes]
    nodes += [n for n in ancestors([ref for ref, _ in reads], graph.inputs) if id(n) not in inner]
    where = {id(node): position for position, node in enumerate(nodes)}
    calls = graph.calls
    call_at = {id(call): position for position, call in enumerate(calls)}
    homes, scopes = graph.homes, graph.scopes
    scope_at = {id(scope): position for position, scope in enumerate(scopes)}

    def at(leaf: Any) -> Any:
        if type(leaf) is not Ref:
            return leaf
        position = where.get(id(leaf.node))  # a call may have arguments that no output needs
        return None if position is None else At(position, leaf.index)

    entries = [
        _source_entry(node)
        if id(node) in sources
        else Entry(
            op=node.op,
            target=node.target if torch_name(node.target) is None else None,
            function=torch_name(node.target),
            args=map_leaves(at, node.args),
            kwargs=map_leaves(at, node.kwargs),
            specs=node.specs,
            template=_template(node),
            name=node.name,
            call=call_at.get(id(node.call)),
            masks={i: at(ref) for i, ref in (node.masks or {}).items() if at(ref)} or None,
            declared=node.declared,
            effects=node.effects,
            modes=node.modes,
            scope=scope_at.get(id(node.scope)),
        )
        for node in nodes
    ]
    flat_calls = [
        (
            call.owner,
            map_leaves(at, call.inputs),
            map_leaves(at, call.outputs),
            None if call.outer is None else call_at[id(call.outer)],
        )
        for call in calls
    ]
    return Flat(
        [at(ref) for ref in graph.inputs],
        [at(ref) for ref in graph.outputs],
        len(sources),
        entries,
        flat_calls,
        [(home.module, home.name) for home in homes],
        [
            (
                homes.index(scope.home),
                scope.name,
                None if scope.outer is None else scope_at[id(scope.outer)],
                map_leaves(at, scope.inputs),
                map_leaves(at, scope.outputs) if scope.alive else None,
            )
            for scope in scopes
        ],
        [(at(ref), axis) for ref, axis in reads],
        len(graph.nodes),
    )


def _template(node: Node) -> Any:
    return node.build(lambda ref: At(-1, ref.index))


def _source_entry(node: Node) -> Entry:
    """Write a node whose outputs are given from outside."""
    return Entry("input", None, None, (), {}, node.specs, _template(node), node.name, None)


def _as_before(entry: Entry, args: Any, kwargs: Any) -> Node:
    """Make the node of an entry, of which all is known."""
    target = entry.target if entry.function is None else resolve(entry.function)
    structure = None
    if type(entry.template) is not At:
        _, structure = pytree.tree_flatten(entry.template, lambda leaf: type(leaf) is At)
    node = Node(entry.op, target, args, kwargs, entry.specs, structure, entry.name)
    node.declared, node.effects, node.modes = entry.declared, entry.effects, entry.modes
    return node


def restore(flat: Flat, make: Callable[[Entry, Any, Any], Node] = _as_before) -> Graph:
    """Make the nodes of a flattened graph anew, in the same order.

    Args:
        flat: what `flatten` returned.
        make: makes a node of its entry, arguments and keyword arguments.
    """
    calls: list[Call] = []
    for owner, _, _, outer in flat.calls:
        with recording(None if outer is None else calls[outer]):
            calls.append(Call(owner, None))
    nodes: list[Node] = []
    homes = [Home(module, name) for module, name in flat.homes]
    scopes: list[Scope] = []
    for home, name, outer, _, _ in flat.scopes:
        scopes.append(Scope(homes[home], name, None if outer is None else scopes[outer]))

    def ref(leaf: Any) -> Any:
        if type(leaf) is not At:
            return leaf
        made = Ref(nodes[leaf.node], leaf.index)
        if type(made.spec) is Constant:  # or an IndexError
            raise ValueError(
                f"{leaf} is no value, but the same {made.spec.value!r:.20} at all runs"
            )
        return made

    for entry in flat.entries:
        with recording(None if entry.call is None else calls[entry.call]):
            node = make(entry, map_leaves(ref, entry.args), map_leaves(ref, entry.kwargs))
        node.scope = None if entry.scope is None else scopes[entry.scope]
        nodes.append(node)
    for node, entry in zip(nodes, flat.entries, strict=True):  # a mask may be made after its node
        node.masks = {i: ref(at) for i, at in entry.masks.items()} if entry.masks else None
    for call, (_, inputs, outputs, _) in zip(calls, flat.calls, strict=True):
        call.inputs = map_leaves(ref, inputs)
        call.set_outputs(map_leaves(ref, outputs))
        call.owner.add_call(call)
    for scope, (_, _, _, inputs, outputs) in zip(scopes, flat.scopes, strict=True):
        scope.inputs = map_leaves(ref, inputs)
        scope.set_outputs(map_leaves(ref, outputs))
    graph = Graph.__new__(Graph)
    graph.inputs = [ref(at) for at in flat.inputs]
    graph.outputs = [ref(at) for at in flat.outputs]
    graph.nodes = nodes[flat.sources : flat.sources + flat.between]
    graph.copies = needed_copies(graph.inputs, graph.nodes, graph.outputs)
    if flat.reads:
        add_reads(graph.inputs[0], [(ref(at), axis) for at, axis in flat.reads])
    return graph
