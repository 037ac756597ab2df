"""Names within one model: of inputs, layers, modules and function calls, counted in call order."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from torch import Tensor, nn

from ..graph import Node
from ..graph.graph import Graph
from ..graph.nested import iter_leaves, label, leaves_with_paths
from ..layers.base import snake_case
from ..unfolding.registered_parts import registered_parts
from .identifiers import Names, check_name, distinct, identifier


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


def name_graph(graph: Graph, input_names: Iterable[str | None], reserved: Container[str]) -> Naming:
    """Name all that is in a graph.

    Explicit names are kept. The others are numbered in call order, layers and modules before
    functions, so that adding a function call does not rename a child.

    Args:
        graph: what to name.
        input_names: names for the inputs, `None` to use the one given to `Input`, or to count.
        reserved: attributes of the model, which no child may hide.

    Raises:
        ValueError: two things have the same explicit name, or a name cannot be used.
    """
    return _Namer(graph, reserved).run(input_names)


def output_names(graph: Graph, naming: Naming, structure: Any) -> list[str]:
    """Name outputs by their dict keys, else by the layers that make them, as Keras does."""
    if isinstance(structure, dict):
        return [label(path) for path, _ in leaves_with_paths(structure)]
    names = {id(node): name for node, name in zip(graph.nodes, naming.nodes, strict=True)}
    inputs = dict(zip(graph.inputs, naming.inputs, strict=True))
    return distinct(inputs.get(ref) or names[id(ref.node)] for ref in graph.outputs)


def maker_of(node: Node) -> Any:
    """Return the layer or module that made the node, or the node itself."""
    if node.call is not None:
        return node.call.outermost.owner
    return node.target if node.op == "module" else node


class _Namer:
    """Names one graph; holds the names handed out so far."""

    def __init__(self, graph: Graph, reserved: Container[str]) -> None:
        self._names = Names()
        self._reserved = reserved
        self._graph = graph
        self._module_names = {
            id(node.target): node.name
            for node in reversed(graph.nodes)
            if node.op == "module" and node.name
        }
        self._makers = [maker_of(node) for node in graph.nodes]
        self._maker_names: dict[int, str] = {}

    def run(self, input_names: Iterable[str | None]) -> Naming:
        """Return the names."""
        inputs = self._name_inputs(list(input_names))
        self._name_makers()
        children, paths = self._place_modules()
        nodes = [self._maker_names[id(maker)] for maker in self._makers]
        for name in inputs:
            check_name(name, "an input", in_quotes=False)
        for name in {*nodes, *children}:
            check_name(name, "a layer")
        return Naming(
            inputs,
            nodes,
            [paths[id(n.target)] if n.op == "module" else None for n in self._graph.nodes],
            children,
        )

    def _name_inputs(self, given: list[str | None]) -> list[str]:
        refs = self._graph.inputs
        explicit = [
            name or (ref.node.name if ref.node.op == "input" else None)
            for ref, name in zip(refs, given, strict=True)
        ]
        for ref, name in zip(refs, explicit, strict=True):
            if name is not None:
                self._names.claim(name, ref, "an input")
        return [
            name or self._names.count("input", ref)
            for ref, name in zip(refs, explicit, strict=True)
        ]

    def _name_makers(self) -> None:
        first: dict[int, tuple[Node, Any]] = {}
        for node, maker in zip(self._graph.nodes, self._makers, strict=True):
            first.setdefault(id(maker), (node, maker))
        unnamed: list[tuple[Node, Any]] = []
        functions: list[tuple[Node, Any]] = []
        for node, maker in first.values():
            if (name := self._explicit(node)) is not None:
                what = type(maker).__name__
                self._maker_names[id(maker)] = self._names.claim(name, maker, what)
            else:
                (functions if maker is node else unnamed).append((node, maker))
        for node, maker in (*unnamed, *functions):
            kind = _countable(node.kind if maker is node else type(maker).__name__)
            self._maker_names[id(maker)] = self._names.count(kind, maker)

    def _explicit(self, node: Node) -> str | None:
        maker = maker_of(node)
        if node.call is not None:
            return maker.explicit_name  # type: ignore[no-any-return]
        if node.op != "module":
            return node.name
        return self._module_names.get(id(maker)) or maker.__dict__.get("explicit_name")

    def _place_modules(self) -> tuple[dict[str, nn.Module], dict[int, tuple[str, ...]]]:
        """Name each distinct module once; parts of another child are reached through that child."""
        opened = self._opened_parts()
        within = {id(m) for home in self._graph.homes for m in home.module.modules()}
        roots = {id(part): part for part in opened.values()}
        wishes = {id(part): (True, name) for name, part in opened.items()}
        for node in self._graph.nodes:
            for target in _modules_used(node):
                if node.scope is None or id(target) not in within:
                    root, by_hand, name = self._wish(node, target)
                    roots[id(root)] = root
                    if by_hand > wishes.setdefault(id(root), (by_hand, name))[0]:
                        wishes[id(root)] = (True, name)  # the first by hand, else the first
        parts: dict[int, tuple[int, list[str]]] = {}
        for root in roots.values():
            if root._modules:
                for path, part in root.named_modules():
                    if path:
                        check_name(path, f"a part of {type(root).__name__}")
                        parts.setdefault(id(part), (id(root), path.split(".")))
        names = {key: name for key, (_, name) in wishes.items() if key not in parts}
        places = self._places(set(names.values()) - set(opened)) | {name: name for name in opened}
        children = opened | {places[name]: roots[key] for key, name in names.items()}
        paths: dict[int, tuple[str, ...]] = {key: (places[n],) for key, n in names.items()}
        for key in parts:
            way: list[str] = []
            at = key
            while at in parts:
                at, steps = parts[at]
                way = [*steps, *way]
            paths[key] = (*paths[at], *way)
        return children, paths

    def _opened_parts(self) -> dict[str, nn.Module]:
        """Return the parts of opened modules that become children, by name."""
        found: dict[str, nn.Module] = {}
        for home in self._graph.homes:
            for name, part in registered_parts(home, self._graph.nodes).items():
                if found.setdefault(name, part) is part is self._names.holder(name, part):
                    continue
                raise ValueError(
                    f"the name {name!r} is given to two things in one model, one of them a part of "
                    f"the opened {type(home.module).__name__}: write unfold(module, name=...)"
                )
        return found

    def _places(self, names: set[str]) -> dict[str, str]:
        """Return the name to register each child under; most keep their own."""
        places = {name: name for name in names if not self._is_reserved(name)}
        taken = set(places)
        for name in sorted(names - taken):
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
        if node.call is None and id(target) in self._maker_names:
            by_hand = target is node.target and self._explicit(node) is not None
            return target, by_hand, self._maker_names[id(target)]
        layers = _layers_around(node)
        holders = [
            layer
            for layer in reversed(layers)
            if layer.module is not None and _contains(layer.module, target)
        ]
        for layer in holders:
            if layer.explicit_name is not None:
                return layer.module, True, layer.explicit_name
        if not holders:
            return target, False, self._inner_name(target, target)
        owner = holders[0]
        if owner is layers[-1]:
            return owner.module, False, self._maker_names[id(owner)]
        return owner.module, False, self._inner_name(owner.module, owner)

    def _inner_name(self, module: nn.Module, named_after: Any) -> str:
        """Name a module that is called inside a layer, but is not the layer's own."""
        key = -id(module)
        if key not in self._maker_names:
            kind = snake_case(type(named_after).__name__)
            self._maker_names[key] = self._names.count(kind, module)
        return self._maker_names[key]


@lru_cache(maxsize=1024)
def _countable(kind: str) -> str:
    """Return the prefix of a numbered name: `"lambda"` for `lambda_1`, although it is a keyword."""
    kind = snake_case(kind) if kind[:1].isupper() else kind
    return identifier(f"{kind.strip('_')}_").removesuffix("_")


def _layers_around(node: Node) -> list[Any]:
    """Return the layers during whose calls a node was recorded, the innermost first."""
    layers, call = [], node.call
    while call is not None:
        layers.append(call.owner)
        call = call.outer
    return layers


def _modules_used(node: Node) -> list[nn.Module]:
    """Return the modules that a node uses, and those of layers around it whose tensors it takes."""
    used = node.modules()
    if node.call is None or node.op == "module":
        return used
    taken = {id(v) for v in iter_leaves((node.args, node.kwargs)) if isinstance(v, Tensor)}
    return used + [
        layer.module
        for layer in _layers_around(node)
        if taken
        and layer.module is not None
        and any(id(t) in taken for t in (*layer.module.parameters(), *layer.module.buffers()))
    ]


def _contains(module: nn.Module, part: nn.Module) -> bool:
    return module is part or (bool(module._modules) and any(m is part for m in module.modules()))
