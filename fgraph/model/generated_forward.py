"""The generated forward of a model, and the class that it belongs to."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from typing import Any, cast

from ..graph.graph import Graph
from ..graph.nested import filled
from . import codegen
from .graph_attributes import GraphAttributes
from .identifiers import identifier
from .masked_calls import prepare
from .naming import Naming

_classes: weakref.WeakValueDictionary[Any, type] = weakref.WeakValueDictionary()


class GeneratedForward(GraphAttributes):
    """Runs the graph of a model by a forward that is generated from it."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the graph; a subclass that overrides this may call it."""
        if self._graph is None:
            raise NotImplementedError(
                f"{type(self).__name__} has no graph and no forward: write a forward method, or "
                "call super().__init__(inputs, outputs)"
            )
        return self._replay(*args, **kwargs)

    def _take(self, source: codegen.ForwardSource, segments: Any) -> None:
        """Make this source the forward.

        Args:
            source: what was generated of the graph.
            segments: the nodes that it computes again, see `parallel.segmented_forward`.
        """
        self._segments = segments
        for of_the_source_before in ("_view", "_masked"):
            self.__dict__.pop(of_the_source_before, None)
        self._forward_source = source
        self._attach_forward()

    def _generate(
        self, graph: Graph, naming: Naming, outputs: Any, segments: Any = None
    ) -> codegen.ForwardSource:
        """Generate a forward that runs a graph on the modules and tensors of this model.

        Args:
            graph: the graph.
            naming: the names of all that is in it.
            outputs: the structure to return, with a `Ref` for each tensor.
            segments: the nodes that it computes again, see `parallel.segmented_forward`.
        """
        make = codegen.ForwardWriter if segments is None else segments.writer
        writer: codegen.ForwardWriter = make(graph, naming, {**self._parameters, **self._buffers})
        return writer.write(outputs)

    def _naming(self, graph: Graph, more_inputs: Iterable[str] = ()) -> Naming:
        """Return the names of all that is in a graph of this model's layers, as they are now.

        Args:
            graph: its own graph, or another one whose first inputs are the model's.
            more_inputs: names for the other inputs.
        """
        names: dict[int, str] = {}
        paths = {id(part): tuple(path.split(".")) for path, part in self.named_modules()}
        own = self._live_graph("names").nodes
        for node, name, path in zip(own, self._node_names, self._node_paths, strict=True):
            names[id(node.maker)] = name
            if path is not None:
                paths[id(node.target)] = path
        return Naming(
            [*self.input_names, *more_inputs],
            [names.get(id(n.maker)) or identifier(n.kind.strip("_")) for n in graph.nodes],
            [paths[id(n.target)] if n.op == "module" else None for n in graph.nodes],
            {name: child for name, child in self._modules.items() if child is not None},
        )

    def _attach_forward(self) -> None:
        """Make this object an instance of a subclass that has the generated forward.

        `torch.fx`, `torch.export` and FSDP look at `type(model)`, so the forward belongs on a
        class; models with equal source share it.
        """
        base = self._public_class()
        source = self._forward_source
        constants = tuple(sorted((key, id(value)) for key, value in source.namespace.items()))
        key = (base, source.text, constants)
        made = _classes.get(key)
        if made is None:
            forward = codegen.compile_forward(source, self.name)
            slot = "forward" if base.forward is GeneratedForward.forward else "_replay"
            body = {slot: forward, "_generated": forward, "__doc__": base.__doc__}
            made = type(base.__name__, (base,), body | {"__module__": base.__module__})
            made.__qualname__ = base.__qualname__
            _classes[key] = made
        self.__class__ = made
        prepare(cast(Graph, self._graph))

    @classmethod
    def _public_class(cls) -> type[Any]:
        """Return the class that the user wrote, the base of the generated one."""
        return next(kind for kind in cls.__mro__ if "_generated" not in kind.__dict__)

    @property
    def _has_own_forward(self) -> bool:
        """Whether the user's class has a `forward` of its own."""
        return self._public_class().forward is not GeneratedForward.forward

    def _output_structure(self, values: Sequence[Any]) -> Any:
        if type(self._output_template) is int:  # a single output
            return values[self._output_template]
        return filled(self._output_template, values)
