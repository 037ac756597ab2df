"""`Model`: a graph as an `nn.Module` whose forward is generated source."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn

from ..graph import Symbol, SymbolicTensor, to_shapes
from ..graph.graph import Graph
from ..graph.home import Home
from ..graph.nested import iter_leaves, label, leaves_with_paths, numbered
from ..graph.recording.input import inputs_like
from ..layers.base import Layer
from ..training.output_structure import OutputStructure
from ..unfolding.registered_parts import makes_result
from .model_calls import ModelCalls
from .naming import Naming, name_graph, output_names
from .recorded_call import record_call
from .signature import Signature
from .training_view import run_for_loss, view_of


class Model(ModelCalls):
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
            self,
        )
        self._modules.update(naming.children)  # their names are checked, and fit
        for home in graph.homes:
            self._adopt_tensors(home, graph)
        self._adopt(graph, naming, numbered(inputs), numbered(outputs))
        for node, node_name in zip(graph.nodes, naming.nodes, strict=True):
            maker = node.maker
            if isinstance(maker, Layer):
                maker.take_name(node_name)
        if not self.trainable:
            self.trainable = False
        if not self.training:  # set before the first call, which built the graph
            self.eval()
        if graph.nodes and all(node.modes and node.modes.without_gradients for node in graph.nodes):
            warnings.warn(
                f"all of model {self.name!r} was recorded under torch.no_grad() or "
                "inference_mode(), so it cannot be trained; if it should be, call the layers "
                "outside of that block and only run the model in it",
                stacklevel=3,
            )

    def _adopt(self, graph: Graph, naming: Naming, inputs: Any, outputs: Any) -> None:
        """Take over a graph whose modules are children already, and make its forward.

        Args:
            graph: the graph.
            naming: the names of all that is in it.
            inputs: the structure of the inputs, with anything at the leaves.
            outputs: the structure of the outputs.
        """
        self._graph = graph
        self._input_template = inputs
        self._output_template = outputs
        self._node_names = naming.nodes
        self._node_paths = naming.paths
        self._named_inputs = naming.inputs
        self._sign(graph)
        self._output_names = output_names(graph, naming, outputs)
        source = self._generate(graph, naming, self._output_structure(graph.outputs))
        opened = {
            id(leaf) for n in graph.nodes if n.scope for leaf in iter_leaves((n.args, n.kwargs))
        }
        for name, tensor in source.tensors.items():
            if isinstance(tensor, nn.Parameter):
                self.register_parameter(name, tensor)
            else:  # the keys of an opened module are its own
                self.register_buffer(name, tensor, persistent=id(tensor) not in opened)
        own = {**self._parameters, **self._buffers}
        self._graph_tensors = {k: t for k, t in own.items() if t is not None} | source.borrowed
        self._take(source, None)

    def _sign(self, graph: Graph) -> None:
        owner = f"model {self.name!r}"
        self._signature = Signature(owner, self._input_template, self._named_inputs, graph.inputs)

    def _adopt_tensors(self, home: Home, graph: Graph) -> None:
        """Take the tensors and the mode of an opened module, if its children are ours."""
        module = home.module
        if home.name or not makes_result(home, graph.nodes):
            return
        self.training = module.training
        for name, parameter in module._parameters.items():
            self.register_parameter(name, parameter)
        for name, buffer in module._buffers.items():
            persistent = name not in module._non_persistent_buffers_set
            self.register_buffer(name, buffer, persistent=persistent)

    def _build_for(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Build a graph that waits for the arguments of the first call."""
        self._build(*record_call(self, args, kwargs))

    def build(self, input_shape: Any) -> None:
        """Build the graph of a model that is written with `call`, for inputs of these shapes.

        Args:
            input_shape: the shape, batch dimension included: `(None, 784)`; or a list or dict of
                shapes.
        """
        if self._is_unbuilt:
            self._build_for((inputs_like(input_shape),), {})

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shapes of the outputs for inputs of other shapes; nothing is run.

        Args:
            input_shape: the shape, batch included, `None` for unknown sizes; or shapes in the
                structure of the inputs.

        Returns:
            A shape, or shapes in the structure of the outputs.
        """
        return to_shapes(self(inputs_like(input_shape)))

    @property
    def _is_unbuilt(self) -> bool:
        """Whether the graph is still to be recorded from `call`."""
        return (
            self._graph is None
            and hasattr(type(self), "call")
            and type(self).forward is Model.forward
        )

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; a model that is written with `call` remembers their order."""
        super().__setattr__(name, value)
        if hasattr(type(self), "call"):
            self.__dict__.setdefault("_assigned", {}).setdefault(name)

    # ------------------------------------------------------------------ copies

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Copy and pickle through the public class: the generated one is made again."""
        return _blank, (self._public_class(),), self.__getstate__()

    def __getstate__(self) -> dict[str, Any]:
        if self._graph is not None:
            self._live_graph("copy")
        state: dict[str, Any] = super().__getstate__()  # without what torch.compile made
        for made_again in ("_view", "_masked", "_signature"):
            state.pop(made_again, None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if self._graph is not None:
            self._sign(self._graph)
            self._attach_forward()

    # ------------------------------------------------------------------ what the trainer asks for

    def _call_for_loss(self, inputs: Any) -> Any:
        """Run the model once for its outputs, which keep the logits behind them and their masks."""
        view = view_of(self)
        if view is None:
            return super()._call_for_loss(inputs)
        return run_for_loss(self, view, inputs)

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


def _blank(kind: type[Model]) -> Model:
    """Make a model without a state, to be filled by copying or unpickling."""
    return kind.__new__(kind)


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
                f"{leaf!r:.80}. {_instead(argument, leaf)}"
            )
    return found


def _instead(argument: str, leaf: Any) -> str:
    """Return what to write in place of something that is no symbolic tensor."""
    if argument == "outputs" and isinstance(leaf, Symbol):
        return "Return a number as a tensor: `torch.full((), number)`"
    if argument == "outputs" and isinstance(leaf, torch.Tensor):
        return (
            "It does not follow from the inputs: leave it out, or record it, "
            "`fgraph.apply(lambda x, tensor: tensor, x, tensor)`"
        )
    if argument == "outputs" and (leaf is None or isinstance(leaf, (bool, int, float, str))):
        return "It is the same in all calls: leave it out of the outputs"
    return "Begin with `x = Input(shape)` and call layers on it"
