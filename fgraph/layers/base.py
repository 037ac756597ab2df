"""`Layer`: a thin wrapper that makes and holds a torch module, and records calls of it."""

from __future__ import annotations

import copy
import inspect
import threading
import weakref
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import AmbiguousNodeError, UncalledLayerError
from ..graph import Call, Ref, SymbolicTensor, apply, symbol
from ..graph.node import recording
from ..graph.structure import iter_leaves, map_leaves
from ..naming import snake_case

_build_lock = threading.RLock()


class Layer:
    """A layer in the sense of Keras: called on symbolic tensors, it makes a torch module once.

    It is not an `nn.Module`: a model registers the torch module under the layer's name, so that
    what a model holds is plain torch. To write a layer, give `build`, which returns the module,
    and `call`, which writes the expression in torch on symbolic tensors. A module or function of
    your own needs no layer at all: call it on symbolic tensors, or use `fgraph.apply`.

    Args:
        name: a name, unique within a model; counted by kind (`dense_1`, ...) by default.
        trainable: whether the parameters require gradients.
        dtype: dtype of the parameters, as torch dtype or its name; torch's default by default.
        input_shape: shape of one sample, for the first layer of a `Sequential`.

    Attributes:
        module: the torch module; `None` before the first call and for layers without state.

    Example:
        >>> class Scale(Layer):
        ...     def build(self, input_shape):
        ...         return nn.Linear(input_shape[-1], input_shape[-1], bias=False)
        ...     def call(self, x):
        ...         return x * torch.sigmoid(self.module(x))
    """

    _arguments: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Remember the constructor's arguments: they are the layer's configuration."""
        self = super().__new__(cls)
        self._arguments = (args, kwargs)
        return self

    def __init__(
        self,
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: torch.dtype | str | None = None,
        input_shape: tuple[int | None, ...] | None = None,
    ) -> None:
        if name is not None and not isinstance(name, str):
            raise TypeError(f"{type(self).__name__}: name= expects a string, got {name!r}")
        self.explicit_name = name
        self.module: nn.Module | None = None
        self.built = False
        self.dtype = dtype
        self.first_input_shape = input_shape
        self._trainable = trainable
        self._model_name: str | None = None
        self._calls: weakref.WeakSet[Call] = weakref.WeakSet()

    # ------------------------------------------------------------------ to be written by a layer

    def build(self, *input_shapes: Any) -> nn.Module | None:
        """Make the torch module for inputs of these shapes; called once, at the first call.

        Args:
            *input_shapes: for each argument of the call its shape, batch included, `None` for
                unknown sizes; a list of shapes for a list of tensors.
        """
        return None

    def call(self, *inputs: Any, **kwargs: Any) -> Any:
        """Write the layer's expression in torch, on symbolic tensors."""
        if self.module is None:
            raise NotImplementedError(f"{type(self).__name__} has neither a module nor a call()")
        return self.module(*inputs, **kwargs)

    # ------------------------------------------------------------------ calling

    def __call__(self, *inputs: Any, **kwargs: Any) -> Any:
        """Record a call of the layer on symbolic tensors.

        Raises:
            TypeError: an input is not symbolic.
            BuildError: the inputs do not fit the layer.
        """
        self._refuse_values(inputs, kwargs)
        with _build_lock:
            if not self.built:
                self.module = self.build(*map_leaves(_shape_of, inputs))
                self.built = True
                if self.module is not None and not self._trainable:
                    self.module.requires_grad_(False)
        call = Call(self, map_leaves(_ref_of, (inputs, kwargs)))
        with recording(call):
            outputs = self.call(*inputs, **kwargs)
            if not any(_made_by(call, leaf) for leaf in iter_leaves(outputs)):
                outputs = map_leaves(lambda leaf: _passed_on(leaf), outputs)
        call.set_outputs(map_leaves(_ref_of, outputs))
        self.add_call(call)
        return outputs

    def _refuse_values(self, inputs: Any, kwargs: Any) -> None:
        """Refuse a call that has no symbolic tensor."""
        leaves = list(iter_leaves((inputs, kwargs)))
        if any(isinstance(leaf, SymbolicTensor) for leaf in leaves):
            return
        kind = type(self).__name__
        given = [type(leaf).__name__ for leaf in leaves]
        if any(isinstance(leaf, Tensor) for leaf in leaves):
            raise TypeError(
                f"layers.{kind} was called on a real tensor; layers work on symbolic tensors, from "
                "Input(shape), and the Model made of them runs on real ones. Inside a hand-written "
                "nn.Module use torch's own modules (torch.nn.LazyLinear and its kin infer sizes), "
                "or, once the layer is built, `layer.module`"
            )
        raise TypeError(
            f"layers.{kind} expects symbolic tensors, from Input(shape), got {given or 'nothing'}"
        )

    def add_call(self, call: Call) -> None:
        """Count `call` among the layer's nodes; the graph keeps it alive, not the layer."""
        self._calls.add(call)

    # ------------------------------------------------------------------ names and configuration

    @property
    def name(self) -> str:
        """The given name, else that in the first model made with it, else the first of its kind."""
        return self.explicit_name or self._model_name or f"{snake_case(type(self).__name__)}_1"

    def named(self, name: str) -> None:
        """Take over the name that the first model gives."""
        if self._model_name is None:
            self._model_name = name

    @property
    def trainable(self) -> bool:
        """Whether the parameters require gradients; setting it holds for all models that share."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)
        if self.module is not None:
            self.module.requires_grad_(self._trainable)

    def count_params(self) -> int:
        """Return the number of parameters.

        Raises:
            ValueError: the layer was not called yet, so its sizes are not known.
        """
        if not self.built:
            raise ValueError(
                f"Layer {self.name} has no weights yet: call it on a symbolic tensor first"
            )
        return sum(p.numel() for p in self.module.parameters()) if self.module is not None else 0

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, defaults included, by name."""
        args, kwargs = self._arguments
        bound = inspect.signature(type(self).__init__).bind(self, *args, **kwargs)
        bound.apply_defaults()
        config = dict(bound.arguments)
        config.pop("self", None)
        for parameter in inspect.signature(type(self).__init__).parameters.values():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                config.update(config.pop(parameter.name, {}))
            elif parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                config.pop(parameter.name, None)
        config["name"] = self.name
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Layer:
        """Make a layer, with fresh weights, from what `get_config` returned."""
        made: Layer = cls(**config)
        return made

    def with_module(self, module: nn.Module | None) -> Layer:
        """Return a layer like this one around another module, without its calls."""
        made = copy.copy(self)
        if module is not None:
            made.module = module
        return made

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_calls"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._calls = weakref.WeakSet()

    def __repr__(self) -> str:
        args, kwargs = self._arguments
        written = [*map(repr, args), *(f"{key}={value!r}" for key, value in kwargs.items())]
        return f"{type(self).__name__}({', '.join(written)})"

    # ------------------------------------------------------------------ nodes

    @property
    def inbound_nodes(self) -> list[Call]:
        """The calls of this layer in graphs that still exist, in call order."""
        return sorted((call for call in self._calls if call.alive), key=lambda call: call.seq)

    @property
    def input(self) -> Any:
        """The symbolic input, where the layer was called once."""
        return self._only("input", lambda call: _first(call))

    @property
    def output(self) -> Any:
        """The symbolic output, where the layer was called once."""
        return self._only("output", lambda call: call.outputs)

    @property
    def input_shape(self) -> Any:
        """The shape of the input, where all calls agree on it."""
        return self._only_shape("input shape", "input_shape", lambda call: _first(call))

    @property
    def output_shape(self) -> Any:
        """The shape of the output, where all calls agree on it."""
        return self._only_shape("output shape", "output_shape", lambda call: call.outputs)

    def get_input_at(self, node_index: int) -> Any:
        """Return the symbolic input of the `node_index`-th call."""
        return _handles(_first(self._at(node_index, "input")))

    def get_output_at(self, node_index: int) -> Any:
        """Return the symbolic output of the `node_index`-th call."""
        return _handles(self._at(node_index, "output").outputs)

    def get_input_shape_at(self, node_index: int) -> Any:
        """Return the input shape of the `node_index`-th call."""
        return _shapes(_first(self._at(node_index, "input shape")))

    def get_output_shape_at(self, node_index: int) -> Any:
        """Return the output shape of the `node_index`-th call."""
        return _shapes(self._at(node_index, "output shape").outputs)

    def _at(self, index: int, what: str) -> Call:
        calls = self.inbound_nodes
        if not calls:
            raise RuntimeError(
                f"The layer {self.name} has never been called and thus has no defined {what}."
            )
        if not -len(calls) <= index < len(calls):
            raise ValueError(
                f"Asked to get {what} at node {index}, but the layer {self.name} has only "
                f"{len(calls)} inbound nodes."
            )
        return calls[index]

    def _only(self, what: str, read: Any) -> Any:
        calls = self.inbound_nodes
        if len(calls) > 1:
            raise AmbiguousNodeError(self._ambiguous(what, f"get_{what}_at"))
        return _handles(read(self._first_call(calls, what)))

    def _only_shape(self, what: str, attribute: str, read: Any) -> Any:
        calls = self.inbound_nodes
        first = _shapes(read(self._first_call(calls, what)))
        if any(_shapes(read(call)) != first for call in calls[1:]):
            raise AmbiguousNodeError(self._ambiguous(what, f"get_{attribute}_at"))
        return first

    def _first_call(self, calls: list[Call], what: str) -> Call:
        if not calls:
            raise UncalledLayerError(
                f"The layer {self.name} has never been called and thus has no defined {what}."
            )
        return calls[0]

    def _ambiguous(self, what: str, method: str) -> str:
        return (
            f"Layer {self.name} has multiple inbound nodes, hence the notion of "
            f'"layer {what}" is ill-defined. Use `{method}(node_index)` instead.'
        )


