"""The forward of a model as a person would write it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from ..errors import SaveError
from ..graph import Node, Ref
from ..graph.closures import LiftedFunction, MethodCall
from ..graph.graph import Graph
from ..graph.memory import setitem
from ..interface.keras_weights import KerasWeights
from ..model import codegen
from ..model.codegen import Statement, in_blocks
from ..model.expressions import Rebuild, quoted
from ..model.identifiers import identifier
from ..model.masked_calls import MaskRanks, mask_ranks
from ..model.naming import Naming


class PlainForwardWriter(codegen.ForwardWriter):
    """Writes `self.dense_1(x)` where the running forward looks up `m["dense_1"]`.

    Args:
        graph: what to run.
        naming: the names of its inputs, layers and modules.
        model: the model.
        reserved: names of the file that no variable may have.
        masked_methods: for each model, the method for its calls with masks of these ranks.
        constant: writes a function, class or object that is not a plain value.
    """

    def __init__(
        self,
        graph: Graph,
        naming: Naming,
        model: nn.Module,
        reserved: set[str],
        masked_methods: Mapping[int, Mapping[MaskRanks, str]],
        constant: Callable[[Any], str],
    ) -> None:
        super().__init__(graph, naming, {**model._parameters, **model._buffers})
        self._taken |= reserved
        self._root = model
        self._masked_methods = masked_methods
        self._write_constant = constant

    @property
    def variables(self) -> set[str]:
        """The variables of the forward, its parameters among them."""
        return {*self.parameters, *self._variables.values()}

    def lines(self, outputs: Any) -> list[str]:
        """Return the statements of the body."""
        graph = self._graph
        statements = [Statement(None, self._opening())]
        for node in graph.nodes:
            lines = self._statements(node)
            statements += [Statement(None, self._saved(node)), Statement(node.modes, lines)]
        body = [line for line, _ in in_blocks(s for s in statements if s.lines)]
        return [*body, f"return {self._value(outputs)}"]

    def _statements(self, node: Node) -> list[str]:
        if node.target is setitem:
            value, index, item = node.args
            name = self._value(value)
            line = f"{name}[{self._index(index)}] = {self._value(item)}"
            return [line, f"{self._name(node, Ref(node))} = {name}"]
        lines = super()._statements(node)
        return [line for line in lines if not line.startswith("del ")]

    def _call(self, node: Node) -> str:
        if node.op == "module":
            path = self._paths[id(node)] or ()
            if "training" in node.kwargs and isinstance(node.target, KerasWeights):
                raise SaveError(
                    f"the model {'.'.join(path)!r} is called with training="
                    f"{node.kwargs['training']}, but a plain module takes its mode from train() "
                    "and eval(): call it without, and set the mode of that child"
                )
            if (ranks := mask_ranks(node)) is not None:
                given = (*node.args, *(mask for mask in node.kwargs["masks"] if mask is not None))
                method = self._masked_methods[id(node.target)][ranks]
                return f"{self._module(path)}.{method}({self._arguments(given, {})})"
            return f"{self._module(path)}({self._arguments(node.args, node.kwargs)})"
        if isinstance(node.target, MethodCall):
            method = f"{self._value(node.args[0])}.{node.target.__name__}"
            return f"{method}({self._arguments(node.args[1:], node.kwargs)})"
        if isinstance(node.target, LiftedFunction):
            raise SaveError(
                f"{node.target.__name__} uses modules or tensors that are not among its arguments"
            )
        return super()._call(node)

    def _module(self, path: tuple[str, ...]) -> str:  # type: ignore[override]
        return "self" + reach(self._root, path)

    def _constant(self, value: Any) -> str:
        if isinstance(value, Rebuild):
            raise SaveError(f"a {value.__name__} cannot be written as source")
        return self._write_constant(value)


def reach(root: nn.Module, path: tuple[str, ...]) -> str:
    """Write the attribute path from a module to a part of it: `.encoder.layers[0]`."""
    text, owner = "", root
    for name in path:
        text = member(text, name, owner)
        owner = owner._modules.get(name) or owner
    return text


def member(text: str, name: str, owner: nn.Module) -> str:
    """Write a child, parameter or buffer of a module, whose own source is `text`."""
    mangled = name.startswith("__") and not name.endswith("__")  # by Python, inside a class
    if identifier(name) == name and not mangled:
        return f"{text}.{name}"
    if isinstance(owner, (nn.Sequential, nn.ModuleList)):
        names = list(owner._modules)
        if name in names and not isinstance(owner, nn.ModuleDict):
            return f"{text}[{names.index(name)}]"
    if isinstance(owner, nn.ParameterList):
        return f"{text}[{name}]"
    groups = ("_parameters", "_buffers", "_modules")
    group = next(group for group in groups if name in getattr(owner, group))
    return f"{text}.{group}[{quoted(name)}]"
