"""The graph as attributes of a model: inputs, outputs, layers, and the tensors between them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from torch import nn

from ..errors import AmbiguousNodeError, unknown_name
from ..graph import Node, SymbolicTensor, symbol, to_symbols
from ..graph.graph import Graph
from ..graph.nested import filled, numbered
from ..graph.recording.replaced_graph import with_replaced
from ..interface.keras_weights import KerasWeights
from ..interface.lazy_methods import LazyMethods
from ..interface.penalties import Penalties
from ..training import Trainer
from .signature import Signature


class GraphAttributes(LazyMethods, KerasWeights, Penalties, Trainer, nn.Module):
    """Properties and look-ups of a model that has a graph, beside all that it inherits."""

    _graph: Graph | None = None
    _signature: Signature | None = None
    _forward_source: Any
    _input_template: Any
    _output_template: Any
    _named_inputs: list[str]
    _node_names: list[str]
    _node_paths: list[tuple[str, ...] | None]
    _output_names: list[str]
    _graph_tensors: dict[str, Any]
    _segments: Any
    explicit_name: str | None

    @property
    def name(self) -> str:
        """The name given to the constructor, else `"model"`."""
        return self.explicit_name or "model"

    @property
    def code(self) -> str:
        """The generated source of `forward`."""
        return str(self._forward_source.text)

    @property
    def nodes(self) -> list[Node]:
        """The recorded calls, in the order in which they run."""
        return list(self._live_graph("nodes").nodes)

    @property
    def inputs(self) -> list[Any]:
        """The symbolic inputs, in order."""
        return [symbol(ref) for ref in self._live_graph("inputs").inputs]

    @property
    def outputs(self) -> list[SymbolicTensor]:
        """The symbolic outputs, in order."""
        return [symbol(ref) for ref in self._live_graph("outputs").outputs]

    @property
    def input(self) -> Any:
        """The symbolic inputs, in the structure that the model was made of."""
        return filled(self._input_template, self.inputs)

    @property
    def output(self) -> Any:
        """The symbolic outputs, in the structure that the model was made of."""
        return filled(self._output_template, self.outputs)

    @property
    def input_shape(self) -> Any:
        """The shapes of the inputs, in their structure, `None` for unknown sizes.

        As in Keras, that of the only one in a list stands by itself.
        """
        shapes = [value.spec.shape for value in self.inputs]
        return (
            shapes[0] if _is_single(self._input_template) else filled(self._input_template, shapes)
        )

    @property
    def output_shape(self) -> Any:
        """The shapes of the outputs, in their structure, `None` for unknown sizes.

        As in Keras, that of the only one in a list stands by itself.
        """
        shapes = [value.spec.shape for value in self.outputs]
        return (
            shapes[0]
            if _is_single(self._output_template)
            else filled(self._output_template, shapes)
        )

    def _predicted(self, outputs: Any) -> Any:
        """Return what `predict` gives: as in Keras, the only output in a list by itself.

        Not so for a model written with `call`, or where a `predict_step` returns something else.
        """
        is_made_of_graph = self._graph is not None and not hasattr(type(self), "call")
        if is_made_of_graph and _is_single(self._output_template) and _is_single(numbered(outputs)):
            return outputs[0]
        return outputs

    @property
    def input_names(self) -> list[str]:
        """The names of the inputs, in order."""
        return list(self._named_inputs)

    @property
    def output_names(self) -> list[str]:
        """The names of the outputs, in order: dict keys, else the layers that make them."""
        return list(self._output_names)

    def output_of(self, name: str, node_index: int | None = None) -> Any:
        """Return the symbolic output of a layer, module or function, to cut the graph there.

        Unlike `layer.output` it knows raw torch modules and functions too, and only this model's
        calls count.

        Args:
            name: the name, as `summary` and `get_layer` have it.
            node_index: which call of it, from 0, where there are several.

        Returns:
            A symbolic tensor, or the structure of them that the call returns.

        Raises:
            ValueError: there is no such name, or no such call.
            AmbiguousNodeError: there are several calls, and `node_index` is not given.

        Example:
            >>> x = Input((3,))
            >>> model = Model(x, nn.Linear(5, 2)(nn.Linear(3, 5)(x).relu()))
            >>> Model(x, model.output_of("linear_1")).output_shape
            (None, 5)
        """
        graph = self._live_graph("output_of")
        named = zip(graph.nodes, self._node_names, strict=True)
        calls = [node.call.outermost if node.call else node for node, at in named if at == name]
        made: list[Any] = list(dict.fromkeys(calls))
        if not made and (opened := self._opened_layer(name)) is not None:
            made = opened.inbound_nodes
        if not made:
            given = dict(zip(self.input_names, graph.inputs, strict=True))
            if name in given:
                return symbol(given[name])
            raise ValueError(f"output_of: {unknown_name('layer', name, self._node_names)}")
        if node_index is None and len(made) > 1:
            raise AmbiguousNodeError(
                f"{name!r} is called {len(made)} times in model {self.name!r}: say which call, "
                f"output_of({name!r}, node_index=0)"
            )
        try:
            found = made[node_index or 0]
        except IndexError:
            raise ValueError(
                f"output_of: {name!r} is called {len(made)} times, node_index={node_index} is not "
                "among them"
            ) from None
        return to_symbols(found.outputs)

    def count_params(self) -> int:
        """Return the number of parameters, each counted once."""
        return sum(parameter.numel() for parameter in self.parameters())

    def __getattr__(self, name: str) -> Any:
        """Find children and tensors; a property that failed for lack of a graph says so."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            known = isinstance(getattr(type(self), name, None), property)
            if known and self.__dict__.get("_graph") is None:
                raise AttributeError(self._missing_graph(name)) from None
            raise

    def _missing_graph(self, attribute: str) -> str:
        """Return why there is no graph, as the text of an error."""
        why = (
            "is not built yet: call it on a tensor, or model.build((None, ...)) with the shape of "
            "the input"
            if self._is_unbuilt
            else "has no graph, its forward is written by hand"
        )
        return f"{type(self).__name__}.{attribute}: this model {why}"

    def _live_graph(self, attribute: str) -> Graph:
        """Return the graph, brought up to date with the children that the model has now."""
        graph = self._graph
        if graph is None:
            raise AttributeError(self._missing_graph(attribute))
        paths = zip(graph.nodes, self._node_paths, strict=True)
        new = {
            id(node.target): module
            for node, path in paths
            if path is not None and (module := self._part_at(path)) is not node.target
        }
        for name, before in self._graph_tensors.items():
            path, _, key = name.rpartition(".")
            owner = self._part_at(path.split(".") if path else ())
            # one that was deleted, pruned or is computed by a parametrization stays as it was
            now = next((g[key] for g in _groups(owner) if g.get(key) is not None), before)
            if now is not before:
                new[id(before)] = now
        if new:
            self._graph = graph = with_replaced(graph, new)
            self._graph_tensors = {k: new.get(id(t), t) for k, t in self._graph_tensors.items()}
        return graph

    def get_submodule(self, target: str) -> nn.Module:
        """Return the module at a dotted path, whatever attributes have these names.

        Raises:
            AttributeError: there is no such module.
        """
        part: Any = self
        for name in target.split(".") if target else ():
            part = part._modules.get(name)
            if part is None:
                return super().get_submodule(target)
        return cast(nn.Module, part)

    def _part_at(self, path: Iterable[str]) -> Any:
        """Return the module or tensor at a path, whatever attributes have these names."""
        part: Any = self
        for name in path:
            found = part._modules.get(name)
            part = getattr(part, name) if found is None else found
        return part


def _groups(module: nn.Module) -> tuple[dict[str, Any], ...]:
    return module._modules, module._parameters, module._buffers


def _is_single(template: Any) -> bool:
    """Return whether a structure is a list or tuple of one leaf."""
    return isinstance(template, (list, tuple)) and len(template) == 1 and template[0] == 0