def _first(call: Call) -> Any:
    """Return what a call's `layer.input` is: its only argument, or the list of them."""
    args, _ = call.inputs
    return args[0] if len(args) == 1 else list(args)


def _handles(structure: Any) -> Any:
    return map_leaves(lambda leaf: symbol(leaf) if type(leaf) is Ref else leaf, structure)


def _shapes(structure: Any) -> Any:
    return map_leaves(lambda leaf: leaf.spec.shape if type(leaf) is Ref else leaf, structure)


def _ref_of(leaf: Any) -> Any:
    return leaf.ref if isinstance(leaf, SymbolicTensor) else leaf


def _shape_of(leaf: Any) -> Any:
    return leaf.shape if isinstance(leaf, SymbolicTensor) else leaf


def _made_by(call: Call, leaf: Any) -> bool:
    """Whether a symbolic value was recorded during `call`."""
    if not isinstance(leaf, SymbolicTensor):
        return False
    made = leaf.node.call
    while made is not None and made is not call:
        made = made.outer
    return made is call


def _passed_on(leaf: Any) -> Any:
    """Give a value that a layer returned unchanged a node of its own, for the layer's output."""
    return apply(_same, leaf, output_shape=leaf.shape) if isinstance(leaf, SymbolicTensor) else leaf


def _same(x: Tensor) -> Tensor:
    return x
