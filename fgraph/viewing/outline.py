"""A model as a list of steps: its inputs, then a step for each call of a layer or function."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass
from typing import Any, cast

from torch import nn

from ..graph import Node, Ref
from ..graph.module_state import training
from ..graph.nested import iter_leaves
from ..graph.node import Scope
from ..layers.base import Layer
from ..model import Model


@dataclass(eq=False)
class OutlineStep:
    """An input of a model, or one call of a layer, module or function.

    Attributes:
        name: unique in the model: the layer's name, for a further call with its number,
            `lstm_1[1]`.
        layer_name: the name of the layer, the same for all its calls.
        kind: the class of the layer or module, or the name of the function.
        maker: the layer, the module or, for a function, the node; `None` for an input.
        nodes: the nodes that were recorded during the call.
        inputs: the values that it takes from other steps, each once.
        outputs: its result, a structure with a `Ref` for each tensor.
        call: which call of the layer this is, from 0.
        calls: how often the model calls the layer.
        level: for a block of an opened module, the number of blocks around it; else `None`.
    """

    name: str
    layer_name: str
    kind: str
    maker: Any
    nodes: list[Node]
    inputs: list[Ref]
    outputs: Any
    call: int = 0
    calls: int = 1
    level: int | None = None

    @property
    def module(self) -> nn.Module | None:
        """The torch module behind the step, `None` for an input or a function."""
        maker = self.maker.module if isinstance(self.maker, Layer) else self.maker
        return maker if isinstance(maker, nn.Module) else None

    @property
    def title(self) -> str:
        """The kind, with what is inside of a wrapper: `TimeDistributed(Dense)`."""
        inner = getattr(self.maker, "layer", None) if isinstance(self.maker, Layer) else None
        if not isinstance(inner, (Layer, nn.Module)):
            return self.kind
        return f"{self.kind}({getattr(inner, 'explicit_name', None) or type(inner).__name__})"


class Outline:
    """The steps of a model, in the order in which they run.

    Args:
        model: a model that has a graph.
        purpose: the attribute that was read, for the message if there is no graph.
        expanded: whether steps are the calls inside the blocks of opened modules (see `unfold`)
            instead of the blocks; `inside` returns the contents of a block.

    Attributes:
        graph: the graph, with the modules that the model has now.
        steps: the inputs, then the calls.
        made_by: the step that makes each value.

    Raises:
        AttributeError: the model has no graph.
    """

    def __init__(self, model: Model, purpose: str, expanded: bool = False) -> None:
        self.graph = graph = model._live_graph(purpose)
        self._model = model
        named = zip(graph.nodes, model._node_names, strict=True)
        self._names = {id(node): name for node, name in named}
        self.steps = [
            OutlineStep(name, name, "Input", None, [], [], ref)
            for name, ref in zip(model.input_names, graph.inputs, strict=True)
        ]
        self.made_by: dict[Ref, OutlineStep] = {step.outputs: step for step in self.steps}
        self._group(graph.nodes, None if expanded else 0)

    def inside(self, step: OutlineStep) -> Outline:
        """Return the steps of a block of an opened module, one level further in.

        Values from outside the block are attributed to the steps of this outline.
        """
        inner = copy.copy(self)
        inner.steps, inner.made_by = [], {
            ref: made for ref, made in self.made_by.items() if made is not step
        }  # fmt: skip
        inner._group(step.nodes, cast(int, step.level) + 1)
        return inner

    def _group(self, nodes: list[Node], level: int | None) -> None:
        """Add a step for each layer call, function and, at a level, block of an opened module."""
        groups: dict[int, list[Node]] = {}
        blocks: dict[int, Scope] = {}
        for node in nodes:
            if node.target is training:
                continue
            key = id(node.call.outermost) if node.call is not None else id(node)
            if level is not None and (block := _block(node, level)) is not None:
                key = id(block)
                blocks[key] = block
            groups.setdefault(key, []).append(node)
        names = {
            key: blocks[key].name if key in blocks else self._names[id(nodes[0])]
            for key, nodes in groups.items()
        }
        totals = Counter(names.values())
        done: Counter[str] = Counter()
        for key, nodes in groups.items():
            name = names[key]
            self._add(name, nodes, done[name], totals[name], blocks.get(key), level)
            done[name] += 1

    def _add(
        self,
        name: str,
        nodes: list[Node],
        call: int,
        calls: int,
        block: Scope | None,
        level: int | None,
    ) -> None:
        maker = nodes[0].maker if block is None else self._model._part_at(name.split("."))
        kind = nodes[0].kind if isinstance(maker, Node) else type(maker).__name__
        if block is not None:
            kind = maker._get_name()  # of a block from a file, the class that it had
        inside = {id(node) for node in nodes}
        taken = [ref for node in nodes for ref in node.refs() if id(ref.node) not in inside]
        label = f"{name}[{call}]" if call else name
        inputs = list(dict.fromkeys(taken))
        step = OutlineStep(label, name, kind, maker, nodes, inputs, None, call, calls)
        if block is None:
            step.outputs = self._outputs(nodes)
        else:
            step.level, step.outputs = level, block.outputs if block.alive else None
        self.steps.append(step)
        for node in nodes:
            for index in range(len(node.specs)):
                self.made_by.setdefault(Ref(node, index), step)

    @staticmethod
    def _outputs(nodes: list[Node]) -> Any:
        """Return what the call returned to its caller."""
        if nodes[0].call is not None:
            try:
                return nodes[0].call.outermost.outputs
            except ReferenceError:  # parts that no output of the model needs are left out
                pass
        return nodes[-1].build(lambda ref: ref)

    def sources(self, step: OutlineStep) -> list[OutlineStep]:
        """Return the steps that `step` takes its inputs from, each once."""
        found = (self.made_by[ref] for ref in step.inputs if ref in self.made_by)
        return list(dict.fromkeys(found))


def _block(node: Node, level: int) -> Scope | None:
    """Return the block at a level, from 0 for the outermost, that a node was recorded in."""
    blocks, scope = [], node.scope
    while scope is not None:
        if scope.name:  # the opened module itself has none, unless it was given one
            blocks.append(scope)
        scope = scope.outer
    return blocks[-1 - level] if level < len(blocks) else None


class ParameterCount:
    """Counts the parameters of steps; each parameter counts at its first use."""

    def __init__(self) -> None:
        self._counted: set[int] = set()

    def new(self, step: OutlineStep) -> list[nn.Parameter]:
        """Return the parameters that no earlier step uses."""
        new = {id(p): p for p in parameters_of(step) if id(p) not in self._counted}
        self._counted.update(new)
        return list(new.values())


def parameters_of(step: OutlineStep) -> list[nn.Parameter]:
    """Return the parameters that a step uses, those of inner layers and arguments included."""
    found = list(step.module.parameters()) if step.module is not None else []
    for node in step.nodes:
        found += node.target.parameters() if isinstance(node.target, nn.Module) else []
        leaves = iter_leaves((node.args, node.kwargs))
        found += [leaf for leaf in leaves if isinstance(leaf, nn.Parameter)]
    return list({id(p): p for p in found}.values())


def nested_call(step: OutlineStep) -> tuple[Node, Model] | None:
    """Return the model that a step calls, itself or in a wrapper such as `TimeDistributed`.

    Args:
        step: a call.

    Returns:
        The node that calls the model, and the model; `None` if the step calls something else, or a
        model without a graph.
    """
    inner = step.module
    if isinstance(inner, Model) and inner._graph is not None:
        nodes = [node for node in step.nodes if node.target is inner]
        if len(nodes) == 1:
            return nodes[0], inner
    return None
