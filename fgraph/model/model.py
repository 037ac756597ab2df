"""`Model`: a graph as an `nn.Module` whose forward is generated source."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Iterable, Sequence
from typing import Any, cast, overload

import torch
from torch import Tensor, nn

from ..errors import AmbiguousNodeError, unknown_name
from ..graph import Input, Node, Symbol, SymbolicTensor, symbol, to_shapes, to_symbols
from ..graph.graph import Graph
from ..graph.nested import filled, iter_leaves, label, leaves_with_paths, numbered
from ..graph.node import Home
from ..graph.replacing import with_replaced
from ..layers.base import Layer
from ..layers.input_layer import InputLayer
from ..layers.masks import mask_of
from ..layers.opened_layer import OpenedLayer
from ..layers.training_mode import MODEL_MODE
from ..training import Trainer
from ..training.output_structure import OutputStructure
from ..training.prediction import keeping_modes
from . import codegen
from .child_calls import has_own_calls
from .keras_weights import Weights
from .lazy_methods import LazyMethods
from .masked_calls import prepare, record_model, run_with_masks
from .naming import Naming, distinct, maker_of, name_graph
from .penalties import Penalties
from .recorded_call import keep_children, record_call
from .run_time_notes import add_run_time_note
from .signature import Signature
from .training_view import TrainingView, training_view

_classes: weakref.WeakValueDictionary[Any, type] = weakref.WeakValueDictionary()


class Model(LazyMethods, Weights, Penalties, Trainer, nn.Module):
    """A graph of layers, modules and functions as one `torch.nn.Module`.

    All that it does: it registers the modules of the graph as children under the names of their
    layers, writes the graph as straight-line Python (read it in `model.code`), and runs that as
    its `forward`. Before a call the inputs are compared with the shapes the graph was built for.

    A child is registered, and has its keys in `state_dict`, under the name of its layer. Names with
    dots, and those that would hide an attribute, are changed there and only there: `"block.conv"`
    to `"block_conv"`, `"output"` to `"output_"`. Inputs may have any name; those in nested dicts
    are named by their keys, `"question.ids"`.

    A subclass with a `forward` of its own calls `super().__init__()` without arguments and gets
    the trainer (`compile`, `fit`, `evaluate`, `predict`). One written as for Keras, with layers
    made in `__init__` and a `call`, is recorded at its first call, and is a graph from then on.

    Args:
        inputs: a symbolic tensor, or a list, tuple or (nested) dict of them. Not only `Input`s:
            any tensor of a graph may be where the model begins.
        outputs: likewise; the result of a call has this structure.
        name: the name of the model where it is used as a layer; `model_1`, ... by default.
        trainable: whether training changes the weights; `False` freezes all layers.

    Raises:
        TypeError: something else than a symbolic tensor is given.
        ValueError: the graph is disconnected, an input is given twice, or names clash.

    Example:
        >>> x = Input((3,))
        >>> model = Model(x, nn.Linear(3, 2)(x))
        >>> model(torch.zeros(5, 3)).shape
        torch.Size([5, 2])
    """

    explicit_name: str | None
    _graph: Graph | None
    _signature: Signature | None
    _records_its_calls = True  # on symbolic tensors, for their masks

    def __init__(
        self,
        inputs: Any = None,
        outputs: Any = None,
        name: str | None = None,
        *,
        trainable: bool = True,
    ) -> None:
        super().__init__()
        if not trainable:
            self._trainable = False
        if name is not None and not isinstance(name, str):
            raise TypeError(f"Model: name= expects a string, got {name!r}")
        self.explicit_name = name
        self._graph = None
        self._signature = None
        if inputs is None and outputs is None:
            if type(self) is Model:
                raise TypeError("Model expects inputs and outputs: Model(inputs, outputs)")
            return
        self._build(inputs, outputs)

    # ------------------------------------------------------------------ building

    def _build(self, inputs: Any, outputs: Any) -> None:
        """Turn symbolic inputs and outputs into children, names and a forward."""
        given, wanted = _symbols("inputs", inputs), _symbols("outputs", outputs)
        refs = [value.source for _, value in given]
        for position, ref in enumerate(refs):
            if ref in refs[:position]:
                raise ValueError(
                    f"Model: the input {given[position][1]!r} is given twice in inputs="
                )
        graph = Graph(refs, [value.ref for _, value in wanted])
        by_key = isinstance(inputs, dict)
        naming = name_graph(
            graph,
            [label(path) if by_key else None for path, _ in given],
            frozenset(dir(self)) | self._modules.keys(),
        )
        keep_children(self, naming)
        for child_name, child in naming.children.items():
            if hasattr(type(self), child_name):  # of an opened module, which keeps its keys
                self._modules[child_name] = child
            else:
                self.add_module(child_name, child)
        for home in graph.homes:
            self._adopt_tensors(home, graph)
        self._adopt(graph, naming, numbered(inputs), numbered(outputs))
        for node, node_name in zip(graph.nodes, naming.nodes, strict=True):
            maker = maker_of(node)
            if isinstance(maker, Layer):
                maker.named(node_name)
        if not self.trainable:
            self.trainable = False
        if not self.training:  # set before the first call, which built the graph
            self.eval()
        if graph.nodes and all(node.modes and node.modes.grad for node in graph.nodes):
            warnings.warn(
                f"all of model {self.name!r} was recorded under torch.no_grad() or "
                "inference_mode(), so it cannot be trained; if it should be, call the layers "
                "outside of that block and only run the model in it",
                stacklevel=3,
            )

    def _adopt(
        self, graph: Graph, naming: Naming, inputs: Any, outputs: Any, own: bool = False
    ) -> None:
        """Take over a graph whose modules are children already, and make its forward.

        Args:
            graph: the graph.
            naming: the names of all that is in it.
            inputs: the structure of the inputs, with anything at the leaves.
            outputs: the structure of the outputs.
            own: whether the model has the tensors of the graph already.
        """
        own = own or bool(graph.homes) or hasattr(self, "call")
        self._graph = graph
        self._input_template = inputs
        self._output_template = outputs
        self._node_names = naming.nodes
        self._node_paths = naming.paths
        self._signature = Signature(f"model {self.name!r}", inputs, naming.inputs, graph.inputs)
        self._output_names = self._name_outputs(leaves_with_paths(outputs))
        source = codegen.generate(
            graph,
            naming,
            self._output_structure(graph.outputs),
            self._signature.parameters,
            {**self._parameters, **self._buffers} if own else None,
        )
        opened = {
            id(leaf) for n in graph.nodes if n.scope for leaf in iter_leaves((n.args, n.kwargs))
        }
        for name, tensor in source.tensors.items():
            if isinstance(tensor, nn.Parameter):
                self.register_parameter(name, tensor)
            else:  # the keys of an opened module are its own
                self.register_buffer(name, tensor, persistent=id(tensor) not in opened)
        self._graph_tensors = source.tensors | source.borrowed
        self._take(source, None)

    def _take(self, source: codegen.Source, segments: codegen.Segments | None) -> None:
        """Take this source for the forward.

        Args:
            source: what was generated of the graph.
            segments: the nodes that it computes again for gradients.
        """
        self._segments, self._recomputed = segments, source.segments
        self.__dict__.pop("_view", None)  # of the source before
        self._forward_source = source
        self._attach_forward()

    def _rerun_segments(self, segments: codegen.Segments) -> None:
        """Generate the forward anew, with these runs of nodes computed again for gradients."""
        graph = self._live_graph("recompute")
        parameters = cast(Signature, self._signature).parameters
        outputs = self._output_structure(graph.outputs)
        own = {**self._parameters, **self._buffers}
        source = codegen.generate(graph, self._naming(), outputs, parameters, own, segments)
        self._take(source, segments)

    def _naming(self) -> Naming:
        """Return the names of all that is in the graph, with the children there are now."""
        children = {name: child for name, child in self._modules.items() if child is not None}
        return Naming(self.input_names, self._node_names, self._node_paths, children)

    def _adopt_tensors(self, home: Home, graph: Graph) -> None:
        """Take the tensors and the mode of an opened module, if its children are ours."""
        module = home.module
        if home.name or not home.is_whole(graph.nodes):
            return
        self.training = module.training
        for name, parameter in module._parameters.items():
            self.register_parameter(name, parameter)
        for name, buffer in module._buffers.items():
            persistent = name not in module._non_persistent_buffers_set
            self.register_buffer(name, buffer, persistent=persistent)

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
            slot = "forward" if base.forward is Model.forward else "_replay"
            body = {slot: forward, "_generated": forward, "__doc__": base.__doc__}
            made = type(base.__name__, (base,), body | {"__module__": base.__module__})
            made.__qualname__ = base.__qualname__
            _classes[key] = made
        self.__class__ = made
        prepare(cast(Graph, self._graph))

    @classmethod
    def _public_class(cls) -> type[Model]:
        """Return the class that the user wrote, the base of the generated one."""
        return next(kind for kind in cls.__mro__ if "_generated" not in kind.__dict__)

    def _output_structure(self, values: Sequence[Any]) -> Any:
        if type(self._output_template) is int:  # a single output
            return values[self._output_template]
        return filled(self._output_template, values)

    def _name_outputs(self, wanted: list[tuple[Any, Any]]) -> list[str]:
        """Name outputs by their dict keys, else by the layer that makes them, as Keras does."""
        if isinstance(self._output_template, dict):
            return [label(path) for path, _ in wanted]
        graph = cast(Graph, self._graph)
        names = {id(n): name for n, name in zip(graph.nodes, self._node_names, strict=True)}
        inputs = dict(zip(graph.inputs, cast(Signature, self._signature).names, strict=True))
        return distinct(inputs.get(ref) or names[id(ref.node)] for ref in graph.outputs)

    # ------------------------------------------------------------------ running

    @overload
    def __call__(self, inputs: SymbolicTensor, /, *args: Any, **kwargs: Any) -> SymbolicTensor: ...

    @overload
    def __call__(self, inputs: Tensor, /, *args: Any, **kwargs: Any) -> Tensor: ...

    @overload
    def __call__(self, /, *args: Any, **kwargs: Any) -> Any: ...

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run the model, or record it as one layer of another graph.

        `model(a, b)`, `model([a, b])`, `model({"left": a, "right": b})` and
        `model(left=a, right=b)` are one thing.

        As in Keras, `training=True` or `training=False` fixes the mode of this one call, also
        where it is recorded, and `mask=` is the mask of the input, or a list of masks.

        Returns:
            A tensor, list, tuple or dict, as the model's `outputs`.

        Raises:
            ValueError: the number, names, rank or known sizes of the inputs are wrong.
            TypeError: an input is not a tensor.
        """
        signature = self._signature or self._signature_for([*args, *kwargs.values()])
        if signature is None:
            if not self._is_unbuilt:
                return super().__call__(*args, **kwargs)
            self._build(*record_call(self, args, kwargs))
            return self(*args, **kwargs)
        if kwargs.get("training") is MODEL_MODE:  # as it would without
            del kwargs["training"]
        if "training" in kwargs and "training" not in signature.names:
            return self._call_in_mode(kwargs.pop("training"), args, kwargs)
        if kwargs or len(args) != len(signature.checks) or not self._fits(args, signature.checks):
            masks = self._masks_given(kwargs)
            args = tuple(self._bind_inputs(args, kwargs))
            if masks is not None or any(isinstance(value, SymbolicTensor) for value in args):
                return self._call_with_masks(args, masks)
        if signature.reads:
            signature.check_reads(args)
        try:
            return super().__call__(*args)
        except Exception as error:
            add_run_time_note(error, self)
            raise

    def _signature_for(self, values: list[Any]) -> Signature | None:
        """Build a graph that waits for the first inputs; return its signature, if there is one."""
        return None

    def _call_in_mode(
        self, training: bool | None, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Run in training or evaluation mode, whatever the model's own; record the mode as well."""
        masks = self._masks_given(kwargs)
        values = self._bind_inputs(args, kwargs)
        if any(isinstance(value, SymbolicTensor) for value in values):
            options = {} if training is None else {"training": bool(training)}
            return self._call_with_masks(values, masks, **options)
        given = {} if masks is None else masks
        if training is None:
            return self(*values, **given)
        with keeping_modes(self):
            self.train(bool(training))
            return self(*values, **given)

    def _masks_given(self, kwargs: dict[str, Any]) -> dict[str, Any] | None:
        """Take masks out of the keyword arguments of a call; `None` if there are none."""
        names = cast(Signature, self._signature).names
        wanted: list[str] = [k for k in ("mask", "masks") if k in kwargs and k not in names]
        found = {key: kwargs.pop(key) for key in wanted}
        return found or None

    def _call_with_masks(
        self, values: Sequence[Any], given: dict[str, Any] | None, **options: Any
    ) -> Any:
        """Record a call, or run one on masked inputs."""
        masks = [mask_of(v) if isinstance(v, SymbolicTensor) else None for v in values]
        if given is not None:
            wanted = next(iter(given.values()))
            masks = list(wanted) if isinstance(wanted, (list, tuple)) else [wanted]
        by_hand = self._public_class().forward is not Model.forward
        if any(isinstance(value, SymbolicTensor) for value in values):
            masks = [None] * len(values) if by_hand else masks
            return record_model(self, values, masks, options)
        if by_hand:
            raise TypeError(f"{type(self).__name__}: mask= does not reach a forward by hand")
        if (signature := cast(Signature, self._signature)).reads:
            signature.check_reads(tuple(values))
        pair = run_with_masks(self, values, masks)
        return pair if "masks" in (given or {}) else self._output_structure(pair[0])

    @staticmethod
    def _fits(args: tuple[Any, ...], checks: Any) -> bool:
        """Whether the arguments are tensors of the right rank and sizes, each in its place."""
        if torch._C._get_tracing_state():
            return False  # sizes are traced tensors now, and comparing them would warn
        for value, (ndim, sizes) in zip(args, checks):  # noqa: B905 - their numbers are equal
            if not isinstance(value, Tensor):
                return False
            shape = value.shape
            if len(shape) != ndim:
                return False
            for axis, size in sizes:
                if shape[axis] != size:
                    return False
        return True

    def _only_forwards(self, args: Sequence[Any]) -> bool:
        """Return whether a call with these inputs would do nothing but run the forward."""
        signature = cast(Signature, self._signature)
        return (
            type(self).__call__ is Model.__call__
            and len(args) == len(signature.checks)
            and self._fits(tuple(args), signature.checks)
            and not signature.reads
            and not has_own_calls(self, tuple(args))
        )

    def _bind_inputs(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """Bring the arguments of a call into order, and say what is wrong with them."""
        signature = cast(Signature, self._signature)
        values = signature.bind(args, kwargs)
        if not torch._C._get_tracing_state():
            signature.check(values)
        return values

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the graph; a subclass that overrides this may call it."""
        if self._graph is None:
            raise NotImplementedError(
                f"{type(self).__name__} has no graph and no forward: write a forward method, or "
                "call super().__init__(inputs, outputs)"
            )
        return self._replay(*args, **kwargs)

    # ---------------------------------------------------------------- the graph, seen from outside

    @property
    def code(self) -> str:
        """The generated source of `forward`."""
        self._need_graph("code")
        return self._forward_source.text

    @property
    def name(self) -> str:
        """The name given to the constructor, else `"model"`."""
        return self.explicit_name or "model"

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
        return filled(self._need_graph("input") and self._input_template, self.inputs)

    @property
    def output(self) -> Any:
        """The symbolic outputs, in the structure that the model was made of."""
        return filled(self._need_graph("output") and self._output_template, self.outputs)

    @property
    def input_shape(self) -> Any:
        """The shapes of the inputs, in their structure, `None` for unknown sizes."""
        self._need_graph("input_shape")
        return filled(self._input_template, cast(Signature, self._signature).shapes)

    @property
    def output_shape(self) -> Any:
        """The shapes of the outputs, in their structure, `None` for unknown sizes."""
        shapes = [value.spec.shape for value in self.outputs]
        return filled(self._output_template, shapes)

    @property
    def input_names(self) -> list[str]:
        """The names of the inputs, in order."""
        self._need_graph("input_names")
        return list(cast(Signature, self._signature).names)

    @property
    def output_names(self) -> list[str]:
        """The names of the outputs, in order: dict keys, else the layers that make them."""
        self._need_graph("output_names")
        return list(self._output_names)

    @property
    def layers(self) -> list[Any]:
        """The inputs, layers and raw torch modules, in call order, each once."""
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
        found = self._layers_by_name()
        if name is not None:
            if name not in found and (block := self._opened_layer(name)) is not None:
                return block
            if name not in found:
                raise ValueError(f"No such layer: {name}. Existing layers are: {list(found)}.")
            return found[name]
        try:
            return list(found.values())[cast(int, index)]
        except IndexError:
            raise ValueError(
                f"There is no layer at index {index}: the model has {len(found)} layers."
            ) from None

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
        calls: dict[int, list[Node]] = {}
        for node, node_name in zip(graph.nodes, self._node_names, strict=True):
            if node_name == name:
                key = id(node) if node.call is None else id(node.call.outermost)
                calls.setdefault(key, []).append(node)
        if not calls and (opened := self._opened_layer(name)) is not None:
            count = len(opened.inbound_nodes)
            if node_index is None and count > 1:
                raise self._several(name, count)
            return opened.get_output_at(node_index or 0)
        if not calls:
            given = dict(zip(self.input_names, graph.inputs, strict=True))
            if name in given:
                return symbol(given[name])
            raise ValueError(f"output_of: {unknown_name('layer', name, self._node_names)}")
        if node_index is None and len(calls) > 1:
            raise self._several(name, len(calls))
        try:
            nodes = list(calls.values())[node_index or 0]
        except IndexError:
            raise ValueError(
                f"output_of: {name!r} is called {len(calls)} times, node_index={node_index} is not "
                "among them"
            ) from None
        call = nodes[0].call
        made = nodes[-1].build(lambda ref: ref) if call is None else call.outermost.outputs
        return to_symbols(made)

    def _several(self, name: str, count: int) -> AmbiguousNodeError:
        return AmbiguousNodeError(
            f"{name!r} is called {count} times in model {self.name!r}: say which call, "
            f"output_of({name!r}, node_index=0)"
        )

    def build(self, input_shape: Any) -> None:
        """Build the graph of a model that is written with `call`, for inputs of these shapes.

        Args:
            input_shape: the shape, batch dimension included: `(None, 784)`; or a list or dict of
                shapes.
        """
        if self._is_unbuilt:
            self._build(*record_call(self, (_inputs_like(input_shape),), {}))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shapes of the outputs for inputs of other shapes; nothing is run.

        Args:
            input_shape: the shape, batch included, `None` for unknown sizes; or shapes in the
                structure of the inputs.

        Returns:
            A shape, or shapes in the structure of the outputs.
        """
        return to_shapes(self(_inputs_like(input_shape)))

    def count_params(self) -> int:
        """Return the number of parameters, each counted once."""
        return sum(parameter.numel() for parameter in self.parameters())

    def _layers_by_name(self) -> dict[str, Any]:
        graph = self._live_graph("layers")
        found: dict[str, Any] = {
            name: InputLayer.of(ref, name)
            for name, ref in zip(self.input_names, graph.inputs, strict=True)
        }
        for node, name in zip(graph.nodes, self._node_names, strict=True):
            maker = maker_of(node)
            if node.scope is not None and node.op == "module" and name not in found:
                found[name] = self._opened_layer(name)
            elif not isinstance(maker, Node):
                found.setdefault(name, maker)
        return found

    def _opened_layer(self, name: str) -> OpenedLayer | None:
        """Return a part of an opened module: a block, or a module that was not opened."""
        graph = self._live_graph("layers")
        named = zip(graph.nodes, self._node_names, strict=True)
        calls: list[Any] = [n for n, at in named if at == name and n.scope and n.op == "module"]
        calls = calls or [s for s in graph.scopes if s.name == name and s.alive and s.outputs]
        if not calls:
            return None
        return OpenedLayer(name, self._part_at(name.split(".")), calls)

    @property
    def _is_unbuilt(self) -> bool:
        """Whether the graph is still to be recorded from `call`."""
        return (
            self._graph is None
            and hasattr(type(self), "call")
            and type(self).forward is Model.forward
        )

    def _need_graph(self, attribute: str) -> bool:
        if self._graph is None:
            raise AttributeError(self._missing_graph(attribute))
        return True

    def __getattr__(self, name: str) -> Any:
        """Find children and tensors; a property that needs a graph says that there is none."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if isinstance(getattr(type(self), name, None), property) and self._graph is None:
                raise AttributeError(self._missing_graph(name)) from None
            raise

    def _missing_graph(self, attribute: str) -> str:
        """Say why there is no graph."""
        if self._is_unbuilt:
            return (
                f"{type(self).__name__}.{attribute}: this model is not built yet: call it on a "
                "tensor, or model.build((None, ...)) with the shape of the input"
            )
        return (
            f"{type(self).__name__}.{attribute}: this model has no graph, its forward is written "
            "by hand"
        )

    def _live_graph(self, attribute: str) -> Graph:
        """Return the graph, brought up to date with the children that the model has now."""
        self._need_graph(attribute)
        graph = cast(Graph, self._graph)
        new: dict[int, Any] = {}
        for node, path in zip(graph.nodes, self._node_paths, strict=True):
            if path is not None:
                module = self._part_at(path)
                if module is not node.target:
                    new[id(node.target)] = module
        tensors = {name: self._part_at(name.split(".")) for name in self._graph_tensors}
        for name, tensor in self._graph_tensors.items():
            if tensors[name] is not tensor:
                new[id(tensor)] = tensors[name]
        if new:
            self._graph = graph = with_replaced(graph, new)
            self._graph_tensors = tensors
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

    # ------------------------------------------------------------------ copies

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Copy and pickle through the public class: the generated one is made again."""
        return _blank, (self._public_class(),), self.__getstate__()

    def __getstate__(self) -> dict[str, Any]:
        if self._graph is not None:
            self._live_graph("copy")
        state: dict[str, Any] = super().__getstate__()  # without what torch.compile made
        state.pop("_view", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if self._graph is not None:
            self._attach_forward()

    # ------------------------------------------------------------------ what the trainer asks for

    def _call_for_loss(self, inputs: Any) -> Any:
        """Run the model once for its outputs, which keep the logits behind them and their masks."""
        view = self._training_view()
        if view is None:
            return super()._call_for_loss(inputs)
        return view.run(self, inputs)

    def _known_outputs(self) -> OutputStructure | None:
        """Return the outputs of the graph."""
        if self._graph is None:
            return None
        return OutputStructure(self._output_names, self._output_template)

    def _input_dtypes(self) -> dict[str, torch.dtype]:
        """Return the dtype of each input by name, in order."""
        if self._graph is None:
            return {}
        named = zip(self.input_names, self._graph.inputs, strict=True)
        if any(ref.spec.shape is None for ref in self._graph.inputs):
            raise TypeError(
                f"model {self.name!r} has inputs that are no tensors, so batches cannot be made of "
                "them: train it in a loop of your own, or in a subclass with its own train_step"
            )
        return {name: ref.spec.dtype for name, ref in named}

    def _training_view(self) -> TrainingView | None:
        """Return what a training step runs in place of forward; `None` where forward is enough."""
        graph = self._graph
        if graph is None or "forward" in self.__dict__:
            return None
        made = self.__dict__.get("_view")
        if made is None or any(self._submodule_at(at) is not part for at, part in made[0].items()):
            made = self.__dict__["_view"] = self._make_training_view()
        view: TrainingView | None = made[1]
        return view

    def _submodule_at(self, path: str) -> nn.Module | None:
        """Return the module at a path, `None` if there is none; its children at once."""
        found = self._modules.get(path)
        if found is not None or "." not in path:
            return found
        return self.get_submodule(path)

    def _make_training_view(self) -> tuple[dict[str, nn.Module], TrainingView | None]:
        """Make the view, with the children whose outputs are the model's: they decide on logits."""
        graph = self._live_graph("training")
        if self._public_class().forward is not Model.forward:  # written by hand
            return {}, None
        own = {**self._parameters, **self._buffers}
        parameters = cast(Signature, self._signature).parameters
        view = training_view(graph, self._naming(), parameters, own, self._segments)
        last = {id(ref.node) for ref in graph.outputs}
        children = {
            ".".join(path): node.target
            for node, path in zip(graph.nodes, self._node_paths, strict=True)
            if path is not None and id(node) in last
        }
        return children, view


def _blank(kind: type[Model]) -> Model:
    """Make a model without a state, to be filled by copying or unpickling."""
    return kind.__new__(kind)


def _inputs_like(shape: Any) -> Any:
    """Return symbolic tensors of these shapes, in their structure."""
    if isinstance(shape, dict):
        return {key: _inputs_like(part) for key, part in shape.items()}
    if shape and isinstance(shape[0], (list, tuple, dict)):
        return [_inputs_like(part) for part in shape]
    return Input(batch_shape=shape)


def _symbols(argument: str, structure: Any) -> list[tuple[Any, Any]]:
    """Return the symbolic leaves of `inputs=` or `outputs=`, with their paths."""
    found = leaves_with_paths(structure)
    if not found:
        raise ValueError(f"Model: {argument}={structure!r} holds no tensor")
    for path, leaf in found:
        if not isinstance(leaf, SymbolicTensor if argument == "outputs" else Symbol):
            where = f" at {label(path)}" if path else ""
            raise TypeError(
                f"Model expects symbolic tensors in {argument}=, got {type(leaf).__name__}{where}: "
                f"{leaf!r:.80}. Begin with `x = Input(shape)` and call layers on it"
            )
    return found
