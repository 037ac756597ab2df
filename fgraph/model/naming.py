"""Names within one model: of inputs, layers, modules and function calls, counted in call order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from torch import Tensor, nn

from ..graph import Node, Ref
from ..graph.ancestry import spans_of
from ..graph.graph import Graph
from ..graph.nested import iter_leaves, label, leaves_with_paths
from ..layers.base import snake_case
from ..unfolding.registered_parts import registered_parts
from .identifiers import check_name, distinct, identifier


@dataclass
class Naming:
    """The names of everything in one graph, and where its modules hang in the model.

    Attributes:
        inputs: the name of each input, in order.
        nodes: for each node, in order, the name of the layer, module or function that made it.
        paths: for each node, the path from the model to the module that it calls; `None` for a
            function.
        children: the modules that become children of the model, by the name they are registered
            under: that of the layer, unless it has a dot, or would hide an attribute of the model.
            Then `"output"` becomes `"output_"`, and `"block.conv"` becomes `"block_conv"`.
    """

    inputs: list[str]
    nodes: list[str]
    paths: list[tuple[str, ...] | None]
    children: dict[str, nn.Module]


def name_graph(graph: Graph, input_names: Iterable[str | None], model: nn.Module) -> Naming:
    """Name all that is in a graph.

    Explicit names are kept. The others are numbered in call order, layers and modules before
    functions, so that adding a function call does not rename a child.

    Args:
        graph: what to name.
        input_names: names for the inputs, `None` to use the one given to `Input`, or to count.
        model: whose children the modules are to be; those that are parts of it stay where they
            are, and its attributes are names that no other child may have.

    Raises:
        ValueError: two things have the same explicit name, or a name cannot be used.
    """
    return _Namer(graph, model).run(input_names)


def output_names(graph: Graph, naming: Naming, structure: Any) -> list[str]:
    """Name outputs by their dict keys, else by the layers that make them, as Keras does."""
    if isinstance(structure, dict):
        return [label(path) for path, _ in leaves_with_paths(structure)]
    names = {id(node): name for node, name in zip(graph.nodes, naming.nodes, strict=True)}
    inputs = dict(zip(graph.inputs, naming.inputs, strict=True))
    return distinct(inputs.get(ref) or names[id(ref.node)] for ref in graph.outputs)


class _Namer:
    """Names one graph; holds the names handed out so far."""

    def __init__(self, graph: Graph, model: nn.Module) -> None:
        self._graph = graph
        self._model = model
        self._reserved = {*dir(model), *model._modules}
        self._taken: dict[str, object] = {}  # what has each name
        self._counts: Counter[str] = Counter()
        # of inputs, layers, modules and nodes, by `id`: the names given by hand, and all names
        self._given: dict[int, str] = {}
        self._names: dict[int, str] = {}

    def run(self, input_names: Iterable[str | None]) -> Naming:
        """Return the names."""
        graph = self._graph
        for ref, name in zip(graph.inputs, input_names, strict=True):
            if own := name or (ref.node.name if ref.node.op == "input" else None):
                self._given[id(ref)] = own
        makers: dict[int, Any] = {}
        for node in graph.nodes:
            maker = node.maker
            makers[id(maker)] = maker
            if node.call is None and node.name is not None:
                self._given.setdefault(id(maker), node.name)
        for key, maker in makers.items():
            own = None if type(maker) is Node else vars(maker).get("explicit_name")
            if own is not None:
                self._given.setdefault(key, own)
        self._hand_out("an input", graph.inputs)
        self._hand_out("a layer", sorted(makers.values(), key=lambda maker: type(maker) is Node))
        children, paths = self._place_modules()
        return Naming(
            [self._names[id(ref)] for ref in graph.inputs],
            [self._names[id(node.maker)] for node in graph.nodes],
            [paths[id(node.target)] if node.op == "module" else None for node in graph.nodes],
            children,
        )

    def _hand_out(self, what: str, owners: Sequence[Any]) -> None:
        """Name inputs or layers: those that have a name of their own, then the others by kind."""
        for owner in owners:
            if (name := self._given.get(id(owner))) is not None:
                self._names[id(owner)] = check_name(name, what, in_quotes=what != "an input")
                if (holder := self._taken.setdefault(name, owner)) is not owner:
                    raise ValueError(
                        f"the name {name!r} is given to two things in one model, {holder!r} and "
                        f"{owner!r}: names are unique within a model; modules that are opened "
                        "have names of their own with `unfold(module, name=...)`"
                    )
        for owner in owners:
            if id(owner) not in self._names:
                self._names[id(owner)] = self._count(_kind_of(owner), owner)

    def _count(self, kind: str, owner: object) -> str:
        """Return the next free name of a kind: `dense_1`, `dense_2`, ..."""
        while True:
            self._counts[kind] += 1
            name = f"{kind}_{self._counts[kind]}"
            if self._taken.setdefault(name, owner) is owner:
                return name

    def _place_modules(self) -> tuple[dict[str, nn.Module], dict[int, tuple[str, ...]]]:
        """Name each distinct module once; parts of another child are reached through that child."""
        opened = self._opened_parts()
        within = {id(m) for home in self._graph.homes for m in home.module.modules()}
        wishes = {id(part): (part, True, name) for name, part in opened.items()}
        for node in self._graph.nodes:
            for target in _modules_used(node):
                if node.scope is None or id(target) not in within:
                    wish = self._wish(node, target)
                    if wish[1] > wishes.setdefault(id(wish[0]), wish)[1]:
                        wishes[id(wish[0])] = wish  # the first by hand, else the first
        containers = [root for root, *_ in wishes.values() if root._modules]
        inner = {id(part) for root in containers for part in root.modules() if part is not root}
        roots = {name: root for key, (root, _, name) in wishes.items() if key not in inner}
        own = {id(p): path.split(".") for path, p in self._model.named_modules() if path}
        new = {name for name, root in roots.items() if name not in opened and id(root) not in own}
        places = self._places(new)
        children: dict[str, nn.Module] = {}
        paths: dict[int, tuple[str, ...]] = {}
        for name, root in roots.items():
            check_name(name, "a layer")
            place = own.get(id(root)) or [places.get(name, name)]
            children[place[0]] = self._model._modules.get(place[0]) or root
            paths.setdefault(id(root), (*place,))
            for path, part in root.named_modules() if root._modules else ():
                if path:
                    check_name(path, f"a part of {type(root).__name__}")
                    paths.setdefault(id(part), (*place, *path.split(".")))
        return children, paths

    def _opened_parts(self) -> dict[str, nn.Module]:
        """Return the parts of opened modules that become children, by name."""
        found: dict[str, nn.Module] = {}
        for home in self._graph.homes:
            for name, part in registered_parts(home, self._graph.nodes).items():
                if found.setdefault(name, part) is part is self._taken.setdefault(name, part):
                    continue
                raise ValueError(
                    f"the name {name!r} is given to two things in one model, one of them a part of "
                    f"the opened {type(home.module).__name__}: write unfold(module, name=...)"
                )
        return found

    def _places(self, names: Iterable[str]) -> dict[str, str]:
        """Return the name to register each child under; most keep their own."""
        places: dict[str, str] = {}
        taken: set[str] = set()
        for name in sorted(names, key=lambda name: (self._is_reserved(name), name)):
            place = name.replace(".", "_")
            while place in taken or self._is_reserved(place):
                place += "_"
            taken.add(place)
            places[name] = place
        return places

    def _is_reserved(self, name: str) -> bool:
        return "." in name or name in self._reserved or (name[0] == "_" and name[-1] != "_")

    def _wish(self, node: Node, target: nn.Module) -> tuple[nn.Module, bool, str]:
        """Return the module to register for one that a node uses, and a name for it.

        Inside a layer's call that is the layer's own module; the outermost layer that holds the
        called module names it, unless an inner one was named by hand and the outer was not. The
        second value tells whether the name was given by hand.
        """
        if node.call is None and id(target) in self._names:
            by_hand = target is node.target and id(target) in self._given
            return target, by_hand, self._names[id(target)]
        layers = [call.owner for call in spans_of([node], "call")]  # outer ones first
        holders = [
            layer
            for layer in layers
            if layer.module is not None and any(part is target for part in layer.module.modules())
        ]
        for layer in holders:
            if layer.explicit_name is not None:
                return (
                    layer.module,
                    True,
                    self._inner_name(layer.module, layer, layer.explicit_name),
                )
        if not holders:
            return target, False, self._inner_name(target, target)
        owner = holders[0]
        if owner is layers[0]:
            return owner.module, False, self._names[id(owner)]
        return owner.module, False, self._inner_name(owner.module, owner)

    def _inner_name(self, module: nn.Module, named_after: Any, name: str | None = None) -> str:
        """Name a module that is called inside a layer, but may not be the layer's own.

        A name that was given by hand is counted if another layer has it: the layers inside two
        layers of a kind may well have the same names.
        """
        key = -id(module)
        if key not in self._names:
            if name is None or self._taken.setdefault(name, named_after) is not named_after:
                name = self._count(name or snake_case(type(named_after).__name__), module)
            self._names[key] = name
        return self._names[key]


def _kind_of(maker: Any) -> str:
    """Return the prefix of a numbered name: `"lambda"` for `lambda_1`, although it is a keyword."""
    if type(maker) is Ref:
        return "input"
    return _prefix(maker.kind if type(maker) is Node else type(maker).__name__)


@lru_cache(maxsize=1024)
def _prefix(kind: str) -> str:
    kind = snake_case(kind) if kind[:1].isupper() else kind
    return identifier(f"{kind.strip('_')}_").removesuffix("_")


def _modules_used(node: Node) -> list[nn.Module]:
    """Return the modules that a node uses, and those of layers around it whose tensors it takes."""
    used = node.modules()
    if node.call is None or node.op == "module":
        return used
    taken = {id(v) for v in iter_leaves((node.args, node.kwargs)) if isinstance(v, Tensor)}
    around = [call.owner.module for call in reversed(spans_of([node], "call"))]
    return used + [
        module
        for module in around
        if taken
        and module is not None
        and any(id(t) in taken for t in (*module.parameters(), *module.buffers()))
    ]
