"""The layers of a model, by name and in the order of Keras."""

from __future__ import annotations

from typing import Any, cast

from ..graph import Node
from ..layers.input_layer import InputLayer
from ..layers.opened_layer import OpenedLayer
from .keras_order import names_of_attributes, recorded_order


class LayerLookups:
    """Keras's look-ups of layers, for a class that is also an `nn.Module`."""

    _graph: Any
    _modules: Any

    @property
    def layers(self) -> list[Any]:
        """The inputs, layers and raw torch modules, in Keras's order, each once.

        That is by the longest way to an output, not the order of the calls. A model written with
        `call` has its layers in the order in which they became its attributes.
        """
        return list(self._layers_by_name().values())

    def get_layer(self, name: str | None = None, index: int | None = None) -> Any:
        """Return a layer, or a raw torch module, by its name or its place in `layers`.

        Raises:
            ValueError: there is no such layer, or not exactly one of the arguments is given.
        """
        if (name is None) == (index is None):
            raise ValueError(
                f"get_layer expects either a name or an index, got name={name!r}, index={index!r}"
            )
        found = self._layers_by_name(sort=name is None)
        if name is not None:
            layer = found[name] if name in found else self._opened_layer(name)
            if layer is None:
                raise ValueError(f"No such layer: {name}. Existing layers are: {list(found)}.")
            return layer
        try:
            return list(found.values())[cast(int, index)]
        except IndexError:
            raise ValueError(
                f"There is no layer at index {index}: the model has {len(found)} layers."
            ) from None

    def _layers_by_name(self, sort: bool = True) -> dict[str, Any]:
        """Return inputs, layers and raw modules by name, in Keras's order if `sort`."""
        model: Any = self
        graph = model._live_graph("layers")
        found: dict[str, Any] = {
            name: InputLayer.of(ref, name)
            for name, ref in zip(model.input_names, graph.inputs, strict=True)
        }
        for node, name in zip(graph.nodes, model._node_names, strict=True):
            maker = node.maker
            if node.scope is not None and node.op == "module" and name not in found:
                found[name] = self._opened_layer(name)
            elif not isinstance(maker, Node):
                found.setdefault(name, maker)
        if not sort:
            return found
        order = [*model.input_names, *names_of_attributes(self, found)]
        if not hasattr(self, "call"):
            names = model.input_names, model._node_names
            order = recorded_order(graph, *names, model._output_template)
        return {name: found[name] for name in (*order, *found) if name in found}

    def _opened_layer(self, name: str) -> OpenedLayer | None:
        """Return a part of an opened module: a block, or a module that was not opened."""
        model: Any = self
        graph = model._live_graph("layers")
        named = zip(graph.nodes, model._node_names, strict=True)
        calls: list[Any] = [n for n, at in named if at == name and n.scope and n.op == "module"]
        calls = calls or [s for s in graph.scopes if s.name == name and s.alive and s.outputs]
        if not calls:
            return None
        return OpenedLayer(name, model._part_at(name.split(".")), calls)

    def _own_layers(self) -> list[Any]:
        """Return layers, nested models and raw modules in Keras's order; children if no graph."""
        if self._graph is None:
            return list(self._modules.values())
        return list(self._layers_by_name().values())
